"""PackedRows: what training and validation read, row by row, memory-mapped."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import load_from_disk

from medfinetune_trainer.data.batch import PackedDocument
from medfinetune_trainer.data.epochs import VALIDATION, read_index


class PackedRows:
    """The packed rows of one epoch, or of the validation split.

    Args:
        folder: the run's `data/`, complete.
        name: `epochs.epoch_name(e)`, or `epochs.VALIDATION`.
    """

    def __init__(self, folder: Path, name: str) -> None:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.languages: tuple[str, ...] = tuple(manifest["languages"])
        """The groups that a document's loss is reported under, of training and validation together."""
        self._index = read_index(folder / "epochs" / f"{name}.arrow")
        if len(self._index):  # `datasets` cannot load a dataset without rows
            self._documents = load_from_disk(str(folder / ("validation" if name == VALIDATION else "train")))

    def __len__(self) -> int:
        """Rows."""
        return len(self._index)

    def row(self, number: int) -> list[PackedDocument]:
        """The documents of a row, counted from 0, in the order in which they lie in it."""
        columns = self._documents[self._index[number].as_py()]
        return [
            PackedDocument(input_ids, loss_mask, self.languages.index(language))
            for input_ids, loss_mask, language in zip(columns["input_ids"], columns["loss_mask"], columns["language"], strict=True)
        ]

    def documents(self, number: int) -> list[tuple[int, str]]:
        """Number in `train` (or `validation`) and source of each document of a row, as `row` orders them."""
        numbers = self._index[number].as_py()
        return list(zip(numbers, self._documents[numbers]["source"], strict=True))
