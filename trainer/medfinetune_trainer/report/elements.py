"""HTML as a tree. ElementTree escapes every text and attribute and closes every tag; what would not show as it is, is made to show here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

from medfinetune_api.unseen import visible

LONGEST = 200
"""Characters of a name that are shown: a subject is whatever a column of a data file holds."""

Child = Element | str | None


def el(tag: str, *children: Child, **attributes: str | float) -> Element:
    """An element. Attributes as keywords: `class_` stands for `class`, `stroke_width` for `stroke-width`."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): shown(str(value)) for name, value in attributes.items()})
    for child in children:
        _append(made, child)
    return made


def _append(parent: Element, child: Child) -> None:
    if isinstance(child, Element):
        parent.append(child)
    elif child is not None and len(parent):
        parent[-1].tail = (parent[-1].tail or "") + shown(child)
    elif child is not None:
        parent.text = (parent.text or "") + shown(child)


def shown(text: str) -> str:
    """`text` with control characters, characters that reorder it, and halves of characters as escapes."""
    return visible(text).encode("utf-8", "backslashreplace").decode("utf-8")


def name(text: str) -> Element:
    """A name that comes from a manifest or a data file: cut, and apart from the direction of the text around it."""
    return el("bdi", text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], caption: str = "", numbers_from: int = 1, words: int = 0) -> Element:
    """A table; columns from `numbers_from` on hold numbers, and stand on the right, but for the last `words`."""
    column = {number: {"class_": "n"} if numbers_from <= number < len(head) - words else {} for number in range(len(head))}
    top = el("tr", *(el("th", text, scope="col", **column[number]) for number, text in enumerate(head)))
    body = [el("tr", *(el("td", cell, **column[number]) for number, cell in enumerate(row))) for row in rows]
    title = el("caption", caption) if caption else None
    return el("div", el("table", title, el("thead", top), el("tbody", *body)), class_="wide")


def facts(rows: Iterable[tuple[str, Child]]) -> Element:
    """Terms and what they are."""
    return el("dl", *(part for term, value in rows for part in (el("dt", term), el("dd", value))))


def document(root: Element) -> str:
    """The whole page as text."""
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"
