"""Exam prompts, to the letter as lm-evaluation-harness 0.4 asks them: what is trained on is what is evaluated.

Each is the text before the answer; the harness scores the choice after it (with a space between, unless a chat template is used).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

PromptForm = Callable[[str, Sequence[str]], str]
"""Question and options to prompt."""


def english_prompt(question: str, options: Sequence[str]) -> str:
    """Task `medqa_4options` (tasks/medqa/preprocess_medqa.py), for any number of options."""
    return f"Question: {question}\n{lettered(options)}Answer:"


def korean_prompt(question: str, options: Sequence[str]) -> str:
    """Tasks `kormedmcqa_*` version 3.0 (tasks/kormedmcqa/_template_yaml); the colon is full-width."""
    return f"{question.strip()}\n{lettered(options)}정답："


def choices_prompt(question: str, options: Sequence[str]) -> str:
    """Task `medmcqa` (tasks/medmcqa/utils_medmcqa.py)."""
    return f"Question: {question}\nChoices:\n{lettered(options)}Answer:"


def mmlu_prompt(question: str, options: Sequence[str], subject: str = "") -> str:
    """Tasks `mmlu_*` version 1.0 (tasks/mmlu/default) asked without a chat template; their first line is left out where no subject is known."""
    about = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n" if subject else ""
    return f"{about}{question.strip()}\n{lettered(options)}Answer:"


def abstract_prompt(question: str, contexts: Sequence[str]) -> str:
    """Task `pubmedqa` version 1.0 (tasks/pubmedqa/preprocess_pubmedqa.py), answered by yes, no or maybe."""
    abstract = "\n".join(contexts)
    return f"Abstract: {abstract}\nQuestion: {question}\nAnswer:"


def prompt_form(language: str) -> PromptForm:
    """The form of an `Exam` in a BCP 47 `language`: Korean as KorMedMCQA asks, every other as MedQA does."""
    return korean_prompt if language.lower().split("-")[0] == "ko" else english_prompt


def lettered(options: Sequence[str]) -> str:
    """The options, a line each, under their letters: the part of every form but PubMedQA's that the order of the options changes."""
    return "".join(f"{letter}. {option}\n" for letter, option in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", options, strict=False))
