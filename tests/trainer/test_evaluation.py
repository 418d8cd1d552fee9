"""Evaluation through lm-evaluation-harness: its own medqa task is the oracle for questions and prompts, the model for likelihoods."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks._yaml_loader import load_yaml
from medfinetune_api.choices import ChatTemplate, Format, LossOn
from medfinetune_api.errors import InvalidData
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.template import Renderer
from medfinetune_trainer.data.tokenise import tokenise
from medfinetune_trainer.evaluation.harness import ExamTask, LetterModel, ask
from medfinetune_trainer.evaluation.questions import prompt_template, read_questions
from support.evaluation import EXAMPLE, KORMEDMCQA, MEDQA, real_data, task, tiny_base
from transformers import AutoModelForCausalLM, AutoTokenizer

SCORED = ("arguments", "filtered_resps", "target", "acc")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def model(base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, attn_implementation="sdpa").eval()


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return AutoTokenizer.from_pretrained(base)


def medqa_questions(limit: int) -> list[Record]:
    """MedQA questions with four options: of the real test set where it is at hand."""
    mount = real_data()
    file = mount / "medqa" / "4_options" / "test.jsonl" if mount else MEDQA
    mount = mount or EXAMPLE
    return read_questions(task("medqa", file, Format.MEDQA, "en", mount, limit), mount, seed=0).asked


def kormedmcqa_questions() -> list[Record]:
    return read_questions(task("kormedmcqa", KORMEDMCQA, Format.KORMEDMCQA, "ko", EXAMPLE), EXAMPLE, seed=0).asked


def own_medqa_task(asked: list[Record], folder: Path) -> ConfigurableTask:
    """The harness's medqa_4options as it is installed, on the same questions in the columns it wants."""
    rows = [{"sent1": record.question, "label": record.answer, **{f"ending{i}": option for i, option in enumerate(record.options)}} for record in asked]
    file = folder / "medqa.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / "medqa" / "medqa.yaml", resolve_func=True)
    local = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(folder)},
        "training_split": None,
        "validation_split": None,
    }
    return ConfigurableTask(config=config | local)


@pytest.mark.parametrize("chat", [False, True])
def test_the_harness_own_medqa_task_agrees(model: Any, tokenizer: Any, tmp_path: Path, chat: bool) -> None:
    asked = medqa_questions(limit=60)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=4, softmax_dtype="float32")
    ours = ask(lm, [ExamTask("ours", asked, "")], chat)
    theirs = ask(lm, [own_medqa_task(asked, tmp_path)], chat)
    assert ours["results"]["ours"]["acc,none"] == theirs["results"]["medqa_4options"]["acc,none"]
    for mine, yours in zip(ours["samples"]["ours"], theirs["samples"]["medqa_4options"], strict=True):
        assert {name: mine[name] for name in SCORED} == {name: yours[name] for name in SCORED}


