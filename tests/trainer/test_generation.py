"""Written answers: token by token those of a model without a cache, in any batch and gang, drawn by seed; letters as the harness's own task reads them."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.tasks.kormedmcqa.utils import extract_choice
from medfinetune_api.choices import ChatTemplate, Format, LossOn, Method, Quantization, Retained, Scoring, TextMetric
from medfinetune_api.errors import Diverged, InvalidManifest
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_evaluation import GlossaryPlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_cli.tables import results_table
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.data.records import Message, Record
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import encode, tokenise
from medfinetune_trainer.evaluation.generation import GumbelMax, WritingModel, drawn, greedy, passes
from medfinetune_trainer.evaluation.harness import ask
from medfinetune_trainer.evaluation.letters_written import LetterTask, all_choices, one_choice
from medfinetune_trainer.evaluation.questions import read_questions
from medfinetune_trainer.evaluation.text_demands import refuse_unwritable
from medfinetune_trainer.evaluation.text_metrics import TextMeasures
from medfinetune_trainer.memory.evaluation import cached_values
from medfinetune_trainer.memory.shape import base_shape
from medfinetune_trainer.model.keyed import keyed
from medfinetune_trainer.model.tuned import Adapter
from medfinetune_trainer.report.page import page
from medfinetune_trainer.report.run import run_of
from medfinetune_trainer.stages.evaluate import run
from rich.console import Console
from support.evaluation import EXAMPLE, evaluation_plan, example_tasks, mark_prepared, tiny_base
from support.gang import gang
from support.html_page import Page
from support.models import adapted, low_rank, save_adapter
from support.plans import evaluation_part, task_plan
from support.tunings import prefix
from support.written import NEW_TOKENS, loaded, requests, token_by_token, writing, written_by_rank

PREFIX, LORA = prefix(12, quantization=Quantization.NONE), low_rank(Method.LORA)
CANARY = "카나리아가 노래하는 숲속의 아침에 canaryword 7 mg"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "base")


def questions() -> list[Record]:
    """Prompts of several lengths, two of them equal, and one conversation."""
    english, korean = (read_questions(task, EXAMPLE, 0).asked[:3] for task in example_tasks())
    chat = replace(english[0], messages=(Message("system", "Be brief."), Message("user", "Hello <eos>"), Message("assistant", "Yes?"), *korean[0].messages))
    return [*english, *korean, english[0], chat]


@pytest.mark.parametrize("tuning", [LORA, PREFIX], ids=["LoRA", "prefix"])
def test_answers_are_those_of_the_model_token_by_token(tmp_path: Path, tuning: Adapter) -> None:
    """Against passes without cache, padding or batch: tuned and as the base; Gemma 3's window is shorter than question and prefix."""
    small = tiny_base(tmp_path / "base", sliding_window=8)
    model = loaded(small, tuning)
    lm = writing(small, model)
    asked = requests(lm, questions(), greedy(NEW_TOKENS))
    tuned, expected = lm.generate_until(asked), [token_by_token(lm, one.args[0], NEW_TOKENS) for one in asked]
    assert tuned == expected
    assert len(set(tuned)) > 2
    with tuning.disabled(model):
        assert lm.generate_until(asked) == [token_by_token(lm, one.args[0], NEW_TOKENS) for one in asked] != tuned


def test_a_sharded_gang_writes_what_one_process_writes(base: Path) -> None:
    arguments = (greedy(NEW_TOKENS), drawn(NEW_TOKENS, 1))
    alone = written_by_rank(0, base, PREFIX, questions()[:4], arguments)
    assert gang(2, written_by_rank, base, PREFIX, questions()[:4], arguments) == [alone, alone]


def test_a_drawn_answer_depends_on_seed_draw_and_prompt_alone(base: Path) -> None:
    model = loaded(base, LORA)
    lm = writing(base, model, batch_size=3)
    asked = requests(lm, questions(), drawn(NEW_TOKENS, 1), drawn(NEW_TOKENS, 2))
    once = lm.generate_until(asked)
    assert once == writing(base, model, batch_size=2).generate_until(asked)
    assert once[0] == once[12]  # the same question
    assert all(first != second for first, second in zip(once[::2], once[1::2], strict=True))
    assert once != WritingModel(model, lm.renderer, 3, seed=2).generate_until(asked)


def test_gumbel_noise_draws_from_the_softmax_at_its_temperature() -> None:
    scores, draws = torch.tensor([0.0, 1.0, -1.0, 0.5]), 20_000
    processor = GumbelMax([keyed(0, str(draw)) for draw in range(draws)], 0.7)
    found = torch.bincount(processor(torch.empty(0), scores.expand(draws, -1)).argmax(-1), minlength=4) / draws
    torch.testing.assert_close(found, (scores / 0.7).softmax(0), rtol=0, atol=0.015)


