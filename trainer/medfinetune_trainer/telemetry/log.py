"""What a stage says while it works: one JSON object a line on stderr, or a readable line where stderr is a terminal.

Fields hold counts, paths, names and figures; never record text.
"""

from __future__ import annotations

import json
import sys
import traceback
from datetime import UTC, datetime


def say(event: str, /, **fields: object) -> None:
    """Write one line about `event` with its figures to stderr, in one piece, so that processes sharing it do not mix their lines."""
    known = {name: value for name, value in fields.items() if value is not None}
    if sys.stderr.isatty():
        text = f"{event}  " + "  ".join(f"{name}={_short(value)}" for name, value in known.items())
    else:
        text = json.dumps({"time": now(), "event": event} | known, ensure_ascii=False)
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def now() -> str:
    """The time in UTC, RFC 3339, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stack(error: BaseException) -> str:
    """Where `error` was raised: frames and type, without its message, which may quote a record."""
    return "".join(traceback.format_tb(error.__traceback__)) + type(error).__qualname__


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
