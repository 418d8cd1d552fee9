"""Answers in the model's own words: the harness's `generate_until` asks, transformers' `generate` writes; prompts are rendered and encoded as in training.

An answer ends with the template's end of a turn, with a text that the task names, or after its most tokens. It is greedy, or drawn: then by the Gumbel-max
trick (Maddison et al. 2014, arXiv 1411.0030, section 2.1), whose noise depends on the seed, the draw's number and the prompt alone. So every rank of a gang
draws the same, whatever stands beside a question in its batch.

Prompts of unequal length are padded on the left, which positions and masks make exact; not so behind a trained prefix, whose distance to the text would change:
there only prompts of equal length share a pass. In a gang every rank writes the same answers, and goes on until all ranks have ended theirs.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from lm_eval.models.utils_hf import stop_sequences_criteria
from medfinetune_api.errors import Diverged
from peft import PeftModel
from torch import Tensor
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.nn.utils.rnn import pad_sequence
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from medfinetune_trainer.data.records import Message
from medfinetune_trainer.data.template import Renderer
from medfinetune_trainer.data.tokenise import encode, encode_batch
from medfinetune_trainer.evaluation.harness import LetterModel
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.sharding import is_alone
from medfinetune_trainer.telemetry.heartbeat import beat

TEMPERATURE = 0.7
"""Of drawn answers, from the whole distribution: that of self-consistency (Wang et al. 2023, arXiv 2203.11171, section 3.1) without its top-k."""


def greedy(max_new_tokens: int, until: Sequence[str] = ()) -> dict[str, Any]:
    """The harness's generation arguments of one answer, the likeliest token at each step."""
    return {"until": list(until), "do_sample": False, "max_gen_toks": max_new_tokens}


def drawn(max_new_tokens: int, draw: int) -> dict[str, Any]:
    """The same of the answer number `draw` (from 1) of several that are drawn at TEMPERATURE."""
    return {"until": [], "do_sample": True, "temperature": TEMPERATURE, "max_gen_toks": max_new_tokens, "draw": draw}


