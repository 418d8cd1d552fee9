"""`python -m medfinetune_trainer STAGE --plan plan.json`: one stage of one run."""

from __future__ import annotations

import sys

from medfinetune_trainer.stages.program import main

if __name__ == "__main__":
    sys.exit(main())
