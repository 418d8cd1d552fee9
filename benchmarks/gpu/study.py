"""The four steps of the study's ablation on the Gemma-3-4B shape, one device: peak memory and tokens a second beside the published figures, and beside TRL.

Yoo et al. 2026, Tables 5 and 6 (MedGemma 4B on an L40S): full fine-tuning in 16 bits, + QLoRA, + FSDP (adapters sharded), + packing. All train on the same
documents, of real lengths (`lengths.json`) and random tokens, two rows a micro-batch: the first three pad each micro-batch, to its longest document and to
2,048 tokens, with logits for every token, as plain transformers and PEFT do; the fourth is the product's own path. Each is run with activations kept and
computed again. TRL packs the same documents at the same settings, where it is installed. The product's path and TRL's come first, while there is time.
"""

from __future__ import annotations

import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import transformers
from medfinetune_api.choices import Quantization, Sharding
from medfinetune_api.plan_tuning import LoraPlan
from medfinetune_trainer.data.batch import PackedDocument, collate
from medfinetune_trainer.data.packing import pack
from medfinetune_trainer.model.build import build
from medfinetune_trainer.model.lora import LowRank
from medfinetune_trainer.model.loss import packed_loss
from medfinetune_trainer.model.sharding import clip_grad_norm, trainable
from torch import nn

from benchmarks.gpu.bases import GEMMA_3_4B, random_base
from benchmarks.gpu.budget import SKIPPED, Budget
from benchmarks.packing import LENGTHS

ROWS = 2
"""Of a micro-batch."""
PUBLISHED = {"full, 16 bits": (48, 120), "+ QLoRA": (28, 90), "+ FSDP": (24, 75), "+ packing": (20, 24)}
"""GB and minutes an epoch, as the study prints them."""
LORA = LoraPlan(rank=16, alpha=64, dropout=0.05, target_modules="all-linear", use_rslora=False, use_dora=False, loraplus_lr_ratio=1)
Step = Callable[[], None]


def study(device: torch.device, budget: Budget) -> dict[str, Any]:
    """Every configuration's peak memory in GB and tokens a second; `passed` where all were tried and the product's own path ran."""
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
    with tempfile.TemporaryDirectory() as name:
        base = random_base(Path(name) / "base", GEMMA_3_4B, device)
        batch = _documents(2048 if device.type == "cuda" else 128, 4000)
        cases = _cases(base, batch, device)
        figures = {title: SKIPPED if budget.is_spent else measure() for title, measure in cases.items()}
    dist.destroy_process_group()
    return {
        "published_gb_and_minutes": PUBLISHED,
        "measured": figures,
        "passed": SKIPPED not in figures.values() and all("error" not in each for title, each in figures.items() if "packing" in title),
    }


