"""Run a function in N real processes that share a gloo process group, and collect what each returns.

Processes are forked from a server that has imported torch and transformers once; each is new and has its own process group. The function must live
in a module that the processes can import (tests/support), take (rank, *arguments), and return something torch.save can write.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 300.0
"""Time bound of a whole gang: far above what it takes, so that only a deadlock reaches it."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["torch", "torch.distributed.fsdp", "torch.distributed.tensor", "transformers", "peft", "bitsandbytes", "medfinetune_trainer.stages.train_loop"]
)


def gang(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(rank, *arguments)` returned on each rank, by rank.

    Raises AssertionError with the first failed rank's stack, or where the gang takes longer than SECONDS; no process is left behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        members = [_start(rank, world_size, Path(folder) / "store", function, arguments) for rank in range(world_size)]
        try:
            results = _collect([connection for _, connection in members])
            for process, _ in members:
                process.join(SECONDS)
            return results
        finally:
            for process, _ in members:
                process.kill()
                process.join()


def _start(rank: int, world_size: int, store: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Connection]:
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_member, args=(rank, world_size, str(store), sender, function, arguments), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def _collect(connections: list[Connection]) -> list[Any]:
    results: dict[Connection, Any] = {}
    deadline = time.monotonic() + SECONDS
    while len(results) < len(connections):
        ready = wait([connection for connection in connections if connection not in results], timeout=deadline - time.monotonic())
        assert ready, f"the gang took longer than {SECONDS} s; ranks done: {[connections.index(connection) for connection in results]}"
        for connection in ready:
            assert isinstance(connection, Connection)
            results[connection] = _receive(connection, connections.index(connection))
    return [results[connection] for connection in connections]


def _receive(connection: Connection, rank: int) -> Any:
    try:
        succeeded, payload = torch.load(io.BytesIO(connection.recv_bytes()), weights_only=False)
    except EOFError:
        raise AssertionError(f"rank {rank} died without a word") from None
    assert succeeded, f"rank {rank}:\n{payload}"
    return payload


def _member(rank: int, world_size: int, store: str, sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
        answer = (True, function(rank, *arguments))
    except BaseException:
        answer = (False, traceback.format_exc())
    buffer = io.BytesIO()
    torch.save(answer, buffer)
    sender.send_bytes(buffer.getvalue())
