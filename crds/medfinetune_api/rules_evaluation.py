"""The rules between fields of `spec.evaluation`; what a rule is, and why it is kept cheap: `rules.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medfinetune_api.choices import Format, GateMetric, Scoring, TextMetric
from medfinetune_api.ruled import Rule
from medfinetune_api.rules import unique

if TYPE_CHECKING:
    from medfinetune_api.spec_evaluation import EvaluationSpec, GateSpec, TaskSpec

WITHOUT_OPTIONS = (Format.QUESTION_ANSWER, Format.INSTRUCTION, Format.CHAT)
LESS_IS_BETTER = (GateMetric.CALIBRATION_ERROR, GateMetric.CODE_MIXING)
_WORDS, _LESS = [str(form) for form in WITHOUT_OPTIONS], [str(metric) for metric in LESS_IS_BETTER]

METRICS_UNIQUE = unique("metrics", "", lambda task: task.metrics)
GATE_NAMES_UNIQUE = unique("gates", "name", lambda evaluation: [gate.name for gate in evaluation.gates])


# tasks


def _measured(task: TaskSpec) -> bool:
    return (task.format in WITHOUT_OPTIONS) == bool(task.metrics)


TASK_IS_MEASURED = Rule(
    cel=f"(self.format in {_WORDS}) == (has(self.metrics) && self.metrics.size() > 0)",
    holds=_measured,
    found=lambda task: f"format {task.format} {'with' if task.metrics else 'without'} metrics",
    expected="metrics exactly where the format has no options (QuestionAnswer, Instruction, Chat)",
    remedy="Name metrics for answers in the model's own words, or remove them: questions with options are scored by accuracy.",
    field=".metrics",
)


def _consistent(task: TaskSpec) -> bool:
    return (TextMetric.CONSISTENCY in task.metrics) == (task.repeats > 1)


CONSISTENCY_OVER_REPEATS = Rule(
    cel="(has(self.metrics) && 'Consistency' in self.metrics) == (self.repeats > 1)",
    holds=_consistent,
    expected="repeats above 1 exactly where Consistency is among the metrics",
    remedy="Set repeats to the answers to compare with each other, such as 5, or remove it.",
    field=".repeats",
)


def _orders(task: TaskSpec) -> bool:
    lettered = task.format not in (*WITHOUT_OPTIONS, Format.PUBMEDQA) and task.scoring is Scoring.LETTER
    return task.option_orders == 1 or lettered


ORDERS_OF_LETTERS = Rule(
    cel=f"self.optionOrders == 1 || (self.scoring == 'Letter' && !(self.format in {[*_WORDS, 'PubMedQA']}))",
    holds=_orders,
    expected="1 unless options have letters and scoring is Letter",
    remedy="Remove optionOrders, or set scoring: Letter.",
    field=".optionOrders",
)


# gates


def _one_scope(gate: GateSpec) -> bool:
    return (gate.task is None) != (gate.language is None)


GATE_HAS_ONE_SCOPE = Rule(
    cel="has(self.task) != has(self.language)",
    holds=_one_scope,
    found=lambda gate: "both" if gate.task else "neither",
    expected="either task or language",
    remedy="Say which task the gate looks at, or which language.",
)


def _subject_of_task(gate: GateSpec) -> bool:
    return gate.subject is None or gate.task is not None


GATE_SUBJECT_OF_TASK = Rule(
    cel="!has(self.subject) || has(self.task)",
    holds=_subject_of_task,
    expected="a subject only together with a task",
    remedy="Name the task that the subject belongs to.",
    field=".subject",
)


def _bounds(gate: GateSpec) -> int:
    return sum(bound is not None for bound in (gate.minimum, gate.maximum, gate.max_drop))


GATE_HAS_ONE_BOUND = Rule(
    cel="(has(self.minimum) ? 1 : 0) + (has(self.maximum) ? 1 : 0) + (has(self.maxDrop) ? 1 : 0) == 1",
    holds=lambda gate: _bounds(gate) == 1,
    found=lambda gate: f"{_bounds(gate)} of them",
    expected="exactly one of minimum, maximum and maxDrop",
    remedy="Write one gate for each bound.",
)


def _bound_fits(gate: GateSpec) -> bool:
    return (gate.maximum is not None) == (gate.metric in LESS_IS_BETTER)


GATE_BOUND_FITS_METRIC = Rule(
    cel=f"has(self.maximum) == (self.metric in {_LESS})",
    holds=_bound_fits,
    found=lambda gate: f"{gate.metric} {'with' if gate.maximum is not None else 'without'} maximum",
    expected="maximum for CalibrationError and CodeMixing, minimum or maxDrop for the others",
    remedy="Bound what should be low from above, and what should be high from below.",
    field=".metric",
)


def _against_with_drop(gate: GateSpec) -> bool:
    return gate.against is None or gate.max_drop is not None


GATE_AGAINST_WITH_DROP = Rule(
    cel="!has(self.against) || has(self.maxDrop)",
    holds=_against_with_drop,
    expected="against only together with maxDrop",
    remedy="Set maxDrop, or remove against.",
    field=".against",
)


def _unknown_tasks(evaluation: EvaluationSpec) -> list[str]:
    names = {task.name for task in evaluation.tasks}
    return [gate.name for gate in evaluation.gates if gate.task is not None and gate.task not in names]


GATE_TASKS_EXIST = Rule.none(
    _unknown_tasks,
    "{} on a task that is not asked",
    cel="!has(self.gates) || self.gates.all(g, !has(g.task) || (has(self.tasks) && self.tasks.exists(t, t.name == g.task)))",
    expected="gates on tasks of evaluation.tasks",
    remedy="Name one of the tasks.",
    field=".gates",
)


def _unasked(evaluation: EvaluationSpec) -> list[str]:
    languages = {task.language for task in evaluation.tasks if not task.seen}
    return [gate.name for gate in evaluation.gates if gate.language is not None and gate.language not in languages]


GATE_LANGUAGES_ASKED = Rule.none(
    _unasked,
    "{} on a language in which nothing unseen is asked",
    cel="!has(self.gates) || self.gates.all(g, !has(g.language) || (has(self.tasks) && self.tasks.exists(t, t.language == g.language && !t.seen)))",
    expected="gates on languages of evaluation.tasks that are not seen",
    remedy="Add a task in this language, or correct the gate's.",
    field=".gates",
)


def _baseless(evaluation: EvaluationSpec) -> list[str]:
    return [gate.name for gate in evaluation.gates if gate.max_drop is not None and gate.against is None and not evaluation.baseline]


DROP_NEEDS_BASELINE = Rule.none(
    _baseless,
    "{} without a baseline",
    cel="self.baseline || !has(self.gates) || self.gates.all(g, !has(g.maxDrop) || has(g.against))",
    expected="baseline: true where a gate bounds the drop from the base",
    remedy="Set baseline: true, or name another run in against.",
    field=".gates",
)
