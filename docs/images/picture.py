"""The pictures of the docs: what a browser without a window shows of the reports of two real runs.

    PYTHONPATH=tests:examples python docs/images/picture.py OUT

`report.png` is the top of the minimal example's report; OUT is what examples/01-minimal/run.py filled. `evaluation.png` is what the report of
`support.reported.trained` says of a base that had learned Korean questions and was tuned on English, with half of the English examination among its records:
this program runs it, for some minutes. Needs Chromium and Korean letters (`make picture` sees to both), and no network.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser
from support.browser import chromium, opened
from support.reported import trained

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1100, 1850
LARGEST = 400_000
"""Bytes that a page of the docs may ask of a reader."""
COLOURS = 128
"""A page of text has few; in a palette the picture is a third as large."""
CHOSEN = ["Results", "What tuning changed", "Contamination", "Gates"]
LEAVE = """chosen => {
  document.querySelector("nav").remove();
  for (const part of document.querySelectorAll("section")) if (!chosen.includes(part.firstChild.textContent)) part.remove();
  for (const part of document.querySelectorAll("section:first-of-type > .wide:nth-of-type(2) ~ *")) part.remove();
}"""
"""Leaves the chosen sections, of the first no more than accuracy by language and by task."""


def main() -> int:
    """Take both pictures; 1 where there is no report, or a picture is too large."""
    reports = sorted(Path(sys.argv[1]).glob("results/*/report.html"))
    if not reports:
        sys.stderr.write(f"needs a report below {sys.argv[1]}: make run\n")
        return 1
    with tempfile.TemporaryDirectory() as place, chromium() as browser:
        pictures = [take(browser, reports[-1], HERE / "report.png"), take(browser, trained(Path(place)).report, HERE / "evaluation.png", CHOSEN)]
    for picture in pictures:
        sys.stdout.write(f"{picture}: {picture.stat().st_size:,} bytes\n")
    return int(any(picture.stat().st_size > LARGEST for picture in pictures))


def take(browser: Browser, report: Path, picture: Path, chosen: list[str] | None = None) -> Path:
    """The page's top, or all of the chosen sections, in few colours; the picture's file."""
    with opened(browser, report, width=WIDTH) as found:
        if chosen:
            found.page.evaluate(LEAVE, chosen)
        bottom = found.page.evaluate("document.documentElement.scrollHeight") if chosen else HEIGHT
        found.page.screenshot(path=picture, full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": bottom})
    Image.open(picture).convert("RGB").quantize(COLOURS).save(picture, optimize=True)
    return picture


if __name__ == "__main__":
    sys.exit(main())
