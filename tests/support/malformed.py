"""Manifests that must be refused: each the minimal one with one small change, and the field that whoever refuses it must name.

Grouped as a person meets them: what stands around the spec, then section by section; each rule of `medfinetune_api.rules` is among them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from support.manifests import MINIMAL, claim

ABSENT = object()
"""As a value: the field is removed."""
EN = {"name": "en", "path": "en.jsonl", "format": "MedQA", "language": "en"}
KO = {"name": "ko", "path": "ko.csv", "format": "KorMedMCQA", "language": "ko"}
COLUMNS = {"question": "q", "options": ["a", "b"], "answer": "right"}
TASK = {"name": "test", "path": "test.jsonl", "format": "MedQA", "language": "en"}
BOTH = {"spec.data.sources": [EN, KO]}
SOURCE, MIXTURE, HELD, ADAPTER = "spec.data.sources[0]", "spec.data.mixture", "spec.data.validation", "spec.tuning.lora"
TRAINING, PODS, WHERE, ASKED, POLICY = "spec.training", "spec.pods", "spec.scheduling", "spec.resources", "spec.runPolicy"
TEMPLATE = "spec.output.volume.claimTemplate"
NEAR = f"{WHERE}.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution"
NODES = f"{WHERE}.affinity.nodeAffinity"


@dataclass(frozen=True)
class Malformed:
    """One manifest: `value` at `path` of the minimal one, and what stands in `beside`."""

    name: str
    path: str
    value: Any
    field: str
    """The field that must be named."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    """Key of the map `field` that is at fault: `medfinetune validate` names it, the API server can only name the map."""

    def named_by_validate(self) -> str:
        """What `medfinetune validate` calls the field."""
        return self.field if self.key is None else f"{self.field}.{self.key}"

    def manifest(self) -> dict[str, Any]:
        """The whole manifest."""
        changed = copy.deepcopy(MINIMAL)
        for path, value in (*self.beside.items(), (self.path, self.value)):
            put(changed, path, value)
        return changed


def put(manifest: dict[str, Any], path: str, value: Any) -> None:
    """Set `path` (`spec.data.sources[0].path`) to `value`, with the maps on its way; ABSENT removes it."""
    *above, last = [int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]
    owner: Any = manifest
    for part in above:
        owner = owner.setdefault(part, {}) if isinstance(owner, dict) else owner[part]
    if value is ABSENT:
        del owner[last]
    else:
        owner[last] = copy.deepcopy(value)


def _case(name: str, path: str, value: Any, field: str = "", beside: Mapping[str, Any] | None = None, key: str | None = None) -> Malformed:
    return Malformed(name, path, value, field or path, beside or {}, key)


AROUND = (
    _case("no name", "metadata.name", ABSENT),
    _case("capitals in the name", "metadata.name", "Run"),
    _case("name of 41 characters", "metadata.name", "r" * 41),
    _case("name that begins with a digit", "metadata.name", "1run"),
    _case("name that ends with a dash", "metadata.name", "run-"),
    _case("name with a dot", "metadata.name", "run.a"),
    _case("unknown metadata", "metadata.lables", {"a": "b"}),
    _case("label with a space in its key", "metadata.labels", {"a b": "c"}, key="a b"),
    _case("label with a space in its value", "metadata.labels", {"a": "b c"}, key="a"),
    _case("unknown field beside spec", "specs", {}),
    _case("no spec", "spec", ABSENT),
    _case("a list for the spec", "spec", []),
    _case("unknown section", "spec.trainings", {}),
    _case("misspelt section", "spec.runpolicy", {"suspend": True}),
    _case("unknown preset", "spec.preset", "yoo-2025"),
    _case("a number for the preset", "spec.preset", 2026),
)
MODEL = (
    _case("no model", "spec.model", ABSENT),
    _case("text for the model", "spec.model", "base"),
    _case("no model path", "spec.model.path", ABSENT),
    _case("absolute model path", "spec.model.path", "/models/base"),
    _case("climbing model path", "spec.model.path", "../base"),
    _case("empty model path", "spec.model.path", ""),
    _case("model path with a newline", "spec.model.path", "a\nb"),
    _case("model path of 513 characters", "spec.model.path", "a" * 513),
    _case("hash in capitals", "spec.model.sha256", "A" * 64),
    _case("short hash", "spec.model.sha256", "a" * 63),
    _case("no model volume", "spec.model.volume", ABSENT),
    _case("volume of another kind", "spec.model.volume", {**claim("models"), "hostPath": {"path": "/"}}, "spec.model.volume.hostPath"),
    _case("volume without a claim", "spec.model.volume", {}, "spec.model.volume.persistentVolumeClaim"),
    _case("claim without a name", "spec.model.volume.persistentVolumeClaim", {}, "spec.model.volume.persistentVolumeClaim.claimName"),
    _case("claim name in capitals", "spec.model.volume.persistentVolumeClaim.claimName", "Models"),
)
DATA = (
    _case("no data", "spec.data", ABSENT),
    _case("no data volume", "spec.data.volume", ABSENT),
    _case("no sources", "spec.data.sources", ABSENT),
    _case("empty sources", "spec.data.sources", []),
    _case("a map for sources", "spec.data.sources", {}),
    _case("65 sources", "spec.data.sources", [{**EN, "name": f"s{i}", "path": f"{i}.jsonl"} for i in range(65)]),
    _case("text for a source", SOURCE, "medqa.jsonl"),
    _case("null for a source", SOURCE, None),
    _case("source without a path", f"{SOURCE}.path", ABSENT),
    _case("source without a format", f"{SOURCE}.format", ABSENT),
    _case("source without a language", f"{SOURCE}.language", ABSENT),
    _case("unknown field of a source", f"{SOURCE}.weight", 2),
    _case("source name with capitals", f"{SOURCE}.name", "MedQA"),
    _case("source path with a backslash", f"{SOURCE}.path", "a\\b"),
    _case("source path with an empty name", f"{SOURCE}.path", "a//b"),
    _case("unknown format", f"{SOURCE}.format", "medqa"),
    _case("language in words", f"{SOURCE}.language", "Korean"),
    _case("a boolean for the language", f"{SOURCE}.language", False),
    _case("Exam without columns", f"{SOURCE}.format", "Exam", f"{SOURCE}.columns"),
    _case("columns with MedQA", f"{SOURCE}.columns", COLUMNS),
    _case("columns without options", f"{SOURCE}.columns", {"question": "q", "answer": "a"}, f"{SOURCE}.columns.options", {f"{SOURCE}.format": "Exam"}),
    _case("option column twice", f"{SOURCE}.columns", {**COLUMNS, "options": ["a", "a"]}, f"{SOURCE}.columns.options", {f"{SOURCE}.format": "Exam"}),
    _case("source name twice", "spec.data.sources", [EN, {**KO, "name": "en"}]),
    _case("source file twice", "spec.data.sources", [EN, {**KO, "path": "en.jsonl"}]),
    _case("more than half held out", f"{HELD}.fraction", 0.51),
    _case("less than nothing held out", f"{HELD}.fraction", -0.1),
    _case("fraction and sources", f"{HELD}.fraction", 0.1, beside={f"{HELD}.sources": [KO]}),
    _case("strata and sources", f"{HELD}.stratifyBy", ["Language"], beside={f"{HELD}.sources": [KO]}),
    _case("stratum twice", f"{HELD}.stratifyBy", ["Subject", "Subject"]),
    _case("unknown stratum", f"{HELD}.stratifyBy", ["Domain"], f"{HELD}.stratifyBy[0]"),
    _case("validated on training data", f"{HELD}.sources", [{**KO, "path": "en.jsonl"}], beside={"spec.data.sources": [EN]}),
    _case("mixture without a ratio", f"{MIXTURE}.by", "Language", f"{MIXTURE}.ratio"),
    _case("ratio without a mixture's by", f"{MIXTURE}.ratio", {"en": 1}, f"{MIXTURE}.by"),
    _case("empty ratio", MIXTURE, {"by": "Language", "ratio": {}}, f"{MIXTURE}.ratio"),
    _case("no share", MIXTURE, {"by": "Language", "ratio": {"en": 0}}, f"{MIXTURE}.ratio.en"),
    _case("share below a hundredth", MIXTURE, {"by": "Language", "ratio": {"en": 0.005}}, f"{MIXTURE}.ratio.en"),
    _case("share above a thousand", MIXTURE, {"by": "Language", "ratio": {"en": 1001}}, f"{MIXTURE}.ratio.en"),
    _case("text for a share", MIXTURE, {"by": "Language", "ratio": {"en": "half"}}, f"{MIXTURE}.ratio.en"),
    _case("share of no language", MIXTURE, {"by": "Language", "ratio": {"en": 1, "fr": 1}}, f"{MIXTURE}.ratio"),
    _case("language without a share", MIXTURE, {"by": "Language", "ratio": {"en": 1}}, f"{MIXTURE}.ratio", BOTH),
    _case("rows of 15 tokens", "spec.data.maxLength", 15),
    _case("rows of half a token more", "spec.data.maxLength", 2048.5),
    _case("unknown packing", "spec.data.packing", "bestfit"),
    _case("unknown overlong", "spec.data.overlong", "Ignore"),
)
TUNING = (
    _case("unknown method", "spec.tuning.method", "DoRA"),
    _case("adapter under Full", ADAPTER, {}, beside={"spec.tuning.method": "Full"}),
    _case("prefix of the default method", "spec.tuning.prefix", {}),
    _case("bottleneck under LoRA", "spec.tuning.bottleneck", {}, beside={"spec.tuning.method": "LoRA"}),
    _case("LoRA on a base in 4 bits", "spec.tuning.quantization", "NF4", beside={"spec.tuning.method": "LoRA"}),
    _case("Full from an adapter", "spec.tuning.initialAdapter", {"path": "a"}, beside={"spec.tuning.method": "Full"}),
    _case("initial adapter outside the volume", "spec.tuning.initialAdapter.path", "../a"),
    _case("bottleneck of width 0", "spec.tuning.bottleneck.size", 0, beside={"spec.tuning.method": "Bottleneck"}),
    _case("bottleneck of no placement", "spec.tuning.bottleneck.placement", "parallel", beside={"spec.tuning.method": "Bottleneck"}),
    _case("prefix of 0 tokens", "spec.tuning.prefix.numVirtualTokens", 0, beside={"spec.tuning.method": "PrefixTuning"}),
    _case("packed prefixes", "spec.data.packing", "BestFit", beside={"spec.tuning.method": "PrefixTuning"}),
    _case("layers of a prefix", "spec.training.layerDecay", 0.5, TRAINING, beside={"spec.tuning.method": "PrefixTuning"}),
    _case("adapters of Full", "spec.parallelism.sharding", "AdaptersOnly", beside={"spec.tuning.method": "Full"}),
    _case("activations of a prefix", "spec.training.activationCheckpointing", "Enabled", beside={"spec.tuning.method": "PrefixTuning"}),
    _case("merged bottleneck", "spec.output.merge", True, beside={"spec.tuning.method": "Bottleneck"}),
    _case("LoRA+ below 1", f"{ADAPTER}.loraplusLrRatio", 0.5),
    _case("text for DoRA", f"{ADAPTER}.useDora", "yes"),
    _case("rank 0", f"{ADAPTER}.rank", 0),
    _case("alpha 0", f"{ADAPTER}.alpha", 0),
    _case("dropout 1", f"{ADAPTER}.dropout", 1),
    _case("no target modules", f"{ADAPTER}.targetModules", []),
    _case("text for target modules", f"{ADAPTER}.targetModules", "all-linear"),
    _case("all-linear and more", f"{ADAPTER}.targetModules", ["all-linear", "q_proj"]),
    _case("target module twice", f"{ADAPTER}.targetModules", ["q_proj", "q_proj"]),
    _case("target module by pattern", f"{ADAPTER}.targetModules", [".*proj"], f"{ADAPTER}.targetModules[0]"),
)
OPTIMIZATION = (
    _case("text for epochs", f"{TRAINING}.epochs", "3"),
    _case("0 epochs", f"{TRAINING}.epochs", 0),
    _case("1001 epochs", f"{TRAINING}.epochs", 1001),
    _case("a number of 20 digits for epochs", f"{TRAINING}.epochs", 10**19),
    _case("learning rate 0", f"{TRAINING}.learningRate", 0),
    _case("learning rate above 1", f"{TRAINING}.learningRate", 1.5),
    _case("unknown scheduler", f"{TRAINING}.scheduler.type", "cosine"),
    _case("unknown field of the scheduler", f"{TRAINING}.scheduler.warmup_steps", 10),
    _case("beta of 1", f"{TRAINING}.optimizer.beta2", 1.0),
    _case("epsilon 0", f"{TRAINING}.optimizer.epsilon", 0),
    _case("negative weight decay", f"{TRAINING}.optimizer.weightDecay", -1),
    _case("half a row in a batch", f"{TRAINING}.globalBatchTokens", 1000, beside={"spec.data.maxLength": 300}),
    _case("FP16 on the processor", f"{TRAINING}.precision", "FP16", beside={"spec.parallelism.gpusPerNode": 0}),
    _case("unknown precision", f"{TRAINING}.precision", "bf16"),
    _case("micro-batch 0", f"{TRAINING}.microBatch", 0),
    _case("micro-batch in words", f"{TRAINING}.microBatch", "auto"),
    _case("unknown optimizer", f"{TRAINING}.optimizer.type", "adamw"),
    _case("8 bits on the processor", f"{TRAINING}.optimizer.type", "AdamW8bit", beside={"spec.parallelism.gpusPerNode": 0}),
    _case("8 bits in shards", "spec.parallelism.sharding", "AdaptersOnly", beside={f"{TRAINING}.optimizer.type": "AdamW8bit"}),
    _case("offloaded twice", f"{TRAINING}.offload", ["Optimizer", "Optimizer"]),
    _case("paged and offloaded", f"{TRAINING}.offload", ["Optimizer"], beside={f"{TRAINING}.optimizer.type": "PagedAdamW"}),
    _case("layer decay 0", f"{TRAINING}.layerDecay", 0),
    _case("unfreezing without a pace", f"{TRAINING}.gradualUnfreezing", {}, f"{TRAINING}.gradualUnfreezing.everySteps"),
    _case("no patience", f"{TRAINING}.earlyStopping.patience", 0),
    _case("stopping without validation", f"{TRAINING}.earlyStopping", {}, beside={f"{HELD}.fraction": 0}),
    _case("negative noise", f"{TRAINING}.neftuneNoiseAlpha", -1),
    _case("no head-room at all", f"{ASKED}.gpuMemoryHeadroom", 1),
    _case("negative seed", f"{TRAINING}.seed", -1),
    _case("no nodes", "spec.parallelism.nodes", 0),
    _case("257 nodes", "spec.parallelism.nodes", 257),
    _case("17 GPUs a node", "spec.parallelism.gpusPerNode", 17),
    _case("unknown sharding", "spec.parallelism.sharding", "FSDP"),
    _case("no checkpoint kept", "spec.checkpoint.keep", 0),
    _case("checkpoints at every 0th step", "spec.checkpoint.everySteps", 0),
)
EVALUATION = (
    _case("text for the baseline", "spec.evaluation.baseline", "yes"),
    _case("batch size 0", "spec.evaluation.batchSize", 0),
    _case("65 tasks", "spec.evaluation.tasks", [{**TASK, "name": f"t{i}"} for i in range(65)]),
    _case("task name twice", "spec.evaluation.tasks", [TASK, {**TASK, "path": "other.jsonl"}]),
    _case("task without options", "spec.evaluation.tasks", [{**TASK, "format": "Chat"}], "spec.evaluation.tasks[0].metrics"),
    _case("unknown metric", "spec.evaluation.tasks", [{**TASK, "metrics": ["BLEURT"]}], "spec.evaluation.tasks[0].metrics[0]"),
    _case("25 orders", "spec.evaluation.tasks", [{**TASK, "optionOrders": 25}], "spec.evaluation.tasks[0].optionOrders"),
    _case("17 answers", "spec.evaluation.tasks", [{**TASK, "repeats": 17}], "spec.evaluation.tasks[0].repeats"),
    _case(
        "gate above 1",
        "spec.evaluation.gates",
        [{"name": "g", "task": TASK["name"], "minimum": 1.1}],
        "spec.evaluation.gates[0].minimum",
        beside={"spec.evaluation.tasks": [TASK]},
    ),
    _case("forgetting in percent", "spec.evaluation.forgettingThreshold", 5),
    _case("privacy in words", "spec.data.privacy.action", "block"),
    _case("empty record number", "spec.data.privacy.recordNumbers", [""], "spec.data.privacy.recordNumbers[0]"),
    _case("nothing alike", "spec.data.decontamination.ngramThreshold", 0),
    _case("embedding elsewhere", "spec.data.decontamination.embedding", {"path": "/minilm"}, "spec.data.decontamination.embedding.path"),
    _case("evaluated on training data", "spec.evaluation.tasks", [{**TASK, "path": "en.jsonl"}], beside={"spec.data.sources": [EN]}),
    _case("subject that reorders text", "spec.evaluation.tasks", [{**TASK, "subject": "law\u202e"}], "spec.evaluation.tasks[0].subject"),
    _case("domain with a control character", f"{SOURCE}.domain", "a\x9bb"),
    _case("task of 0 questions", "spec.evaluation.tasks", [{**TASK, "limit": 0}], "spec.evaluation.tasks[0].limit"),
    _case("columns of a MedQA task", "spec.evaluation.tasks", [{**TASK, "columns": COLUMNS}], "spec.evaluation.tasks[0].columns"),
)
OUTPUT = (
    _case("no output", "spec.output", ABSENT),
    _case("no output volume", "spec.output.volume", {}),
    _case("claim and template", TEMPLATE, {"storage": "1Gi"}, "spec.output.volume"),
    _case("template without a size", "spec.output.volume", {"claimTemplate": {}}, f"{TEMPLATE}.storage"),
    _case("size in words", "spec.output.volume", {"claimTemplate": {"storage": "large"}}, f"{TEMPLATE}.storage"),
    _case("size 0", "spec.output.volume", {"claimTemplate": {"storage": "0Gi"}}, f"{TEMPLATE}.storage"),
    _case("unknown access mode", "spec.output.volume", {"claimTemplate": {"storage": "1Gi", "accessModes": ["RWX"]}}, f"{TEMPLATE}.accessModes[0]"),
    _case("no access mode", "spec.output.volume", {"claimTemplate": {"storage": "1Gi", "accessModes": []}}, f"{TEMPLATE}.accessModes"),
    _case(
        "two nodes on a volume of one",
        "spec.output.volume",
        {"claimTemplate": {"storage": "1Gi"}},
        f"{TEMPLATE}.accessModes",
        {"spec.parallelism.nodes": 2},
    ),
    _case("unknown retained", "spec.output.retain", ["Adapter"], "spec.output.retain[0]"),
    _case("retained four times", "spec.output.retain", ["Data", "Samples", "Checkpoints", "Data"]),
)
RESOURCES = (
    _case("negative CPU", f"{ASKED}.train.requests.cpu", -1),
    _case("half a CPU as a number", f"{ASKED}.train.requests.cpu", 0.5),
    _case("unknown unit", f"{ASKED}.train.limits.memory", "32GB"),
    _case("a list for requests", f"{ASKED}.prepare.requests", ["cpu"]),
    _case("unknown stage", f"{ASKED}.purge", {}),
    _case("17 requests", f"{ASKED}.train.requests", {f"r{i}": 1 for i in range(17)}),
    _case("resource without a name", f"{ASKED}.train.requests", {"": 1}, key=""),
    _case("resource with a name of 318 characters", f"{ASKED}.evaluate.limits", {"r" * 318: 1}, key="r" * 60),
    _case("GPUs as a request", f"{ASKED}.train.requests", {"nvidia.com/gpu": 1}, ASKED),
    _case("GPUs of another kind as a limit", f"{ASKED}.evaluate.limits", {"amd.com/gpu": 1}, ASKED, {f"{ASKED}.gpuResource": "amd.com/gpu"}),
    _case("a number for shared memory", f"{ASKED}.sharedMemory", 1024),
    _case("GPU memory with a fraction", f"{ASKED}.gpuMemory", "23.5Gi"),
    _case("GPU resource without a name", f"{ASKED}.gpuResource", ""),
)
SCHEDULING = (
    _case("node label with a space", f"{WHERE}.nodeSelector.zone", "a b"),
    _case("a number for a node label", f"{WHERE}.nodeSelector.zone", 1),
    _case("33 node labels", f"{WHERE}.nodeSelector", {f"l{i}": "x" for i in range(33)}),
    _case("unknown toleration operator", f"{WHERE}.tolerations", [{"operator": "In"}], f"{WHERE}.tolerations[0].operator"),
    _case("unknown taint effect", f"{WHERE}.tolerations", [{"key": "a", "effect": "NoRun"}], f"{WHERE}.tolerations[0].effect"),
    _case("toleration of nothing", f"{WHERE}.tolerations", [{}], f"{WHERE}.tolerations[0].key"),
    _case("value with Exists", f"{WHERE}.tolerations", [{"key": "a", "operator": "Exists", "value": "b"}], f"{WHERE}.tolerations[0].value"),
    _case("seconds without eviction", f"{WHERE}.tolerations", [{"key": "a", "tolerationSeconds": 1}], f"{WHERE}.tolerations[0].tolerationSeconds"),
    _case("17 tolerations", f"{WHERE}.tolerations", [{"key": f"k{i}"} for i in range(17)]),
    _case(
        "negative toleration",
        f"{WHERE}.tolerations",
        [{"key": "a", "effect": "NoExecute", "tolerationSeconds": -1}],
        f"{WHERE}.tolerations[0].tolerationSeconds",
    ),
    _case("unknown affinity", f"{WHERE}.affinity.zoneAffinity", {}),
    _case(
        "nodes of no term",
        f"{NODES}.requiredDuringSchedulingIgnoredDuringExecution",
        {"nodeSelectorTerms": []},
        f"{NODES}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms",
    ),
    _case("pods without a topology", NEAR, [{"labelSelector": {}}], f"{NEAR}[0].topologyKey"),
    _case(
        "unknown selector operator",
        NEAR,
        [{"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}, "topologyKey": "t"}],
        f"{NEAR}[0].labelSelector.matchExpressions[0].operator",
    ),
    _case(
        "preference of weight 0",
        f"{NODES}.preferredDuringSchedulingIgnoredDuringExecution",
        [{"weight": 0, "preference": {}}],
        f"{NODES}.preferredDuringSchedulingIgnoredDuringExecution[0].weight",
    ),
    _case("priority class in capitals", f"{WHERE}.priorityClassName", "High"),
    _case("empty runtime class", f"{WHERE}.runtimeClassName", ""),
    _case("a list for the queue", f"{WHERE}.queueName", ["team"]),
)
CARRIED = (
    _case("image with a space", f"{PODS}.image", "trainer latest"),
    _case("a list for the image", f"{PODS}.image", ["trainer"]),
    _case("nine pull secrets", f"{PODS}.imagePullSecrets", [{"name": f"s{i}"} for i in range(9)]),
    _case("pull secret without a name", f"{PODS}.imagePullSecrets", [{}], f"{PODS}.imagePullSecrets[0].name"),
    _case("variable of the rendezvous", f"{PODS}.env", [{"name": "PET_NNODES", "value": "2"}], f"{PODS}.env[0].name"),
    _case("variable of the system", f"{PODS}.env", [{"name": "PATH", "value": "/"}], f"{PODS}.env[0].name"),
    _case("variable with a dash", f"{PODS}.env", [{"name": "A-B", "value": "c"}], f"{PODS}.env[0].name"),
    _case("a number for a variable", f"{PODS}.env", [{"name": "TZ", "value": 1}], f"{PODS}.env[0].value"),
    _case("variable from a Secret", f"{PODS}.env", [{"name": "TZ", "value": "", "valueFrom": {}}], f"{PODS}.env[0].valueFrom"),
    _case("variable twice", f"{PODS}.env", [{"name": "TZ", "value": "1"}, {"name": "TZ", "value": "2"}]),
    _case("label of the product", f"{PODS}.labels", {"medfinetune.io/run": "other"}),
    _case("label of Kueue", f"{PODS}.labels", {"kueue.x-k8s.io/queue-name": "team"}),
    _case("annotation of Kubernetes", f"{PODS}.annotations", {"container.apparmor.security.beta.kubernetes.io/trainer": "unconfined"}),
    _case("annotation of 4097 characters", f"{PODS}.annotations.note", "x" * 4097),
)
RUN_POLICY = (
    _case("text for suspend", f"{POLICY}.suspend", "true"),
    _case("a number for cancel", f"{POLICY}.cancel", 1),
    _case("101 restarts", f"{POLICY}.maxRestarts", 101),
    _case("negative deadline", f"{POLICY}.activeDeadlineSeconds", -1),
    _case("time to live of more than a year", f"{POLICY}.ttlSecondsAfterFinished", 31536001),
    _case("scheduling timeout with a unit", f"{POLICY}.schedulingTimeoutSeconds", "15m"),
    _case("half a second of stalling", f"{POLICY}.stallTimeoutSeconds", 0.5),
    _case("unknown policy", f"{POLICY}.backoffLimit", 3),
)
MALFORMED = (*AROUND, *MODEL, *DATA, *TUNING, *OPTIMIZATION, *EVALUATION, *OUTPUT, *RESOURCES, *SCHEDULING, *CARRIED, *RUN_POLICY)