class WritingModel(LetterModel):
    """A loaded model that scores choices, as its base class does, and writes answers.

    Args:
        model, renderer, batch_size, answered: as `LetterModel`; `answered` is told of written answers too.
        seed: of drawn answers.
    """

    def __init__(self, model: Any, renderer: Renderer, batch_size: int, answered: Callable[[int], None] = lambda _: None, seed: int = 0) -> None:
        super().__init__(model, renderer, batch_size, answered)
        self._seed, self._gang = seed, not is_alone(model)
        self.ends = end_tokens(renderer)
        """Tokens that end an answer."""
        if self._gang:
            register_fsdp_forward_method(model, "generate")

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """The answer to each request, without the end of its turn. Raises Diverged where logits are not finite, PassTooLarge where a pass does not fit."""
        for request in requests:
            if len(self.tok_encode(request.args[0])) + request.args[1]["max_gen_toks"] > self.max_length:
                self.cut.add(request.doc["where"])
        with torch.no_grad():
            answers: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm or not sys.stderr.isatty())
        return [answer.strip() for answer in answers]

    def tok_encode(self, string: str, *_: Any, **__: Any) -> list[int]:
        """Token ids of a rendered prompt."""
        return encode(string, self.renderer.tokenizer)

    def tok_batch_encode(self, strings: Sequence[str], padding_side: str = "left", left_truncate_len: int | None = None, **_: Any) -> tuple[Tensor, Tensor]:
        """Ids and mask (rows, T) of rendered prompts, each cut on the left to at most `left_truncate_len` tokens."""
        rows = [torch.tensor(tokens.ids[-(left_truncate_len or 0) :]) for tokens in encode_batch(strings, self.renderer.tokenizer)]
        ids = pad_sequence(rows, batch_first=True, padding_value=self._padding, padding_side=padding_side)
        return ids, pad_sequence([torch.ones_like(row) for row in rows], batch_first=True, padding_side=padding_side)

    def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
        """Text of one token; of an answer's tokens (a list), up to the end of its turn."""
        if isinstance(tokens, list):
            tokens = tokens[: next((at for at, token in enumerate(tokens) if token in self.ends), len(tokens))]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False))

    def _model_generate(self, context: Tensor, max_length: int, stop: list[str], *, attention_mask: Tensor, **how: Any) -> Tensor:
        """(rows, T + new tokens): `context` (rows, T) and what the model writes after it, padded on the right."""
        written = self.fitting.run(lambda size: self._write(context, attention_mask, size, max_length - context.shape[1], stop, how), self._halved)
        self._answered(len(context))
        return torch.cat([context, pad_sequence(written, batch_first=True, padding_value=self._padding)], dim=1)

    def _write(self, context: Tensor, mask: Tensor, size: int, new_tokens: int, stop: list[str], how: dict[str, Any]) -> list[Tensor]:
        """What follows each row, `size` rows in a pass."""
        lengths, width, found = mask.sum(1).tolist(), context.shape[1], list[Tensor]()
        for rows in passes(lengths, size, equal=self._behind_prefix):
            start = width - max(lengths[rows])
            found += self._pass(context[rows, start:], mask[rows, start:], new_tokens, stop, how)
        return found

    def _pass(self, ids: Tensor, mask: Tensor, new_tokens: int, stop: list[str], how: dict[str, Any]) -> list[Tensor]:
        """transformers' own loop, from a cache; one token of each row a step."""
        settings = GenerationConfig(max_new_tokens=new_tokens, do_sample=False, eos_token_id=sorted(self.ends), pad_token_id=self._padding, use_cache=True)
        processors: list[LogitsProcessor] = [_Moving()]
        if how.get("do_sample"):
            names = (
                f"answer {how['draw']} to {hashlib.sha256(str(row[kept.bool()].tolist()).encode()).hexdigest()}" for row, kept in zip(ids, mask, strict=True)
            )
            processors.append(GumbelMax([keyed(self._seed, name) for name in names], how["temperature"]))
        written: Tensor = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=stop_sequences_criteria(self.tokenizer, stop, ids.shape[1], len(ids)),
            synced_gpus=self._gang,
        )
        return list(written[:, ids.shape[1] :])

    @property
    def _behind_prefix(self) -> bool:
        return isinstance(self.model, PeftModel) and self.model.active_peft_config.is_prompt_learning

    @property
    def _padding(self) -> int:
        """Any token: it is masked before an answer, and cut off behind it."""
        return min(self.ends)


class _Moving(LogitsProcessor):  # type: ignore[misc]  # mypy skips transformers
    """A sign of life each step, and a refusal of what is no number."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        beat("answers")
        if not torch.isfinite(scores).all():
            remedy = "Train in BF16 or FP32, or with a lower learning rate: this model's activations overflow."
            raise Diverged("evaluation, writing answers", found="logits that are not finite", expected="finite logits", remedy=remedy)
        return scores


class GumbelMax(LogitsProcessor):  # type: ignore[misc]  # mypy skips transformers
    """Adds Gumbel noise, so that the likeliest token is a draw from softmax(scores / temperature).

    Args:
        generators: one a row, on the CPU.
        temperature: above 0.
    """

    def __init__(self, generators: Sequence[torch.Generator], temperature: float) -> None:
        self._generators, self._temperature = generators, temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, vocabulary), as `scores`, in fp32."""
        waits = torch.stack([torch.empty(scores.shape[-1]).exponential_(generator=generator) for generator in self._generators])
        return scores.float() / self._temperature - waits.log().to(scores.device)


def passes(lengths: Sequence[int], size: int, *, equal: bool) -> Iterator[slice]:
    """Consecutive rows that share a pass: at most `size`, and of equal length where that is asked for."""
    first = 0
    for row in range(1, len(lengths) + 1):
        if row == len(lengths) or row - first == size or (equal and lengths[row] != lengths[first]):
            yield slice(first, row)
            first = row


def end_tokens(renderer: Renderer) -> frozenset[int]:
    """Tokens that end an answer: the template's end of a turn, and the tokenizer's end of sequence."""
    rendered = renderer.render([Message("user", "Q"), Message("assistant", "A")], "probe")
    ending = rendered.text[slice(*rendered.responses[0])].removeprefix("A").strip()
    tokenizer = renderer.tokenizer
    eos = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    return frozenset((tokenizer.convert_tokens_to_ids(ending), *eos))
