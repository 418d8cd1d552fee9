"""Reads a report strictly: every tag closed in its order, and nothing in it that could run or be fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta"}
ACTIVE = ("script", "link", "iframe", "img", "image", "object", "embed", "base", "form", "use", "foreignobject")
ADDRESSES = ("href", "src", "srcset", "action", "style", "xlink:href", "background")


class Page(HTMLParser):
    """The page's texts, by the tag that they stand in too. AssertionError where it is not as it should be."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[str] = []
        self.by_tag: dict[str, list[str]] = {}
        self.attributes: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ACTIVE
        for name, value in attrs:
            assert name not in ADDRESSES or (tag, name, (value or "")[:1]) == ("a", "href", "#"), "an address that is not of this page"
            assert not name.startswith("on")
            self.attributes.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            assert not re.search(r"url\(|@import|https?:|//", data)
            return
        self.texts.append(data)
        for tag in self.open[-1:]:
            self.by_tag.setdefault(tag, []).append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)
