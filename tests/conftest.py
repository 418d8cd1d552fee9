"""For every test: Hypothesis without deadlines (no test asserts a time), one thread a process (threads that share a busy core wait for each other), and signals
as they were: a process that a later test starts inherits what is ignored here. What collection imports is not looked through for garbage: a quarter of its
40 CPU seconds, in every worker.
"""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # as every stage has it: the import of bitsandbytes is 5 CPU seconds shorter
settings.register_profile("medfinetune", deadline=None)
settings.load_profile("medfinetune")
gc.disable()
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # some extensions look at exit for what was not freed


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A stage's program, run in this process, ends with SIGTERM ignored: it is meant to be the last thing that its process does."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
