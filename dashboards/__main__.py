"""Writes charts/medfinetune/dashboards/{fleet,run}.json, or with --check says which is out of date: `python -m dashboards [--check]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from medfinetune_api.generated import write_or_check

from dashboards import fleet, run

FOLDER = Path(__file__).parents[1] / "charts" / "medfinetune" / "dashboards"
DASHBOARDS: dict[str, Callable[[], Dashboard]] = {"fleet": fleet.dashboard, "run": run.dashboard}


def rendered(name: str) -> str:
    """One dashboard's JSON; equal code gives equal text."""
    return json.dumps(DASHBOARDS[name]().build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main(arguments: list[str]) -> int:
    """Write both files, or with --check compare both: 0 where all are up to date."""
    return max([write_or_check(partial(rendered, name), "dashboards", __doc__, [*arguments, str(FOLDER / f"{name}.json")]) for name in DASHBOARDS])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
