"""Safe YAML that remembers its lines: one document of plain maps, lists and scalars, read as kubectl reads it.

Scalars are those of kubectl's parser (Go's sigs.k8s.io/yaml on yaml.v2, resolve.go), not PyYAML's: `2e-4`, `0o17` and `08` are numbers, `1:30` and dates are
text, `y` and `n` are booleans. A repeated key is refused, and size, depth and expanded aliases are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml

from medfinetune_api.errors import InvalidManifest
from medfinetune_api.fields import Path

MAX_BYTES = 262_144
MAX_DEPTH = 32
MAX_NODES = 20_000
_MAP, _LIST, _TAG = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:"
_SCALARS = {_TAG + name for name in ("str", "int", "float", "bool", "null")}
_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with JSON's scalar types only."""


_WORDS = {_TAG + name for name in ("bool", "null")}
_OCTAL = re.compile(r"[-+]?0[0-7]+")
_NUMBERS = {
    "int": r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|0[0-7_]*|[1-9][0-9_]*)",
    "float": r"[-+]?([.][0-9][0-9_]*|[0-9][0-9_]*([.][0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?[.](inf|Inf|INF)|[.](nan|NaN|NAN)",
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag in _WORDS] for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^({_pattern})\\Z"), list("-+.0123456789"))
_Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"^[yYnN]\Z"), list("yYnN"))
_Loader.bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """A whole number in any of Go's bases; a leading 0 alone is octal."""
    digits = str(node.value).replace("_", "")
    value = int(digits, 8 if _OCTAL.fullmatch(digits) else 0)
    if abs(value) >= 1 << 64:
        raise ValueError("beyond the whole numbers of Go and of JSON's readers")
    return value


_Loader.add_constructor(_TAG + "int", _whole)


@dataclass
class Document:
    """A YAML document: its value in JSON's types, and the line (from 1) of each of its fields."""

    name: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def place(self, line: int | None) -> str:
        """`file:line`, or the file alone."""
        return f"{self.name}:{line}" if line else self.name


def read_document(path: FilePath) -> Document:
    """Read a manifest's file.

    Raises:
        InvalidManifest: missing, unreadable, empty, too large, not UTF-8 without BOM, or not one document of plain YAML.
    """
    document = Document(str(path))
    text = _decode(document, _read(document, path))
    try:
        loader = _Loader(text)
        _bound_depth(document, text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        raise _syntax(document, error) from None
    if node is None:
        raise _refusal(document, None, "an empty file", "one MedFineTune", "Write a manifest; examples/01-minimal holds one.")
    _Builder(document, loader).build(node)
    return document


def _read(document: Document, path: FilePath) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "an unreadable file").lower()
        raise _refusal(document, None, found, "a readable YAML file", "Check the path and its permissions.") from None
    if len(content) > MAX_BYTES:
        raise _refusal(document, None, f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes", "Check that this is the manifest and not a data file.")
    return content


def _decode(document: Document, content: bytes) -> str:
    bom = next((mark for mark in _BOMS if content.startswith(mark)), None)
    if bom:
        raise _refusal(document, 1, "a byte order mark", "UTF-8 without one", "Save the file as UTF-8 without BOM.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _refusal(document, line, "bytes that are not UTF-8", "UTF-8", "Save the file as UTF-8.") from None


def _bound_depth(document: Document, text: str) -> None:
    """Refuse deep nesting before anything recurses on it: PyYAML's event stream keeps its own stack."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _refusal(document, _line(event.start_mark), f"more than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels", "Remove the excess nesting.")


def _syntax(document: Document, error: yaml.YAMLError) -> InvalidManifest:
    line = _line(getattr(error, "problem_mark", None))
    problem = getattr(error, "problem", None) or "a character that YAML does not allow"
    if "expected a single document" in str(error):
        return _refusal(document, line, "a second document", "one document", "Keep one manifest a file: remove the second one after '---'.")
    return _refusal(document, line, f"malformed YAML ({problem})", "well-formed YAML", "Correct the syntax near this line.")


def _line(mark: Any) -> int | None:
    return mark.line + 1 if mark else None


def _refusal(document: Document, line: int | None, found: str, expected: str, remedy: str) -> InvalidManifest:
    return InvalidManifest(document.place(line), found=found, expected=expected, remedy=remedy)


class _Builder:
    """Turns nodes into values, counting every node an alias repeats."""

    def __init__(self, document: Document, loader: _Loader) -> None:
        self._document, self._loader, self._nodes = document, loader, 0

    def build(self, root: yaml.Node) -> None:
        """Fill the document's value and lines."""
        self._document.value = self._value(root, ())

    def _value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise self._refuse(node, "aliases that expand too far", f"at most {MAX_NODES} values", "Write the values out instead of repeating them by alias.")
        self._document.lines.setdefault(path, _line(node.start_mark) or 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            return self._scalar(node)
        raise self._refuse(node, f"the YAML tag {node.tag[:60]}", "plain maps, lists, text, numbers and booleans", "Remove the tag.")

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, IndexError):  # PyYAML's constructors, where an explicit tag names another type than the text has
            found, expected = f"a value that is no {node.tag.removeprefix(_TAG)}", "a number of at most 64 bits, or true, false or null as tagged"
            raise self._refuse(node, found, expected, "Correct the value, or quote it if it is text.") from None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> Mapping[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in values:
                raise self._refuse(key_node, f"the key {key[:60]!r} twice", "each key once", "Remove one of the two.")
            self._document.lines[(*path, key)] = _line(key_node.start_mark) or 1
            values[key] = self._value(value_node, (*path, key))
        return values

    def _key(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "str":
            return str(node.value)
        found = f"the key {str(node.value)[:60]}, which YAML does not read as text" if isinstance(node, yaml.ScalarNode) else "a key that is not text"
        raise self._refuse(node, found, "text as key", "Quote the key; write merged fields out.")

    def _refuse(self, node: yaml.Node, found: str, expected: str, remedy: str) -> InvalidManifest:
        return _refusal(self._document, _line(node.start_mark), found, expected, remedy)
