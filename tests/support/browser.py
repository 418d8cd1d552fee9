"""Chromium as a reader has it, without a window and without a network: a file is opened, and what it asks for and complains of is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
MEASURES = Path(__file__).with_name("measures.js")
HEIGHT = 900


@dataclass
class Opened:
    """A file in a browser."""

    page: Page
    requests: list[str] = field(default_factory=list)
    """Addresses that it asked for, its own first."""
    complaints: list[str] = field(default_factory=list)
    """What stands on the console, and what was thrown."""

    def measure(self, name: str) -> list[str]:
        """What a function of measures.js finds, a line each."""
        found: list[str] = self.page.evaluate(f"measures.{name}()")
        return found

    def colourless(self) -> None:
        """As an eye sees it that tells no colours apart."""
        self.page.context.new_cdp_session(self.page).send("Emulation.setEmulatedVisionDeficiency", {"type": "achromatopsia"})

    def resize(self, width: int) -> None:
        """Lay the page out anew."""
        self.page.set_viewport_size(ViewportSize(width=width, height=HEIGHT))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that resolves no name. AssertionError where this machine has none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"found none of {', '.join(NAMES)}: install Chromium (Debian: apt-get install chromium fonts-noto-cjk; tests/packages.sh does it)"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, chromium_sandbox=False, args=["--host-resolver-rules=MAP * ~NOTFOUND"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1280, scheme: Literal["light", "dark"] = "light", scale: float = 1) -> Iterator[Opened]:
    """`file` in a context of its own that is offline."""
    size = ViewportSize(width=width, height=HEIGHT)
    with browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=scale, offline=True) as context:
        made = Opened(context.new_page())
        made.page.on("request", lambda request: made.requests.append(request.url))
        made.page.on("console", lambda message: made.complaints.append(f"{message.type}: {message.text}"))
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.goto(file.resolve().as_uri())
        made.page.evaluate(MEASURES.read_text(encoding="utf-8"))
        yield made
