"""Conversations are rendered as transformers renders them, and each response is found to the character."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.choices import ChatTemplate
from medfinetune_api.errors import InvalidData, InvalidModel
from medfinetune_trainer.data import template
from medfinetune_trainer.data.records import Message
from medfinetune_trainer.data.template import VARIABLES, Renderer, load_tokenizer, unmarked
from support.records import TEMPLATES, byte_level_tokenizer, conversations
from tiny_base import CHAT_TEMPLATE

ASKED, ANSWERED = Message("user", "Why?"), Message("assistant", "Because.")


@cache
def renderer(name: str) -> Renderer:
    if name == "med42":
        return Renderer(byte_level_tokenizer(None), ChatTemplate.MED42)
    return Renderer(byte_level_tokenizer(TEMPLATES[name]), ChatTemplate.TOKENIZER)


@pytest.mark.parametrize("name", [*TEMPLATES, "med42"])
@given(messages=conversations(spelt_out=True))
def test_responses_stand_where_the_template_puts_them(name: str, messages: list[Message]) -> None:
    template = renderer(name)
    rendered = template.render(messages, "w")
    text = unmarked(rendered.text)
    conversation = [{"role": message.role, "content": unmarked(message.content).strip()} for message in messages]
    assert text == template.tokenizer.apply_chat_template(conversation, chat_template=template.source, tokenize=False, **VARIABLES)
    stop = {"gemma": "<end_of_turn>", "chatml": "<|im_end|>", "dated": " <eos>", "med42": "<eos>"}[name]
    assert [text[start:end] for start, end in rendered.responses] == [turn["content"] + stop for turn in conversation if turn["role"] == "assistant"]
    assert rendered.text.startswith(template.prompt_text(messages[:-1])), "a model is asked what it was taught"


def test_med42_s_published_form() -> None:
    messages = [Message("system", "You help."), ASKED, ANSWERED, ASKED]
    expected = "<bos><|system|>: You help.\n<|prompter|>:Why?\n<|assistant|>:\nBecause.<eos>\n<|prompter|>:Why?\n<|assistant|>:\n"
    assert renderer("med42").prompt_text(messages) == expected


def test_the_date_is_not_today_s() -> None:
    assert renderer("dated").prompt_text([ASKED]) == "<bos>Today: 26 Jul 2024\n[user] Why? <eos>[assistant]"


REFUSED = {
    "none": (None, "no chat template"),
    "drops": (CHAT_TEMPLATE.replace("message['content'] | trim", "('' if message['role'] == 'assistant' else message['content'])"), "changes or refuses"),
    "raises": ("{{ raise_exception('never') }}", "changes or refuses"),
    "asks otherwise": (CHAT_TEMPLATE.replace("<start_of_turn>model", "<start_of_turn>other"), "do not continue"),
    "never stops": (re.sub("<end_of_turn>", "\\\\n\\\\n", CHAT_TEMPLATE), "no special token after"),
    "is no template": ("{{ bos_token }}\n{% for %}", "does not parse at its line 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unfit_template_is_refused(name: str) -> None:
    template, found = REFUSED[name]
    with pytest.raises(InvalidModel, match=found) as refused:
        Renderer(byte_level_tokenizer(template), ChatTemplate.TOKENIZER)
    assert "chatTemplate: Med42" in refused.value.remedy


def test_messages_that_a_template_refuses_are_named_by_their_record() -> None:
    with pytest.raises(InvalidData, match=r"^a.jsonl:7: found turns that the chat template refuses \(user, user\)"):
        renderer("gemma").render([ASKED, Message("user", "Secret")], "a.jsonl:7")
    thinking = CHAT_TEMPLATE.replace("message['content'] | trim", "message['content'].split('</think>')[-1] | trim")
    with pytest.raises(InvalidData, match=r"^a.jsonl:7: .*changes.*<think>"):
        Renderer(byte_level_tokenizer(thinking), ChatTemplate.TOKENIZER).render([ASKED, Message("assistant", "<think>x</think>y")], "a.jsonl:7")


def test_a_template_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "PROBE_SECONDS", 1)
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}" + CHAT_TEMPLATE
    with pytest.raises(InvalidModel, match="a template that renders two words in more than 1 s"):
        Renderer(byte_level_tokenizer(endless), ChatTemplate.TOKENIZER)


def test_a_template_that_leaves_a_system_prompt_out_is_named_by_the_record() -> None:
    silent = "{%- if messages[0]['role'] == 'system' -%}{%- set messages = messages[1:] -%}{%- endif -%}" + TEMPLATES["chatml"]
    made = Renderer(byte_level_tokenizer(silent), ChatTemplate.TOKENIZER)
    assert made.render([ASKED, ANSWERED], "a.jsonl:6").responses
    with pytest.raises(InvalidData, match=r"^a.jsonl:7: .*changes"):
        made.render([Message("system", "Be brief."), ASKED, ANSWERED], "a.jsonl:7")


def test_a_tokenizer_loads_from_its_folder_alone_and_without_torch(tmp_path: Path) -> None:
    byte_level_tokenizer().save_pretrained(tmp_path)
    program = f"""
import sys
from pathlib import Path
from medfinetune_api.choices import ChatTemplate, LossOn
import medfinetune_trainer.data.formats
from medfinetune_trainer.data import template
from medfinetune_trainer.data.records import Message
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import tokenise
renderer = Renderer(load_tokenizer(Path({str(tmp_path)!r})), ChatTemplate.TOKENIZER)
print(sum(tokenise([Message("user", "Q"), Message("assistant", "A")], renderer, LossOn.RESPONSE).loss_mask), "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "False"]


@pytest.mark.parametrize("content", [None, "{", "{}", '{"model": {"type": "Pickle"}}'])
def test_a_tokenizer_that_does_not_load_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InvalidModel, match="save_pretrained"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_s_own_code_is_not_run(tmp_path: Path) -> None:
    byte_level_tokenizer().save_pretrained(tmp_path)
    config = tmp_path / "tokenizer_config.json"
    own = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    loaded: Any = load_tokenizer(tmp_path)
    assert loaded.eos_token == "<eos>"
    assert "evil" not in sys.modules


@given(st.text())
def test_marks_are_the_only_characters_taken_out(text: str) -> None:
    assert unmarked(text) == "".join(character for character in text if not "\ufdd0" <= character <= "\ufdd3")
