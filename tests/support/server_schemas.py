"""JSON schemas of what an API server serves, made from its own OpenAPI, as files for kubeconform: its default downloads them.

Stricter than the server in one point, as `--validate=strict` is: a field that is not declared is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cluster.control_plane import ControlPlane

LOCATION = "{{.ResourceKind}}{{.KindSuffix}}.json"
"""kubeconform's template for the file of a kind; KindSuffix is `-group-version`, or `-version` in the core group."""
Schema = dict[str, Any]


def write_schemas(cluster: ControlPlane, api_versions: Iterable[str], folder: Path) -> str:
    """Write the schemas of every kind of `api_versions`; what to give to kubeconform as `-schema-location`."""
    for version in api_versions:
        path = f"/openapi/v3/{'apis' if '/' in version else 'api'}/{version}"
        schemas: dict[str, Schema] = json.loads(cluster.kubectl("get", "--raw", path).stdout)["components"]["schemas"]
        definitions = {name: _closed(schema) for name, schema in schemas.items()}
        for name, kind, suffix in _kinds(schemas, version):
            rooted = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": definitions}}
            (folder / f"{kind.lower()}{suffix}.json").write_text(json.dumps(rooted))
    return str(folder / LOCATION)


def _kinds(schemas: dict[str, Schema], version: str) -> Iterator[tuple[str, str, str]]:
    """Name of its schema, kind and kubeconform's suffix of each kind of `version`."""
    for name, schema in schemas.items():
        for each in schema.get("x-kubernetes-group-version-kind", []):
            if "/".join(filter(None, (each["group"], each["version"]))) == version:
                group = each["group"].split(".")[0]
                yield name, each["kind"], "-" + "-".join(filter(None, (group, each["version"])))


def _closed(schema: Any) -> Any:
    """A schema, and those in it, closed to fields that it does not declare."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # Below `properties` are fields of that name, not keywords of the schema.
    inner = {key: {name: _closed(part) for name, part in value.items()} if key == "properties" else _closed(value) for key, value in schema.items()}
    free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    return inner | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) and not free else inner
