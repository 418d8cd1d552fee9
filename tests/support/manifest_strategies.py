"""Hypothesis strategies: valid manifests over the whole surface of the spec, and damaged ones."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st
from support.manifests import MINIMAL, claim

_NAMES = st.sampled_from(["a", "b", "c", "d-1"])
_LANGUAGES = st.sampled_from(["en", "ko", "pt-BR"])
_PATHS = st.sampled_from(["a.jsonl", "sub/b.csv.gz", "..c", "d e.json", "sub/.x/y."])


def _some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


_COLUMNS = st.fixed_dictionaries(
    {"question": st.just("q"), "options": st.sampled_from([["o"], ["a", "b", "c"]]), "answer": st.just("r")},
    optional={"answerStyle": st.sampled_from(["Letter", "Number", "Index", "Text"]), "subject": st.just("s"), "id": st.just("i")},
)


@st.composite
def _sources(draw: st.DrawFn, prefix: str) -> list[dict[str, Any]]:
    names = draw(st.lists(_NAMES, min_size=1, max_size=3, unique=True))
    return [_source(draw, f"{prefix}-{name}") for name in names]


def _source(draw: st.DrawFn, name: str) -> dict[str, Any]:
    formats = st.sampled_from(["MedQA", "KorMedMCQA", "PubMedQA", "QuestionAnswer", "Instruction", "Chat", "Exam"])
    source = {"name": name, "path": f"{name}/{draw(_PATHS)}", "format": draw(formats), "language": draw(_LANGUAGES)}
    return source | draw(_some(domain=st.sampled_from(["law", "medical"]), subject=st.just("nurse"))) | _with_columns(draw, source["format"])


def _with_columns(draw: st.DrawFn, form: str) -> dict[str, Any]:
    return {"columns": draw(_COLUMNS)} if form == "Exam" else {}


@st.composite
def _data(draw: st.DrawFn, max_length: int) -> dict[str, Any]:
    sources = draw(_sources("train"))
    data = {"volume": claim("datasets"), "sources": sources, "maxLength": max_length}
    held_out = _some(fraction=st.sampled_from([0, 0.25, 0.5]), stratifyBy=st.permutations(["Language", "Subject"])) | st.fixed_dictionaries(
        {"sources": _sources("held")}
    )
    by = draw(st.sampled_from(["Language", "Domain", "Source"]))
    groups = sorted({{"Language": source["language"], "Domain": source.get("domain", "medical"), "Source": source["name"]}[by] for source in sources})
    ratio = st.fixed_dictionaries({group: st.sampled_from([1, 0.5, 1000]) for group in draw(st.permutations(groups))})
    mixture = st.fixed_dictionaries(
        {"by": st.just(by), "ratio": ratio}, optional={"unit": st.sampled_from(["Samples", "Tokens"]), "fill": st.sampled_from(["Downsample", "Repeat"])}
    )
    words = _some(
        packing=st.sampled_from(["BestFit", "None"]),
        lossOn=st.sampled_from(["Response", "All"]),
        overlong=st.sampled_from(["Error", "Drop", "Truncate"]),
        chatTemplate=st.sampled_from(["Tokenizer", "Med42"]),
    )
    return data | draw(_some(validation=held_out, mixture=mixture)) | draw(words)


def _training(max_length: int) -> st.SearchStrategy[dict[str, Any]]:
    return _some(
        epochs=st.integers(1, 1000),
        learningRate=st.floats(1e-9, 1),
        scheduler=_some(type=st.sampled_from(["Cosine", "Linear", "Constant"]), warmupSteps=st.integers(0, 9), minimumRatio=st.sampled_from([0, 0.1, 1])),
        optimizer=_some(
            type=st.just("AdamW"), beta1=st.just(0.8), beta2=st.just(0.95), epsilon=st.just(1e-6), weightDecay=st.just(0.1), maxGradNorm=st.just(0)
        ),
        globalBatchTokens=st.integers(1, 64).map(lambda rows: rows * max_length),
        precision=st.sampled_from(["Auto", "BF16", "FP32"]),
        microBatch=st.just("Auto") | st.integers(1, 4096),
        activationCheckpointing=st.sampled_from(["Auto", "Enabled", "Disabled"]),
        offload=st.lists(st.sampled_from(["Activations", "Optimizer"]), unique=True),
        layerDecay=st.sampled_from([1, 0.9]),
        gradualUnfreezing=_some(layers=st.integers(1, 9)).map(lambda unfreezing: {"everySteps": 5} | unfreezing),
        neftuneNoiseAlpha=st.sampled_from([0, 5]),
        validateEverySteps=st.integers(1, 99),
        seed=st.integers(0, 2147483647),
    )


@st.composite
def _evaluation(draw: st.DrawFn) -> dict[str, Any]:
    tasks = []
    for name in draw(st.lists(_NAMES, max_size=3, unique=True)):
        form = draw(st.sampled_from(["MedQA", "KorMedMCQA", "PubMedQA", "MedMCQA", "HeadQA", "MMLU", "USMLE", "Exam", "QuestionAnswer"]))
        task = {"name": name, "path": draw(_PATHS), "format": form, "language": draw(_LANGUAGES)}
        tasks.append(task | draw(_scored(form)) | draw(_some(subject=st.just("law"), limit=st.integers(1, 99))) | _with_columns(draw, form))
    gates = draw(st.lists(_gate(tasks), max_size=2, unique_by=lambda gate: gate["name"])) if tasks else []
    return {"tasks": tasks, "gates": gates} | draw(_some(batchSize=st.integers(1, 1024), forgettingThreshold=st.sampled_from([0, 0.1]), glossaries=_GLOSSARIES))


def _scored(form: str) -> st.SearchStrategy[dict[str, Any]]:
    if form == "QuestionAnswer":
        return st.sampled_from([{"metrics": ["F1", "RougeL"]}, {"metrics": ["Consistency"], "repeats": 5, "maxNewTokens": 64}])
    return _some(scoring=st.just("Generation")) if form == "PubMedQA" else _some(optionOrders=st.integers(1, 24))


def _gate(tasks: list[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    scope = st.sampled_from([{"task": task["name"]} for task in tasks] + [{"language": task["language"]} for task in tasks])
    bound = st.sampled_from([{"minimum": 0.5}, {"maxDrop": 0.05}, {"maxDrop": 0, "against": "run-01234567"}, {"metric": "CodeMixing", "maximum": 0.1}])
    return st.builds(lambda name, where, what: {"name": name} | where | what, _NAMES, scope, bound)


_QUANTITIES = st.dictionaries(
    st.sampled_from(["cpu", "memory", "example.com/x"]), st.integers(0, 9) | st.sampled_from(["4", "500m", "1.5Gi", ".5"]), max_size=2
)
_POD = _some(requests=_QUANTITIES, limits=_QUANTITIES)
_MEMORY = st.sampled_from(["1073741824", "24Gi", "512Mi"])
_GLOSSARIES = st.lists(st.just({"path": "terms.txt", "language": "ko"}), max_size=1)
_LABELS = st.dictionaries(st.sampled_from(["team", "app.example.org/tier"]), st.sampled_from(["", "a.b-C_1"]), max_size=2)
_REQUIREMENT = st.fixed_dictionaries(
    {"key": st.just("zone"), "operator": st.sampled_from(["In", "Exists", "Gt"])}, optional={"values": st.lists(st.just("a"), max_size=2)}
)
_PODS_TERM = st.fixed_dictionaries(
    {"labelSelector": _some(matchLabels=_LABELS, matchExpressions=st.lists(_REQUIREMENT, max_size=2)), "topologyKey": st.just("zone")}
)
_NODES = st.fixed_dictionaries({"nodeSelectorTerms": st.lists(_some(matchExpressions=st.lists(_REQUIREMENT, max_size=2)), min_size=1, max_size=2)})
_AFFINITY = _some(
    nodeAffinity=_some(requiredDuringSchedulingIgnoredDuringExecution=_NODES),
    podAntiAffinity=_some(requiredDuringSchedulingIgnoredDuringExecution=st.lists(_PODS_TERM, max_size=2)),
)
_KEY, _EVICTED = st.fixed_dictionaries({"key": st.just("gpu")}), {"effect": st.just("NoExecute"), "tolerationSeconds": st.integers(0, 60)}
_TOLERATION = st.sampled_from(
    [
        {"operator": "Exists"},
        {"operator": "Exists", "key": "", "value": ""},
        {"key": "gpu", "value": "a", "effect": "NoSchedule"},
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    ]
)
_PODS = _some(
    image=st.sampled_from(["trainer", "registry.example/trainer@sha256:" + "0" * 64]),
    imagePullSecrets=st.lists(st.just({"name": "pull"}), max_size=2),
    env=st.lists(st.sampled_from(["TZ", "OMP_b", "NCCL_DEBUG"]), unique=True, max_size=3).map(lambda names: [{"name": name, "value": "1\n"} for name in names]),
    labels=_LABELS,
    annotations=st.dictionaries(st.sampled_from(["note", "example.org/a"]), st.sampled_from(["", "메모"]), max_size=2),
)
_CLUSTER = {
    "resources": _some(prepare=_POD, train=_POD, evaluate=_POD, sharedMemory=_MEMORY, gpuResource=st.just("amd.com/gpu"), gpuMemory=_MEMORY),
    "scheduling": _some(
        nodeSelector=_LABELS,
        tolerations=st.lists(_TOLERATION, max_size=2),
        affinity=_AFFINITY,
        priorityClassName=st.just("low"),
        runtimeClassName=st.just("nvidia"),
        queueName=st.just("team-a"),
    ),
    "pods": _PODS,
    "runPolicy": _some(
        suspend=st.booleans(),
        cancel=st.booleans(),
        maxRestarts=st.integers(0, 100),
        activeDeadlineSeconds=st.integers(0, 9),
        ttlSecondsAfterFinished=st.integers(0, 9),
        schedulingTimeoutSeconds=st.integers(0, 9),
        stallTimeoutSeconds=st.integers(0, 9),
    ),
}
"""What a manifest says to the cluster."""


def _output(draw: st.DrawFn, nodes: int) -> dict[str, Any]:
    """An existing claim, or one to be made that as many nodes may share as train."""
    modes = [["ReadWriteMany"], ["ReadWriteOnce", "ReadWriteMany"]] + ([["ReadWriteOnce"]] if nodes == 1 else [])
    template = {"storage": draw(_MEMORY), "accessModes": draw(st.sampled_from(modes))} | draw(_some(storageClassName=st.just("fast")))
    volume = draw(st.sampled_from([claim("results"), {"claimTemplate": template}]))
    return {"volume": volume} | draw(_some(retain=st.lists(st.sampled_from(["Data", "Samples", "Checkpoints"]), max_size=3)))


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """A valid manifest that resolves: a low-rank method, rows and batch in agreement whatever the preset."""
    max_length = draw(st.sampled_from([64, 512, 1024]))
    targets = st.sampled_from([["all-linear"], ["q_proj", "self_attn.v_proj"]])
    lora = _some(
        rank=st.integers(1, 64),
        alpha=st.sampled_from([0.5, 32]),
        dropout=st.sampled_from([0, 0.1]),
        targetModules=targets,
        useRslora=st.booleans(),
        useDora=st.booleans(),
    )
    parts = _some(
        preset=st.sampled_from(["yoo-2026", "med42-lora", "low-memory"]),
        tuning=_some(method=st.sampled_from(["QLoRA", "LoRA"]), lora=lora),
        training=_training(max_length),
        parallelism=_some(nodes=st.integers(1, 256), gpusPerNode=st.integers(1, 16), sharding=st.sampled_from(["Auto", "AdaptersOnly", "Full", "None"])),
        checkpoint=_some(everySteps=st.integers(1, 99), keep=st.integers(1, 9)),
        evaluation=_evaluation(),
    )
    model = MINIMAL["spec"]["model"] | draw(_some(sha256=st.just("0" * 64)))
    spec = {**MINIMAL["spec"], "model": model, "data": draw(_data(max_length)), **draw(parts), **draw(_some(**_CLUSTER))}
    spec["output"] = _output(draw, spec.get("parallelism", {}).get("nodes", 1))
    return copy.deepcopy({**MINIMAL, "metadata": {"name": draw(st.sampled_from(["a", "run-1", "r" * 40]))}, "spec": spec})


_JUNK = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        2,
        300,
        1 << 40,
        0.5,
        1e9,
        "",
        "Auto",
        "None",
        "Exam",
        "FP16",
        "en",
        "ko",
        "../x",
        "a\n",
        "é",
        "x" * 600,
        "4Gi",
        [],
        {},
        ["a"],
        ["q", "q"],
        {"": 1},
        {"nvidia.com/gpu": 1},
    ]
)


@st.composite
def damaged_manifests(draw: st.DrawFn) -> dict[str, Any]:
    """A manifest with up to three entries of its spec replaced, removed, added or repeated; most are invalid, some are not."""
    manifest = draw(manifests())
    for _ in range(draw(st.integers(1, 3))):
        container = draw(st.sampled_from(_containers(manifest["spec"])))
        if isinstance(container, dict):
            key = draw(st.sampled_from([*container, "columns", "subject", "max_length", "unknownField", "medfinetune.io/a"]))
            container[key] = draw(_JUNK)
            if draw(st.booleans()):
                del container[key]
        elif container:
            container.append(draw(st.sampled_from([copy.deepcopy(container[0]), None, "all-linear", 1])))
    return manifest


def _containers(value: Any) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return ([value] if isinstance(value, (dict, list)) else []) + [found for part in inner for found in _containers(part)]
