"""The picture in README.md: the report of the minimal example's run, as a browser without a window shows it.

    python docs/images/picture.py OUT

OUT is what examples/01-minimal/run.py filled. Needs Chromium (Debian: apt-get install chromium), which is told to reach no network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).with_name("report.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 1000, 1850
LARGEST = 200_000
"""Bytes that a README may ask of a reader."""
COLOURS = 128
"""A page of text has few; in a palette the picture is a third as large."""


def main() -> int:
    """Take the picture; 1 where there is no report, no browser, or the picture is too large."""
    reports = sorted(Path(sys.argv[1]).glob("results/*/report.html"))
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not reports or browser is None:
        missing = f"a report below {sys.argv[1]} (make run)" if not reports else f"one of {', '.join(BROWSERS)} (apt-get install chromium)"
        sys.stderr.write(f"needs {missing}\n")
        return 1
    with tempfile.TemporaryDirectory() as profile:
        take(browser, reports[-1], Path(profile))
    size = PICTURE.stat().st_size
    sys.stdout.write(f"{PICTURE}: {size:,} bytes\n")
    return int(size > LARGEST)


def take(browser: str, report: Path, profile: Path) -> None:
    """Render the page's top, in few colours. Raises CalledProcessError."""
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
    ]
    target = [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={PICTURE}", report.resolve().as_uri()]
    subprocess.run([*command, *target], check=True, stderr=subprocess.DEVNULL, timeout=120)
    Image.open(PICTURE).convert("RGB").quantize(COLOURS).save(PICTURE, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