@pytest.mark.parametrize("template", list(ChatTemplate))
def test_a_prompt_is_what_training_read_before_the_answer(base: Path, template: ChatTemplate) -> None:
    renderer = Renderer(load_tokenizer(base), template)
    for record in questions():
        trained = tokenise(record.messages, renderer, LossOn.RESPONSE)
        asked = encode(renderer.prompt_text(record.messages[:-1]), renderer.tokenizer)
        assert trained.input_ids[: len(asked)] == asked
        assert trained.loss_mask[len(asked)] == 1


def test_what_does_not_fit_is_written_in_smaller_passes_and_what_is_no_number_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(base, LORA)
    lm, forward = writing(base, model, batch_size=4), model.get_base_model().forward  # type: ignore[operator]  # PEFT's model
    asked = requests(lm, questions(), greedy(4))
    whole = lm.generate_until(asked)

    def small(input_ids: torch.Tensor, **options: object) -> object:
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError
        return forward(input_ids=input_ids, **options)

    monkeypatch.setattr(model.get_base_model(), "forward", small)  # type: ignore[operator]  # PEFT's model
    assert (lm.generate_until(asked), lm.fitting.rows) == (whole, 1)
    monkeypatch.undo()
    model.get_base_model().lm_head.weight.data.fill_(torch.inf)  # type: ignore[operator]  # PEFT's model
    with pytest.raises(Diverged, match="logits that are not finite"):
        lm.generate_until(asked)


def test_rows_share_a_pass_as_they_may() -> None:
    assert [range(9)[rows] for rows in passes([5, 5, 5, 4, 4, 3, 2, 2, 2], 2, equal=True)] == [
        range(0, 2),
        range(2, 3),
        range(3, 5),
        range(5, 6),
        range(6, 8),
        range(8, 9),
    ]
    assert [range(3)[rows] for rows in passes([5, 4, 3], 2, equal=False)] == [range(0, 2), range(2, 3)]


WRITTEN = [
    "B",
    "정답: C",
    "정답은 D 입니다",
    "A. 이유는 B가 아니다",
    "답은 (c)",
    "모르겠다",
    "",
    "정답 B, 아니 정답 E",
    "나는 a. 그리고 b",
    "Z",
    "ABC",
    "정답은 B입니다",
    "E)",
]


@pytest.mark.parametrize("answer", WRITTEN)
def test_korean_letters_are_read_as_the_harness_own_task_reads_them(answer: str) -> None:
    assert one_choice(answer, tuple("ABCDE"), korean=True) == extract_choice(answer)


def test_letters_are_read_in_other_languages_and_for_any_options() -> None:
    read = {
        "The answer is C.": "C", "Answer: (B) because A is wrong": "B", "**D**": "D", "C) aorta": "C", "A patient with B symptoms": "B", "A patient": "",
        "I think it is A": "A", "respuesta: D": "D", "(A)": "A", "none": "", "E": "",
        "答案是B。": "B", "答案：C": "C", "答えはBです": "B", "答えは D。": "D",
        "正しいのはCです": "C", "Aún no": "", "Élan D": "D",
    }  # fmt: skip
    assert {answer: one_choice(answer, tuple("ABCD"), korean=False) for answer in read} == read
    assert one_choice("정답: G", tuple("ABCDEFG"), korean=True) == "G"
    assert [one_choice(answer, ("yes", "no", "maybe"), korean=False) for answer in ("No, it does not", "Yes.", "unknown")] == ["no", "yes", ""]
    assert [all_choices(answer, tuple("ABCD")) for answer in ("Answer: C, A", "B and D\nbecause A", "none")] == [["A", "C"], ["B", "D"], []]


@pytest.mark.parametrize(
    ("answer", "named"),
    {
        "정답은 A와 C입니다.": "AC", "정답: A, C입니다": "AC", "정답: A와 C": "AC", "정답:\nB, D": "BD",
        "A와 B는 틀리고\n정답은 C, D": "CD", "A, D가 맞다": "AD",
        "答案是A和C": "AC", "答えはBとDです。": "BD", "The answers are A and C.": "AC", "Respuestas: B, D": "BD",
        "Réponses : A et D\nB est faux": "AD", "Aún no": "",
        "- A\n- C": "AC", "A. 고혈압\nC. 당뇨": "AC", "정답은 A번과 C번입니다.": "AC", "The answer is A because of C": "", "정답은 A입니다. C는 틀립니다.": "A",
    }.items(),
)  # fmt: skip
def test_several_letters_are_read_where_particles_follow_them(answer: str, named: str) -> None:
    assert all_choices(answer, tuple("ABCD")) == list(named)


