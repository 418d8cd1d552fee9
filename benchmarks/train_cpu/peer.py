"""TRL's packed QLoRA, and steps of ours in between: whatever else the machine does meanwhile, it does to both."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from medfinetune_trainer.data.batch import PackedDocument
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer

from benchmarks.train_cpu.workload import MAX_LENGTH

WARM_UP = 1
"""First steps that are not counted."""


class Alternating(TrainerCallback):
    """After each of TRL's steps, one of ours. A step of theirs is timed from where ours ended: with their data loading, optimizer and hooks."""

    def __init__(self, between: Callable[[], float] | None, tokens: Callable[[int], int]) -> None:
        self._between, self._tokens, self._resumed = between, tokens, 0.0
        self.theirs: list[float] = []
        self.ours: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The clock starts."""
        self._resumed = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Their step is done: count it, and take one of ours."""
        self.theirs.append(self._tokens(state.global_step - 1) / (time.perf_counter() - self._resumed))
        if self._between:
            self.ours.append(self._between())
        self._resumed = time.perf_counter()


def alternate(
    base: Path, rows: list[list[PackedDocument]], settings: dict[str, Any], steps: int, between: Callable[[], float] | None, folder: Path
) -> tuple[list[float], list[float]]:
    """Tokens a second of TRL's steps and of the steps that `between` takes, without the first ones.

    TRL packs the same documents itself, best fit decreasing, and may fill its rows in another order: each of its steps counts the tokens of its own row.
    """
    trainer = _trainer(base, rows, settings, steps, folder)
    lengths = [len(each) for each in trainer.train_dataset["input_ids"]]
    clock = Alternating(between, lambda step: lengths[step % len(lengths)])
    trainer.add_callback(clock)
    trainer.train()
    return clock.theirs[WARM_UP:], clock.ours[WARM_UP:]


def _trainer(base: Path, rows: list[list[PackedDocument]], settings: dict[str, Any], steps: int, folder: Path) -> SFTTrainer:
    """TRL's trainer; of `settings`, `dtype` is what the base is loaded in (fp32 where it is left out), the rest is SFTConfig's."""
    dtype = getattr(torch, settings.get("dtype", "float32"))
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if settings.get("bf16", True) else torch.float32,
    )
    documents = [document for row in rows for document in row]
    data = Dataset.from_dict({"input_ids": [each.input_ids for each in documents], "completion_mask": [each.loss_mask for each in documents]})
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=steps + WARM_UP,
        per_device_train_batch_size=1,
        max_length=MAX_LENGTH,
        packing=True,
        completion_only_loss=True,
        shuffle_dataset=False,
        learning_rate=2e-4,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **{name: value for name, value in settings.items() if name != "dtype"},
    )
    model = AutoModelForCausalLM.from_pretrained(base, quantization_config=quantization, dtype=dtype)
    lora = LoraConfig(r=16, lora_alpha=64, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    return SFTTrainer(model, config, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(base), peft_config=lora)
