"""How much memory a rank uses: its process, and its GPU where it has one. Without a GPU the GPU's figures are absent, never zero."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil
import torch
from medfinetune_api.errors import Refusal

SAMPLE_SECONDS = 15.0
"""Rest between two memory samples. The promise is a sample at least every 30 s (Yoo et al. 2026, training phase: VRAM logged every 30 s); the half leaves room
for the time that a sample takes and for a busy machine."""


@dataclass
class Memory:
    """Reads a rank's memory and keeps the greatest resident size it has seen."""

    device: torch.device
    limit: int | None = None
    """Bytes of GPU memory that the manifest grants a rank; None where it says nothing."""
    peak_rss: int = 0
    process: psutil.Process = field(default_factory=psutil.Process)

    def sample(self) -> dict[str, int]:
        """Bytes by name: `rss`, `rss_peak` (greatest of the samples), and on CUDA `vram_allocated`, `vram_reserved`, `vram_peak`, `vram_limit` (the manifest's
        or the device's, whichever is less) and, where NVML answers, `vram_used` of the whole device.
        """
        resident = int(self.process.memory_info().rss)
        self.peak_rss = max(self.peak_rss, resident)
        return {"rss": resident, "rss_peak": self.peak_rss} | self._vram()

    def _vram(self) -> dict[str, int]:
        if self.device.type != "cuda":
            return {}
        allocator = {
            "vram_allocated": torch.cuda.memory_allocated(self.device),
            "vram_reserved": torch.cuda.memory_reserved(self.device),
            "vram_peak": torch.cuda.max_memory_allocated(self.device),
            "vram_limit": min(filter(None, (self.limit, torch.cuda.get_device_properties(self.device).total_memory))),
        }
        with contextlib.suppress(Exception):  # NVML is a driver's library: absent in some containers, and it has its own exception tree
            allocator["vram_used"] = torch.cuda.device_memory_used(self.device)
        return allocator


class MemorySampler:
    """A daemon thread that hands a memory sample to `record` at once and then every `seconds`, whatever the training loop is doing."""

    def __init__(self, memory: Memory, record: Callable[[Mapping[str, int]], None], seconds: float = SAMPLE_SECONDS) -> None:
        self._memory, self._record, self.seconds = memory, record, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-sampler", daemon=True)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(Refusal):  # whatever keeps a sample from being recorded meets the training thread at its next step
            while True:
                self._record(self._memory.sample())
                if self._stop.wait(self.seconds):
                    return
