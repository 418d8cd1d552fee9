"""Every cross-field rule of the manifest, once: its CEL for the API server and its Python for `medfinetune validate`, side by side.

Kept cheap for the API server's cost limit: lists and maps hold at most 64 entries, strings are bounded, and nothing is nested deeper than two loops.
Immutability of the spec compares with the stored object, which has no Python form: `immutable.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from medfinetune_api.choices import AccessMode, Format, MixBy, Precision, TaintEffect, TolerationOperator
from medfinetune_api.ruled import Rule

if TYPE_CHECKING:
    from medfinetune_api.spec import FineTuneSpec, MedFineTune
    from medfinetune_api.spec_data import DataSpec, OutputVolumeSpec, SourceSpec, ValidationSpec
    from medfinetune_api.spec_evaluation import TaskSpec
    from medfinetune_api.spec_pods import ResourcesSpec

RUN_NAME = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
RUN_NAME_LENGTH = 40
ODD_NAME = re.compile(r"(^|/)[.]{0,2}(/|\Z)")
"""Nothing, `.` or `..` between slashes: an absolute path, one that climbs, or a second spelling of another path."""


def _repeated(values: Iterable[Any]) -> list[str]:
    return [str(value) for value, times in Counter(values).items() if times > 1]


def unique(list_field: str, key: str, python: Callable[[Any], Iterable[Any]]) -> Rule:
    """Entries of a list differ in `key`; an empty key compares the entries themselves."""
    field, dotted = f"self.{list_field}", f".{key}" if key else ""
    return Rule.none(
        lambda node: _repeated(python(node)),
        "{} more than once",
        cel=f"!has({field}) || {field}.all(a, {field}.exists_one(b, b{dotted} == a{dotted}))",
        expected=f"a different {key or 'value'} in each entry",
        remedy="Rename or remove the repeated entries.",
        field=f".{list_field}",
    )


# metadata


def _name_holds(manifest: MedFineTune) -> bool:
    return len(manifest.metadata.name) <= RUN_NAME_LENGTH and re.fullmatch(RUN_NAME, manifest.metadata.name) is not None


RUN_NAME_IS_LABEL = Rule(
    cel=f"self.metadata.name.size() <= {RUN_NAME_LENGTH} && self.metadata.name.matches('{RUN_NAME}')",
    holds=_name_holds,
    expected="at most 40 lower-case letters, digits and '-', beginning with a letter and not ending with '-'",
    remedy="Rename the run: Jobs, Services and folders are named after it.",
    field=".metadata.name",
)


# data


def _path_holds(path: str) -> bool:
    return "\\" not in path and ODD_NAME.search(path) is None


PATH_STAYS_INSIDE = Rule(
    cel=r"!self.contains('\\') && !self.matches('(^|/)[.]{0,2}(/|$)')",
    holds=_path_holds,
    expected="a path relative to its volume, with one '/' between names, none at either end, and no '.' or '..' among them",
    remedy="Name the file or folder as it lies below the volume's root.",
)


def _columns_hold(source: SourceSpec | TaskSpec) -> bool:
    return (source.format is Format.EXAM) == (source.columns is not None)


COLUMNS_WITH_EXAM = Rule(
    cel="(self.format == 'Exam') == has(self.columns)",
    holds=_columns_hold,
    expected="columns exactly where the format is Exam",
    remedy="Say which column holds what of an Exam file, or remove columns: the other formats name their own.",
    field=".columns",
)


def _split_holds(validation: ValidationSpec) -> bool:
    return validation.fraction is None or validation.sources is None


FRACTION_OR_SOURCES = Rule(
    cel="!(has(self.fraction) && has(self.sources))",
    holds=_split_holds,
    expected="either fraction or sources",
    remedy="Remove fraction to validate on the sources alone, or sources to hold out a fraction of the training data.",
    field=".fraction",
    reason="FieldValueForbidden",
)


def _strata_hold(validation: ValidationSpec) -> bool:
    return validation.stratify_by is None or validation.sources is None


STRATIFY_WITH_FRACTION = Rule(
    cel="!(has(self.stratifyBy) && has(self.sources))",
    holds=_strata_hold,
    expected="stratifyBy only where a fraction is held out",
    remedy="Remove stratifyBy: sources of their own are taken whole.",
    field=".stratifyBy",
    reason="FieldValueForbidden",
)

STRATA_UNIQUE = unique("stratifyBy", "", lambda validation: validation.stratify_by or ())
SOURCE_NAMES_UNIQUE = unique("sources", "name", lambda node: [source.name for source in node.sources or ()])
SOURCE_PATHS_UNIQUE = unique("sources", "path", lambda node: [source.path for source in node.sources or ()])
TASK_NAMES_UNIQUE = unique("tasks", "name", lambda evaluation: [task.name for task in evaluation.tasks])
OPTION_COLUMNS_UNIQUE = unique("options", "", lambda columns: columns.options)


def _held_out(data: DataSpec) -> tuple[SourceSpec, ...]:
    return (data.validation.sources if data.validation else None) or ()


def _shared(data: DataSpec) -> list[str]:
    names, paths = {source.name for source in data.sources}, {source.path for source in data.sources}
    return [held.name for held in _held_out(data) if held.name in names or held.path in paths]


VALIDATION_APART = Rule.none(
    _shared,
    "{} in both",
    cel=("!has(self.validation) || !has(self.validation.sources) || self.validation.sources.all(v, self.sources.all(s, s.name != v.name && s.path != v.path))"),
    expected="validation sources with names and paths that no training source has",
    remedy="Remove the shared source from one of the two lists: a model validated on its training data looks better than it is.",
    field=".validation.sources",
)

_GROUP = "(self.mixture.by == 'Language' ? s.language : (self.mixture.by == 'Domain' ? s.domain : s.name))"


def _group(source: SourceSpec, by: MixBy) -> str:
    return {MixBy.LANGUAGE: source.language, MixBy.DOMAIN: source.domain, MixBy.SOURCE: source.name}[by]


def _groups(data: DataSpec) -> set[str]:
    return {_group(source, data.mixture.by) for source in data.sources} if data.mixture else set()


def _strangers(data: DataSpec) -> list[str]:
    return sorted(set(data.mixture.ratio) - _groups(data)) if data.mixture else []


def _left_out(data: DataSpec) -> list[str]:
    return sorted(_groups(data) - set(data.mixture.ratio)) if data.mixture else []


RATIO_NAMES_EXIST = Rule.none(
    _strangers,
    "{}, which no source has",
    cel=f"!has(self.mixture) || self.mixture.ratio.all(k, self.sources.exists(s, {_GROUP} == k))",
    expected="a ratio that names only languages, domains or sources (by mixture.by) of data.sources",
    remedy="Remove or correct the names that no source has.",
    field=".mixture.ratio",
)

RATIO_NAMES_ALL = Rule.none(
    _left_out,
    "no share for {}",
    cel=f"!has(self.mixture) || self.sources.all(s, {_GROUP} in self.mixture.ratio)",
    expected="a ratio that names every language, domain or source (by mixture.by) of data.sources",
    remedy="Give each missing name its share, or remove its sources.",
    field=".mixture.ratio",
)


# pods

TUNING_PREFIXES = ("NCCL_", "TORCH_NCCL_", "RCCL_", "GLOO_", "UCX_", "FI_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")
TUNING_NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "MALLOC_ARENA_MAX", "CUDA_DEVICE_MAX_CONNECTIONS", "TZ")
"""What a run may set tunes communication, threads and memory. Any other may lead to code that the administrator has not allowed, and no list of those ends."""
LOADS = "PLUGIN|PRELOAD|TUNABLES|(^|_)(LIB|LIBS|LIBRARY|LIBRARIES|PATH|DIR|MODULE|MODULES|CONF|CONFIG|FILE|ENGINES)$"
"""Variables, even of these prefixes, that name code, or a folder or file that may lead to code."""
RESERVED_DOMAINS = ("medfinetune.io/", "kubernetes.io/", "k8s.io/", "x-k8s.io/")
_TUNING = "^(" + "|".join(TUNING_PREFIXES) + ")"


def _tunes(name: str) -> bool:
    return name in TUNING_NAMES or (name.startswith(TUNING_PREFIXES) and re.search(LOADS, name) is None)


ENVIRONMENT_TUNES = Rule(
    cel=f"self.name in {list(TUNING_NAMES)} || (self.name.matches('{_TUNING}') && !self.name.matches('{LOADS}'))",
    holds=lambda variable: _tunes(variable.name),
    expected=f"{', '.join(TUNING_NAMES)}, or a name that begins with {', '.join(TUNING_PREFIXES)} and names no code, file or folder",
    remedy="Remove the variable: the product sets what it needs itself, and others may load code that the administrator has not allowed.",
    field=".name",
    reason="FieldValueForbidden",
)
ENVIRONMENT_UNIQUE = unique("env", "name", lambda pods: [variable.name for variable in pods.env])


def _keys_not_reserved(field: str, python: Callable[[Any], Iterable[str]]) -> Rule:
    """No key of the map lies in a domain of Kubernetes or of the product, nor in one below it."""
    cel = f"^([^/]*[.])?({'|'.join(domain.replace('.', '[.]') for domain in RESERVED_DOMAINS)})"

    def reserved(node: Any) -> list[str]:
        return sorted(key for key in python(node) if re.match(cel, key))

    return Rule.none(
        reserved,
        cel=f"!has(self.{field}) || self.{field}.all(k, k.size() > 317 || !k.matches('{cel}'))",
        expected="keys outside medfinetune.io, kubernetes.io, k8s.io and x-k8s.io",
        remedy="Remove the key: Kubernetes, Kueue and the operator read it as their own.",
        field=f".{field}",
        reason="FieldValueForbidden",
    )


LABELS_NOT_RESERVED = _keys_not_reserved("labels", lambda pods: pods.labels or ())
ANNOTATIONS_NOT_RESERVED = _keys_not_reserved("annotations", lambda pods: pods.annotations or ())


USUAL_GPU = "nvidia.com/gpu"
"""What GPUs are asked by where a run does not say. An operator may have another default, which the schema cannot know: the operator looks itself."""


def _gpu(resources: ResourcesSpec) -> str:
    return resources.gpu_resource or USUAL_GPU


def _gpus_asked(resources: ResourcesSpec) -> list[str]:
    stages = {"prepare": resources.prepare, "train": resources.train, "evaluate": resources.evaluate}
    return [name for name, one in stages.items() if one and _gpu(resources) in {**(one.requests or {}), **(one.limits or {})}]


def _no_gpu(stage: str) -> str:
    gpu = f"(has(self.gpuResource) ? self.gpuResource : '{USUAL_GPU}')"
    maps = (f"(!has(self.{stage}.{part}) || !({gpu} in self.{stage}.{part}))" for part in ("requests", "limits"))
    return f"(!has(self.{stage}) || ({' && '.join(maps)}))"


GPUS_BY_PARALLELISM = Rule(
    cel=" && ".join(_no_gpu(stage) for stage in ("prepare", "train", "evaluate")),
    holds=lambda resources: not _gpus_asked(resources),
    found=lambda resources: f"{_gpu(resources)} in {', '.join(_gpus_asked(resources))}",
    expected="requests and limits without the GPU resource",
    remedy="Remove it, and set parallelism.gpusPerNode: GPUs are asked for once prepare has succeeded.",
    reason="FieldValueForbidden",
)

TOLERATION_KEY = Rule(
    cel="(has(self.key) && self.key != '') || self.operator == 'Exists'",
    holds=lambda toleration: bool(toleration.key) or toleration.operator is TolerationOperator.EXISTS,
    expected="a key, or operator Exists",
    remedy="Name the taint's key; without one, operator Exists tolerates every taint.",
    field=".key",
)
TOLERATION_VALUE = Rule(
    cel="!has(self.value) || self.value == '' || self.operator == 'Equal'",
    holds=lambda toleration: not toleration.value or toleration.operator is TolerationOperator.EQUAL,
    expected="a value only with operator Equal",
    remedy="Remove the value, or set operator: Equal.",
    field=".value",
    reason="FieldValueForbidden",
)
TOLERATION_SECONDS = Rule(
    cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
    holds=lambda toleration: toleration.toleration_seconds is None or toleration.effect is TaintEffect.NO_EXECUTE,
    expected="tolerationSeconds only with effect NoExecute",
    remedy="Remove tolerationSeconds, or set effect: NoExecute.",
    field=".tolerationSeconds",
    reason="FieldValueForbidden",
)


# output


def _one_volume(volume: OutputVolumeSpec) -> bool:
    return (volume.persistent_volume_claim is None) != (volume.claim_template is None)


ONE_OUTPUT_VOLUME = Rule(
    cel="has(self.persistentVolumeClaim) != has(self.claimTemplate)",
    holds=_one_volume,
    found=lambda volume: "both" if volume.claim_template else "neither",
    expected="either persistentVolumeClaim or claimTemplate",
    remedy="Name an existing claim, or describe one to be made: not both.",
)


def _output_shared(spec: FineTuneSpec) -> bool:
    template = spec.output.volume.claim_template
    return template is None or spec.parallelism.nodes == 1 or AccessMode.READ_WRITE_MANY in template.access_modes


OUTPUT_SHARED_BY_NODES = Rule(
    cel="!has(self.output.volume.claimTemplate) || self.parallelism.nodes == 1 || 'ReadWriteMany' in self.output.volume.claimTemplate.accessModes",
    holds=_output_shared,
    expected="ReadWriteMany where parallelism.nodes is above 1",
    remedy="Set accessModes: [ReadWriteMany] and a storage class that can do it, or train on one node.",
    field=".output.volume.claimTemplate.accessModes",
)


# the whole spec


def _whole_rows(spec: FineTuneSpec) -> bool:
    slots, length = spec.training.global_batch_tokens, spec.data.max_length
    return slots is None or length is None or slots % length == 0


BATCH_IN_WHOLE_ROWS = Rule(
    cel=("!has(self.training.globalBatchTokens) || !has(self.data.maxLength) || self.training.globalBatchTokens % self.data.maxLength == 0"),
    holds=_whole_rows,
    found=lambda spec: f"{spec.training.global_batch_tokens} with maxLength {spec.data.max_length}",
    expected="a multiple of data.maxLength, since a batch is made of whole rows",
    remedy="Set globalBatchTokens to the rows of a batch times data.maxLength.",
    field=".training.globalBatchTokens",
)


def _precision_holds(spec: FineTuneSpec) -> bool:
    return spec.training.precision is not Precision.FP16 or spec.parallelism.gpus_per_node > 0


FP16_NEEDS_GPU = Rule(
    cel="!has(self.training.precision) || self.training.precision != 'FP16' || self.parallelism.gpusPerNode > 0",
    holds=_precision_holds,
    expected="Auto, BF16 or FP32 where gpusPerNode is 0",
    remedy="Choose another precision, or train on GPUs: processors have no FP16 training.",
    field=".training.precision",
)


def _trained_on(spec: FineTuneSpec) -> list[str]:
    paths = {source.path for source in spec.data.sources}
    return [task.name for task in spec.evaluation.tasks if task.path in paths and not task.seen]


TASKS_APART = Rule.none(
    _trained_on,
    "{} on a file that is trained on",
    cel="!has(self.evaluation) || !has(self.evaluation.tasks) || self.evaluation.tasks.all(t, t.seen || self.data.sources.all(s, s.path != t.path))",
    expected="files of their own, or seen: true",
    remedy="Evaluate on other questions; seen: true shows only that training took.",
    field=".evaluation.tasks",
)
