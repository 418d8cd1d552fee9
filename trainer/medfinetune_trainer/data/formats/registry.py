"""Which format reads a source, and its way into Arrow.

Arrow through `datasets.ArrowWriter`, not `Dataset.from_generator`: that one caches by a hash of the generator, so that a changed file could come back as it
was, and buries a refusal in an error of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from medfinetune_api.choices import Format
from medfinetune_api.plan_data import SourcePlan
from medfinetune_api.plan_evaluation import TaskPlan

from medfinetune_trainer.artifacts.files import storage_errors
from medfinetune_trainer.data.formats.builder import Builder
from medfinetune_trainer.data.formats.chat import chat
from medfinetune_trainer.data.formats.exam import exam
from medfinetune_trainer.data.formats.headqa import headqa
from medfinetune_trainer.data.formats.kormedmcqa import kormedmcqa
from medfinetune_trainer.data.formats.medmcqa import medmcqa
from medfinetune_trainer.data.formats.medqa import medqa
from medfinetune_trainer.data.formats.mmlu import mmlu
from medfinetune_trainer.data.formats.pairs import instruction, question_answer
from medfinetune_trainer.data.formats.pubmedqa import pubmedqa
from medfinetune_trainer.data.formats.usmle import usmle
from medfinetune_trainer.data.reading import DataFile
from medfinetune_trainer.data.records import Record
from medfinetune_trainer.data.volume import inside

FORMATS: dict[Format, Callable[[Builder], Iterator[Record]]] = {
    Format.MEDQA: medqa,
    Format.KORMEDMCQA: kormedmcqa,
    Format.PUBMEDQA: pubmedqa,
    Format.MEDMCQA: medmcqa,
    Format.HEADQA: headqa,
    Format.MMLU: mmlu,
    Format.USMLE: usmle,
    Format.QUESTION_ANSWER: question_answer,
    Format.INSTRUCTION: instruction,
    Format.CHAT: chat,
    Format.EXAM: exam,
}


def read_source(source: SourcePlan | TaskPlan, mount: Path, listed: str = "") -> Iterator[Record]:
    """Records of a source or task, streamed in the file's order.

    Args:
        source: source or task of the plan.
        mount: folder where this executor sees the data volume.
        listed: manifest field that lists it, for messages; as a rule the one for its type.

    Raises:
        InvalidData: the path leaves the volume or names nothing, or the file or a row of it is not what the format says; by file:line.
    """
    field = listed or ("spec.data.sources" if isinstance(source, SourcePlan) else "spec.evaluation.tasks")
    file = DataFile(inside(mount, source.path, f"{field}[name={source.name}].path"), source.path)
    domain = source.domain if isinstance(source, SourcePlan) else ""
    build = Builder(file=file, source=source.name, language=source.language, domain=domain, subject=source.subject or "", columns=source.columns)
    yield from FORMATS[source.format](build)


def load_source(source: SourcePlan | TaskPlan, mount: Path, cache: Path, listed: str = "", screen: Callable[[Record], Record] | None = None) -> Dataset:
    """The records of a source as a memory-mapped dataset, written to a new Arrow file in the folder `cache` (and nowhere else). Columns: `record_features`.

    `source`, `mount` and `listed` are as in `read_source`; `screen`, if given, sees every record before it is written, and returns what is.

    Raises:
        InvalidData: as `read_source`; `cache` keeps no dataset then.
        StorageFailed: `cache` is full or cannot be written.
    """
    target = cache / f"{source.name}.arrow"
    partial = target.with_suffix(".partial")
    with storage_errors(cache):
        cache.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            try:
                writer = ArrowWriter(stream=stream, features=record_features(), writer_batch_size=1000)
                for record in read_source(source, mount, listed):
                    writer.write((screen(record) if screen else record).to_row())
                writer.finalize(close_stream=False)
            except BaseException:
                partial.unlink()
                raise
        partial.replace(target)
    return Dataset.from_file(str(target))


def record_features() -> Features:
    """Arrow types of a record's row."""
    texts = {name: Value("string") for name in ("where", "id", "source", "language", "domain", "subject", "question", "year")}
    messages = List({"role": Value("string"), "content": Value("string")})
    lists = {"options": List(Value("string")), "choices": List(Value("string")), "also_right": List(Value("int8"))}
    return Features({**texts, **lists, "messages": messages, "answer": Value("int8")})
