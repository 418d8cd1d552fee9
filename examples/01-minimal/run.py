"""Run the minimal example: build a tiny base where it is missing, then hand the manifest to `medfinetune run`.

    python examples/01-minimal/run.py [OUT]

OUT (default: out/ in the current folder) takes the base and the results. Run it again and it continues, or shows what it has; remove OUT to begin anew.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

WORD_AT_THE_END = """
A tiny base with random weights knows no medicine. The adapter has learned the questions it was trained on (seen-...);
on questions it was not trained on (unseen-...) it stays at chance: 25 % with four options, 20 % with five.
Next: your own model and data in a manifest of your own; see README.md beside the manifest.
"""


def main() -> int:
    """Build what is missing, run the manifest, and return the exit code of `medfinetune run`."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    base = out / "models" / "tiny-gemma3"
    if not (base / "config.json").exists():
        build_base(base)
    volumes = ["--models", str(out / "models"), "--data", str(HERE / "data"), "--output", str(out / "results")]
    command = [sys.executable, "-m", "medfinetune_cli", "run", str(HERE / "manifest.yaml"), *volumes]
    code = wait_for(subprocess.Popen(command))
    if code == 0:
        print(WORD_AT_THE_END)
    return code


def wait_for(run: subprocess.Popen[bytes]) -> int:
    """Its exit code. A stop is the run's to answer: Ctrl-C reaches it by itself, SIGTERM is handed on."""
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, lambda number, frame: run.terminate())
    return run.wait()


def build_base(folder: Path) -> None:
    """A two-layer Gemma 3 with random weights, its tokenizer trained on the example's own texts; under its name only once it is whole."""
    from tiny_base import build

    print(f"building a tiny base in {folder}", file=sys.stderr)
    partial = folder.with_name(f".{folder.name}.partial")
    partial.parent.mkdir(parents=True, exist_ok=True)
    build(partial, texts(), kind="gemma3").rename(folder)


def texts() -> Iterator[str]:
    """What the tokenizer is trained on: the lines of the training files."""
    for path in sorted((HERE / "data").glob("*/train.*")):
        yield from path.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    sys.exit(main())
