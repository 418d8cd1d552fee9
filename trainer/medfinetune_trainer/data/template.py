"""Messages to text, by the tokenizer's chat template or Med42's three roles, and where in that text the responses stand.

Training and evaluation both render here, with the same template variables, so that a model is asked what it was taught.

Where a response stands is found by a frame: a conversation with the same roles and a slot for each content, rendered once. (Rendering ever longer prefixes
would not do: Qwen3's template writes its last turn otherwise than the same turn in the middle.) The frame filled with a record's contents must equal the
record's own rendering, and must continue the generation prompt; a template that rewrites messages is refused.

Control tokens that a record spells out (`<eos>` in a web page, say) are marked, and `tokenise.encode` takes what is marked as plain text: data cannot close a
turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from medfinetune_api.choices import ChatTemplate
from medfinetune_api.errors import InvalidData, InvalidModel

from medfinetune_trainer.data.limited import limited
from medfinetune_trainer.data.records import Message

SLOT_START, SLOT_END, LITERAL_START, LITERAL_END = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
"""Noncharacters, which Unicode reserves for a process's own use (23.7): they are taken out of record text wherever it holds them."""

PROBE_SECONDS = 20
"""A template that takes longer over a short conversation does not end: it takes about a millisecond."""
VARIABLES = {"enable_thinking": False, "date_string": "26 Jul 2024"}
"""Template variables, the same in training and evaluation: Qwen3 answers without reasoning first; Llama 3 gives the date of its own default, not today's."""

MED42 = """{{ bos_token }}
{%- for message in messages -%}
    {{ '\n' if not loop.first }}
    {%- if message['role'] == 'system' -%}{{ '<|system|>: ' + message['content'] }}
    {%- elif message['role'] == 'user' -%}{{ '<|prompter|>:' + message['content'] }}
    {%- else -%}{{ '<|assistant|>:\n' + message['content'] + eos_token }}
    {%- endif -%}
{%- endfor -%}
{{ '\n<|assistant|>:\n' if add_generation_prompt }}
"""
"""Med42 (arXiv 2404.14779): three roles, as the published m42-health/med42-70b asks (`<|system|>: ..`, `<|prompter|>:..`, `<|assistant|>:`, a line each); a
response ends with the tokenizer's end-of-sequence token. The markers are plain text to a Llama tokenizer, so a record that spells them is not told apart."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text."""

    text: str
    """With marks around control tokens that the record spells out; mostly there are none."""
    responses: tuple[tuple[int, int], ...]
    """Characters [start, end) of each response with its end-of-turn token, counted without marks."""


@dataclass(frozen=True)
class Frame:
    """What a template writes around the contents of a conversation, whatever they are."""

    before: tuple[str, ...]
    """The text before each slot."""
    slots: tuple[int, ...]
    """The message that fills each slot."""
    after: str
    """The text after the last one."""

    @classmethod
    def of(cls, text: str) -> Frame:
        """The frame of a conversation that was rendered with slots for contents."""
        *pieces, after = re.split(f"{SLOT_START}(\\d+){SLOT_END}", text)
        return cls(tuple(pieces[::2]), tuple(map(int, pieces[1::2])), after)

    def filled(self, contents: Sequence[str]) -> str:
        """The text of a conversation with these contents."""
        return "".join(piece + contents[slot] for piece, slot in zip(self.before, self.slots, strict=True)) + self.after

    def places(self, contents: Sequence[str]) -> list[tuple[int, int]]:
        """Characters [start, end) of the content in each slot."""
        ends = accumulate(len(piece) + len(contents[slot]) for piece, slot in zip(self.before, self.slots, strict=True))
        return [(end - len(contents[slot]), end) for slot, end in zip(self.slots, ends, strict=True)]

    def shows(self, roles: Sequence[str]) -> bool:
        """Whether every message has a slot, and each of the assistant's exactly one, in turn."""
        answers = [index for index, role in enumerate(roles) if role == "assistant"]
        return set(self.slots) == set(range(len(roles))) and [slot for slot in self.slots if roles[slot] == "assistant"] == answers


