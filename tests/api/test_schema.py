"""The generated CustomResourceDefinition: up to date, structural, bounded, without defaults where a preset may decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from medfinetune_api import errors, reference, schema
from medfinetune_api import refusals as refusals_page
from medfinetune_api.presets import DEFAULTS, PRESETS, Fragment
from medfinetune_api.schema import crd
from medfinetune_api.structural import UnknownKeywordError, structural
from pydantic import BaseModel, ConfigDict
from support.admission import SCHEMA, refusals
from support.manifests import minimal_manifest

ROOT = Path(__file__).parents[2]
CRD = ROOT / "crds" / "medfinetune.io_medfinetunes.yaml"
REFERENCE, REFUSALS = ROOT / "docs" / "reference.md", ROOT / "docs" / "refusals.md"
FIELDS = Path(__file__).with_name("fields.txt")
Node = tuple[str, dict[str, Any]]


def nodes(schema: dict[str, Any], path: str) -> Iterator[Node]:
    """Every node with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


OURS = [node for part in ("spec", "status") for node in nodes(SCHEMA["properties"][part], part)]


@pytest.mark.parametrize(("main", "committed"), [(schema.main, CRD), (reference.main, REFERENCE), (refusals_page.main, REFUSALS)])
def test_what_is_committed_is_up_to_date_and_what_is_stale_is_named(
    main: Callable[[list[str]], int], committed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check", str(committed)]) == 0, capsys.readouterr().err
    file = tmp_path / committed.name
    assert main([str(file)]) == 0
    assert file.read_text() == committed.read_text()
    file.write_text(file.read_text().replace("mft", "xyz"))
    assert main(["--check", str(file)]) == 1
    assert capsys.readouterr().err == f"{file} is out of date: run `make generate` and commit it\n"


def bounded(path: str, node: dict[str, Any]) -> bool:
    """True where the node's type is one a structural schema knows and all that it may hold is bounded."""
    if node.get("x-kubernetes-int-or-string"):
        return "type" not in node and {"minimum", "maximum", "pattern", "maxLength"} <= set(node)
    match node["type"]:
        case "string":
            return "enum" in node or "maxLength" in node or node.get("format") == "date-time"
        case "array":
            return "maxItems" in node and node["x-kubernetes-list-type"] in ("atomic", "map")
        case "object":
            return ("properties" in node) != ("additionalProperties" in node) and ("properties" in node or node["maxProperties"] <= 256)
        case "integer" | "number":
            return "minimum" in node and ("maximum" in node or path.startswith("status"))
    return node["type"] == "boolean"


def test_every_node_is_structural_and_bounded() -> None:
    assert [path for path, node in OURS if not bounded(path, node)] == []
    foreign = {"$ref", "allOf", "oneOf", "nullable", "title", "const"}
    assert [path for path, node in OURS if set(node) & foreign] == []
    quantities = {f"spec.resources.{stage}.{part}.*" for stage in ("prepare", "train", "evaluate") for part in ("requests", "limits")}
    assert {path for path, node in OURS if "anyOf" in node} == {"spec.training.microBatch"} | quantities


def test_every_field_is_described() -> None:
    assert [path for path, node in OURS if not path.endswith(("[]", ".*")) and not node.get("description")] == []


def test_lists_are_short_enough_for_cel() -> None:
    assert max(node["maxItems"] for _, node in OURS if node.get("type") == "array") <= 64


def leaves(fragment: Fragment, prefix: str) -> set[str]:
    return set().union(*(leaves(value, f"{prefix}.{key}") if isinstance(value, dict) else {f"{prefix}.{key}"} for key, value in fragment.items()))


def test_no_default_where_a_preset_may_decide() -> None:
    """The API server stores defaults, and they can no longer be told from what a user wrote."""
    decidable = set().union(*(leaves(fragment, "spec") for fragment in (DEFAULTS, *(preset.values for preset in PRESETS.values()))))
    defaulted = set().union(*(defaults(path, node) for path, node in OURS))
    assert decidable & defaulted == set()
    assert {"spec.training.seed", "spec.checkpoint.keep", "spec.parallelism.nodes", "spec.data.overlong"} <= defaulted


def defaults(path: str, node: dict[str, Any]) -> set[str]:
    if "default" not in node:
        return set()
    return leaves(node["default"], path) if isinstance(node["default"], dict) else {path}


def test_printer_columns_and_rules_read_named_fields() -> None:
    fields = {path for path, _ in nodes(SCHEMA, "")}
    version = crd()["spec"]["versions"][0]
    paths = [column["jsonPath"].removeprefix(".") for column in version["additionalPrinterColumns"]]
    assert [path for path in paths if path not in fields] == ["metadata.creationTimestamp"]
    for path, node in nodes(SCHEMA, ""):
        for rule in node.get("x-kubernetes-validations", ()):
            named = f"{path}{rule['fieldPath']}".removeprefix(".") if "fieldPath" in rule else path
            assert named in fields


def test_the_field_surface_is_frozen() -> None:
    """A field that goes or changes its kind breaks manifests and tools; one that comes is added here on purpose."""
    surface = "".join(f"{path} {node.get('type', 'int-or-string')}\n" for path, node in OURS)
    assert surface == FIELDS.read_text(encoding="utf-8"), "write the new surface into tests/api/fields.txt if the change is meant"


class Untranslatable(BaseModel):
    union: int | str = 0
    pair: tuple[int, str] = (0, "")
    multiple: float = 0
    words: Literal["a"] | bool = "a"
    open: dict[str, Any] = {}
    moment: bytes = b""


@pytest.mark.parametrize("field", ["union", "pair", "words", "open", "moment"])
def test_the_generator_raises_on_what_it_cannot_carry_over(field: str) -> None:
    schema = Untranslatable.model_json_schema()
    with pytest.raises(UnknownKeywordError):
        structural({**schema, "properties": {field: schema["properties"][field]}})


def test_a_bound_on_a_maps_names_becomes_a_rule() -> None:
    rules = dict(OURS)["spec.data.mixture.ratio"]["x-kubernetes-validations"]
    assert [rule["rule"] for rule in rules] == ["self.all(name, name.size() <= 63)"]
    long = minimal_manifest(data={"mixture": {"by": "Language", "ratio": {"en": 1, "x" * 64: 1}}})
    assert rules[0]["message"] in refusals(long)


@pytest.mark.parametrize("keyword", ["propertyNames", "patternProperties", "not", "uniqueItems", "contentEncoding", "discriminator", "examples"])
def test_the_generator_raises_on_unknown_keywords(keyword: str) -> None:
    class Odd(BaseModel):
        model_config = ConfigDict(json_schema_extra={keyword: {}})

    with pytest.raises(UnknownKeywordError, match=keyword):
        structural(Odd.model_json_schema())


def test_every_refusal_is_on_the_page_with_its_code_and_its_words() -> None:
    page = refusals_page.rendered()
    for kind in (each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.Refusal) and each is not errors.Refusal):
        assert f"## {kind.__name__}\n\nExit code {int(kind.exit)} ({kind.exit.name.title().replace('_', '')})" in page
    said = "the lines of source …, which is trained on | questions that were not trained on | Evaluate on another file, or say seen: true"
    assert said in page[page.index("## InvalidData") : page.index("## InvalidModel")]
    assert "| an empty file | one MedFineTune |" in page