JOINED = {
    "en": ("Answer: {}", "The answers are {}.", "**{}**", "The correct options are {}."),
    "ko": ("정답은 {}입니다.", "정답: {}", "{}가 맞습니다.", "정답은 {}이다.\n나머지는 틀렸다."),
    "zh": ("答案是{}。", "答案：{}", "正确的是{}。"),
    "ja": ("答えは{}です。", "答え：{}", "正しいのは{}です。"),
}
BETWEEN = {"en": (", ", " and ", ", and ", "/"), "ko": (", ", "와 ", "과 ", " 및 "), "zh": ("、", "和", "与"), "ja": ("、", "と", "と ")}
ELSE = (
    "A가 아니라 {}",
    "{} 또는 E",
    "not {}",
    "{} is wrong",
    "{}는 틀렸다",
    "{}ではない",
    "不是{}",
    "{} because E was seen",
    "either {}",
    "A patient",
    "정답을 모르겠다",
)


@given(st.data(), st.sets(st.sampled_from("ABCD"), min_size=1))
def test_a_list_of_letters_is_read_in_every_language_and_nothing_else_is(data: st.DataObject, right: set[str]) -> None:
    language = data.draw(st.sampled_from([*JOINED]))
    letters = data.draw(st.permutations(sorted(right)))
    told = data.draw(st.sampled_from(BETWEEN[language])).join(letters)
    assert all_choices(data.draw(st.sampled_from(JOINED[language])).format(told), tuple("ABCDE")) == sorted(right)
    assert all_choices(", ".join(f"{letter}. 고혈압" for letter in letters), tuple("ABCDE")) == sorted(right)
    assert all_choices(data.draw(st.sampled_from(ELSE)).format(told), tuple("ABCDE")) == []


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize("other", "ABCD")
def test_of_one_choice_no_other_is_read(letter: str, other: str) -> None:
    sure = ("The answer is {}, not {}.", "Answer: {}) and {} is wrong", "答案是{}，不是{}。", "答えは{}です。{}ではありません。")
    turned = ("答えは{}ではなく、{}です。", "The answer is not {} but {}.", "答案不是{}，是{}。")
    unsure = ("The answer is {} or {}.", "答案是{}或{}。", "答えは{}または{}です。", "Respuesta: {} o {}")
    read = partial(one_choice, choices=tuple("ABCD"), korean=False)
    assert {read(template.format(letter, other)) for template in sure} == {letter}
    assert {read(template.format(other, letter)) for template in turned} == {letter}
    assert {read(template.format(letter, other)) for template in unsure} == {""}


def test_exact_match_counts_what_the_answers_name(base: Path) -> None:
    """Through the harness's own filters and metric, with answers that stand for the model's."""

    class Said(WritingModel):
        def generate_until(self, requests: list[object], disable_tqdm: bool = False) -> list[str]:
            return said

    record = read_questions(example_tasks()[1], EXAMPLE, 0).asked[0]
    records = [replace(record, answer=number % 5, messages=(record.messages[0], Message("assistant", "ABCDE"[number % 5]))) for number in range(len(WRITTEN))]
    said = list(WRITTEN)
    lm = Said(loaded(base, None), Renderer(load_tokenizer(base), ChatTemplate.TOKENIZER), 4)
    found = ask(lm, [LetterTask("ko", records, "", "ko", 8)])
    expected = sum(extract_choice(answer) == record.choices[record.answer] for answer, record in zip(said, records, strict=True))
    assert 0 < expected < len(said)
    assert found["results"]["ko"]["exact_match,extract_answer"] == expected / len(said)
    several = [replace(records[0], answer=0, also_right=(2,)), replace(records[0], answer=1)]
    said = ["Answer: C, A", "정답: B, C"]
    assert ask(lm, [LetterTask("ko", several, "", "ko", 8)])["results"]["ko"]["exact_match,extract_answer"] == 0.5


