"""The closed sets of words a manifest chooses from."""

from __future__ import annotations

from enum import StrEnum


class Preset(StrEnum):
    """Named defaults; see `presets.py`."""

    YOO_2026 = "yoo-2026"
    MED42_LORA = "med42-lora"
    MED42_FULL = "med42-full"
    LOW_MEMORY = "low-memory"


class Format(StrEnum):
    """How a data file is laid out."""

    MEDQA = "MedQA"
    KORMEDMCQA = "KorMedMCQA"
    PUBMEDQA = "PubMedQA"
    MEDMCQA = "MedMCQA"
    HEADQA = "HeadQA"
    MMLU = "MMLU"
    USMLE = "USMLE"
    QUESTION_ANSWER = "QuestionAnswer"
    INSTRUCTION = "Instruction"
    CHAT = "Chat"
    EXAM = "Exam"


class AnswerStyle(StrEnum):
    """How an `Exam` file writes the right answer."""

    LETTER = "Letter"
    NUMBER = "Number"
    INDEX = "Index"
    TEXT = "Text"


class Stratum(StrEnum):
    """What a validation split keeps in proportion."""

    LANGUAGE = "Language"
    SUBJECT = "Subject"


class MixBy(StrEnum):
    """What a mixture's ratio names."""

    LANGUAGE = "Language"
    SOURCE = "Source"
    DOMAIN = "Domain"


class MixUnit(StrEnum):
    """What a mixture's ratio counts."""

    SAMPLES = "Samples"
    TOKENS = "Tokens"


class MixFill(StrEnum):
    """How a mixture reaches its ratio: drop from the larger side, or repeat the smaller."""

    DOWNSAMPLE = "Downsample"
    REPEAT = "Repeat"


class Packing(StrEnum):
    """How documents share rows of `maxLength` tokens."""

    BEST_FIT = "BestFit"
    NONE = "None"


class LossOn(StrEnum):
    """Which tokens carry loss."""

    RESPONSE = "Response"
    ALL = "All"


class Overlong(StrEnum):
    """What becomes of a sample longer than `maxLength` tokens."""

    ERROR = "Error"
    DROP = "Drop"
    TRUNCATE = "Truncate"


class ChatTemplate(StrEnum):
    """Which template turns messages into text."""

    TOKENIZER = "Tokenizer"
    MED42 = "Med42"


class Method(StrEnum):
    """What is trained."""

    QLORA = "QLoRA"
    LORA = "LoRA"
    FULL = "Full"
    PREFIX_TUNING = "PrefixTuning"
    BOTTLENECK = "Bottleneck"


class Quantization(StrEnum):
    """How a frozen base is kept."""

    NF4 = "NF4"
    NONE = "None"


class Placement(StrEnum):
    """Where a bottleneck adapter stands to the sublayer that it adapts."""

    SEQUENTIAL = "Sequential"
    PARALLEL = "Parallel"


class OptimizerType(StrEnum):
    """Which AdamW: with states in 32 or 8 bits, on the GPU or paged to the host when its memory runs out."""

    ADAMW = "AdamW"
    ADAMW_8BIT = "AdamW8bit"
    PAGED_ADAMW = "PagedAdamW"
    PAGED_ADAMW_8BIT = "PagedAdamW8bit"


class Offload(StrEnum):
    """What is kept in the host's memory instead of the GPU's."""

    ACTIVATIONS = "Activations"
    OPTIMIZER = "Optimizer"


class Schedule(StrEnum):
    """The learning rate's course after warm-up."""

    COSINE = "Cosine"
    LINEAR = "Linear"
    CONSTANT = "Constant"


class Precision(StrEnum):
    """The compute type of matrix products; adapters and optimizer states are kept in fp32."""

    AUTO = "Auto"
    BF16 = "BF16"
    FP16 = "FP16"
    FP32 = "FP32"


class Sharding(StrEnum):
    """How parameters are spread over the ranks."""

    AUTO = "Auto"
    ADAPTERS_ONLY = "AdaptersOnly"
    FULL = "Full"
    NONE = "None"


class Toggle(StrEnum):
    """A switch that prepare may decide. The words are not On and Off, which YAML reads as booleans."""

    AUTO = "Auto"
    ON = "Enabled"
    OFF = "Disabled"


class PrivacyAction(StrEnum):
    """What becomes of records that seem to hold personal data."""

    BLOCK = "Block"
    REDACT = "Redact"
    WARN = "Warn"
    DISABLED = "Disabled"


class DecontaminationAction(StrEnum):
    """What becomes of questions that resemble training records."""

    REPORT = "Report"
    REMOVE = "Remove"
    DISABLED = "Disabled"


class RemoveFrom(StrEnum):
    """Which side of a resemblance is removed."""

    EVALUATION = "Evaluation"
    TRAINING = "Training"


class Scoring(StrEnum):
    """How a question with options is answered: by the likelihood of its letters, or in the model's own words."""

    LETTER = "Letter"
    GENERATION = "Generation"


class TextMetric(StrEnum):
    """What an answer in the model's own words is measured by, each 0 to 1."""

    F1 = "F1"
    ENTITY_F1 = "EntityF1"
    ROUGE_L = "RougeL"
    BLEU = "Bleu"
    CONSISTENCY = "Consistency"


class GateMetric(StrEnum):
    """What a gate looks at."""

    ACCURACY = "Accuracy"
    F1 = "F1"
    ENTITY_F1 = "EntityF1"
    ROUGE_L = "RougeL"
    BLEU = "Bleu"
    CONSISTENCY = "Consistency"
    CALIBRATION_ERROR = "CalibrationError"
    CODE_MIXING = "CodeMixing"


class DecidedBy(StrEnum):
    """What of a measurement must satisfy a gate: the worse end of its 95 % interval, or the estimate itself."""

    INTERVAL = "Interval"
    ESTIMATE = "Estimate"


class Stage(StrEnum):
    """What a run goes through, in order: three stages of work, the purge of what is not to stay, and, of a run that a gate stopped, its release."""

    PREPARE = "prepare"
    TRAIN = "train"
    EVALUATE = "evaluate"
    PURGE = "purge"
    RELEASE = "release"


WORK = (Stage.PREPARE, Stage.TRAIN, Stage.EVALUATE)
"""The stages that make the adapter; a run that has ended, in whatever way, is purged."""
AFTERWARDS = (Stage.PURGE, Stage.RELEASE)
"""The stages of a run that has ended: nobody's to stop, and charged to nobody."""


class Retained(StrEnum):
    """Working files that stay when a run has ended."""

    DATA = "Data"
    SAMPLES = "Samples"
    CHECKPOINTS = "Checkpoints"


class AccessMode(StrEnum):
    """How many nodes may mount a volume, in Kubernetes' words."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class SelectorOperator(StrEnum):
    """How a selector compares a label with its values."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"
