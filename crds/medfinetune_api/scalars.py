"""The scalar types of the contract: each bounded, each with the words that explain its pattern to a person. Manifest, plan, results and status share them.

Patterns keep to RE2, which Go (the API server), Rust (pydantic) and CEL share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from medfinetune_api.choices import Stratum
from medfinetune_api.rules import PATH_STAYS_INSIDE, RUN_NAME, RUN_NAME_LENGTH
from medfinetune_api.unseen import UNSEEN

UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
QUALIFIED_NAME = r"^([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
REASON = r"^[A-Z][A-Za-z0-9]*$"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
CLAIM_NAME = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
LANGUAGE_TAG = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
SHA256 = r"^[0-9a-f]{64}$"
PRINTABLE = rf"^[^{UNSEEN}]+$"
QUANTITY = r"^([0-9]+([.][0-9]+)?|[.][0-9]+)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
MEMORY = r"^[1-9][0-9]{0,14}(Ki|Mi|Gi|Ti)?$"
IMAGE = r"^[A-Za-z0-9][-A-Za-z0-9_./:@]*$"
ENVIRONMENT_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
MODULE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z0-9_]+)*$|^all-linear$"

PATTERN_WORDS = {
    RUN_NAME: "lower-case letters, digits and '-', beginning with a letter and not ending with '-'",
    UUID: "a UUID in lower case",
    QUALIFIED_NAME: "at most 63 letters, digits, '-', '_' and '.', with or without a DNS prefix and '/'",
    LABEL_VALUE: "letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
    REASON: "one CamelCase word",
    DNS_LABEL: "lower-case letters, digits and '-', beginning and ending with a letter or digit",
    CLAIM_NAME: "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    LANGUAGE_TAG: "a BCP 47 language tag such as en, ko or pt-BR",
    SHA256: "64 lower-case hexadecimal digits",
    PRINTABLE: "text without control characters and without characters that reorder it",
    QUANTITY: "a Kubernetes quantity such as 4, 500m or 32Gi",
    MEMORY: "bytes as a whole number with or without Ki, Mi, Gi or Ti, such as 24Gi",
    IMAGE: "an image reference such as registry.example/trainer@sha256:...",
    ENVIRONMENT_NAME: "letters, digits and '_', not beginning with a digit",
    MODULE_NAME: "the name of a linear layer such as q_proj, or all-linear",
}
"""What a person is told where a pattern does not match."""

ENTRIES = 64
"""Most entries of a list or map that a rule walks through: keeps CEL within the API server's cost limit."""

# names and paths

Name = Annotated[str, Field(max_length=63, pattern=DNS_LABEL)]
RunName = Annotated[str, Field(max_length=RUN_NAME_LENGTH, pattern=RUN_NAME)]
ObjectName = Annotated[str, Field(max_length=253)]
Uid = Annotated[str, Field(max_length=36, pattern=UUID)]
LabelKey = Annotated[str, Field(max_length=317, pattern=QUALIFIED_NAME)]
LabelValue = Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]
AnnotationValue = Annotated[str, Field(max_length=262144)]
ClaimName = Annotated[str, Field(max_length=253, pattern=CLAIM_NAME)]
LanguageTag = Annotated[str, Field(max_length=35, pattern=LANGUAGE_TAG)]
Sha256 = Annotated[str, Field(max_length=64, pattern=SHA256)]
Label = Annotated[str, Field(max_length=63, pattern=PRINTABLE)]
GroupName = Annotated[str, Field(max_length=63)]
ColumnName = Annotated[str, Field(max_length=128, pattern=PRINTABLE)]
ModuleName = Annotated[str, Field(max_length=128, pattern=MODULE_NAME)]
RelativePath = Annotated[str, Field(max_length=512, pattern=PRINTABLE), PATH_STAYS_INSIDE]
Folder = Annotated[str, Field(min_length=1, max_length=4096)]
Message = Annotated[str, Field(max_length=1024)]
Reason = Annotated[str, Field(max_length=63, pattern=REASON)]

# what pods carry

