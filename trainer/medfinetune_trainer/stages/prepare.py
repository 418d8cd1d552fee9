"""Prepare: from the hospital's files to packed rows, without a GPU and without torch, so that bad data is refused before anything expensive is waited for.

In order: check the model folder, its tokenizer and chat template; read every evaluation task, and compare it with the training records; read every source
strictly, tokenise it, apply the over-long policy; hold validation out; mix; pack every epoch; choose what the plan left open. plan.json is written first,
`data/` as a whole, prepared.json last: a stage that was killed starts again from nothing, one that is complete does nothing.

The evaluation tasks are read here, though asked after training, because they are part of the plan's hash: to correct one then would be another run, trained
from the beginning.

What is chosen (`Auto`) is what the memory plan (`memory`) finds to be the fastest that fits. It is asked twice: before anything is read at length, where what
would not fit even if no token carried loss is refused at once; and when the share of loss tokens has been measured, which decides.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from medfinetune_api.choices import Stage
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.results import Chosen, MemoryEstimate, Prepared, StageResult
from medfinetune_api.results_privacy import PrivacyReport

from medfinetune_trainer.artifacts import attempts
from medfinetune_trainer.artifacts.files import new_folder, remove_unfinished, storage_errors, write_text
from medfinetune_trainer.contamination.record import NOTHING, LeftOut, figures, screen
from medfinetune_trainer.data.apart import refuse_trained_on
from medfinetune_trainer.data.assemble import hold_out, mix_epoch, mixture_table, write_manifest, write_train, write_validation
from medfinetune_trainer.data.corpus import Corpus
from medfinetune_trainer.data.documents import Documents, admit
from medfinetune_trainer.data.formats import load_source
from medfinetune_trainer.data.template import Renderer, load_tokenizer
from medfinetune_trainer.data.tokenise import tokenise_dataset
from medfinetune_trainer.evaluation.questions import file_sha256, read_questions
from medfinetune_trainer.evaluation.text_demands import refuse_unwritable
from medfinetune_trainer.gates.demands import refuse_undecidable
from medfinetune_trainer.memory import choose as fastest
from medfinetune_trainer.memory.evaluation import needs_gang
from medfinetune_trainer.memory.job import known_loss_share
from medfinetune_trainer.memory.refusal import does_not_fit, remedies
from medfinetune_trainer.memory.shape import base_shape
from medfinetune_trainer.model.architectures import architecture_of
from medfinetune_trainer.model.fingerprint import require_weights, weights_sha256
from medfinetune_trainer.model.folder import model_folder, refuse_misfit, weight_files
from medfinetune_trainer.model.initial import initial_sha256, require_initial
from medfinetune_trainer.model.stored import refuse_not_numbers
from medfinetune_trainer.privacy import scan
from medfinetune_trainer.stages.prepared import is_delivered
from medfinetune_trainer.stages.schedules import idle, refuse_longer_than
from medfinetune_trainer.stages.tables import show, show_misfits
from medfinetune_trainer.stages.telling import begin_anew
from medfinetune_trainer.telemetry.log import say
from medfinetune_trainer.telemetry.server import serving_if_asked


def run(plan: RunPlan) -> StageResult:
    """Prepare the run, or say that it is prepared.

    Raises:
        InvalidModel: the model folder or its tokenizer cannot be used.
        DoesNotFit: no choice that the plan allows fits the memory that it names.
        InvalidData, InvalidManifest: see the modules under `data`; an evaluation task cannot be asked.
        StorageFailed: the output volume failed.
    """
    prepared = _complete(plan)
    if prepared is None:
        with serving_if_asked(Stage.PREPARE):
            prepared = _prepare(plan)
        begin_anew(plan)  # a finished run whose prepared.json was lost tells of this attempt too
        attempts.add(plan, Stage.PREPARE)
        write_text(plan.folder.prepared, prepared.to_json() + "\n")
        show(prepared)
    else:
        say("prepare is complete already", folder=str(plan.folder.root))
    return _result(plan, prepared)


def _complete(plan: RunPlan) -> Prepared | None:
    """What an earlier start of this plan prepared; None where it did not end."""
    prepared = Prepared.read(plan.folder.prepared)
    mine = prepared is not None and prepared.plan_sha256 == plan.sha256
    return prepared if mine and (plan.folder.data_manifest.exists() or is_delivered(plan)) else None


def _prepare(plan: RunPlan) -> Prepared:
    """Read into a scratch folder beside `data/`, which goes with every copy of record text in it, then write `data/`."""
    choose(plan, model_folder(plan), known_loss_share(plan).least)
    renderer = _checked_renderer(plan)
    asked = {task.name: read_questions(task, Path(plan.mounts.data), plan.training.seed).asked for task in plan.evaluation.tasks}
    refuse_unwritable(plan, model_folder(plan), asked)
    refuse_undecidable(plan, {name: {record.subject for record in records} for name, records in asked.items()})
    refuse_trained_on(plan)
    root, target = plan.folder.root, plan.folder.data
    write_text(plan.folder.plan, plan.to_json() + "\n")
    remove_unfinished(target)
    screening = scan.begin(plan)
    with storage_errors(root), TemporaryDirectory(prefix=f".{target.name}.", dir=root, ignore_cleanup_errors=True) as scratch:
        left_out = screen(plan, Path(scratch))
        corpus = _read(plan, plan.data.sources, renderer, Path(scratch, "train"), screening, left_out)
        validation = _read(plan, plan.data.validation.sources, renderer, Path(scratch, "validation"), screening, NOTHING)
        if screening:
            scan.write_report(plan, screening.report())
        with new_folder(target) as folder:
            return _write(plan, corpus, validation, folder)


def _checked_renderer(plan: RunPlan) -> Renderer:
    folder = model_folder(plan)
    architecture_of(folder)
    if plan.model.sha256 is not None:
        require_weights(folder, plan.model.sha256)
    renderer = Renderer(load_tokenizer(folder), plan.data.chat_template)
    refuse_misfit(plan, folder, renderer)
    refuse_not_numbers(weight_files(folder))
    require_initial(plan, folder)
    return renderer


def _read(plan: RunPlan, sources: Sequence[SourcePlan], renderer: Renderer, scratch: Path, screening: scan.Screening | None, left_out: LeftOut) -> Corpus:
    return Corpus([(source, _documents(plan, source, renderer, scratch, screening, left_out.get(source.name, frozenset()))) for source in sources])


def _documents(plan: RunPlan, source: SourcePlan, renderer: Renderer, scratch: Path, screening: scan.Screening | None, left_out: Collection[int]) -> Documents:
    """A source's file to documents that fit, without the records `left_out` (numbers from 1); what lies between goes at once."""
    between = scratch / "between"
    listed = "spec.data.sources" if source in plan.data.sources else "spec.data.validation.sources"
    records = load_source(source, Path(plan.mounts.data), between, listed, screening)
    if left_out:
        records = records.select([row for row in range(len(records)) if row + 1 not in left_out])
    tokenise_dataset(records, renderer, plan.data.loss_on, between / "tokens.arrow")
    documents = admit(between / "tokens.arrow", source.name, plan.data.overlong, plan.data.max_length, scratch / f"{source.name}.arrow")
    documents = replace(documents, read=documents.read + len(left_out), decontaminated=len(left_out))
    shutil.rmtree(between, ignore_errors=True)
    say("read", source=source.name, samples=documents.read, over_long=documents.over_long, tokens_dropped=documents.tokens_dropped)
    return documents


