"""One port a node: `/metrics` for Prometheus and `/status` for whoever asks how far the stage is.

MEDFINETUNE_METRICS_PORT chooses the port; 0, the default, takes a free one, and the log says which. MEDFINETUNE_METRICS_HOST chooses the address; the default
is the loopback, a cluster sets 0.0.0.0. A taken port does not stop a training run: a free one is used and the log says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from socketserver import ThreadingMixIn
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from medfinetune_trainer.telemetry.log import say
from medfinetune_trainer.telemetry.metrics import GangCollector
from medfinetune_trainer.telemetry.questions import read_questions
from medfinetune_trainer.telemetry.snapshot import read_snapshots

PORT, HOST = "MEDFINETUNE_METRICS_PORT", "MEDFINETUNE_METRICS_HOST"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def status(folder: Path, stage: str) -> dict[str, Any]:
    """How far this node is: its `stage`, and what has been measured.

    While questions are asked: `questions` and `questionsPlanned`. Once a rank trains: `step`, `stepsPlanned`, `resumeStep` (steps done when this attempt
    began), `progress`, `loss`, `tokensPerSecond`, `secondsLeft`, `peakVramBytes` (greatest of this node's ranks; absent without a GPU), `peakRssBytes`,
    `microBatch`, `outOfMemory` (how often it was halved), `asOf`, and `ranks`, each of this node with its `rank`, `step` and `asOf`.
    """
    snapshots = read_snapshots(folder)
    if not snapshots:
        return {"stage": stage, **read_questions(folder)}
    first = snapshots[0]
    figures = {
        "stage": stage,
        "step": first.step,
        "stepsPlanned": first.steps_planned,
        "resumeStep": first.resume_step,
        "progress": first.progress,
        "loss": first.loss,
        "tokensPerSecond": first.tokens_per_second,
        "secondsLeft": first.seconds_left,
        "peakVramBytes": max((s.memory["vram_peak"] for s in snapshots if "vram_peak" in s.memory), default=None),
        "peakRssBytes": max((s.memory["rss_peak"] for s in snapshots if "rss_peak" in s.memory), default=None),
        "microBatch": first.micro_batch,
        "outOfMemory": first.out_of_memory,
        "asOf": first.as_of,
        "ranks": [{"rank": one.rank, "step": one.step, "asOf": one.as_of} for one in snapshots],
    }
    return {name: value for name, value in figures.items() if value is not None}


@contextmanager
def serving_if_asked(stage: str) -> Iterator[Path]:
    """A folder for the figures of a stage of one process, served while the block runs where MEDFINETUNE_METRICS_PORT names a port."""
    with TemporaryDirectory(prefix="medfinetune-") as name, nullcontext() if os.environ.get(PORT, "0") == "0" else serving(Path(name), stage):
        yield Path(name)


@contextmanager
def serving(folder: Path, stage: str) -> Iterator[int]:
    """Serve this node's snapshots while the block runs; yields the port."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GangCollector(folder))
    server = _bind(_application(folder, stage, make_wsgi_app(registry)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="metrics", daemon=True)
    thread.start()
    say("metrics", address=server.server_name, port=server.server_port, paths=["/metrics", "/status"])
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _application(folder: Path, stage: str, metrics: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == "/status":
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(status(folder, stage)).encode()]
        return metrics(environ, start_response)

    return answer


def _bind(application: Application) -> WSGIServer:
    host, port = os.environ.get(HOST, "127.0.0.1"), int(os.environ.get(PORT, "0"))
    try:
        return make_server(host, port, application, _Server, _Silent)
    except OSError as error:
        say("metrics port taken, a free one is used", port=port, error=os.strerror(error.errno or 0))
        return make_server(host, 0, application, _Server, _Silent)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """No access log: a scrape every few seconds would drown the stage's own lines."""

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""