def worded_plan(root: Path, base: Path) -> RunPlan:
    """Letters and texts in words, on data of its own; QLoRA's adapter is trained."""
    data = root / "data"
    data.mkdir()
    (data / "terms.txt").write_text("canaryword\n", encoding="utf-8")
    rows = [{"messages": [{"role": "user", "content": f"{number} {CANARY}"}, {"role": "assistant", "content": CANARY}]} for number in range(4)]
    (data / "chat.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    lines = (EXAMPLE / "kormedmcqa" / "test.csv").read_text(encoding="utf-8").splitlines()[:6]
    (data / "test.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = {"metrics": tuple(TextMetric), "repeats": 2, "max_new_tokens": 6}
    tasks = (
        task_plan(name="chat", path="chat.jsonl", format=Format.CHAT, language="ko", **words),
        task_plan(name="letters", path="test.csv", format=Format.KORMEDMCQA, language="ko", scoring=Scoring.GENERATION, max_new_tokens=6),
    )
    plan = evaluation_plan(root, base, tasks)
    part = evaluation_part(baseline=True, batch_size=4, tasks=tasks, glossaries=(GlossaryPlan(path="terms.txt", language="ko"),))
    output = plan.output.model_copy(update={"retain": (Retained.SAMPLES,)})
    plan = plan.model_copy(update={"evaluation": part, "mounts": plan.mounts.model_copy(update={"data": str(data)}), "output": output})
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(base), folder, plan.model.path)
    mark_prepared(plan)
    return plan


def test_the_stage_asks_in_words_sums_up_and_tells_no_text(
    base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plan = worded_plan(tmp_path, base)
    with caplog.at_level(logging.DEBUG):
        result = run(plan)
    summary = EvaluationSummary.read(plan.folder.summary)
    assert summary is not None
    [texts], [letters] = summary.texts, summary.tasks
    assert (texts.questions, texts.version, letters.version, letters.questions) == (4, "1.0-text", "1.0-generation", 5)
    assert texts.base.keys() == texts.tuned.keys() == texts.comparisons.keys() == {str(metric) for metric in TextMetric}
    samples = [json.loads(line) for line in (plan.folder.evaluation / "samples_tuned_chat.jsonl").read_text(encoding="utf-8").splitlines()]
    measures = TextMeasures((TextMetric.F1, TextMetric.BLEU, TextMetric.CONSISTENCY), "ko")
    for sample in samples:
        answer, *others = sample["filtered_resps"]
        assert measures.measure(answer, CANARY, others) == {name: pytest.approx(sample[name]) for name in ("F1", "Bleu", "Consistency")}
    assert texts.tuned["F1"].mean == pytest.approx(sum(sample["F1"] for sample in samples) / 4)
    told = {(row.task, row.metric): (row.after, row.comparison.difference) for row in summary.changes if row.task == "chat"}
    assert told == {("chat", metric): (mean, texts.comparisons[metric].difference) for metric, mean in texts.tuned.items()}
    assert (texts.glossary is not None and texts.glossary.expected, texts.tuned_code_mixing is not None) == (4, True)
    assert letters.tuned_calibration is None
    stays = [file.read_text(encoding="utf-8") for file in plan.folder.evaluation.glob("[!s]*")] + [plan.folder.summary.read_text(encoding="utf-8")]
    spoken, report = capfd.readouterr(), page(run_of(plan, plan.folder))
    for text in (*stays, spoken.out, spoken.err, caplog.text, result.model_dump_json(), report):
        assert "카나리아" not in text
    found = Page(report).text
    assert "Answers in the model's own words" in found
    assert "Words of these answers" in found
    assert "| chat | 1.0-text | ko | no | F1 | 4* |" in (plan.folder.adapter / "README.md").read_text(encoding="utf-8").replace("\\", "")
    terminal = Console(file=StringIO(), width=200)
    terminal.print(results_table(summary))
    assert isinstance(terminal.file, StringIO)
    assert "mean EntityF1" in terminal.file.getvalue()


def test_prepare_refuses_what_cannot_be_written_or_measured(base: Path, tmp_path: Path) -> None:
    plan = worded_plan(tmp_path, base)
    chat, letters = plan.evaluation.tasks
    folder, asked = base, {"chat": read_questions(chat, tmp_path / "data", 0).asked, "letters": []}
    refuse_unwritable(plan, folder, asked)

    def refused(*tasks: object, **changes: object) -> str:
        part = plan.evaluation.model_copy(update={"tasks": tasks, **changes})
        with pytest.raises(InvalidManifest) as caught:
            refuse_unwritable(plan.model_copy(update={"evaluation": part}), folder, asked)
        return str(caught.value)

    assert "spec.evaluation.tasks[1].maxNewTokens: found 32768" in refused(chat, letters.model_copy(update={"max_new_tokens": 32768}))
    shape = base_shape(base)
    cached = loaded(base, None)(torch.ones(1, 9 + 6, dtype=torch.int64), use_cache=True).past_key_values
    assert cached_values(plan, shape, 9) == sum(values.numel() for layer in cached.layers for values in (layer.keys, layer.values))
    assert cached_values(plan.model_copy(update={"evaluation": evaluation_part()}), shape, 9) == 0
    bare = [replace(record, messages=(record.messages[0], Message("assistant", "심장"))) for record in asked["chat"]]
    asked["chat"] = bare
    assert "spec.evaluation.tasks[0].metrics: found EntityF1 of 4 references without an entity" in refused(chat, glossaries=())
