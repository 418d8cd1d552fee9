"""Every cross-field rule, in both its forms: a manifest that breaks it is refused by Python and by CEL with the same words, its repair by neither."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from medfinetune_api import rules, rules_evaluation, rules_training
from medfinetune_api.fields import fields_of
from medfinetune_api.manifest import ManifestErrors, parse_manifest
from medfinetune_api.ruled import Rule
from medfinetune_api.spec import FineTuneSpec
from support.admission import refusals
from support.manifests import MINIMAL, minimal_manifest

EN = {"name": "en", "path": "en.jsonl", "format": "MedQA", "language": "en"}
KO = {"name": "ko", "path": "ko.csv", "format": "KorMedMCQA", "language": "ko"}
EXAM = {**EN, "format": "Exam", "columns": {"question": "q", "options": ["a", "b"], "answer": "right"}}
TASK = {"name": "test", "path": "test.jsonl", "format": "MedQA", "language": "en"}


def sources(*entries: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {"data": {"sources": list(entries), **data}}


def mixed(by: str, **ratio: float) -> dict[str, Any]:
    return sources(EN, {**KO, "domain": "law"}, mixture={"by": by, "ratio": ratio})


def lora(*targets: str) -> dict[str, Any]:
    return {"tuning": {"lora": {"targetModules": list(targets)}}}


def tuned(method: str, **other: Any) -> dict[str, Any]:
    return {"tuning": {"method": method}, **other}


def columns(*options: str) -> dict[str, Any]:
    return sources({**EXAM, "columns": {"question": "q", "options": list(options), "answer": "right"}})


def gpus(part: str, key: str = "nvidia.com/gpu", **resources: Any) -> dict[str, Any]:
    return {"resources": {"train": {part: {key: 1}}, **resources}}


def variables(*names: str) -> dict[str, Any]:
    return {"pods": {"env": [{"name": name, "value": "1"} for name in names]}}


def tolerating(**toleration: Any) -> dict[str, Any]:
    return {"scheduling": {"tolerations": [toleration]}}


def output(nodes: int = 1, **volume: Any) -> dict[str, Any]:
    return {"output": {"volume": {"persistentVolumeClaim": None, **volume}}, "parallelism": {"nodes": nodes}}


# rule, spec that breaks it, the field that is named, spec that holds it


def asked(**fields: Any) -> dict[str, Any]:
    return {"evaluation": {"tasks": [{**TASK, **fields}]}}


def gated(*gates: dict[str, Any], **fields: Any) -> dict[str, Any]:
    named = [{"name": f"g{number}", "task": "test", "minimum": 0.5} | gate for number, gate in enumerate(gates)]
    return {"evaluation": {"tasks": [TASK], "gates": [{key: value for key, value in gate.items() if value is not None} for gate in named], **fields}}


GATE = "spec.evaluation.gates[0]"
WORDS = {"format": "QuestionAnswer", "metrics": ["F1"]}
EVALUATION_CASES: dict[str, tuple[Rule, dict[str, Any], str, dict[str, Any]]] = {
    "a task that nothing measures": (rules_evaluation.TASK_IS_MEASURED, asked(format="Chat"), "spec.evaluation.tasks[0].metrics", asked(**WORDS)),
    "words where letters are asked": (rules_evaluation.TASK_IS_MEASURED, asked(metrics=["F1"]), "spec.evaluation.tasks[0].metrics", asked(metrics=[])),
    "metric twice": (
        rules_evaluation.METRICS_UNIQUE,
        asked(**WORDS | {"metrics": ["F1", "F1"]}),
        "spec.evaluation.tasks[0].metrics",
        asked(**WORDS | {"metrics": ["F1", "Bleu"]}),
    ),
    "consistency of one answer": (
        rules_evaluation.CONSISTENCY_OVER_REPEATS,
        asked(**WORDS | {"metrics": ["Consistency"]}),
        "spec.evaluation.tasks[0].repeats",
        asked(**WORDS | {"metrics": ["Consistency"]}, repeats=2),
    ),
    "orders of a written answer": (
        rules_evaluation.ORDERS_OF_LETTERS,
        asked(optionOrders=2, scoring="Generation"),
        "spec.evaluation.tasks[0].optionOrders",
        asked(optionOrders=2),
    ),
    "gate name twice": (rules_evaluation.GATE_NAMES_UNIQUE, gated({"name": "a"}, {"name": "a"}), "spec.evaluation.gates", gated({"name": "a"}, {"name": "b"})),
    "gate on everything": (rules_evaluation.GATE_HAS_ONE_SCOPE, gated({"task": None}), GATE, gated({"task": None, "language": "en"})),
    "subject of a language": (
        rules_evaluation.GATE_SUBJECT_OF_TASK,
        gated({"task": None, "language": "en", "subject": "law"}),
        f"{GATE}.subject",
        gated({"subject": "law"}),
    ),
    "gate with two bounds": (rules_evaluation.GATE_HAS_ONE_BOUND, gated({"maxDrop": 0.1}), GATE, gated({"minimum": None, "maxDrop": 0.1})),
    "error bounded from below": (
        rules_evaluation.GATE_BOUND_FITS_METRIC,
        gated({"metric": "CalibrationError"}),
        f"{GATE}.metric",
        gated({"metric": "CalibrationError", "minimum": None, "maximum": 0.1}),
    ),
    "another run without a drop": (
        rules_evaluation.GATE_AGAINST_WITH_DROP,
        gated({"against": "earlier-01234567"}),
        f"{GATE}.against",
        gated({"against": "earlier-01234567", "minimum": None, "maxDrop": 0.1}),
    ),
    "gate on no task": (rules_evaluation.GATE_TASKS_EXIST, gated({"task": "other"}), "spec.evaluation.gates", gated({"task": "test"})),
    "gate on no language": (
        rules_evaluation.GATE_LANGUAGES_ASKED,
        gated({"task": None, "language": "ko"}),
        "spec.evaluation.gates",
        gated({"task": None, "language": "en"}),
    ),
    "drop from nothing": (
        rules_evaluation.DROP_NEEDS_BASELINE,
        gated({"minimum": None, "maxDrop": 0.1}, baseline=False),
        "spec.evaluation.gates",
        gated({"minimum": None, "maxDrop": 0.1}),
    ),
}
CASES: dict[str, tuple[Rule, dict[str, Any], str, dict[str, Any]]] = {
    "absolute path": (rules.PATH_STAYS_INSIDE, sources({**EN, "path": "/etc/x"}), "spec.data.sources[0].path", sources({**EN, "path": "etc/x"})),
    "climbing path": (rules.PATH_STAYS_INSIDE, sources({**EN, "path": "a/../../x"}), "spec.data.sources[0].path", sources({**EN, "path": "a/..x/b.."})),
    "backslashes": (rules.PATH_STAYS_INSIDE, sources({**EN, "path": "a\\x"}), "spec.data.sources[0].path", sources({**EN, "path": "a x"})),
    "climbing model": (rules.PATH_STAYS_INSIDE, {"model": {"path": ".."}}, "spec.model.path", {"model": {"path": "..a/.b"}}),
    "the volume itself": (rules.PATH_STAYS_INSIDE, {"model": {"path": "."}}, "spec.model.path", {"model": {"path": "a.b/c."}}),
    "second spelling": (rules.PATH_STAYS_INSIDE, sources({**EN, "path": "./a"}), "spec.data.sources[0].path", sources({**EN, "path": "a"})),
    "empty name": (rules.PATH_STAYS_INSIDE, sources({**EN, "path": "a//b"}), "spec.data.sources[0].path", sources({**EN, "path": "a/b"})),
    "slash at the end": (rules.PATH_STAYS_INSIDE, {"model": {"path": "a/"}}, "spec.model.path", {"model": {"path": "a"}}),
    "Exam without columns": (rules.COLUMNS_WITH_EXAM, sources({**EN, "format": "Exam"}), "spec.data.sources[0].columns", sources(EXAM)),
    "columns of MedQA": (rules.COLUMNS_WITH_EXAM, sources({**EXAM, "format": "MedQA"}), "spec.data.sources[0].columns", sources(EN)),
    "option column twice": (rules.OPTION_COLUMNS_UNIQUE, columns("a", "a"), "spec.data.sources[0].columns.options", columns("a", "b")),
    "source name twice": (rules.SOURCE_NAMES_UNIQUE, sources(EN, {**KO, "name": "en"}), "spec.data.sources", sources(EN, KO)),
    "source file twice": (rules.SOURCE_PATHS_UNIQUE, sources(EN, {**KO, "path": EN["path"]}), "spec.data.sources", sources(EN, KO)),
    "validation file twice": (
        rules.SOURCE_PATHS_UNIQUE,
        sources(EN, validation={"sources": [KO, {**KO, "name": "again"}]}),
        "spec.data.validation.sources",
        sources(EN, validation={"sources": [KO, {**KO, "name": "again", "path": "again.csv"}]}),
    ),
    "fraction and sources": (
        rules.FRACTION_OR_SOURCES,
        sources(EN, validation={"fraction": 0.1, "sources": [KO]}),
        "spec.data.validation.fraction",
        sources(EN, validation={"sources": [KO]}),
    ),
    "strata of sources": (
        rules.STRATIFY_WITH_FRACTION,
        sources(EN, validation={"stratifyBy": ["Language"], "sources": [KO]}),
        "spec.data.validation.stratifyBy",
        sources(EN, validation={"stratifyBy": ["Language"]}),
    ),
    "stratum twice": (
        rules.STRATA_UNIQUE,
        sources(EN, validation={"stratifyBy": ["Subject", "Subject"]}),
        "spec.data.validation.stratifyBy",
        sources(EN, validation={"stratifyBy": ["Subject", "Language"]}),
    ),
    "validated on training data": (
        rules.VALIDATION_APART,
        sources(EN, validation={"sources": [{**KO, "path": EN["path"]}]}),
        "spec.data.validation.sources",
        sources(EN, validation={"sources": [KO]}),
    ),
    "ratio of no language": (rules.RATIO_NAMES_EXIST, mixed("Language", en=5, ko=5, fr=1), "spec.data.mixture.ratio", mixed("Language", en=5, ko=5)),
    "ratio of no domain": (rules.RATIO_NAMES_EXIST, mixed("Domain", medical=1, law=1, en=1), "spec.data.mixture.ratio", mixed("Domain", medical=1, law=2)),
    "source left out": (rules.RATIO_NAMES_ALL, mixed("Source", en=1), "spec.data.mixture.ratio", mixed("Source", en=1, ko=0.5)),
    "adapter under Full": (
        rules_training.LORA_WITH_METHOD,
        {"tuning": {"method": "Full", "lora": {}}},
        "spec.tuning.lora",
        {"tuning": {"method": "LoRA", "lora": {}}},
    ),
    "prefix of no method": (
        rules_training.PREFIX_WITH_METHOD,
        {"tuning": {"prefix": {}}},
        "spec.tuning.prefix",
        {"tuning": {"method": "PrefixTuning", "prefix": {}}},
    ),
    "bottleneck under LoRA": (
        rules_training.BOTTLENECK_WITH_METHOD,
        {"tuning": {"method": "LoRA", "bottleneck": {}}},
        "spec.tuning.bottleneck",
        {"tuning": {"method": "Bottleneck", "bottleneck": {"placement": "Parallel"}}},
    ),
    "LoRA on a base in 4 bits": (
        rules_training.QUANTIZATION_WITH_METHOD,
        {"tuning": {"method": "LoRA", "quantization": "NF4"}},
        "spec.tuning.quantization",
        {"tuning": {"method": "Bottleneck", "quantization": "None"}},
    ),
    "Full from an adapter": (
        rules_training.INITIAL_ADAPTER_WITH_METHOD,
        {"tuning": {"method": "Full", "initialAdapter": {"path": "a"}}},
        "spec.tuning.initialAdapter",
        {"tuning": {"initialAdapter": {"path": "a"}}},
    ),
    "packed prefixes": (
        rules_training.PREFIX_UNPACKED,
        tuned("PrefixTuning", data={"packing": "BestFit"}),
        "spec.data.packing",
        tuned("PrefixTuning", data={"packing": "None"}),
    ),
    "layers of a prefix": (
        rules_training.PREFIX_HAS_NO_LAYERS,
        tuned("PrefixTuning", training={"layerDecay": 0.9}),
        "spec.training",
        tuned("PrefixTuning", training={"layerDecay": 1}),
    ),
    "unfreezing of a prefix": (
        rules_training.PREFIX_HAS_NO_LAYERS,
        tuned("PrefixTuning", training={"gradualUnfreezing": {"everySteps": 1}}),
        "spec.training",
        tuned("Full", training={"gradualUnfreezing": {"everySteps": 1}, "layerDecay": 0.5}),
    ),
    "adapters of Full": (
        rules_training.FULL_HAS_NO_ADAPTERS,
        tuned("Full", parallelism={"sharding": "AdaptersOnly"}),
        "spec.parallelism.sharding",
        tuned("Full", parallelism={"sharding": "Full"}),
    ),
    "activations of a prefix": (
        rules_training.PREFIX_KEEPS_ACTIVATIONS,
        tuned("PrefixTuning", training={"activationCheckpointing": "Enabled"}),
        "spec.training.activationCheckpointing",
        tuned("PrefixTuning", training={"activationCheckpointing": "Auto"}),
    ),
    "merged bottleneck": (
        rules_training.MERGE_LOW_RANK,
        tuned("Bottleneck", output={"merge": True}),
        "spec.output.merge",
        tuned("Bottleneck", output={"merge": False}),
    ),
    "8 bits on the processor": (
        rules_training.OPTIMIZER_NEEDS_GPU,
        {"training": {"optimizer": {"type": "AdamW8bit"}}, "parallelism": {"gpusPerNode": 0}},
        "spec.training.optimizer.type",
        {"training": {"optimizer": {"type": "AdamW8bit"}}},
    ),
    "8 bits in shards": (
        rules_training.OPTIMIZER_UNSHARDED,
        {"training": {"optimizer": {"type": "PagedAdamW8bit"}}, "parallelism": {"sharding": "Full"}},
        "spec.parallelism.sharding",
        {"training": {"optimizer": {"type": "PagedAdamW8bit"}}, "parallelism": {"sharding": "None"}},
    ),
    "paged and offloaded": (
        rules_training.OFFLOAD_NOT_PAGED,
        {"training": {"optimizer": {"type": "PagedAdamW"}, "offload": ["Optimizer"]}},
        "spec.training.offload",
        {"training": {"optimizer": {"type": "PagedAdamW"}, "offload": ["Activations"]}},
    ),
    "offloaded twice": (
        rules_training.OFFLOAD_UNIQUE,
        {"training": {"offload": ["Optimizer", "Optimizer"]}},
        "spec.training.offload",
        {"training": {"offload": ["Optimizer", "Activations"]}},
    ),
    "stopping without validation": (
        rules_training.STOPPING_NEEDS_VALIDATION,
        {"training": {"earlyStopping": {}}, "data": {"validation": {"fraction": 0}}},
        "spec.training.earlyStopping",
        {"training": {"earlyStopping": {}}, "data": {"validation": {"fraction": 0.01}}},
    ),
    "all-linear and more": (rules_training.ALL_LINEAR_ALONE, lora("all-linear", "q_proj"), "spec.tuning.lora.targetModules", lora("all-linear")),
    "target twice": (rules_training.TARGETS_UNIQUE, lora("q_proj", "q_proj"), "spec.tuning.lora.targetModules", lora("q_proj", "self_attn.v_proj")),
    "broken rows": (
        rules.BATCH_IN_WHOLE_ROWS,
        {"training": {"globalBatchTokens": 1000}, "data": {"maxLength": 300}},
        "spec.training.globalBatchTokens",
        {"training": {"globalBatchTokens": 1200}, "data": {"maxLength": 300}},
    ),
    "evaluated on training data": (
        rules.TASKS_APART,
        sources(EN) | {"evaluation": {"tasks": [{**TASK, "path": EN["path"]}]}},
        "spec.evaluation.tasks",
        sources(EN) | {"evaluation": {"tasks": [{**TASK, "path": EN["path"], "seen": True}]}},
    ),
    "FP16 on the processor": (
        rules.FP16_NEEDS_GPU,
        {"training": {"precision": "FP16"}, "parallelism": {"gpusPerNode": 0}},
        "spec.training.precision",
        {"training": {"precision": "FP16"}},
    ),
    "GPUs requested": (rules.GPUS_BY_PARALLELISM, gpus("requests"), "spec.resources", gpus("requests", "cpu")),
    "GPUs limited": (
        rules.GPUS_BY_PARALLELISM,
        gpus("limits", "amd.com/gpu", gpuResource="amd.com/gpu"),
        "spec.resources",
        gpus("limits", gpuResource="amd.com/gpu"),
    ),
    "a variable of the product": (rules.ENVIRONMENT_TUNES, variables("PET_NNODES"), "spec.pods.env[0].name", variables("TZ")),
    "a variable that leads OpenSSL to a module": (rules.ENVIRONMENT_TUNES, variables("OPENSSL_CONF"), "spec.pods.env[0].name", variables("NCCL_DEBUG")),
    "a variable that names libraries": (rules.ENVIRONMENT_TUNES, variables("OMP_TOOL_LIBRARIES"), "spec.pods.env[0].name", variables("OMP_NUM_THREADS")),
    "a variable that names a plugin": (rules.ENVIRONMENT_TUNES, variables("NCCL_NET_PLUGIN"), "spec.pods.env[0].name", variables("NCCL_SOCKET_IFNAME")),
    "a variable that names a folder of modules": (rules.ENVIRONMENT_TUNES, variables("UCX_MODULE_DIR"), "spec.pods.env[0].name", variables("UCX_TLS")),
    "a variable that names a compiler": (rules.ENVIRONMENT_TUNES, variables("CC"), "spec.pods.env[0].name", variables("GLOO_SOCKET_IFNAME")),
    "a variable of the pod": (rules.ENVIRONMENT_TUNES, variables("HOME"), "spec.pods.env[0].name", variables("PYTORCH_CUDA_ALLOC_CONF")),
    "toleration of nothing": (rules.TOLERATION_KEY, tolerating(), "spec.scheduling.tolerations[0].key", tolerating(operator="Exists")),
    "toleration of an empty key": (rules.TOLERATION_KEY, tolerating(key=""), "spec.scheduling.tolerations[0].key", tolerating(key="a")),
    "value with Exists": (
        rules.TOLERATION_VALUE,
        tolerating(key="a", operator="Exists", value="b"),
        "spec.scheduling.tolerations[0].value",
        tolerating(key="a", value="b"),
    ),
    "seconds without eviction": (
        rules.TOLERATION_SECONDS,
        tolerating(key="a", tolerationSeconds=1),
        "spec.scheduling.tolerations[0].tolerationSeconds",
        tolerating(key="a", effect="NoExecute", tolerationSeconds=1),
    ),
    "variable twice": (rules.ENVIRONMENT_UNIQUE, variables("TZ", "TZ"), "spec.pods.env", variables("TZ", "OMP_a")),
    "label of Kueue": (
        rules.LABELS_NOT_RESERVED,
        {"pods": {"labels": {"kueue.x-k8s.io/queue-name": "fast"}}},
        "spec.pods.labels",
        {"pods": {"labels": {"queue-name": "fast", "notk8s.io/a": "b", "k8s.io.example/a": "b"}}},
    ),
    "annotation of the product": (
        rules.ANNOTATIONS_NOT_RESERVED,
        {"pods": {"annotations": {"medfinetune.io/requested-by": "me"}}},
        "spec.pods.annotations",
        {"pods": {"annotations": {"notmedfinetune.io/requested-by": "me"}}},
    ),
    "no output volume": (rules.ONE_OUTPUT_VOLUME, output(), "spec.output.volume", output(claimTemplate={"storage": "1Gi"})),
    "two output volumes": (
        rules.ONE_OUTPUT_VOLUME,
        {"output": {"volume": {"claimTemplate": {"storage": "1Gi"}}}},
        "spec.output.volume",
        output(persistentVolumeClaim={"claimName": "results"}),
    ),
    "nodes without a shared volume": (
        rules.OUTPUT_SHARED_BY_NODES,
        output(nodes=2, claimTemplate={"storage": "1Gi"}),
        "spec.output.volume.claimTemplate.accessModes",
        output(nodes=2, claimTemplate={"storage": "1Gi", "accessModes": ["ReadWriteMany"]}),
    ),
    "task name twice": (
        rules.TASK_NAMES_UNIQUE,
        {"evaluation": {"tasks": [TASK, {**TASK, "path": "other.jsonl"}]}},
        "spec.evaluation.tasks",
        {"evaluation": {"tasks": [TASK, {**TASK, "name": "other"}]}},
    ),
    **EVALUATION_CASES,
}


def refused_by_python(manifest: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Field -> (expected, remedy) of each problem."""
    try:
        parse_manifest(manifest)
    except ManifestErrors as errors:
        return {problem.where: (problem.expected, problem.remedy) for problem in errors.problems}
    return {}


