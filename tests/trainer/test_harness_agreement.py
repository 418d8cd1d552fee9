"""lm-evaluation-harness's own tasks, as they are installed, on the same model and the same questions: the same prompts, likelihoods, answers and accuracies.

Its medqa_4options is asked in test_evaluation. KorMedMCQA's own tasks generate, so their prompt is asked by letter and their own way of answering beside it;
HEAD-QA's score the words of the options without letters, so that only question and right answer can be compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
import pytest
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from medfinetune_api.choices import ChatTemplate, Format, Scoring
from medfinetune_api.errors import InvalidData
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.template import Renderer
from medfinetune_trainer.evaluation.exams import exam_tasks
from medfinetune_trainer.evaluation.generation import WritingModel
from medfinetune_trainer.evaluation.harness import LetterModel, ask
from medfinetune_trainer.evaluation.letters_written import LetterTask
from medfinetune_trainer.evaluation.questions import read_questions
from support.evaluation import EXAMPLE, KORMEDMCQA, real_data, task, tiny_base
from support.records import columns, json_lines
from transformers import AutoModelForCausalLM, AutoTokenizer

Rows = Callable[[Record], dict[str, Any]]
OPTIONS = ("opa", "opb", "opc", "opd")
ORGANS = ("Heart", "Lung", "Liver", "Skin")
ABSTRACTS = {
    "77": {"QUESTION": "Does it?", "CONTEXTS": ["One.", "Two."], "final_decision": "maybe"},
    "78": {"QUESTION": "Is it?", "CONTEXTS": ["Three."], "final_decision": "yes"},
}


class OwnTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval ships no types
    """A task of the harness with all its configuration, over rows in memory."""

    def __init__(self, yaml: str, rows: list[dict[str, Any]], **changes: Any) -> None:
        self.rows = rows
        config = load_yaml(Path(lm_eval.tasks.__file__).parent / yaml, resolve_func=True)
        only_test = {"training_split": None, "validation_split": None, "test_split": "test", "fewshot_split": None, "fewshot_config": None, "num_fewshot": 0}
        super().__init__(config={name: value for name, value in (config | only_test | changes).items() if value is not None})

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **_: Any) -> None:
        self.dataset = {"test": datasets.Dataset.from_list(self.rows)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    base = tiny_base(tmp_path_factory.mktemp("models") / "base")
    return AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def tokenizer(model: Any) -> Any:
    return AutoTokenizer.from_pretrained(model.config.name_or_path)


def questions(folder: Path, form: Format) -> list[Record]:
    """A few questions of a format: published ones where they lie at hand, of the example, or written by hand."""
    published = {Format.PUBMEDQA: "pubmedqa/ori_pqal.json", Format.KORMEDMCQA: "kormedmcqa/doctor/test.csv"}
    mount = real_data()
    if mount and form in published:
        return read_questions(task("t", mount / published[form], form, "ko" if form is Format.KORMEDMCQA else "en", mount, limit=4), mount, 0).asked
    if form is Format.KORMEDMCQA:
        return read_questions(task("t", KORMEDMCQA, form, "ko", EXAMPLE, limit=12), EXAMPLE, 0).asked
    name, written = {
        Format.PUBMEDQA: ("a.json", json.dumps(ABSTRACTS)),
        Format.MEDMCQA: ("a.json", json_lines(*({"question": f"Which {n}?", "cop": n % 4 + 1, **dict(zip(OPTIONS, ORGANS, strict=True))} for n in range(12)))),
        Format.MMLU: (
            "a.jsonl",
            json_lines(*({"question": f" Which {n}? ", "subject": "clinical_knowledge", "choices": list(ORGANS), "answer": n % 4} for n in range(12))),
        ),
        Format.HEADQA: (
            "a.jsonl",
            json_lines(*({"qtext": f"Which {n}?", "ra": n % 4 + 1, "answers": [{"aid": i, "atext": t} for i, t in enumerate(ORGANS, 1)]} for n in range(12))),
        ),
    }[form]
    (folder / name).write_text(written, encoding="utf-8")
    return read_questions(task("t", folder / name, form, "en", folder), folder, 0).asked


def lettered(record: Record) -> dict[str, str]:
    return dict(zip(record.choices, record.options, strict=True))


LIKELIHOOD = {
    "output_type": "multiple_choice",
    "doc_to_choice": list("ABCDE"),
    "doc_to_target": "{{answer - 1}}",
    "filter_list": None,
    "generation_kwargs": None,
}
OWN: dict[Format, tuple[str, Rows, dict[str, Any]]] = {
    Format.PUBMEDQA: (
        "pubmedqa/pubmedqa.yaml",
        lambda record: {
            "QUESTION": record.question,
            "CONTEXTS": [record.prompt[10 : record.prompt.rindex("\nQuestion: ")]],
            "final_decision": record.options[record.answer],
        },
        {},
    ),
    Format.KORMEDMCQA: (
        "kormedmcqa/doctor.yaml",
        lambda record: {"question": record.question, "answer": record.answer + 1, **lettered(record)},
        LIKELIHOOD | {"metric_list": [{"metric": "acc"}]},
    ),
    Format.MEDMCQA: (
        "medmcqa/medmcqa.yaml",
        lambda record: {"question": record.question, "cop": record.answer, **dict(zip(OPTIONS, record.options, strict=True))},
        {},
    ),
    Format.MMLU: (
        "mmlu/default/mmlu_clinical_knowledge.yaml",
        lambda record: {"question": record.question, "choices": list(record.options), "answer": record.answer},
        {},
    ),
}


def own(form: Format, asked: list[Record]) -> OwnTask:
    yaml, row, changes = OWN[form]
    return OwnTask(yaml, [row(record) for record in asked], **changes)


def samples(results: dict[str, Any]) -> list[dict[str, Any]]:
    (rows,) = results["samples"].values()
    return list(rows)


def accuracy(results: dict[str, Any]) -> float:
    (metrics,) = results["results"].values()
    return float(metrics["acc,none"])


@pytest.mark.parametrize("form", OWN)
def test_the_harness_s_own_task_asks_and_scores_the_same(model: Any, tokenizer: Any, tmp_path: Path, form: Format) -> None:
    asked = questions(tmp_path, form)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=4, softmax_dtype="float32")
    ours, theirs = (ask(lm, tasks, chat=False) for tasks in (exam_tasks(task("ours", KORMEDMCQA, form, "en", EXAMPLE), asked, 0), [own(form, asked)]))
    assert len(samples(ours)) == len(samples(theirs)) == len(asked)
    for mine, yours in zip(samples(ours), samples(theirs), strict=True):
        assert {name: mine[name] for name in ("arguments", "filtered_resps", "acc")} == {name: yours[name] for name in ("arguments", "filtered_resps", "acc")}
    assert accuracy(ours) == accuracy(theirs)


@pytest.mark.parametrize("form", [Format.PUBMEDQA, Format.KORMEDMCQA, Format.MEDMCQA])
def test_as_the_product_asks_the_same_options_are_chosen(model: Any, tokenizer: Any, tmp_path: Path, form: Format) -> None:
    """With a chat template and our own tokens: likelihoods differ by a constant of the question where every choice is one token (test_evaluation)."""
    asked = questions(tmp_path, form)
    ours = ask(LetterModel(model, Renderer(tokenizer, ChatTemplate.TOKENIZER), 4), exam_tasks(task("ours", KORMEDMCQA, form, "en", EXAMPLE), asked, 0))
    plain = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=4, softmax_dtype="float32")
    theirs = ask(plain, [own(form, asked)])
    for mine, yours in zip(samples(ours), samples(theirs), strict=True):
        found, expected = (torch.tensor([float(likelihood) for likelihood, _ in sample["filtered_resps"]]).softmax(0) for sample in (mine, yours))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert accuracy(ours) == accuracy(theirs)


def test_korean_answers_are_generated_and_read_as_its_own_task_does(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    asked = questions(tmp_path, Format.KORMEDMCQA)
    lm = WritingModel(model, Renderer(tokenizer, ChatTemplate.TOKENIZER), 4)
    yaml, row, _ = OWN[Format.KORMEDMCQA]
    their_task = OwnTask(yaml, [row(record) for record in asked])
    assert sorted(their_task.config.generation_kwargs["until"]) == sorted(LetterTask("ours", asked, "", "ko", 8).config.generation_kwargs["until"])
    their_task.config.generation_kwargs["max_gen_toks"] = 8
    ours, theirs = (ask(lm, [one]) for one in (LetterTask("ours", asked, "", "ko", 8), their_task))
    for mine, yours in zip(samples(ours), samples(theirs), strict=True):
        assert {name: mine[name] for name in ("resps", "filtered_resps", "exact_match")} == {
            name: yours[name] for name in ("resps", "filtered_resps", "exact_match")
        }
        assert mine["arguments"][0][0] == yours["arguments"][0][0]


def test_headqa_s_own_task_scores_words_where_ours_scores_letters(tmp_path: Path) -> None:
    asked = questions(tmp_path, Format.HEADQA)
    rows = [
        {"qtext": record.question, "ra": record.answer + 1, "answers": [{"aid": i, "atext": t} for i, t in enumerate(record.options, 1)]} for record in asked
    ]
    theirs = OwnTask("headqa/headqa_en.yaml", rows)
    for record, row in zip(asked, rows, strict=True):
        assert int(theirs.doc_to_target(row)) == record.answer
        assert theirs.doc_to_choice(row) == list(record.options)
        assert record.prompt.startswith(theirs.doc_to_text(row).removesuffix("\nAnswer:"))


def test_results_record_version_and_prompt_of_every_format(tmp_path: Path) -> None:
    for form in (Format.MEDMCQA, Format.MMLU, Format.HEADQA, Format.PUBMEDQA):
        record = questions(tmp_path, form)[0]
        (exam,) = exam_tasks(task("t", KORMEDMCQA, form, "en", EXAMPLE), [record], seed=0)
        recorded = exam.config.metadata
        filled = {
            "question": record.question.strip() if form is Format.MMLU else record.question,
            "subject": record.subject.replace("_", " "),
            **lettered(record),
        }
        contexts = record.prompt[10 : record.prompt.rindex("\nQuestion: ")] if form is Format.PUBMEDQA else ""
        assert recorded["prompt"].format(**filled, contexts=contexts) == record.prompt
        assert recorded["version"] == "1.0"


@pytest.mark.parametrize(
    ("said", "right"),
    [("A, C", True), ("Answer: C and A.", True), ("A", False), ("A, B, C", False), ("None of them.", False), ("Answer: A, C\nB is wrong.", True)],
)
def test_of_several_right_answers_the_whole_set_counts(tmp_path: Path, said: str, right: bool) -> None:
    (tmp_path / "a.jsonl").write_text(json_lines({"q": "Which?", "o": ORGANS, "a": "A,C"}, {"q": "Which one?", "o": ORGANS, "a": "B"}), encoding="utf-8")
    exam = task("exam", tmp_path / "a.jsonl", Format.EXAM, "en", tmp_path).model_copy(update={"columns": columns("o", "Letter")})
    with pytest.raises(InvalidData, match=r"a\.jsonl:1: found a question with 2 right answers.*Set scoring: Generation of task exam"):
        read_questions(exam, tmp_path, 0)
    asked = read_questions(exam.model_copy(update={"scoring": Scoring.GENERATION}), tmp_path, 0).asked
    written = LetterTask("exam", asked, "", "en", 8)
    doc = next(iter(written.test_docs()))
    ((named,),) = written._filters[0].filters[0]().apply([[said]], [doc])
    assert float(written.process_results(doc, [named])["exact_match"]) == right
