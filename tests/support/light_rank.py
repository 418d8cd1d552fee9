"""`python -m support.light_rank STAGE FOLDER`: a rank without a model, for tests of what agents and watchdogs do with real processes and real signals.

LIGHT_RANKS names what each rank does, by rank, with commas between: `waits` for its peers as a rank in a collective, hangs reading a `fifo`, hangs in `native`
code that holds the interpreter's lock, is `stopped`, has not begun (`late`), beats when `told` to by its standard input, or trains on a card that has room for
LIGHT_CARD rows (`card`).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from medfinetune_trainer.telemetry import heartbeat

FOLDER, RANK = Path(sys.argv[2]), int(os.environ["RANK"])
COLLECTIVE = "import time\ndef all_reduce():\n    while True:\n        time.sleep(60)\nall_reduce()\n"


def waits() -> None:
    exec(compile(COLLECTIVE, "/packages/site-packages/torch/distributed/distributed_c10d.py", "exec"), {})


def fifo() -> None:
    path = FOLDER / f"fifo-{RANK}"
    os.mkfifo(path)
    os.open(path, os.O_RDONLY)


def native() -> None:
    while True:
        ctypes.PyDLL(None).sleep(60)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def told() -> None:
    for phase in sys.stdin:
        heartbeat.beat(phase.strip())
        sys.stdout.write("done\n")
        sys.stdout.flush()


def card() -> None:
    rows = int(os.environ["MEDFINETUNE_MICRO_BATCH"])
    if rows > int(os.environ["LIGHT_CARD"]):
        outcome(76, {"micro_batch": rows})
        os._exit(76)
    outcome(0, {"micro_batch": rows})


def outcome(code: int, numbers: dict[str, float]) -> None:
    said = {"rank": RANK, "exit_code": code, "message": "said by a light rank", "numbers": numbers, "time": time.time()}
    (FOLDER / f"outcome-{RANK:05d}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    kinds: dict[str, Callable[[], None]] = {each.__name__: each for each in (waits, fifo, native, stopped, told, card)}
    kind = os.environ["LIGHT_RANKS"].split(",")[RANK]
    if kind == "late":
        time.sleep(600)
    heartbeat.start(FOLDER, RANK)
    heartbeat.beat(f"step 3, micro-batch {RANK}")
    kinds[kind]()
