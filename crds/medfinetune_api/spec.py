"""The manifest: what a user writes. Its parts lie in `spec_data.py` and `spec_training.py`, its cross-field rules in `rules.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from medfinetune_api import rules, rules_training
from medfinetune_api.base import Contract
from medfinetune_api.choices import Preset, Retained
from medfinetune_api.ruled import Ruled
from medfinetune_api.scalars import AnnotationValue, LabelKey, LabelValue, Name, ObjectName, RelativePath, Sha256
from medfinetune_api.spec_data import DataSpec, OutputVolumeSpec, VolumeSpec
from medfinetune_api.spec_evaluation import EvaluationSpec
from medfinetune_api.spec_pods import PodsSpec, ResourcesSpec, RunPolicySpec, SchedulingSpec
from medfinetune_api.spec_training import CheckpointSpec, ParallelismSpec, TrainingSpec
from medfinetune_api.spec_tuning import TuningSpec

API_VERSION = "medfinetune.io/v1alpha1"
KIND = "MedFineTune"

Labels = Annotated[Mapping[LabelKey, LabelValue], Field(max_length=256)]
Annotations = Annotated[Mapping[LabelKey, AnnotationValue], Field(max_length=256)]


class ModelSpec(Contract):
    """The base model."""

    path: RelativePath
    """Folder below the volume's root in the Hugging Face layout, weights as safetensors."""
    volume: VolumeSpec
    """Where the model lies."""
    sha256: Sha256 | None = None
    """SHA-256 that model.safetensors must have; of shards, that of what `sha256sum *.safetensors` prints. A mismatch is refused. Default: not checked."""


class OutputSpec(Contract):
    """Where results go."""

    volume: OutputVolumeSpec
    """Holds one folder a run, `<name>-<uid8>/`."""
    retain: Annotated[tuple[Retained, ...], Field(max_length=3)] = ()
    """Working files that stay when the run has ended: Data and Samples (both hold record text), Checkpoints. Adapter, summary, metrics and plan always stay.
    Default none."""
    merge: bool = False
    """Whether the adapter is also merged into the 16-bit base and left as a whole model in `model/`; with method QLoRA or LoRA only. Default false."""


class FineTuneSpec(Ruled):
    """Everything that decides a run."""

    rules = (
        rules.BATCH_IN_WHOLE_ROWS,
        rules.FP16_NEEDS_GPU,
        rules.OUTPUT_SHARED_BY_NODES,
        rules.TASKS_APART,
        rules_training.PREFIX_UNPACKED,
        rules_training.PREFIX_HAS_NO_LAYERS,
        rules_training.PREFIX_KEEPS_ACTIVATIONS,
        rules_training.MERGE_LOW_RANK,
        rules_training.FULL_HAS_NO_ADAPTERS,
        rules_training.OPTIMIZER_NEEDS_GPU,
        rules_training.OPTIMIZER_UNSHARDED,
        rules_training.STOPPING_NEEDS_VALIDATION,
    )

    preset: Preset | None = None
    """Named defaults for what the manifest leaves out: yoo-2026, med42-lora, med42-full or low-memory. Default: none."""
    model: ModelSpec
    """The base model."""
    data: DataSpec
    """The records, and how they become training rows."""
    tuning: TuningSpec | None = None
    """What is trained. Default: the preset's, or QLoRA of rank 16 on every linear layer."""
    training: TrainingSpec = TrainingSpec()
    """The optimization. Default: the preset's, or the documented values."""
    parallelism: ParallelismSpec = ParallelismSpec()
    """The gang that trains. Default: one node with one GPU."""
    checkpoint: CheckpointSpec = CheckpointSpec()
    """What a run that was stopped continues from."""
    evaluation: EvaluationSpec = EvaluationSpec()
    """What the run is judged by. Default: nothing."""
    output: OutputSpec
    """Where results go."""
    resources: ResourcesSpec = ResourcesSpec()
    """What the pods ask for."""
    scheduling: SchedulingSpec = SchedulingSpec()
    """Where the pods may run, and who comes first."""
    pods: PodsSpec = PodsSpec()
    """What every pod carries."""
    run_policy: RunPolicySpec = RunPolicySpec()
    """How the run is tried; may be changed while it exists."""


class Metadata(Contract):
    """The part of Kubernetes' object metadata that a manifest writes."""

    name: ObjectName
    """Name of the run: at most 40 lower-case letters, digits and '-', beginning with a letter."""
    namespace: Name | None = None
    """Namespace of the run. Default: the client's; local runs have none."""
    labels: Labels | None = None
    """Labels, for whoever selects runs; they decide nothing."""
    annotations: Annotations | None = None
    """Notes, for whoever reads the object; they decide nothing."""


class MedFineTune(Ruled):
    """MedFineTune fine-tunes a medical language model on a hospital's own data and judges it in every language it must serve."""

    rules = (rules.RUN_NAME_IS_LABEL,)

    api_version: Literal["medfinetune.io/v1alpha1"]
    """Version of the contract: medfinetune.io/v1alpha1."""
    kind: Literal["MedFineTune"]
    """Kind of the object: MedFineTune."""
    metadata: Metadata
    """Name and labels."""
    spec: FineTuneSpec
    """Everything that decides the run; cannot be changed once it exists."""