@pytest.mark.parametrize(("rule", "broken", "field", "held"), CASES.values(), ids=CASES.keys())
def test_both_forms_refuse_and_admit_the_same(rule: Rule, broken: dict[str, Any], field: str, held: dict[str, Any]) -> None:
    assert refused_by_python(minimal_manifest(**broken)) == {field: (rule.expected, rule.remedy)}
    assert refusals(minimal_manifest(**broken)) == [rule.validation()["message"]]
    assert refused_by_python(minimal_manifest(**held)) == {}
    assert refusals(minimal_manifest(**held)) == []


@pytest.mark.parametrize("name", ["Run", "1run", "run-", "r" * 41, "a.b", "a\n", ""])
def test_run_names_are_labels(name: str) -> None:
    manifest = {**MINIMAL, "metadata": {"name": name}}
    assert list(refused_by_python(manifest)) == ["metadata.name"]
    assert refusals(manifest) == [rules.RUN_NAME_IS_LABEL.validation()["message"]]


def test_every_rule_has_a_case() -> None:
    declared = {name: rule for module in (rules, rules_evaluation) for name, rule in vars(module).items() if isinstance(rule, Rule)}
    tried = {id(case[0]) for case in CASES.values()} | {id(rules.RUN_NAME_IS_LABEL)}
    assert [name for name, rule in declared.items() if id(rule) not in tried] == []


