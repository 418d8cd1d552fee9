"""For every test: Hypothesis without deadlines (no test asserts a time), one thread a process (threads that share a busy core wait for each other), and signals
as they were: a process that a later test starts inherits what is ignored here. What collection imports is not looked through for garbage.

One control plane serves all of a worker's tests that need no other, whatever they are about: three would idle beside one another to the end.
"""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from cluster.control_plane import ControlPlane
from cluster.programs import CONTROL_PLANE, program
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # as every stage has it: bitsandbytes' import loads torch's compiler otherwise
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


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The API server with its controllers and this repository's CustomResourceDefinition, to the end of the session."""
    # A first run builds the programs for minutes: what it says about that must reach the terminal, not pytest's capture.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for name in (*CONTROL_PLANE, "helm"):
            program(name)
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as started:
        yield started
