"""`python -m benchmarks.operator_chaos.doomed PLAN --config FILE`: the operator, with a SIGKILL to itself immediately before or after one of its writes.

PLAN is JSON: `write` (`create JOB`), `when` (before, after), `nth` (which write of that kind), `note` (a file that gets one line for each write, and one for
the write that kills); without `write` it only takes notes. The product runs as it is, with a writer of ours.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

from medfinetune_operator.__main__ import main
from medfinetune_operator.cluster import Cluster, Verb
from medfinetune_operator.kinds import Kind


class DoomedCluster(Cluster):
    """The product's writer, which ends the process at the planned write."""

    note: ClassVar[Path]
    write_to_die_at: ClassVar[str]
    when: ClassVar[str]
    left: ClassVar[int]
    """Writes of that kind until the end, this one included."""

    async def write(self, verb: Verb, kind: Kind, *arguments: Any, **options: Any) -> dict[str, Any]:
        """As the product writes, or die."""
        name = f"{verb} {kind.name}"
        cls, planned = type(self), name == self.write_to_die_at
        cls.left -= planned
        cls.say(f"sees {name}")
        if planned and cls.left == 0 and self.when == "before":
            cls.die(name)
        answer = await super().write(verb, kind, *arguments, **options)
        if planned and cls.left <= 0:
            cls.die(name)
        return answer

    @classmethod
    def die(cls, name: str) -> None:
        """End here and now."""
        cls.say(f"dies {cls.when} {name}")
        os.kill(os.getpid(), signal.SIGKILL)

    @classmethod
    def say(cls, line: str) -> None:
        """A line that outlives the process."""
        with cls.note.open("a") as note:
            note.write(line + "\n")


if __name__ == "__main__":
    plan = json.loads(sys.argv[1])
    DoomedCluster.note, DoomedCluster.write_to_die_at = Path(plan["note"]), plan.get("write", "")
    DoomedCluster.when, DoomedCluster.left = plan.get("when", "before"), plan.get("nth", 1)
    sys.exit(main(sys.argv[2:], DoomedCluster))
