"""The gang's life, with real processes: results are read, a failure ends the others, signals reach each once, nothing outlives its parent."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_cli.launch import Launch
from medfinetune_cli.stage_process import Ended, Stop, run_to_end
from medfinetune_cli.verdict import verdict
from support.cli import gone, wait_until

ENDS_WITH = "import json, sys; print(json.dumps(dict(stage='train', exitCode={code}, reason='Any', message='{word}', numbers={{}}))); sys.exit({code})"
WAITS = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); open(sys.argv[1], 'w').close(); signal.pause()"
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); open(sys.argv[1], 'w').close(); signal.pause()\nwhile True: signal.pause()"
COUNTS = """
import signal, sys
both = {signal.SIGTERM, signal.SIGINT}
signal.pthread_sigmask(signal.SIG_BLOCK, both)
open(sys.argv[1], "w").close()
first = signal.sigwait(both)
sys.exit(75 if first == signal.SIGTERM and not signal.sigpending() else 1)
"""


def member(node: int, code: str, *arguments: str | Path) -> Launch:
    return Launch(Stage.TRAIN, node, (sys.executable, "-c", code, *map(str, arguments)), {"PET_NNODES": "2"})


def until(path: Path) -> str:
    """Code that waits for `path` without a bound of its own; the test's runner has one."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}): time.sleep(0.01)\n"


def run(scratch: Path, *launches: Launch, interrupt: str | None = None) -> tuple[list[Ended], bool]:
    """Run a gang; `interrupt` is code run in another process that may signal this one (os.getppid()), though the tests were started in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def body() -> tuple[list[Ended], bool]:
        stop = Stop()
        stop.listen()
        helper = subprocess.Popen([sys.executable, "-c", interrupt]) if interrupt else None
        ended = await run_to_end(launches, scratch, stop)
        if helper:
            helper.wait()
        return ended, stop.asked.is_set()

    return asyncio.run(body())


def signals(*numbers: signal.Signals, after: Path) -> str:
    return until(after) + "\n".join(f"os.kill(os.getppid(), {int(number)})" for number in numbers)


def test_the_last_line_is_the_result_and_node_0_speaks(tmp_path: Path) -> None:
    ended, stopped = run(tmp_path, *(member(node, f"print('noise'); {ENDS_WITH.format(code=0, word=f'node {node}')}") for node in range(2)))
    result, speaker = verdict(ended, stopped=stopped)
    assert (result.exit_code, result.message, speaker.launch.node) == (0, "node 0", 0)


def test_a_failed_member_ends_the_others_and_its_word_stands(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    ended, stopped = run(tmp_path, member(0, WAITS, waiting), member(1, until(waiting) + ENDS_WITH.format(code=69, word="NaN at step 3")))
    result, speaker = verdict(ended, stopped=stopped)
    assert [one.returncode for one in ended] == [69, 75]
    assert (result.exit_code, result.message, speaker.launch.node) == (Exit.DIVERGED, "NaN at step 3", 1)


def test_a_member_that_vanishes_is_a_lost_gang(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    ended, stopped = run(tmp_path, member(0, WAITS, waiting), member(1, until(waiting) + "os.kill(os.getpid(), 9)"))
    result, _ = verdict(ended, stopped=stopped)
    assert result.exit_code == Exit.GANG_LOST
    assert "SIGKILL" in result.message


def test_a_stop_reaches_each_member_once(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    ended, stopped = run(tmp_path, member(0, COUNTS, waiting), interrupt=signals(signal.SIGINT, after=waiting))
    assert stopped
    assert [one.returncode for one in ended] == [75]
    assert verdict(ended, stopped=stopped)[0].exit_code == Exit.INTERRUPTED


def test_a_second_signal_ends_those_who_do_not_listen(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    ended, stopped = run(tmp_path, member(0, DEAF, waiting), interrupt=signals(signal.SIGTERM, signal.SIGINT, after=waiting))
    assert [one.returncode for one in ended] == [-signal.SIGKILL]
    result, _ = verdict(ended, stopped=stopped)
    assert result.exit_code == Exit.INTERRUPTED
    assert "last complete" in result.message
    preparing = [replace(one, launch=replace(one.launch, stage=Stage.PREPARE)) for one in ended]
    assert verdict(preparing, stopped=stopped)[0].message == "Stopped. Start the run again to continue."


PARENT = """
import asyncio, sys
from pathlib import Path
from medfinetune_api.choices import Stage
from medfinetune_cli.launch import Launch
from medfinetune_cli.stage_process import Stop, run_to_end

async def body():
    launch = Launch(Stage.TRAIN, 0, (sys.executable, "-c", sys.argv[1], *sys.argv[2:]), {})
    await run_to_end([launch], Path(sys.argv[2]).parent, Stop())

asyncio.run(body())
"""


def test_no_member_outlives_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL leaves the parent no time to clean up; the kernel tells its children."""
    waiting, pid = tmp_path / "waiting", tmp_path / "pid"
    child = "import os, sys; open(sys.argv[2], 'w').write(str(os.getpid()))\n" + WAITS
    parent = subprocess.Popen([sys.executable, "-c", PARENT, child, str(waiting), str(pid)])
    assert wait_until(waiting.exists)
    parent.kill()
    parent.wait()
    assert gone(int(pid.read_text()))


def test_a_death_without_a_word_is_said_for_it(tmp_path: Path) -> None:
    ended, stopped = run(tmp_path, member(0, "import sys; print('{}'); sys.exit(3)"))
    result, _ = verdict(ended, stopped=stopped)
    assert result.exit_code == Exit.INTERNAL_ERROR
    assert "exit code 3" in result.message
