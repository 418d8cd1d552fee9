"""From the documents of every source to `data/`: hold out, mix, pack every epoch, write, and report what became of each sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from medfinetune_api.choices import MixUnit
from medfinetune_api.errors import InvalidData
from medfinetune_api.plan import RunPlan
from medfinetune_api.results import PackingReport, SourceShare

from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.data.corpus import Corpus, Indices
from medfinetune_trainer.data.epochs import VALIDATION, epoch_name, write_index
from medfinetune_trainer.data.mixture import mix
from medfinetune_trainer.data.packing import efficiency
from medfinetune_trainer.data.split import split


def hold_out(plan: RunPlan, corpus: Corpus, validation: Corpus) -> Indices:
    """Numbers of the corpus's documents that are not to be trained on, ascending.

    Where the plan names validation sources, these are the documents that they hold too; else the plan's fraction.

    Raises:
        InvalidData: the plan asks for validation and nothing can be held out.
    """
    if len(validation):
        return np.flatnonzero(np.isin(corpus.identities, validation.identities))
    fraction = plan.data.validation.fraction
    held = np.flatnonzero(split(corpus.strata(plan.data.validation.stratify_by), corpus.identities, fraction, plan.training.seed))
    if fraction > 0 and not held.size:
        found = f"{len(corpus)} samples, of which {len(np.unique(corpus.identities))} differ"
        remedy = "Add samples, or set the fraction to 0."
        raise InvalidData("spec.data.validation.fraction", found=found, expected="two different samples or more to hold one out", remedy=remedy)
    return held


def mix_epoch(plan: RunPlan, corpus: Corpus, held: Indices) -> Indices:
    """Numbers of the documents that an epoch trains on, ascending; repeated ones as often as they are trained on.

    Raises:
        InvalidData: nothing is left to train on.
        InvalidManifest: the mixture's ratio cannot be reached.
    """
    available = np.setdiff1d(np.arange(len(corpus)), held)
    if not available.size:
        found = f"every one of {len(corpus)} samples held out"
        raise InvalidData("spec.data.sources", found=found, expected="samples to train on", remedy="Take training samples out of the validation sources.")
    pools, numbers = zip(*corpus.pools(available), strict=True)
    chosen = mix(pools, plan.data.mixture, plan.training.seed)
    return np.concatenate([of[indices] for of, indices in zip(numbers, chosen, strict=True)])


def write_train(plan: RunPlan, corpus: Corpus, chosen: Indices, folder: Path) -> PackingReport:
    """Write train/ and the index of every epoch to `folder`, and say what packing gained."""
    used, documents = np.unique(chosen, return_inverse=True)
    corpus.write(used, folder / "train")
    for epoch in range(plan.training.epochs):
        rows = _write_rows(plan, corpus, used, documents, folder, epoch_name(epoch), epoch)
    lengths, max_length = corpus.lengths[chosen], plan.data.max_length
    return PackingReport(
        efficiency=efficiency(lengths, rows, max_length),
        efficiency_unpacked=efficiency(lengths, len(lengths), max_length),
        rows=rows,
        rows_unpacked=len(lengths),
        steps_per_epoch=-(-rows // plan.rows_per_step),
        steps_per_epoch_unpacked=-(-len(lengths) // plan.rows_per_step),
    )


def write_validation(plan: RunPlan, corpus: Corpus, numbers: Indices, folder: Path) -> int:
    """Write validation/ and its index to `folder`, and return its rows."""
    corpus.write(numbers, folder / VALIDATION)
    return _write_rows(plan, corpus, numbers, np.arange(len(numbers)), folder, VALIDATION, 0)


def _write_rows(plan: RunPlan, corpus: Corpus, written: Indices, documents: Indices, folder: Path, name: str, epoch: int) -> int:
    file = folder / "epochs" / f"{name}.arrow"
    file.parent.mkdir(exist_ok=True)
    seed, data = (plan.training.seed, epoch), plan.data
    return write_index(file, documents.astype(np.int32), corpus.lengths[written], max_length=data.max_length, packing=data.packing, seed=seed)


def mixture_table(plan: RunPlan, corpus: Corpus, held: Indices, chosen: Indices, validation: Corpus) -> tuple[SourceShare, ...]:
    """What became of every sample, a row a source; validation sources come last, with nothing trained on."""
    by_tokens = plan.data.mixture is not None and plan.data.mixture.unit is MixUnit.TOKENS
    whole = corpus.lengths[chosen].sum(dtype=np.int64) if by_tokens else len(chosen)
    tokens = np.bincount(corpus.source_of[chosen], weights=corpus.lengths[chosen], minlength=len(corpus.sources)).astype(np.int64)
    samples, out, distinct = (corpus.by_source(numbers) for numbers in (chosen, held, np.unique(chosen)))
    table = []
    for i, (source, documents) in enumerate(corpus.sources + validation.sources):
        trained = i < len(corpus.sources)
        left = len(documents.lengths) - out[i] - distinct[i] if trained else 0
        table.append(
            SourceShare(
                name=source.name,
                language=source.language,
                domain=source.domain,
                samples_read=documents.read,
                validation=int(out[i]) if trained else len(documents.lengths),
                over_long=documents.over_long,
                tokens_dropped=documents.tokens_dropped,
                mixed_out=int(left),
                decontaminated=documents.decontaminated,
                samples=int(samples[i]) if trained else 0,
                tokens=int(tokens[i]) if trained else 0,
                share=float((tokens if by_tokens else samples)[i] / whole) if trained else 0.0,
            )
        )
    return tuple(table)


def write_manifest(plan: RunPlan, table: tuple[SourceShare, ...], packing: PackingReport, folder: Path) -> None:
    """Write manifest.json: the plan, the languages by which losses are grouped, the table, what packing gained, and the hash of every file in `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "planSha256": plan.sha256,
        "languages": sorted({source.language for source in plan.data.sources + plan.data.validation.sources}),
        "sources": [row.model_dump(by_alias=True) for row in table],
        "packing": packing.model_dump(by_alias=True),
        "files": {str(path.relative_to(folder)): sha256_file(path) for path in files},
    }
    (folder / "manifest.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
