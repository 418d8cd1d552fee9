"""For every test: Hypothesis without deadlines (no test asserts a time), and one thread a process (threads that share a busy core wait for each other)."""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("medfinetune", deadline=None)
settings.load_profile("medfinetune")
