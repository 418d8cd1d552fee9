"""presidio and spaCy, imported without torch and transformers.

presidio would ask torch for a GPU and transformers for its pipelines, and uses neither here: 13 CPU seconds of every prepare, 1.3 without them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Within the block an import of `names` raises ModuleNotFoundError, as Python does where `sys.modules` holds None; afterwards all is as before."""
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]  # typeshed knows no None there
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)


with _hidden("torch", "transformers"):
    import spacy
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, LocalRecognizer, Pattern, PatternRecognizer, RecognizerRegistry, RecognizerResult
    from presidio_analyzer.nlp_engine import NerModelConfiguration, NlpArtifacts, SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import KrRrnRecognizer, SpacyRecognizer, UsSsnRecognizer
    from spacy.language import Language

__all__ = [
    "AnalyzerEngine",
    "EntityRecognizer",
    "KrRrnRecognizer",
    "Language",
    "LocalRecognizer",
    "NerModelConfiguration",
    "NlpArtifacts",
    "Pattern",
    "PatternRecognizer",
    "RecognizerRegistry",
    "RecognizerResult",
    "SpacyNlpEngine",
    "SpacyRecognizer",
    "UsSsnRecognizer",
    "spacy",
]