class Renderer:
    """A tokenizer's template, checked once.

    Args:
        tokenizer: a `transformers` fast tokenizer.
        template: the tokenizer's own template, or Med42's.

    Raises:
        InvalidModel: no chat template; one that does not parse, changes messages, does not continue its own generation prompt, or ends a turn with no
            control token.
    """

    def __init__(self, tokenizer: Any, template: ChatTemplate) -> None:
        self.tokenizer = tokenizer
        self.where = "the tokenizer's chat template" if template is ChatTemplate.TOKENIZER else "the Med42 template"
        self.source = MED42 if template is ChatTemplate.MED42 else _own_template(tokenizer)
        self.control = control_tokens(tokenizer, self.source)
        longest_first = "|".join(re.escape(token) for token in sorted(self.control, key=len, reverse=True)) or "(?!)"
        self._control = re.compile(longest_first)
        self._end_of_turn = re.compile(rf"\s*(?:{longest_first})")
        self._frame = lru_cache(maxsize=1024)(self._framed)
        self._probe()

    def render(self, messages: Sequence[Message], where: str) -> Rendered:
        """The text of a whole conversation and its responses' places. Raises InvalidData at `where` if the template refuses or rewrites the messages."""
        roles, contents = tuple(message.role for message in messages), [_clean(message.content) for message in messages]
        plain = self._apply(list(zip(roles, contents, strict=True)), where)
        frame = self._frame(roles)
        if frame is None or frame.filled(contents) != plain:
            found = f"{len(messages)} messages that the chat template changes"
            raise InvalidData(
                where, found=found, expected="messages rendered as they are", remedy="Remove what the template treats specially, such as <think> blocks."
            )
        return Rendered(frame.filled([self._literal(content) for content in contents]), self._responses(frame, roles, contents))

    def prompt_text(self, messages: Sequence[Message], where: str = "prompt") -> str:
        """The text that asks for the assistant's next turn after `messages`. Encode it by `tokenise.encode`. Raises InvalidData as `render`."""
        return self._apply([(message.role, self._literal(_clean(message.content))) for message in messages], where, asks=True)

    def _apply(self, turns: Sequence[tuple[str, str]], where: str, *, asks: bool = False) -> str:
        conversation = [{"role": role, "content": content} for role, content in turns]
        try:
            return str(self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=asks, chat_template=self.source, **VARIABLES))
        except TemplateSyntaxError as error:
            raise self._refusal(f"a template that does not parse at its line {error.lineno}", "a Jinja template") from None
        except TemplateError:
            roles = ", ".join(role for role, _ in turns[:8])
            raise InvalidData(
                where, found=f"turns that the chat template refuses ({roles})", expected="turns it allows", remedy="Reorder or merge turns."
            ) from None
        except TimeoutError:
            raise
        except Exception as error:  # a template is a program: it may divide by zero, or ask for more than its sandbox allows
            found = f"messages at which the chat template fails ({type(error).__name__})"
            raise InvalidData(where, found=found, expected="a text", remedy="Correct the template, or the record.") from None

    def _literal(self, content: str) -> str:
        return self._control.sub(rf"{LITERAL_START}\g<0>{LITERAL_END}", content)

    def _framed(self, roles: tuple[str, ...]) -> Frame | None:
        """The frame of conversations with these roles. None if the template leaves one of their messages out, or repeats an answer."""
        try:
            text = self._apply([(role, f"{SLOT_START}{index}{SLOT_END}") for index, role in enumerate(roles)], "frame")
        except InvalidData:
            return None
        frame = Frame.of(text)
        return frame if frame.shows(roles) else None

    def _responses(self, frame: Frame, roles: Sequence[str], contents: Sequence[str]) -> tuple[tuple[int, int], ...]:
        """Each response's place, with the end-of-turn token that the frame writes after it."""
        after = (*frame.before[1:], frame.after)
        stops = [self._end_of_turn.match(piece) for piece in after]
        placed = zip(frame.slots, frame.places(contents), stops, strict=True)
        return tuple((start, end + (stop.end() if stop else 0)) for slot, (start, end), stop in placed if roles[slot] == "assistant")

    def _probe(self) -> None:
        """Render two conversations of our own: what holds for them must hold for the records."""
        asked, answered = Message("user", "Question one?"), Message("assistant", "B")
        try:
            with limited(PROBE_SECONDS):
                once = self.render([asked, answered], "probe")
                self.render([asked, answered, asked, answered], "probe")
                prompt = self.prompt_text([asked])
        except InvalidData:
            raise self._refusal("a template that changes or refuses user and assistant in turn", "each message as it is") from None
        except TimeoutError:
            raise self._refusal(f"a template that renders two words in more than {PROBE_SECONDS} s", "one that ends") from None
        if not once.text.startswith(prompt) or once.text[len(prompt) : once.responses[0][0]].strip():
            raise self._refusal(
                "a generation prompt that its own rendered responses do not continue", "the same text before a response in training and evaluation"
            )
        if not self._control.search(once.text[slice(*once.responses[0])]):
            raise self._refusal("no special token after a response", "one, so that the model learns to stop")

    def _refusal(self, found: str, expected: str) -> InvalidModel:
        return InvalidModel(self.where, found=found, expected=expected, remedy="Correct chat_template.jinja in the model folder, or set chatTemplate: Med42.")


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model folder, from its tokenizer.json, offline and without the model's own code.

    By `TokenizersBackend`, not `AutoTokenizer`, whose module imports torch (5 s instead of 1, for a stage that needs none), and which may rebuild by
    architecture a pipeline that tokenizer.json already states.

    Raises:
        InvalidModel: the folder has no tokenizer.json, or one that cannot be read.
    """
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    remedy = "Save the tokenizer into the model folder: `AutoTokenizer.from_pretrained(..).save_pretrained(FOLDER)`."
    if not (folder / "tokenizer.json").is_file():
        raise InvalidModel("tokenizer.json", found="no such file in the model folder", expected="a fast tokenizer", remedy=remedy)
    try:
        return TokenizersBackend.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # tokenizers raises bare Exception for a malformed file
        raise InvalidModel(
            "tokenizer.json", found=f"a tokenizer that does not load ({type(error).__name__})", expected="a fast tokenizer", remedy=remedy
        ) from error


def control_tokens(tokenizer: Any, source: str) -> tuple[str, ...]:
    """Texts of the tokens that data must not produce: all special ones, and added ones that the template `source` writes (white space apart)."""
    added = tokenizer.added_tokens_decoder.values()
    return tuple(token.content for token in added if token.special or (token.content in source and not token.content.isspace()))


def unmarked(text: str) -> str:
    """`text` without marks."""
    for mark in (SLOT_START, SLOT_END, LITERAL_START, LITERAL_END):
        text = text.replace(mark, "")
    return text


def _clean(content: str) -> str:
    """Content as every template gets it: without marks, and without outer white space, which some templates trim and some do not."""
    return unmarked(content).strip()


def _own_template(tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        raise InvalidModel(
            "the model's tokenizer", found="no chat template", expected="one", remedy="Add chat_template.jinja to the model folder, or set chatTemplate: Med42."
        )
    return str(tokenizer.get_chat_template())
