"""Messages to text, by the tokenizer's chat template or Med42's three roles, and where in that text the responses stand.

Training and evaluation both render here, with the same template variables, so that a model is asked what it was taught.

Where a response stands is found by marks: each assistant's content is rendered between two Unicode noncharacters, which the template carries along and which
are then taken out. (Rendering ever longer prefixes would not do: Qwen3's template writes its last turn otherwise than the same turn in the middle.) The text
without marks must equal the plain rendering, and must continue the generation prompt; a template that rewrites messages is refused.

Control tokens that a record spells out (`<eos>` in a web page, say) are marked too, and `tokenise.encode` takes what is marked as plain text: data cannot close
a turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from medfinetune_api.choices import ChatTemplate
from medfinetune_api.errors import InvalidData, InvalidModel

from medfinetune_trainer.data.records import Message

RESPONSE_START, RESPONSE_END, LITERAL_START, LITERAL_END = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
"""Noncharacters, which Unicode reserves for a process's own use (23.7): they are taken out of record text wherever it holds them."""

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
        self._probe()

    def render(self, messages: Sequence[Message], where: str) -> Rendered:
        """The text of a whole conversation and its responses' places. Raises InvalidData at `where` if the template refuses or rewrites the messages."""
        marked = self._apply([(message.role, self._marked(message)) for message in messages], where)
        text, responses = self._places(marked)
        plain = self._apply([(message.role, _clean(message.content)) for message in messages], where)
        if unmarked(text) != plain or len(responses) != sum(message.role == "assistant" for message in messages):
            found = f"{len(messages)} messages that the chat template changes"
            raise InvalidData(
                where, found=found, expected="messages rendered as they are", remedy="Remove what the template treats specially, such as <think> blocks."
            )
        return Rendered(text, responses)

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

    def _marked(self, message: Message) -> str:
        content = self._literal(_clean(message.content))
        return f"{RESPONSE_START}{content}{RESPONSE_END}" if message.role == "assistant" else content

    def _literal(self, content: str) -> str:
        return self._control.sub(rf"{LITERAL_START}\g<0>{LITERAL_END}", content)

    def _places(self, marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The text without response marks, and the responses in it."""
        head, *turns = marked.split(RESPONSE_START)
        text, responses = head, []
        for turn in turns:
            content, end, after = turn.partition(RESPONSE_END)
            if not end:
                return text, ()
            start = len(unmarked(text))
            stop = self._end_of_turn.match(after)
            responses.append((start, start + len(unmarked(content)) + (stop.end() if stop else 0)))
            text += content + after
        return text, tuple(responses)

    def _probe(self) -> None:
        """Render two conversations of our own: what holds for them must hold for the records."""
        asked, answered = Message("user", "Question one?"), Message("assistant", "B")
        try:
            once = self.render([asked, answered], "probe")
            self.render([asked, answered, asked, answered], "probe")
            prompt = self.prompt_text([asked])
        except InvalidData:
            raise self._refusal("a template that changes or refuses user and assistant in turn", "each message as it is") from None
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
    for mark in (RESPONSE_START, RESPONSE_END, LITERAL_START, LITERAL_END):
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
