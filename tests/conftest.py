"""Hypothesis without deadlines: no test asserts a time, and a shared machine may be slow."""

from hypothesis import settings

settings.register_profile("medfinetune", deadline=None)
settings.load_profile("medfinetune")