def _documents(max_length: int, vocabulary: int) -> list[list[PackedDocument]]:
    """Two full rows of documents of real lengths."""
    histogram = {int(length): count for length, count in _lengths().items() if int(length) <= max_length}
    drawn = random.Random(0).choices(list(histogram), list(histogram.values()), k=200)
    row_of = pack(np.array(drawn, dtype=np.int32), max_length)
    rows: list[list[PackedDocument]] = [[] for _ in range(int(row_of.max()) + 1)]
    for length, row in zip(drawn, row_of, strict=True):
        answer = max(1, length // 10)  # worded answers, a tenth of the tokens
        rows[row].append(PackedDocument(random.Random(length).choices(range(10, vocabulary), k=length), [0] * (length - answer) + [1] * answer, 0))
    return sorted(rows, key=lambda row: -sum(len(each.input_ids) for each in row))[:ROWS]


def _lengths() -> dict[str, int]:
    return dict(json.loads(LENGTHS.read_text(encoding="utf-8"))["lengths"])


def _cases(base: Path, batch: Sequence[Sequence[PackedDocument]], device: torch.device) -> dict[str, Callable[[], dict[str, Any]]]:
    """What measures each configuration, by its title."""
    agains = {"kept": False, "computed again": True} if device.type == "cuda" else {"computed again": True}
    longest = max(len(each.input_ids) for row in batch for each in row)
    limits = {"longest": None, "maximum": 2048 if device.type == "cuda" else max(128, longest)}
    packed = {f"+ packing; activations {kind}": partial(_packed, base, batch, again, device) for kind, again in agains.items()}
    padded: dict[str, Callable[[], Step]] = {}
    for kind, again in agains.items():
        sharded, tuned, full = partial(_tuned, base, device, Sharding.ADAPTERS_ONLY), partial(_tuned, base, device, None), partial(_full, base, device)
        padded[f"+ FSDP; padded to longest; activations {kind}"] = partial(_padded, sharded, batch, None, again, device)
        for padding, length in limits.items():
            padded[f"+ QLoRA; padded to {padding}; activations {kind}"] = partial(_padded, tuned, batch, length, again, device)
            padded[f"full, 16 bits; padded to {padding}; activations {kind}"] = partial(_padded, full, batch, length, again, device)
    ours, others = ({title: partial(_measured, make, batch, device) for title, make in steps.items()} for steps in (packed, padded))
    return ours | _trl(base, batch, device, agains) | others


def _full(base: Path, device: torch.device, again: bool) -> nn.Module:
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, device_map={"": device}, attn_implementation="sdpa")
    if again:
        model.gradient_checkpointing_enable()
    return model


