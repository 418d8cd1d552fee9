"""Questions without options, asked through the harness: each conversation up to its last answer, the reference by which the model's is measured.

Every measurement but Consistency is of the greedy answer. For Consistency as many answers more are drawn as the task has `repeats`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from medfinetune_api.choices import TextMetric
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.data.records import Record
from medfinetune_trainer.evaluation.generation import TEMPERATURE, drawn, greedy
from medfinetune_trainer.evaluation.harness import ExamTask
from medfinetune_trainer.evaluation.questions import conversation
from medfinetune_trainer.evaluation.text_metrics import TextMeasures, bleu_tokenizer

VERSION = "1.0-text"
"""Rises when prompts, generation or measurements change."""


class TextTask(ExamTask):
    """One task of the plan.

    Args:
        task: of the plan, with metrics.
        records: conversations, at least one.
        measures: what its answers are measured by.
    """

    def __init__(self, task: TaskPlan, records: Sequence[Record], measures: TextMeasures) -> None:
        self._records, self._measures = records, measures
        self._draws = [drawn(task.max_new_tokens, draw) for draw in range(1, task.repeats + 1)] if TextMetric.CONSISTENCY in task.metrics else []
        config = {
            "task": task.name,
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_text": "question",
            "doc_to_target": "reference",
            "num_fewshot": 0,
            "generation_kwargs": greedy(task.max_new_tokens),
            "process_results": self._measured,
            "metric_list": [{"metric": str(metric), "aggregation": "mean", "higher_is_better": True} for metric in task.metrics],
            "metadata": {"version": VERSION, "bleu_tokenizer": bleu_tokenizer(task.language), "temperature": TEMPERATURE},
        }
        ConfigurableTask.__init__(self, config=config)

    @property
    def count(self) -> int:
        """Answers that are written."""
        return len(self._records) * (1 + len(self._draws))

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Take the records instead; the harness calls this from its constructor."""
        self.dataset = {"test": datasets.Dataset.from_list([_row(record) for record in self._records])}

    def fewshot_context(self, doc: Any, num_fewshot: int, *_: Any, chat_template: Callable[..., str] | None = None, **__: Any) -> str:
        """The conversation up to the reference, rendered."""
        assert chat_template is not None, "answers are written in a conversation"
        return chat_template([{"role": turn["role"], "content": turn["content"]} for turn in doc["turns"]])

    def construct_requests(self, doc: Any, ctx: str, **kwargs: Any) -> list[Instance]:
        """One greedy answer, then those that are drawn."""
        metadata = kwargs["metadata"]
        return [
            Instance("generate_until", doc, (ctx, how), number, metadata=metadata) for number, how in enumerate([self.config.generation_kwargs, *self._draws])
        ]

    def _measured(self, doc: Any, answers: Sequence[str]) -> dict[str, float]:
        return self._measures.measure(answers[0], doc["reference"], answers[1:])


def _row(record: Record) -> dict[str, Any]:
    """The harness's document of a conversation."""
    *asked, reference = record.messages
    row = {"where": record.where, "id": record.id, "subject": record.subject, "turns": [vars(message) for message in asked]}
    return row | {"question": conversation(record), "reference": reference.content}
