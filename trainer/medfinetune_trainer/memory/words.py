"""Settings and sizes in words."""

from __future__ import annotations

from math import ceil

from medfinetune_api.results import Chosen

from medfinetune_trainer.memory.job import Setting

GIB = 1 << 30


def described(setting: Setting | Chosen) -> str:
    """What was chosen, or may be."""
    again = setting.checkpointing if isinstance(setting, Setting) else setting.activation_checkpointing
    rows = f"{setting.micro_batch} {'row' if setting.micro_batch == 1 else 'rows'} a pass"
    return f"sharding {setting.sharding.value}, activations {'computed again' if again else 'kept'}, {rows}"


def gib(size: float) -> str:
    """Bytes in GiB, one decimal, or in MiB below one GiB; rounded up: 1.01 GiB do not fit in 1.0."""
    return f"{ceil(10 * size / GIB) / 10:.1f} GiB" if size >= GIB else f"{ceil(size / (1 << 20))} MiB"
