"""`python -m medfinetune_cli`: the `medfinetune` program."""

from __future__ import annotations

from medfinetune_cli.main import main

if __name__ == "__main__":
    main()
