"""Ask lm-evaluation-harness: examination questions as its tasks, our model as its LM, its results as they are.

The harness's `evaluate` is called and not its `simple_evaluate`, which adds what a hospital does not hand out: the machine's description, its packages, and
the git commit of whatever folder it stands in. What a reader needs of those (model, template, versions, batch size) is added here.

Scoring is by letter likelihood: one forward pass a question, whose last position gives the log-likelihood of every choice (the harness groups requests that
differ in their last token only). The harness's own KorMedMCQA task generates text and reads a letter from it, and its HEAD-QA tasks score the options' words
without letters: ours ask otherwise, and so go under their own names.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import datasets
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.loggers.evaluation_tracker import GeneralConfigTracker
from lm_eval.loggers.utils import add_tokenizer_info
from lm_eval.models.huggingface import HFLM
from medfinetune_api.choices import Stage

from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.data.template import Renderer
from medfinetune_trainer.data.tokenise import encode_batch
from medfinetune_trainer.evaluation.groups import groups_of
from medfinetune_trainer.model.sharding import is_alone
from medfinetune_trainer.optim.fitting import Fitting
from medfinetune_trainer.telemetry.heartbeat import beat
from medfinetune_trainer.telemetry.log import say

VERSION = "1.0"
"""Of the tasks as they are asked here: it rises when prompt, choices or scoring change, because accuracies are then no longer comparable."""


class LetterModel(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    """A loaded model whose questions are rendered and tokenised exactly as in training.

    The harness's own way would differ: it tokenises the rendered prompt by itself, moves white space at its end to the continuation (a template's last line
    break would count as answer), and knows nothing of control tokens that a question spells out.

    Args:
        model: a causal language model of transformers or PEFT, on its device.
        renderer: of the plan's template.
        batch_size: questions in one forward pass; halved where they do not fit, by a model that asks alone.
        answered: told after each pass of how many of the questions it answered.
    """

    def __init__(self, model: Any, renderer: Renderer, batch_size: int, answered: Callable[[int], None] = lambda _: None) -> None:
        # In bf16 letters whose logits are close would tie after the softmax, and a tie goes to A.
        super().__init__(pretrained=model, tokenizer=renderer.tokenizer, backend="causal", batch_size=batch_size, softmax_dtype="float32")
        self.renderer, self._answered = renderer, answered
        self.fitting = Fitting(Stage.EVALUATE, batch_size, may_halve=is_alone(model))
        self._longest_choice = 1
        self.cut: set[str] = set()
        """Records (`file:line`) longer than the model's window, which the harness cuts on the left."""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt as text, for the samples."""
        return self.renderer.prompt_text([Message(turn["role"], turn["content"]) for turn in chat_history])

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each request's choice, and whether it is the most likely of all tokens."""
        pairs = self.encode_choices([(request.doc, request.args[1]) for request in requests])
        self._longest_choice = max(len(choice) for _, choice in pairs)
        encoded = [(request.args, context, choice) for request, (context, choice) in zip(requests, pairs, strict=True)]
        for request, (_, context, choice) in zip(requests, encoded, strict=True):
            if len(context) + len(choice) - 1 > self.max_length:
                self.cut.add(request.doc["where"])
        answers: list[tuple[float, bool]] = self._loglikelihood_tokens(encoded, disable_tqdm=disable_tqdm or not sys.stderr.isatty())
        return answers

    def _model_call(self, inps: torch.Tensor, attn_mask: torch.Tensor | None = None, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (rows, K, vocabulary) of the last K positions, enough for every row's choice; the harness counts from the end and asks for no others.

        All positions would cost gigabytes with a vocabulary of 262,144. Rows (rows, T) come sorted by length and padded with 0 on the right, so K is small.
        """
        padding = int((inps != 0).int().flip(1).argmax(1).max())
        logits = self.fitting.run(lambda size: self._logits(inps, size, padding + self._longest_choice), self._halved)
        self._answered(len(inps))
        return logits

    def _logits(self, inps: torch.Tensor, size: int, positions: int) -> torch.Tensor:
        """Of the last `positions` positions of every row, `size` rows in a pass."""
        found = []
        with torch.no_grad():
            for first in range(0, len(inps), size):
                beat("questions")
                found.append(self.model(inps[first : first + size], logits_to_keep=positions).logits)
        return torch.cat(found)

    def _halved(self, tried: int) -> None:
        say("out of memory", batch_size=tried, next_batch_size=self.fitting.rows)

    def encode_choices(self, asked: Sequence[tuple[Mapping[str, Any], str]]) -> list[tuple[list[int], list[int]]]:
        """Token ids before a choice and of it, for pairs of document and choice: as training reads the conversation, up to the choice's last token."""
        rendered = [self.renderer.render([Message("user", doc["prompt"]), Message("assistant", choice)], doc["where"]) for doc, choice in asked]
        encoded = encode_batch([one.text for one in rendered], self.renderer.tokenizer)
        pairs = []
        for (_, choice), one, tokens in zip(asked, rendered, encoded, strict=True):
            start = one.responses[0][0]
            end = start + len(choice)
            first = next(index for index, (_, stop) in enumerate(tokens.offsets) if stop > start)
            after = next((index for index, (begin, _) in enumerate(tokens.offsets) if begin >= end), len(tokens.ids))
            pairs.append((tokens.ids[:first], tokens.ids[first:after]))
        return pairs


class ExamTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval ships no types
    """A multiple-choice task over records in memory: no file of questions is written, none is looked for on a hub.

    Args:
        name: of the task in results.
        records: questions, at least one.
        prompt: template of the prompt, for the results' `configs`.
        orders: which of the file's options stands under each letter, a record each; none where they stand as the file has them.
    """

    def __init__(self, name: str, records: Sequence[Record], prompt: str, orders: Sequence[tuple[int, ...]] = ()) -> None:
        self._records, self._orders = records, orders
        config = {
            "task": name,
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "prompt",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": VERSION, "prompt": prompt},
        }
        super().__init__(config=config)

    @property
    def count(self) -> int:
        """Questions that are asked."""
        return len(self._records)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Take the records instead; the harness calls this from its constructor."""
        columns = ("where", "id", "subject", "prompt", "answer")
        rows = [
            {name: getattr(record, name) for name in columns} | {"choices": list(record.choices), "groups": list(groups_of(record))} for record in self._records
        ]
        for row, order in zip(rows, self._orders, strict=bool(self._orders)):
            row["order"] = list(order)
        self.dataset = {"test": datasets.Dataset.from_list(rows)}

    def build_all_requests(self, **kwargs: Any) -> None:
        """As the harness does, without its progress bar where stderr is no terminal."""
        with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
            super().build_all_requests(**kwargs)


def ask(lm: HFLM, tasks: Sequence[ConfigurableTask], chat: bool = True) -> dict[str, Any]:
    """The results of `lm` on `tasks`, zero-shot, with its chat template or without: `lm_eval.result_schema.EvalResults`, samples included."""
    by_name = {task.config.task: task for task in tasks}
    results: dict[str, Any] = evaluate(
        lm, {"tasks": by_name, "groups": {}}, bootstrap_iters=0, log_samples=True, apply_chat_template=chat, fewshot_as_multiturn=True
    )
    return results


def ask_and_describe(lm: LetterModel, tasks: Sequence[ConfigurableTask], model_name: str) -> dict[str, Any]:
    """As `ask`, with the schema's fields on model, template and versions, free of paths, host and user names."""
    tracker = GeneralConfigTracker()
    tracker.log_experiment_args("hf", {"pretrained": model_name}, None, lm.renderer.source, fewshot_as_multiturn=True)
    results = ask(lm, tasks)
    tracker.log_end_time()
    settings = {"batch_size": lm.batch_size, "device": lm.device.type, "limit": None, "bootstrap_iters": 0}
    config = {"model": "hf", "model_args": None, "model_dtype": str(lm.model.dtype).removeprefix("torch."), **settings}
    recorded = asdict(tracker) | {"config": config, "lm_eval_version": version("lm_eval"), "transformers_version": version("transformers")}
    described = results | {name: value for name, value in recorded.items() if name not in ("start_time", "end_time")}
    add_tokenizer_info(described, lm)
    return described
