"""What libraries find around a stage: no network, no telemetry, caches in the run's own folder, and a user with a name and a home.

Caches hold record text, so they lie where everything of the run lies, and go when the stage ends or starts again. In a pod the user is often a bare number,
without an entry in /etc/passwd, and nothing but the volumes and /tmp can be written: libraries that ask who and where they are (torch's compiler, Hugging
Face's hub) would fail, or write beside the program.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from medfinetune_api.choices import Stage
from medfinetune_api.plan import RunPlan

from medfinetune_trainer.artifacts.fence import ATTEMPT
from medfinetune_trainer.stages.holding import node_rank

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")


_NO_COMPILER = {"TORCHDYNAMO_DISABLE": "1"}
"""The image has no C compiler. Without this, bitsandbytes' import has torch load its compiler (2 CPU seconds a rank) for what it could not compile."""


@contextmanager
def surroundings(plan: RunPlan, stage: Stage) -> Iterator[None]:
    """Set the environment that this process and its children need, for good; the caches go with the block."""
    root, member = plan.folder.root, f".cache-{stage}-{node_rank()}"
    cache = root / f"{member}-a{os.environ.get(ATTEMPT, '0')}"  # of this attempt: an older one's ghost must not clear it away
    for left in root.glob(f"{member}-a*"):
        shutil.rmtree(left, ignore_errors=True)
    os.environ |= dict.fromkeys(_OFFLINE, "1") | _NO_COMPILER | {"TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"HF_HOME": str(cache), "HF_DATASETS_CACHE": str(cache / "datasets"), "HF_HUB_CACHE": str(cache / "hub")}
    for name, value in _of_a_person(str(cache)).items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _of_a_person(cache: str) -> dict[str, str]:
    return {
        "HOME": tempfile.gettempdir(),
        "USER": "medfinetune",
        "LOGNAME": "medfinetune",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "TRITON_CACHE_DIR": f"{cache}/triton",
    }
