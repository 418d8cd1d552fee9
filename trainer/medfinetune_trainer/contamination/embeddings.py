"""Embeddings: which texts mean the same though they share few words (Med42, appendix A.4: cosine of SentenceTransformers embeddings above 0.8).

A model is used for a language only where it tells unrelated texts of it apart: a model that knows no Korean puts all of it in one place. And across two
languages only where it also finds known translations. It is read from a folder of the models volume, onto the processor, and nothing of that folder is run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
from medfinetune_api.errors import InvalidModel
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_screening import EmbeddingPlan
from medfinetune_api.results_screening import EmbeddingTrial
from numpy.typing import NDArray

from medfinetune_trainer.contamination.translations import translations
from medfinetune_trainer.data.volume import inside
from medfinetune_trainer.model.fingerprint import weights_sha256
from medfinetune_trainer.model.folder import refuse_outside

FIELD = "spec.data.decontamination.embedding"
MOST_UNRELATED = 0.01
"""Share of shuffled pairs that may exceed the threshold."""
LEAST_TRANSLATED = 0.9
"""Share of known translations that must exceed it."""
LEAST_PAIRS = 100
"""Unrelated pairs below which a share of one in a hundred cannot be seen."""
BATCH = 32
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py")

Vectors = NDArray[np.float32]
"""Unit vectors: (N, D)."""


class Embedder:
    """A sentence-transformers model.

    Raises InvalidModel where its folder cannot be used, holds code or pickles, or weights of another hash than the plan's.
    """

    def __init__(self, plan: RunPlan, embedding: EmbeddingPlan) -> None:
        self.threshold = embedding.similarity_threshold
        self._model = _load(_checked_folder(plan, embedding))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of `texts`: (N, D). What is longer than the model reads is cut at its end, as the model does."""
        vectors: Vectors = self._model.encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True)
        return vectors.reshape(len(texts), -1).astype(np.float32, copy=False)

    def trial(self, cosines: NDArray[np.float32], first: str, second: str) -> EmbeddingTrial:
        """Whether the model serves texts of the languages `first` and `second`, given the cosines of shuffled pairs: (P,)."""
        pairs, share = len(cosines), float((cosines > self.threshold).mean()) if len(cosines) >= LEAST_PAIRS else None
        apart = share is not None and share <= MOST_UNRELATED
        if first == second:
            return EmbeddingTrial(used=apart, pairs=pairs, unrelated_share=share)
        known = translations(first, second)
        found = float((self._cosines(known) > self.threshold).mean()) if known else None
        used = apart and found is not None and found >= LEAST_TRANSLATED
        return EmbeddingTrial(used=used, pairs=pairs, unrelated_share=share, translations=len(known), translated_share=found)

    def _cosines(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        one, other = (self.encode(texts) for texts in zip(*pairs, strict=True))
        cosines: NDArray[np.float32] = np.einsum("nd,nd->n", one, other)
        return cosines


def _checked_folder(plan: RunPlan, embedding: EmbeddingPlan) -> Path:
    mount = Path(plan.mounts.models)
    folder = inside(mount, embedding.path, f"{FIELD}.path", InvalidModel)
    files = [file for file in folder.rglob("*") if file.is_file()] if folder.is_dir() else []
    refuse_outside(mount, files)
    unsafe = sorted(file.name for file in files if file.suffix in _UNSAFE)
    if unsafe or not any(file.suffix == ".safetensors" for file in files):
        found = f"{unsafe[0]}, which holds code or a pickle" if unsafe else "no safetensors file"
        remedy = "Export it with SentenceTransformer.save_pretrained, and remove what is no safetensors, JSON or text file."
        raise InvalidModel(f"{FIELD}.path", found=found, expected="a sentence-transformers folder with safetensors weights", remedy=remedy)
    _refuse_foreign_modules(folder)
    if embedding.sha256 is not None and (weights := weights_sha256(folder)) != embedding.sha256:
        remedy = "Restore the weights, or correct the hash in the manifest."
        raise InvalidModel(f"{FIELD}.sha256", found=f"weights with hash {weights}", expected=embedding.sha256, remedy=remedy)
    return folder


def _refuse_foreign_modules(folder: Path) -> None:
    """modules.json names classes that the library imports: only its own."""
    try:
        kinds = [str(module["type"]) for module in json.loads((folder / "modules.json").read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        kinds = []
    if not kinds or not all(kind.startswith("sentence_transformers.") for kind in kinds):
        found = "modules.json that names modules of others" if kinds else "no modules.json that can be read"
        remedy = "Name a model as SentenceTransformer.save_pretrained writes it, without code of its own."
        raise InvalidModel(f"{FIELD}.path", found=found, expected="modules of sentence_transformers alone", remedy=remedy)


def _load(folder: Path) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        with redirect_stderr(sys.stderr if sys.stderr.isatty() else Path(os.devnull).open("w")):  # closed with the process
            from sentence_transformers import SentenceTransformer

            return SentenceTransformer(str(folder), device="cpu", local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a damaged folder makes the library raise
        remedy = "Copy the model again; it must load with sentence_transformers.SentenceTransformer without a network."
        raise InvalidModel(f"{FIELD}.path", found=f"a folder that does not load ({type(error).__name__})", expected="a model", remedy=remedy) from None
