"""The options of a question from what a file has: a list, an object from letters to texts, or either of them as JSON in a cell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from medfinetune_trainer.data.formats.row import Row, letters
from medfinetune_trainer.data.reading import RepeatedNameError, object_of_once, repeated_name

FEWEST, MOST = 2, 26


def option_texts(row: Row, found: Sequence[object]) -> tuple[str, ...]:
    """`found` as the texts of 2 to 26 options. Raises InvalidData where they are more, fewer or no texts."""
    if not FEWEST <= len(found) <= MOST:
        remedy = "Complete the row, or check the options' column in the manifest."
        raise row.refuse(found=f"{len(found)} options", expected=f"{FEWEST} to {MOST}", remedy=remedy)
    return tuple(row.as_text(option, f"option {letter}") for letter, option in zip(letters(len(found)), found, strict=True))


def by_letter(row: Row, found: Mapping[str, object]) -> tuple[str, ...]:
    """Texts under the letters from A on, upper or lower case, without a gap. Raises InvalidData as `option_texts`, and for another name."""
    texts = {str(key).upper(): text for key, text in found.items()}
    names = letters(min(len(found), MOST))
    missing = [name for name in names if name not in texts]
    if missing:
        raise row.refuse(found=f"no option {', '.join(missing)}", expected="options by consecutive letters from A", remedy="Complete the row.")
    return option_texts(row, list(found) if len(found) > MOST else [texts[name] for name in names])


def listed(row: Row, value: object) -> tuple[str, ...]:
    """Options of one column: a list, an object from letters to texts, or one of them as JSON. Raises InvalidData."""
    if isinstance(value, str):
        value = json_of(row, value)
    if isinstance(value, Mapping):
        return by_letter(row, value)
    return option_texts(row, value if isinstance(value, list) else [])


def json_of(row: Row, text: str) -> object:
    """The JSON value in a cell of options. Raises InvalidData where it is none."""
    try:
        value: object = json.loads(text, object_pairs_hook=object_of_once)
    except RepeatedNameError:
        raise repeated_name(row.file, row.line) from None
    except (ValueError, RecursionError):
        raise row.refuse(found="options that are no JSON", expected="a JSON list or object", remedy="Name one column an option in the manifest.") from None
    return value
