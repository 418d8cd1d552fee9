"""`python -m benchmarks.packing`: pack 1,000,000 documents of real lengths, on one thread, in flat memory.

Lengths are drawn from `lengths.json` (`lengths.py` says what they are); the few above 2,048 tokens are cut to it, as the policy Truncate does. They lie
in an Arrow file of full-size documents, written beforehand; a process of its own then does what prepare does for an epoch: stream the lengths, pack,
write the index. Measured there: seconds from the file of documents to the index on disk, and the process's peak resident memory (VmHWM), at 100,000 and
at 1,000,000 documents.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MAX_LENGTH = 2048
DOCUMENTS = (100_000, 1_000_000)
BATCH = 1000
"""Documents in a record batch, as `datasets` writes them."""
DOCUMENTS_FILE = "documents.arrow"
LENGTHS = Path(__file__).with_name("lengths.json")
RESULT = Path(__file__).parent / "results" / "packing.json"


def main() -> None:
    """Measure both sizes, check the claim, write the result, and end with the one line that states it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--documents", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        step, folder = arguments.child
        sys.stdout.write(json.dumps({"write": write_documents, "pack": pack_documents}[step](Path(folder), arguments.documents)) + "\n")
        return
    runs = [measure(documents) for documents in DOCUMENTS]
    growth = runs[1]["rss_mb"] - runs[0]["rss_mb"]
    content = {"max_length": MAX_LENGTH, "runs": runs, "rss_growth_mb": round(growth, 1), "machine": machine()}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    large = runs[1]
    if large["efficiency"] < 0.99 or large["seconds"] >= 60 or growth > 100:
        sys.exit(f"the claim does not hold: {content}")
    sys.stdout.write(f"{large['documents']} documents in {large['rows']} rows; resident memory grew by {growth:.1f} MB from {runs[0]['documents']}\n")
    sys.stdout.write(f"packing efficiency={large['efficiency']:.5f} seconds={large['seconds']:.2f} rss_mb={large['rss_mb']:.1f}\n")


def measure(documents: int) -> dict[str, Any]:
    """Write a dataset and pack it, each in a process of its own, so that neither's memory is counted to the other."""
    with tempfile.TemporaryDirectory(prefix="medfinetune-packing-") as folder:
        return [_child(step, folder, documents) for step in ("write", "pack")][-1]


def _child(step: str, folder: str, documents: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.packing", "--child", step, folder, "--documents", str(documents)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result: dict[str, Any] = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return result


def write_documents(folder: Path, documents: int) -> dict[str, Any]:
    """A dataset with the lengths' distribution; token values are 0, which packing never reads."""
    import numpy as np
    import pyarrow as pa

    histogram = {int(length): count for length, count in json.loads(LENGTHS.read_text(encoding="utf-8"))["lengths"].items()}
    counts = np.array(list(histogram.values()))
    lengths = np.random.default_rng(0).choice(list(histogram), size=documents, p=counts / counts.sum()).clip(max=MAX_LENGTH)
    schema = pa.schema([("input_ids", pa.list_(pa.int32()))])
    with pa.OSFile(str(folder / DOCUMENTS_FILE), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for batch in np.split(lengths, range(BATCH, documents, BATCH)):
            offsets = np.concatenate([[0], np.cumsum(batch)]).astype(np.int32)
            lists = pa.ListArray.from_arrays(offsets, np.zeros(offsets[-1], dtype=np.int32))
            writer.write_batch(pa.RecordBatch.from_arrays([lists], schema=schema))
    return {"documents": documents}


def pack_documents(folder: Path, documents: int) -> dict[str, Any]:
    """What prepare does for an epoch, timed."""
    import numpy as np
    from medfinetune_api.choices import Packing
    from medfinetune_trainer.data.documents import lengths_of
    from medfinetune_trainer.data.epochs import epoch_name, write_index
    from medfinetune_trainer.data.packing import efficiency

    start = time.perf_counter()
    lengths = lengths_of(folder / DOCUMENTS_FILE)
    numbers = np.arange(len(lengths), dtype=np.int32)
    rows = write_index(folder / f"{epoch_name(0)}.arrow", numbers, lengths, max_length=MAX_LENGTH, packing=Packing.BEST_FIT, seed=(0, 0))
    seconds = time.perf_counter() - start
    return {
        "documents": documents,
        "rows": rows,
        "efficiency": efficiency(lengths, rows, MAX_LENGTH),
        "efficiency_unpacked": efficiency(lengths, documents, MAX_LENGTH),
        "seconds": round(seconds, 3),
        "rss_mb": round(peak_resident_mb(), 1),
    }


def peak_resident_mb() -> float:
    """Peak resident memory of this process since it began, in MB (10^6 bytes). VmHWM, as getrusage's figure outlives an exec."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return kib * 1024 / 1e6


def machine() -> dict[str, Any]:
    """What a reader needs to judge the figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {"cores": os.cpu_count(), "memory_gb": round(memory, 1), "python": platform.python_version(), "architecture": platform.machine()}


if __name__ == "__main__":
    main()
