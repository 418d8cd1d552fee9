"""Logs: one JSON object a line on stderr. Of exceptions only the type is written: their text may quote what a user wrote."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_LOGGER = logging.getLogger("medfinetune")
_FIELDS = "medfinetune_fields"


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """`time`, `level`, `event`, then whatever belongs to it: namespace, run, stage, attempt."""
        line: dict[str, Any] = {"time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"), "level": record.levelname.lower()}
        if record.name == _LOGGER.name:
            line |= {"event": record.getMessage()} | getattr(record, _FIELDS, {})
        else:
            line |= {"event": "library", "logger": record.name, "message": _harmless(record)}
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def configure() -> None:
    """Send everything to stderr as JSON lines; libraries from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    _LOGGER.setLevel(logging.INFO)


def say(event: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Write one line. `fields` are names, numbers and the contract's words, never text of a user's."""
    _LOGGER.log(level, event, extra={_FIELDS: {name: value for name, value in fields.items() if value is not None}})


def _harmless(record: logging.LogRecord) -> str:
    """A library's message without what was put into it: its template where it has one; of kopf's client the request; else the place in its source."""
    if record.args and isinstance(record.msg, str):
        return record.msg
    return record.getMessage().partition(" -> ")[0] if record.name.startswith("kopf._cogs.clients") else f"{record.module}:{record.lineno}"