def _write(plan: RunPlan, corpus: Corpus, validation: Corpus, folder: Path) -> Prepared:
    held = hold_out(plan, corpus, validation)
    chosen = mix_epoch(plan, corpus, held)
    loss_share = float(corpus.loss_tokens[chosen].sum() / corpus.lengths[chosen].sum())
    decided, memory = choose(plan, model_folder(plan), loss_share)
    packing = write_train(plan, corpus, chosen, folder)
    refuse_longer_than(plan, packing.steps_per_epoch * plan.training.epochs)
    out = (validation, np.arange(len(validation))) if len(validation) else (corpus, held)
    validation_rows = write_validation(plan, *out, folder)
    table = mixture_table(plan, corpus, held, chosen, validation)
    write_manifest(plan, table, packing, folder)
    return Prepared(
        plan_sha256=plan.sha256,
        sources=table,
        packing=packing,
        chosen=decided,
        memory=memory,
        train_documents=len(np.unique(chosen)),
        validation_documents=len(out[1]),
        validation_rows=validation_rows,
        total_steps=packing.steps_per_epoch * plan.training.epochs,
        loss_token_share=loss_share,
        weights_sha256=plan.model.sha256 or weights_sha256(model_folder(plan)),
        tasks_sha256={task.name: file_sha256(task, Path(plan.mounts.data)) for task in plan.evaluation.tasks},
        initial_adapter_sha256=initial_sha256(plan),
    )