def _tuned(base: Path, device: torch.device, sharding: Sharding | None, again: bool) -> nn.Module:
    tuning = LowRank(LORA, Quantization.NF4, seed=0)
    return build(base, tuning, _dtype(device), device, sharding or Sharding.NONE, packed=False, activation_checkpointing=again)


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _padded(make: Callable[[bool], nn.Module], batch: Sequence[Sequence[PackedDocument]], length: int | None, again: bool, device: torch.device) -> Step:
    """A step over all documents, `ROWS` at a time, right-padded, with every token's logits and transformers' own loss."""
    model = make(again).train()
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-5)
    documents = [each for row in batch for each in row]
    passes = [_pad(documents[i : i + ROWS], length, device) for i in range(0, len(documents), ROWS)]

    def step() -> None:
        for each in passes:
            (model(**each, use_cache=False).loss / len(passes)).backward()
        clip_grad_norm(model, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _pad(documents: Sequence[PackedDocument], length: int | None, device: torch.device) -> dict[str, torch.Tensor]:
    width = length or max(len(each.input_ids) for each in documents)
    gaps = [width - len(each.input_ids) for each in documents]
    ids = [[*each.input_ids, *[0] * gap] for each, gap in zip(documents, gaps, strict=True)]
    mask = [[*[1] * len(each.input_ids), *[0] * gap] for each, gap in zip(documents, gaps, strict=True)]
    labels = [
        [*(token if loss else -100 for token, loss in zip(each.input_ids, each.loss_mask, strict=True)), *[-100] * gap]
        for each, gap in zip(documents, gaps, strict=True)
    ]
    return {name: torch.tensor(value, device=device) for name, value in (("input_ids", ids), ("attention_mask", mask), ("labels", labels))}


def _packed(base: Path, batch: Sequence[Sequence[PackedDocument]], again: bool, device: torch.device) -> Step:
    """The product's step: packed rows, attention by document, logits of loss tokens only."""
    tuning = LowRank(LORA, Quantization.NF4, seed=0)
    model = build(base, tuning, _dtype(device), device, Sharding.ADAPTERS_ONLY, packed=True, activation_checkpointing=again).train()
    optimizer = torch.optim.AdamW(trainable(model), lr=1e-5)
    packed = collate([each for row in batch for each in row]).to(device)

    def step() -> None:
        (packed_loss(model, packed, groups=1).loss / packed.loss_tokens).backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward unannotated
        clip_grad_norm(model, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _measured(make: Callable[[], Step], batch: Sequence[Sequence[PackedDocument]], device: torch.device) -> dict[str, Any]:
    """Two steps to warm up, then a few that count; a configuration that does not fit says so."""
    tokens, counted = sum(len(each.input_ids) for row in batch for each in row), 5 if device.type == "cuda" else 1
    _forget(device)
    try:
        step = make()
        for _ in range(2 if device.type == "cuda" else 0):
            step()
        _wait(device)
        started = time.perf_counter()
        for _ in range(counted):
            step()
        _wait(device)
    except torch.OutOfMemoryError:
        return {"error": "out of memory"}
    return {"tokens_per_second": tokens * counted / (time.perf_counter() - started), **_peaks(device)}


def _trl(base: Path, batch: Sequence[Sequence[PackedDocument]], device: torch.device, agains: dict[str, bool]) -> dict[str, Callable[[], dict[str, Any]]]:
    """TRL's packed QLoRA on the same documents; nothing where TRL is not installed."""
    try:
        import trl
    except ImportError:
        return {}
    return {f"TRL {trl.__version__}, packed; activations {kind}": partial(_trl_measured, base, batch, device, again) for kind, again in agains.items()}


def _trl_measured(base: Path, batch: Sequence[Sequence[PackedDocument]], device: torch.device, again: bool) -> dict[str, Any]:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    steps, cuda = (7, True) if device.type == "cuda" else (1, False)
    documents = [each for row in batch for each in row] * steps
    data = Dataset.from_dict({"input_ids": [each.input_ids for each in documents], "completion_mask": [each.loss_mask for each in documents]})
    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=_dtype(device)
    )
    settings = {
        "packing": True,
        "max_length": 2048 if cuda else 128,
        "per_device_train_batch_size": ROWS,
        "max_steps": steps,
        "bf16": cuda,
        "use_cpu": not cuda,
    }
    quiet = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True, "completion_only_loss": True}
    _forget(device)
    clock = _Clock()
    with tempfile.TemporaryDirectory() as name:
        model = transformers.AutoModelForCausalLM.from_pretrained(base, quantization_config=quantization, dtype=_dtype(device), device_map={"": device})
        lora = LoraConfig(r=16, lora_alpha=64, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
        config = SFTConfig(output_dir=name, gradient_checkpointing=again, **settings, **quiet)
        try:
            trainer = SFTTrainer(model, config, train_dataset=data, processing_class=_tokenizer(), peft_config=lora, callbacks=[clock])
            trainer.train()
        except torch.OutOfMemoryError:
            return {"error": "out of memory"}
    lengths = [len(each) for each in trainer.train_dataset["input_ids"]]
    return {"tokens_per_second": ROWS * sum(lengths) / len(lengths) / clock.seconds_a_step(), **_peaks(device)}


class _Clock(transformers.TrainerCallback):
    """When each of TRL's steps ended."""

    def __init__(self) -> None:
        self.ended: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self.ended.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has ended, on the device too."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended.append(time.perf_counter())

    def seconds_a_step(self) -> float:
        """The median, without the first two where there are more."""
        taken = np.diff(self.ended)
        return float(np.median(taken[2:] if len(taken) > 2 else taken))


def _tokenizer() -> Any:
    """TRL wants one, though the documents are tokens already."""
    from tokenizers import Tokenizer, models

    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={"<pad>": 0, "<eos>": 1}, merges=[])), pad_token="<pad>", eos_token="<eos>"
    )


def _forget(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peaks(device: torch.device) -> dict[str, float]:
    if device.type == "cpu":
        return {}
    return {"peak_allocated_gb": torch.cuda.max_memory_allocated(device) / 1e9, "peak_reserved_gb": torch.cuda.max_memory_reserved(device) / 1e9}
