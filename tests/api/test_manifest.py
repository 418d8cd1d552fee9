"""Bad manifests: each problem once, with its field and line, what was found, what was expected, what to do; all problems of a file together."""

from __future__ import annotations

import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.exits import Exit
from medfinetune_api.manifest import ManifestErrors, load_manifest, parse_manifest
from medfinetune_api.spec import MedFineTune
from medfinetune_api.yaml_lines import read_document
from support.manifests import MINIMAL, minimal_manifest

TEXT = yaml.safe_dump(MINIMAL, sort_keys=False)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdef", "bcdefg", strict=True))

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "run.yaml: found an empty file"),
    "comments only": (b"# nothing\n", "run.yaml: found an empty file"),
    "UTF-8 BOM": (b"\xef\xbb\xbf" + TEXT.encode(), "run.yaml:1: found a byte order mark; expected UTF-8 without one"),
    "UTF-16": (TEXT.encode("utf-16"), "run.yaml:1: found a byte order mark"),
    "Latin-1": (b"a: b\n# \xe9\n", "run.yaml:2: found bytes that are not UTF-8"),
    "syntax": (b"a: 1\nb: [1\n", "run.yaml:3: found malformed YAML"),
    "control character": (b"a: \x07", "run.yaml: found malformed YAML"),
    "repeated key": (b"a: 1\nb: 2\na: 3\n", "run.yaml:3: found the key 'a' twice"),
    "two documents": (TEXT.encode() + b"---\na: 1\n", "found a second document"),
    "alias bomb": (BOMB.encode(), "found aliases that expand too far"),
    "alias of itself": (b"a: &a [*a]\n", "run.yaml:1: found aliases that expand too far"),
    "deep nesting": (b"a: " + b"[" * 100_000, "run.yaml:1: found more than 32 levels"),
    "Python object": (b"a: !!python/object/apply:os.system [x]\n", "found the YAML tag"),
    "boolean key": (b"no: 1\n", "run.yaml:1: found the key no, which YAML does not read as text"),
    "too large": (b"#" * 300_000, "run.yaml: found more than 262144 bytes"),
    "digits without end": (b"a: " + b"9" * 5000, "run.yaml:1: found a value that is no int"),
    "hexadecimal without end": (b"a: 0x" + b"f" * 5000, "run.yaml:1: found a value that is no int; expected a number of at most 64 bits"),
    "tagged otherwise": (b"a: 1\nb: !!bool x\n", "run.yaml:2: found a value that is no bool"),
    "tagged and empty": (b"a: !!float ''\n", "run.yaml:1: found a value that is no float"),
    "a list": (b"- a\n", "manifest (run.yaml:1): found a list of 1; expected a MedFineTune"),
    "another version": (TEXT.replace("v1alpha1", "v2").encode(), "apiVersion (run.yaml:1): found 'medfinetune.io/v2'; expected medfinetune.io/v1alpha1"),
    "another kind": (TEXT.replace("kind: MedFineTune", "kind: Job").encode(), "kind (run.yaml:2): found 'Job'; expected MedFineTune"),
}

