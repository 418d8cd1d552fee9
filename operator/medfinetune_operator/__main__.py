"""`python -m medfinetune_operator --config FILE`: the operator. Credentials are the pod's service account, or those of KUBECONFIG."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from pydantic import ValidationError
from yaml import YAMLError

import medfinetune_operator.lean  # noqa: F401  # before whatever imports kopf
from medfinetune_operator.cluster import Cluster
from medfinetune_operator.lease import identity
from medfinetune_operator.logs import configure, say
from medfinetune_operator.process import failure, operate
from medfinetune_operator.settings import Settings


def main(arguments: list[str] | None = None, writer: type[Cluster] = Cluster) -> int:
    """Run the operator until SIGTERM; returns its exit status. `writer` makes every write to the API server."""
    parser = argparse.ArgumentParser(prog="medfinetune_operator", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings, as medfinetune_operator.settings describes them (JSON or YAML)")
    file = parser.parse_args(arguments).config
    configure()
    # kopf's name for this process. Else it asks for the name of the user, and the id of an image's or a platform's user has none.
    os.environ.setdefault("POD_ID", identity())
    try:
        settings = Settings.load(file)
    except (OSError, ValidationError, YAMLError) as error:
        parser.error(f"{file}: {error}")
    try:
        asyncio.run(operate(settings, writer))
    except Exception as error:
        say("operator failed", level=logging.ERROR, error=failure(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