def choose(plan: RunPlan, base: Path, loss_share: float) -> tuple[Chosen, MemoryEstimate]:
    """What the plan leaves to prepare, and what it takes.

    Args:
        plan: the run.
        base: the model's folder, whose config.json is read.
        loss_share: share of the tokens that carry loss, 0 to 1.

    Raises:
        DoesNotFit: no choice that the plan allows fits its gpuMemory. InvalidModel: config.json cannot be used.
    """
    shape = base_shape(base)
    fit = fastest.choose(plan, shape, loss_share)
    if not fit.fits:
        show_misfits(fastest.alternatives(plan, shape, loss_share))
        raise does_not_fit(plan, fit, remedies(plan, shape, loss_share))
    setting = fit.setting
    chosen = Chosen(
        sharding=setting.sharding,
        micro_batch=setting.micro_batch,
        activation_checkpointing=setting.checkpointing,
        evaluate_on_gang=needs_gang(plan, shape),
    )
    return chosen, fit.memory


def _result(plan: RunPlan, prepared: Prepared) -> StageResult:
    packing = prepared.packing
    privacy = PrivacyReport.read(plan.folder.privacy)
    unused = idle(plan, packing.steps_per_epoch)
    message = (
        f"{prepared.train_documents} documents to train on in {packing.rows} rows ({packing.efficiency:.1%} full), "
        f"{packing.steps_per_epoch} steps an epoch in place of {packing.steps_per_epoch_unpacked}; {prepared.validation_documents} documents held out."
        f"{f' {privacy.sentence}' if privacy else ''}{f' {unused}' if unused else ''}"
    )
    numbers = {
        "train_documents": prepared.train_documents,
        "validation_documents": prepared.validation_documents,
        "total_steps": prepared.total_steps,
        "micro_batch": prepared.chosen.micro_batch,
        "evaluate_on_gang": float(prepared.chosen.evaluate_on_gang),
        "steps_per_epoch": packing.steps_per_epoch,
        "steps_per_epoch_unpacked": packing.steps_per_epoch_unpacked,
        "packing_efficiency": packing.efficiency,
        "packing_efficiency_unpacked": packing.efficiency_unpacked,
        "over_long_samples": sum(row.over_long for row in prepared.sources),
        "dropped_tokens": sum(row.tokens_dropped for row in prepared.sources),
        "loss_token_share": prepared.loss_token_share,
        **(privacy.numbers if privacy else {}),
        **_memory(prepared),
        **figures(plan),
    }
    return StageResult.of(Stage.PREPARE, Exit.SUCCEEDED, message, numbers)


def _memory(prepared: Prepared) -> dict[str, float]:
    memory = prepared.memory
    figures = {"memory_total_bytes": memory.total, "memory_limit_bytes": memory.limit} if memory else {}
    return {name: float(value) for name, value in figures.items() if value is not None}