WRONG_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt": (
        {"training": {"epoch": 3}},
        "spec.training.epoch: found unknown field 'epoch'; expected one of activationCheckpointing, earlyStopping",
    ),
    "nearest name": ({"data": {"maxlenght": 64}}, "Did you mean maxLength?"),
    "Python spelling": ({"data": {"max_length": 64}}, "Did you mean maxLength?"),
    "misspelt and empty": ({"training": {"epoch": None}}, "Did you mean epochs?"),
    "deep in a list": ({"data": {"sources": [{**MINIMAL["spec"]["data"]["sources"][0], "langage": "en"}]}}, "spec.data.sources[0].langage: found unknown"),
    "no near name": ({"privacy": {}}, "spec.privacy: found unknown field 'privacy'"),
    "missing": ({"model": {"path": None}}, "spec.model.path: found nothing; expected a value. Add path: Folder below the volume's root"),
    "text for a number": ({"training": {"learningRate": "2e-4"}}, "spec.training.learningRate: found '2e-4'; expected a number"),
    "boolean for a number": ({"training": {"seed": True}}, "spec.training.seed: found the boolean true; expected a whole number"),
    "fraction for a count": ({"training": {"epochs": 2.5}}, "spec.training.epochs: found 2.5; expected a whole number"),
    "out of bounds": ({"training": {"epochs": 0}}, "spec.training.epochs: found 0; expected at least 1. Correct epochs: Passes over"),
    "no such word": ({"data": {"packing": "Best"}}, "spec.data.packing: found 'Best'; expected 'BestFit' or 'None'"),
    "either kind": ({"training": {"microBatch": "many"}}, "spec.training.microBatch: found 'many'; expected 'Auto' or a whole number"),
    "pattern in words": ({"data": {"sources": [{**MINIMAL["spec"]["data"]["sources"][0], "language": "English"}]}}, "expected a BCP 47 language tag"),
    "scalar for fields": ({"model": "base"}, "spec.model: found 'base'; expected a map of fields"),
    "map for a list": ({"data": {"sources": {}}}, "spec.data.sources: found an empty map; expected a list"),
    "value of a map": ({"data": {"mixture": {"by": "Language", "ratio": {"en": 0}}}}, "spec.data.mixture.ratio.en: found 0; expected at least 0.01"),
    "name in a map": (
        {"data": {"mixture": {"by": "Language", "ratio": {"x" * 64: 1}}}},
        f"spec.data.mixture.ratio.{'x' * 60}: found text of 64 characters; expected at most 63 characters",
    ),
    "surrogate": ({"data": {"sources": [{**MINIMAL["spec"]["data"]["sources"][0], "domain": "\ud800"}]}}, "spec.data.sources[0].domain: found half of"),
    "long text is not shown": ({"model": {"path": "x" * 600}}, "spec.model.path: found text of 600 characters; expected at most 512 characters"),
}


def loaded(folder: Path, content: bytes) -> str:
    file = folder / "run.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidManifest) as caught:
        load_manifest(file)
    assert caught.value.exit is Exit.INVALID_MANIFEST
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_is_no_manifest_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    text = loaded(tmp_path, content)
    assert message in text
    assert "\n" not in text