def test_all_broken_rules_of_one_node_are_named_at_once() -> None:
    problems = refused_by_python(minimal_manifest(data={"sources": [EN, {**KO, "name": "en"}], "mixture": {"by": "Language", "ratio": {"en": 1, "fr": 1}}}))
    assert set(problems) == {"spec.data.sources", "spec.data.mixture.ratio"}


EDITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "preset": ({"preset": "yoo-2026"}, {"preset": "low-memory"}),
    "model": ({"model": {"path": "a"}}, {"model": {"path": "b"}}),
    "data": (sources(EN), sources(EN, KO)),
    "tuning": ({"tuning": {"method": "LoRA"}}, {"tuning": {"method": "QLoRA"}}),
    "training": ({"training": {"seed": 1}}, {"training": {"seed": 2}}),
    "parallelism": ({"parallelism": {"nodes": 2}}, {"parallelism": {"nodes": 3}}),
    "checkpoint": ({"checkpoint": {"keep": 1}}, {"checkpoint": {"keep": 3}}),
    "evaluation": ({"evaluation": {"tasks": [TASK]}}, {"evaluation": {"baseline": False}}),
    "output": ({"output": {"retain": ["Data"]}}, {"output": {"retain": ["Samples"]}}),
    "resources": ({"resources": {"train": {"requests": {"cpu": 1}}}}, {"resources": {"train": {"requests": {"cpu": 2}}}}),
    "scheduling": ({"scheduling": {"queueName": "a"}}, {"scheduling": {"queueName": "b"}}),
    "pods": ({"pods": {"labels": {"a": "b"}}}, {"pods": {"labels": {"a": "c"}}}),
}


