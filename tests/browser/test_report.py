"""The report as a reader's browser shows it: offline, whole at any width and on paper, with every figure told in words, and nothing told by colour alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops
from playwright.sync_api import Browser, Locator
from support.browser import Opened, chromium, opened
from support.reported import LANGUAGES, evaluated

NARROW, PAPER = 390, 718
"""Pixels of a telephone, and of A4 between margins of 10 mm."""
APART = 12
"""Pixels in which two signs of a legend differ at least, in black and white."""
STRUCTURE = ("empty", "unnamed", "astray", "headless", "boxes", "alike")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluated(tmp_path_factory.mktemp("run")).report


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Browser, report: Path) -> Iterator[Opened]:
    """At a desk, to be looked at only."""
    with unfolded(browser, report) as found:
        yield found


@contextmanager
def unfolded(browser: Browser, report: Path, **options: Any) -> Iterator[Opened]:
    """The page with all that can be opened in it open."""
    with opened(browser, report, **options) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        yield found


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(page: Opened, report: Path) -> None:
    assert page.requests == [report.resolve().as_uri()]
    assert page.complaints == []
    assert page.page.title() == "run: medfinetune report"
    assert (page.page.locator("html").get_attribute("lang"), page.page.locator("h1").all_inner_texts()) == ("en", ["Report of run"])


@pytest.mark.parametrize("what", STRUCTURE)
def test_everything_is_drawn_named_headed_linked_and_has_its_glyphs(page: Opened, what: str) -> None:
    assert page.measure(what) == []


def test_there_is_something_to_look_at(page: Opened) -> None:
    """The tests of this file would hold of an empty page."""
    text = page.page.locator("body").inner_text()
    for expected in ("Quarantined", "의학", "PHONE_NUMBER", "RougeL", "In several orders", "medqa/test.jsonl:1", "out_of_memory", "▼ forgotten"):
        assert expected in text, expected
    assert len(set(re.findall("[가-힣]", text))) > 30
    assert {"NO", "done", "OPEN", "FAILED"} <= set(page.page.locator("td").all_inner_texts())
    series = [legend.locator(".key").count() for legend in page.page.locator(".legend").all()]
    assert (len(series) >= 9, max(series) > len(LANGUAGES)) == (True, True)
    assert page.page.locator("nav a").count() == page.page.locator("h2").count()


@pytest.mark.parametrize("width", [1280, NARROW])
def test_nothing_runs_out_of_the_page_and_charts_can_be_read(browser: Browser, report: Path, width: int) -> None:
    with unfolded(browser, report, width=width) as found:
        for what in ("wide", "smallText", "clipped"):
            assert found.measure(what) == [], what


def test_on_a_desk_no_table_or_chart_has_to_be_scrolled(page: Opened) -> None:
    assert page.measure("hidden") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_from_what_is_behind_them(browser: Browser, report: Path, scheme: str) -> None:
    with unfolded(browser, report, scheme=scheme) as found:
        assert found.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert found.measure("faintText") == []
        assert found.measure("faintLines") == []


def test_without_colour_every_series_is_told_by_dash_or_mark(browser: Browser, report: Path) -> None:
    with opened(browser, report, scale=2) as found:
        found.colourless()
        for legend in (*found.page.locator(".legend").all(), found.page.locator("p:has(> .key)").first):
            signs = [in_black_and_white(key) for key in legend.locator(".key").all()]
            assert all(differ(*pair) >= APART for pair in combinations(signs, 2)), legend.inner_text()


def test_no_cell_says_by_colour_what_it_does_not_say_in_words(page: Opened) -> None:
    assert page.measure("coloured") == []


def test_on_paper_nothing_is_cut_off(browser: Browser, report: Path) -> None:
    with unfolded(browser, report, width=PAPER) as found:
        found.page.emulate_media(media="print")
        for what in ("cut", "wide", "faintText"):
            assert found.measure(what) == [], what
        printed = found.page.pdf(format="A4", margin={"top": "10mm", "right": "10mm", "bottom": "10mm", "left": "10mm"})
        assert printed.startswith(b"%PDF-")
        assert len(re.findall(rb"/Type\s*/Page\b", printed)) > 1


def in_black_and_white(sign: Locator) -> Image.Image:
    """What is drawn there, but for shades; AssertionError where colour is left."""
    taken = Image.open(io.BytesIO(sign.screenshot())).convert("RGB")
    red, green, blue = taken.split()
    assert max(ImageChops.difference(red, other).getextrema()[1] for other in (green, blue)) <= 2, "colours are seen"
    return red.point(lambda value: 255 * (value > 200))


def differ(one: Image.Image, other: Image.Image) -> int:
    """Pixels."""
    return ImageChops.difference(one, other.resize(one.size)).histogram()[255]
