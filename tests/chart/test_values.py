"""The chart's values are closed: what is misspelt or of the wrong type is refused by its place, before anything is rendered."""

from __future__ import annotations

import copy
import ipaddress
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cluster.control_plane import ControlPlane
from medfinetune_api.spec_pods import TolerationSpec
from medfinetune_operator.settings import Allowed, Defaults, Settings
from pydantic import ValidationError
from pydantic.alias_generators import to_camel
from support.chart import CHART, HelmError, only, render, settings

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
WRONG = {bool: "yes", str: [], int: True, list: "one", dict: 7}
"""For a default of each type, a value that nobody can mean."""
EXAMPLES: dict[str, Any] = {
    "/operator/affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "zone", "labelSelector": {}}]}},
    "/operator/tolerations": [{"operator": "Exists"}],
    "/operator/topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}],
    "/operator/times": {"stopSeconds": 60},
    "/operator/resources": {"requests": {"cpu": "1.5", "example.com/device": 1}, "limits": {"memory": "1e9", "example.com/device": 1}},
    "/networkPolicy/scraperNamespaceSelector": {
        "matchLabels": {"team": "monitoring"},
        "matchExpressions": [{"key": "a.b/c", "operator": "NotIn", "values": ["x"]}, {"key": "b", "operator": "Exists"}],
    },
    "/networkPolicy/dnsEgress/ports": [{"port": "dns-tcp", "protocol": "TCP"}, {"port": 53, "endPort": 54, "protocol": "UDP"}],
    "/podMonitor/interval": "1m30s",
    "/allowed/tolerations": [{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute"}],
}
"""Values inside of what is empty by default."""
ADDRESSES = (
    *("0.0.0.0", "10.9.0.1", "99.100.199.200", "249.250.255.0", "256.1.1.1", "1.260.1.1", "1.1.1.300", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1..3.4", "1.2.3.4 "),
    *("::", "::1", "fd00:9::", "1::8", "FE80:0:0::7:8", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8", "1:2:3:4:5:6:7"),
    *("1:2:3:4:5:6:7:8:9", "1::2::3", ":1", "1:", ":::", "12345::", "g::", "::ffff:10.0.0.1", "fe80::1%eth0", "", "api.hospital.example"),
)
OPTIONAL = {"runAsUser", "runAsGroup", "fsGroup", "requests", "limits"}
"""What null may take away: ids are then the platform's, resources not asked for."""


def filled() -> dict[str, Any]:
    """The defaults, with something inside of what is empty."""
    values = copy.deepcopy(DEFAULTS)
    for place, value in EXAMPLES.items():
        *above, last = place.split("/")[1:]
        owner = values
        for name in above:
            owner = owner[name]
        owner[last] = copy.deepcopy(value)
    return values


def maps(value: Any, schema: dict[str, Any], place: str = "") -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every map of `value` with its place and its schema."""
    schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if isinstance(value, dict):
        yield place, value, schema
        for name, part in value.items():
            yield from maps(part, schema.get("properties", {}).get(name, {}), f"{place}/{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from maps(part, schema.get("items", {}), f"{place}/{index}")


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(HelmError, match="values don't meet the specifications of the schema") as raised:
        render(values)
    return str(raised.value)


def test_the_defaults_and_what_they_may_hold_pass() -> None:
    assert render(filled())


def test_every_value_has_a_default_and_every_default_a_schema() -> None:
    for place, value, schema in maps(DEFAULTS, SCHEMA):
        assert schema["type"] == "object", place
        if "properties" in schema and value and not place.startswith("/networkPolicy/dnsEgress/"):
            assert set(value) == set(schema["properties"]) - {"global"}, place
            assert set(schema.get("required", ())) == set(value) - OPTIONAL, place


def test_null_takes_no_default_away_but_ids_and_resources() -> None:
    nulls, taken = copy.deepcopy(DEFAULTS), []
    for place, part, schema in list(maps(nulls, SCHEMA)):
        if place.startswith("/networkPolicy/dnsEgress/"):  # items of lists: Helm keeps a null there
            continue
        leaves = [name for name in schema.get("required", ()) if not (isinstance(part[name], dict) and part[name])]
        part.update(dict.fromkeys(leaves))
        taken += [(place, name) for name in leaves]
    words = dict(re.findall(r"- at '(.*)': missing propert(.*)", refused(nulls)))
    assert len(taken) > 50
    assert [(place, name) for place, name in taken if f"'{name}'" not in words.get(place, "")] == []


def test_allowed_tolerations_are_those_that_a_run_may_write() -> None:
    choices: dict[str, tuple[Any, ...]] = {"key": ("", "gpu"), "operator": ("Exists", "Equal", "In"), "value": ("", "yes")}
    choices |= {"effect": ("", "NoSchedule", "NoExecute"), "tolerationSeconds": (5,)}
    drawn = itertools.product(*(((), *((name, value) for value in values)) for name, values in choices.items()))
    tolerations: list[dict[str, Any]] = [dict(filter(None, each)) for each in drawn]
    words = refused({"allowed": {"tolerations": tolerations}})
    found = {int(index) for index in re.findall(r"at '/allowed/tolerations/(\d+)[/']", words)}
    assert found == {index for index, each in enumerate(tolerations) if not _may_be_written(each)}
    kept = [each for index, each in enumerate(tolerations) if index not in found]
    assert len(settings(render({"allowed": {"tolerations": kept}})).allowed.tolerations) == len(kept) > 20


def _may_be_written(toleration: dict[str, Any]) -> bool:
    try:
        TolerationSpec.model_validate(toleration)
    except ValidationError:
        return False
    return True


def test_an_unknown_key_is_refused_at_every_level() -> None:
    """Also one that no label, annotation or resource can have, at the map that it stands in."""
    values = filled()
    closed = [(place, part, schema) for place, part, schema in maps(values, SCHEMA) if schema.get("additionalProperties") is False]
    free = {place for place, _, schema in closed if "patternProperties" in schema}
    assert len(closed) - len(free) > 25
    assert free == {
        *("/commonLabels", "/operator/nodeSelector", "/operator/podLabels", "/operator/podAnnotations", "/serviceAccount/annotations"),
        *("/operator/resources/requests", "/operator/resources/limits", "/networkPolicy/scraperNamespaceSelector/matchLabels"),
        *("/podMonitor/labels", "/serviceMonitor/labels", "/prometheusRule/labels", "/dashboards/labels", "/dashboards/annotations"),
    }
    for place, part, _ in closed:
        part["café" if place in free else "misspelt"] = "1"
    words = set(re.findall(r"- at '(.*)': additional properties '(.*)' not allowed", refused(values)))
    assert words == {(place, "café" if place in free else "misspelt") for place, _, _ in closed}


def test_a_wrong_type_is_refused_at_every_leaf() -> None:
    values, wrong = filled(), []
    for place, part, schema in list(maps(values, SCHEMA)):
        for name, value in part.items():
            if "patternProperties" in schema or (isinstance(value, (dict, list)) and value):
                continue
            part[name] = WRONG[type(value)]
            wrong.append(f"{place}/{name}")
    words = refused(values)
    assert len(wrong) > 60
    assert [place for place in wrong if f"at '{place}'" not in words] == []


def test_cidrs_are_those_of_either_family_and_the_api_server_takes_them(control_plane: ControlPlane) -> None:
    drawn = [f"{address}/{bits}" for address, bits in itertools.product(ADDRESSES, ("0", "9", "32", "33", "99", "128", "129", "08", "-1", "255.0.0.0", ""))]
    words = refused({"networkPolicy": {"apiServerCIDRs": drawn}})
    found = {int(index) for index in re.findall(r"at '/networkPolicy/apiServerCIDRs/(\d+)'", words)}
    assert found == {index for index, each in enumerate(drawn) if not _is_network(each)}
    kept = [each for index, each in enumerate(drawn) if index not in found]
    policy = only(render({"networkPolicy": {"apiServerCIDRs": kept}}), "NetworkPolicy")
    assert [peer["ipBlock"]["cidr"] for peer in policy["spec"]["egress"][0]["to"]] == kept
    control_plane.apply({**policy, "metadata": {"name": "cidrs"}})


def _is_network(text: str) -> bool:
    """As Python reads it, but for an IPv4 address inside of an IPv6 one, zones, masks and zeros before a number."""
    address, _, bits = text.partition("/")
    if not re.fullmatch("0|[1-9][0-9]*", bits) or {".", ":"} <= set(address) or "%" in address:
        return False
    try:
        return bool(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return False


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("/operator/runAsUser", 0),
        ("/trainer/runAsUser", 1 << 31),
        ("/trainer/defaults/gpuResource", "gpu"),
        ("/trainer/defaults/gpuResource", "requests.nvidia.com/gpu"),
        ("/trainer/defaults/gpuResource", "node.kubernetes.io/gpu"),
        ("/operator/resources/requests", {"gpu": 1}),
        ("/operator/resources/requests/memory", "512K"),
        ("/operator/priorityClassName", "a..b"),
        ("/operator/tolerations/0/key", "a b"),
        ("/allowed/tolerations/0/key", "a b"),
        ("/allowed/images/0", "not an image!"),
        ("/networkPolicy/scraperNamespaceSelector/matchExpressions/0", {"key": "team", "operator": "In"}),
        ("/networkPolicy/dnsEgress/to/0", {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}),
        ("/networkPolicy/dnsEgress/ports/0/port", "a-name-of-sixteen"),
        ("/networkPolicy/dnsEgress/ports/0", {"port": "dns", "endPort": 54}),
        ("/operator/topologySpreadConstraints/0", {"maxSkew": 1, "minDomains": 2, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}),
        ("/fullnameOverride", "no.service"),
        ("/operator/image/digest", "sha256:abc"),
        ("/trainer/image/tag", "a tag"),
        ("/imageRegistry", "https://registry.example"),
        ("/operator/image/repository", "registry.example/operator:cpu"),
        ("/networkPolicy/dnsEgress/to", []),
        ("/networkPolicy/dnsEgress/to/0/ipBlock/cidr", "10.0.0.256/32"),
        ("/networkPolicy/dnsEgress/to/0/ipBlock/except/0", "10.0.0.0/33"),
        ("/operator/times/leaseSeconds", 1),
        ("/networkPolicy/apiServerCIDRs/0", "10.0.0.1"),
        ("/commonLabels/team", "two words"),
        ("/podMonitor/interval", "often"),
        ("/prometheusRule/runbookUrlPrefix", "[wiki] "),
        ("/prometheusRule/runbookUrlPrefix", "https://wiki.example/medfinetune"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused(place: str, value: Any) -> None:
    inner: Any = value
    for name in reversed(place.split("/")[1:]):
        inner = [inner] if name == "0" else {name: inner}
    assert re.search(f"at '{place}[/']", refused(inner))


def test_the_operators_own_settings_are_all_to_be_had() -> None:
    times = {to_camel(name) for name in Settings.model_fields if name.endswith("_seconds")}
    properties = SCHEMA["properties"]
    given, bounds = Settings.model_json_schema()["properties"], ("minimum", "exclusiveMinimum", "maximum")
    assert properties["operator"]["properties"]["times"]["properties"] == {
        name: {"type": "number"} | {bound: given[name][bound] for bound in bounds if bound in given[name]} for name in times
    }
    assert set(properties["allowed"]["properties"]) == {to_camel(name) for name in Allowed.model_fields}
    assert set(properties["trainer"]["properties"]["defaults"]["properties"]) == {to_camel(name) for name in Defaults.model_fields}