BoundedKey = Annotated[str, Field(min_length=1, max_length=317)]
"""Key of a label or resource: the API server checks its form with the pod's."""
TolerationKey = Annotated[str, Field(max_length=317)]
Expression = Annotated[str, Field(min_length=1, max_length=128, pattern=PRINTABLE)]
Image = Annotated[str, Field(max_length=512, pattern=IMAGE)]
EnvironmentName = Annotated[str, Field(max_length=128, pattern=ENVIRONMENT_NAME)]
EnvironmentValue = Annotated[str, Field(max_length=4096)]
MemoryQuantity = Annotated[str, Field(max_length=20, pattern=MEMORY)]
PodQuantity = Annotated[int, Field(ge=0, le=9007199254740991)] | Annotated[str, Field(max_length=32, pattern=QUANTITY)]

# numbers

Count = Annotated[int, Field(ge=0, le=9007199254740991)]
ExitCode = Annotated[int, Field(ge=0, le=255)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
HeldOut = Annotated[float, Field(ge=0, le=0.5)]
Share = Annotated[float, Field(ge=0.01, le=1000)]
"""A part in a mixture; two parts stand at most 100,000 to 1."""
RowLength = Annotated[int, Field(ge=16, le=131072)]
BatchTokens = Annotated[int, Field(ge=16, le=1073741824)]
Rank = Annotated[int, Field(ge=1, le=1024)]
Alpha = Annotated[float, Field(gt=0, le=4096)]
WarmupSteps = Annotated[int, Field(ge=0, le=1000000)]
Epsilon = Annotated[float, Field(gt=0, le=1)]
GradNorm = Annotated[float, Field(ge=0, le=1000)]
Epochs = Annotated[int, Field(ge=1, le=1000)]
LearningRate = Annotated[float, Field(gt=0, le=1)]
RateRatio = Annotated[float, Field(ge=1, le=1024)]
LayerDecay = Annotated[float, Field(gt=0, le=1)]
NoiseAlpha = Annotated[float, Field(ge=0, le=1000)]
VirtualTokens = Annotated[int, Field(ge=1, le=4096)]
BottleneckSize = Annotated[int, Field(ge=1, le=8192)]
AdapterScale = Annotated[float, Field(gt=0, le=1000)]
Layers = Annotated[int, Field(ge=1, le=1024)]
Patience = Annotated[int, Field(ge=1, le=1000)]
LossDelta = Annotated[float, Field(ge=0, le=1000)]
MOST_ROWS = 4096
"""In one forward pass of one rank."""
Rows = Annotated[int, Field(ge=1, le=MOST_ROWS)]
MicroBatch = Literal["Auto"] | Rows
Seed = Annotated[int, Field(ge=0, le=2147483647)]
Nodes = Annotated[int, Field(ge=1, le=256)]
Gpus = Annotated[int, Field(ge=0, le=16)]
EverySteps = Annotated[int, Field(ge=1, le=1000000)]
Kept = Annotated[int, Field(ge=1, le=100)]
BatchSize = Annotated[int, Field(ge=1, le=1024)]
OptionOrders = Annotated[int, Field(ge=1, le=24)]
Repeats = Annotated[int, Field(ge=1, le=16)]
NewTokens = Annotated[int, Field(ge=1, le=4096)]
Similarity = Annotated[float, Field(gt=0, le=1)]
Limit = Annotated[int, Field(ge=1, le=1000000)]
Weight = Annotated[int, Field(ge=1, le=100)]
Restarts = Annotated[int, Field(ge=0, le=100)]
Seconds = Annotated[int, Field(ge=0, le=31536000)]
MemoryBytes = Annotated[int, Field(ge=1, le=9007199254740991)]

# lists

OptionColumns = Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=26)]
TargetModules = Annotated[tuple[ModuleName, ...], Field(min_length=1, max_length=ENTRIES)]
Strata = Annotated[tuple[Stratum, ...], Field(max_length=2)]
Ratio = Annotated[Mapping[GroupName, Share], Field(min_length=1, max_length=ENTRIES)]
