"""Characters that do not show as they are: control characters, and those that reorder the text around them (Unicode's bidirectional controls, UAX 9)."""

from __future__ import annotations

import re

UNSEEN = "\\x00-\\x1f\\x7f-\\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
"""Body of a character class. Those beyond Latin-1 stand as they are, because Go, Rust and Python spell their escapes differently."""

_UNSEEN = re.compile(f"[{UNSEEN}]")


def visible(text: str) -> str:
    """`text` with these characters as escapes: a file's name must not rewrite a terminal or a report. Line breaks stay."""
    return _UNSEEN.sub(lambda found: found.group() if found.group() == "\n" else found.group().encode("unicode_escape").decode(), text)
