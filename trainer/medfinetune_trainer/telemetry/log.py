"""What a stage says while it works: one JSON object a line on stderr, or a readable line where stderr is a terminal.

Fields hold counts, paths, names and figures; never record text.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
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
    """Where `error` and its causes were raised: frames and types, no messages and no values."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n".join("".join(traceback.format_tb(link.__traceback__)) + type_name(link) for link in reversed(chain))


def type_name(error: BaseException) -> str:
    """The qualified name of an exception's type: what may be said of one whose message may quote a record."""
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def hush_libraries() -> None:
    """Keep advice to developers out of a log of JSON lines; before the libraries are imported, because some speak while they are."""
    warnings.simplefilter("ignore")
    for name in ("transformers", "bitsandbytes", "torch", "lm_eval"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
