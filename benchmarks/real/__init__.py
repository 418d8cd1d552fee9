"""The whole product on real questions: `python -m benchmarks.real`."""