@pytest.mark.parametrize(("field", "edit"), EDITS.items(), ids=EDITS.keys())
def test_an_edit_of_the_spec_is_refused_by_field_whether_it_changes_adds_or_removes(field: str, edit: tuple[dict[str, Any], dict[str, Any]]) -> None:
    versions = [minimal_manifest(**spec) for spec in edit] + [minimal_manifest()]
    message = f"expected {field} as it was when the run was created: only runPolicy may change. Create a MedFineTune of another name."
    for stored, edited in itertools.permutations(versions, 2):
        assert refusals(edited, stored) == [message]
        assert refusals(edited, edited) == []


def test_every_part_of_the_spec_but_run_policy_has_an_edit() -> None:
    assert {*EDITS, "runPolicy"} == set(fields_of(FineTuneSpec))


def test_run_policy_may_change_but_a_cancelled_run_stays_cancelled() -> None:
    policies = [{}, {"suspend": True}, {"maxRestarts": 9, "activeDeadlineSeconds": 60}, {"cancel": True}]
    versions = [minimal_manifest(runPolicy=policy) for policy in policies]
    for stored, edited in itertools.permutations(versions, 2):
        refused = "cancel" in stored["spec"]["runPolicy"]
        assert [message[:29] for message in refusals(edited, stored)] == ["expected cancel to stay true:"] * refused
