"""How what a gate has stopped is told from what was delivered, wherever it was copied to: by its folder's name, or by the words of its model card."""

from __future__ import annotations

from pathlib import Path

from medfinetune_api.errors import InvalidModel

CARD = "README.md"
FOLDER = "quarantine"
SAYS = "Quarantined: this model failed"
"""How the card of a stopped model begins; that of a released one says otherwise."""


def refuse_quarantined(folder: Path, field: str) -> None:
    """Raises InvalidModel, naming the manifest's `field`, where `folder` holds an adapter or model that a gate has stopped and nobody has released."""
    card = folder / CARD
    if FOLDER in folder.parts or (card.is_file() and SAYS in card.read_text(encoding="utf-8", errors="replace")):
        remedy = "Choose another, or let somebody who may release the run: docs/gates.md."
        raise InvalidModel(field, found="what a gate has stopped", expected="what was delivered", remedy=remedy)
