"""What every generator of a committed file shares: write it, or with --check say that it is out of date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def write_or_check(rendered: Callable[[], str], program: str, about: str | None, arguments: Sequence[str] | None) -> int:
    """The command line `PROGRAM [--check] FILE`: 0 where the file is written or up to date, 1 where it is not."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the file is out of date")
    parser.add_argument("file", metavar="FILE", type=Path)
    options = parser.parse_args(arguments)
    if not options.check:
        options.file.write_text(rendered(), encoding="utf-8")
    elif not options.file.is_file() or options.file.read_text(encoding="utf-8") != rendered():
        sys.stderr.write(f"{options.file} is out of date: run `make generate` and commit it\n")
        return 1
    return 0