@pytest.mark.parametrize(("spec", "message"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
def test_a_wrong_field_is_one_problem_that_names_it(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestErrors) as caught:
        parse_manifest(minimal_manifest(**spec))
    assert len(caught.value.problems) == 1
    assert message in str(caught.value)


@pytest.mark.parametrize("path", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidManifest, match="expected a readable YAML file"):
        load_manifest(tmp_path / path)


def test_all_problems_come_at_once_with_their_lines(tmp_path: Path) -> None:
    text = TEXT.replace("name: run", "name: Run").replace("language: en", "langage: en") + "  training:\n    epochs: 0\n    seeds: 1\n"
    lines = loaded(tmp_path, text.encode()).splitlines()

    def line_of(words: str) -> int:
        return 1 + next(index for index, line in enumerate(text.splitlines()) if words in line)

    assert sorted(line.split(": ")[0] for line in lines) == [
        f"spec.data.sources[0].langage (run.yaml:{line_of('langage')})",
        f"spec.data.sources[0].language (run.yaml:{line_of('- name')})",
        f"spec.training.epochs (run.yaml:{line_of('epochs')})",
        f"spec.training.seeds (run.yaml:{line_of('seeds')})",
    ]


def test_yaml_is_read_as_kubectl_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(TEXT + "  training: {learningRate: 2e-4, epochs: }\n  preset: ~\n", encoding="utf-8")
    spec = load_manifest(file).spec
    assert (spec.training.learning_rate, spec.training.epochs, spec.preset) == (2e-4, None, None)


@pytest.mark.parametrize("labels", [{"x" * 64: ""}, {"a": "x" * 64}, {"a": "not a label"}, {"": "a"}])
def test_labels_are_those_of_kubernetes(labels: dict[str, str]) -> None:
    with pytest.raises(ManifestErrors, match=r"^metadata\.labels\."):
        parse_manifest({**MINIMAL, "metadata": {"name": "run", "labels": labels}})
    parse_manifest({**MINIMAL, "metadata": {"name": "run", "labels": {"app.example.org/Tier_1": "A.b-c", "empty": ""}, "annotations": {"note": "메모 " * 99}}})


def test_a_surrogate_is_refused_at_its_field_and_line(tmp_path: Path) -> None:
    text = loaded(tmp_path, TEXT.replace("name: run", r'name: "\ud800"').encode())
    assert text.startswith("metadata.name (run.yaml:4): found half of a surrogate pair; expected")


def test_anchors_that_share_a_volume_are_allowed(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        TEXT.replace("  output:\n    volume:\n", "  output:\n    volume: &volume\n") + "  checkpoint: {keep: &n 3, everySteps: *n}\n", encoding="utf-8"
    )
    assert load_manifest(file).spec.checkpoint.every_steps == 3


def test_a_manifest_survives_json() -> None:
    manifest = parse_manifest(minimal_manifest(preset="yoo-2026", training={"microBatch": 4, "learningRate": 1e-4}))
    assert MedFineTune.model_validate_json(manifest.to_json()) == manifest


# resolve.go of yaml.v2 2.4.0, which sigs.k8s.io/yaml reads manifests with
GO_SCALARS = {
    **{"1_000": 1000, "0x10": 16, "0X1f": 31, "017": 15, "0o17": 15, "-0b11": -3, "0": 0, "+7": 7},
    **{"08": 8.0, "1e3": 1000.0, "2e-4": 2e-4, ".5": 0.5, "1.": 1.0, "1_0.5": 10.5, "-.inf": float("-inf")},
    **{"y": True, "N": False, "on": True, "no": False, "~": None, "": None},
    **{text: text for text in ("1:30", "1:30.5", "2024-01-01", "0o18", "1.2.3", "_1", "e3", "yes!", "0x")},
}


def test_scalars_are_those_of_kubectls_parser(tmp_path: Path) -> None:
    file = tmp_path / "scalars.yaml"
    file.write_text("".join(f"- {text}\n" for text in GO_SCALARS), encoding="utf-8")
    found = read_document(file).value
    assert [(type(value), value) for value in found] == [(type(value), value) for value in GO_SCALARS.values()]


def test_the_problems_survive_pickling() -> None:
    with pytest.raises(ManifestErrors) as caught:
        parse_manifest(minimal_manifest(model="x", output="y"))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), len(again.problems)) == (str(caught.value), 2)


SNIPPETS = st.sampled_from(
    ["!!int ", "!!bool x", "!!null 1", "&a ", "*a", "<<: ", "0x" + "f" * 5000, ".inf", "-.nan", "? ", "- ", "[", "}", "'", "|\n", "\t", "@"]
)


def refusal_of(file: Path) -> str | None:
    """What the user is told; None where the manifest is accepted."""
    try:
        load_manifest(file)
    except (ManifestErrors, InvalidManifest) as refused:
        return str(refused)
    return None


@given(st.lists(st.tuples(st.integers(0, len(TEXT)), SNIPPETS | st.text(max_size=3), st.integers(0, 5)), min_size=1, max_size=4))
def test_whatever_the_text_of_a_manifest_it_is_read_or_refused(edits: list[tuple[int, str, int]]) -> None:
    """No edit of a manifest's text ends in anything else: no other exception, and no problem without a place."""
    text = TEXT
    for place, put_in, taken_out in edits:
        text = text[:place] + put_in + text[place + taken_out :]
    with TemporaryDirectory() as folder:
        file = Path(folder, "run.yaml")
        file.write_bytes(text.encode("utf-8", errors="surrogatepass"))
        problem = refusal_of(file)
        assert problem is None or "run.yaml" in problem