def test_our_tokens_choose_as_the_harness_own_task_and_model_do(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """The harness counts the template's last line break as part of the answer: a constant of the question, without effect on the choice."""
    asked = medqa_questions(limit=60)
    ours = ask(LetterModel(model, Renderer(tokenizer, ChatTemplate.TOKENIZER), 4), [ExamTask("ours", asked, "")])
    plain = HFLM(pretrained=model, tokenizer=tokenizer, backend="causal", batch_size=4, softmax_dtype="float32")
    theirs = ask(plain, [own_medqa_task(asked, tmp_path)])
    assert ours["results"]["ours"]["acc,none"] == theirs["results"]["medqa_4options"]["acc,none"]
    for mine, yours in zip(ours["samples"]["ours"], theirs["samples"]["medqa_4options"], strict=True):
        difference = likelihoods(mine) - likelihoods(yours)
        torch.testing.assert_close(difference, difference[:1].expand_as(difference), rtol=0, atol=1e-4)
        assert likelihoods(mine).argmax() == likelihoods(yours).argmax()


@pytest.mark.parametrize("template", list(ChatTemplate))
def test_a_likelihood_is_that_of_the_tokens_training_reads(model: Any, tokenizer: Any, template: ChatTemplate) -> None:
    renderer = Renderer(tokenizer, template)
    asked = medqa_questions(limit=20) + kormedmcqa_questions()
    lm = LetterModel(model, renderer, batch_size=4)
    samples = ask(lm, [ExamTask("exam", asked, "")])["samples"]["exam"]
    for record, sample in zip(asked, samples, strict=True):
        trained = tokenise(record.messages, renderer, LossOn.RESPONSE)
        ((context, choice),) = lm.encode_choices([(sample["doc"], record.choices[record.answer])])
        assert trained.input_ids[: len(context) + len(choice)] == context + choice
        assert trained.loss_mask.index(1) == len(context)
        with torch.no_grad():
            logits = model(torch.tensor([trained.input_ids])).logits[0].float().log_softmax(-1)
        expected = sum(logits[i - 1, trained.input_ids[i]].item() for i in range(len(context), len(context) + len(choice)))
        assert likelihoods(sample)[record.answer].item() == pytest.approx(expected, abs=1e-4)


def likelihoods(sample: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([likelihood for likelihood, _ in sample["filtered_resps"]], dtype=torch.float64)


def test_the_recorded_prompt_is_what_is_asked() -> None:
    for format, language, records in ((Format.MEDQA, "en", medqa_questions(limit=5)), (Format.KORMEDMCQA, "ko", kormedmcqa_questions())):
        for record in records:
            template = prompt_template(task("exam", MEDQA, format, language, EXAMPLE), len(record.choices))
            fields = dict(zip(record.choices, record.options, strict=True))
            assert template.format(question=record.question.strip(), **fields) == record.prompt.replace(record.question, record.question.strip(), 1)


def test_a_limited_task_asks_a_sample_and_says_of_how_many() -> None:
    limited = read_questions(task("kormedmcqa", KORMEDMCQA, Format.KORMEDMCQA, "ko", EXAMPLE, limit=8), EXAMPLE, seed=1)
    everything = kormedmcqa_questions()
    assert (len(limited.asked), limited.available) == (8, len(everything))
    assert [record for record in everything if record in limited.asked] == limited.asked


def test_records_without_choices_are_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"question": "Q", "answer": "A"}\n', encoding="utf-8")
    with pytest.raises(InvalidData, match=r"pairs\.jsonl:1: found a record of format QuestionAnswer without choices"):
        read_questions(task("pairs", tmp_path / "pairs.jsonl", Format.QUESTION_ANSWER, "en", tmp_path), tmp_path, seed=0)


def test_questions_that_do_not_fit_at_once_are_asked_in_smaller_passes_with_the_same_answers(
    model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tasks, renderer, forward, passes = [ExamTask("kormedmcqa", kormedmcqa_questions(), "")], Renderer(tokenizer, ChatTemplate.TOKENIZER), model.forward, []
    whole = ask(LetterModel(model, renderer, batch_size=4), tasks)

    def small(rows: torch.Tensor, **options: Any) -> Any:
        if len(rows) > 1:
            raise torch.OutOfMemoryError
        passes.append(len(rows))
        return forward(rows, **options)

    monkeypatch.setattr(model, "forward", small)
    lm = LetterModel(model, renderer, batch_size=4)
    halved = ask(lm, tasks)
    assert (lm.fitting.rows, len(passes)) == (1, len(kormedmcqa_questions()))
    assert capfd.readouterr().err.count("out of memory") == 2
    for mine, yours in zip(halved["samples"]["kormedmcqa"], whole["samples"]["kormedmcqa"], strict=True):
        likelihoods = ([float(text) for text, _ in each["filtered_resps"]] for each in (mine, yours))
        torch.testing.assert_close(*map(torch.tensor, likelihoods), rtol=0, atol=1e-4)
