"""Who may speak with whom: the chart's NetworkPolicy for the operator and the operator's own for a run, taken together."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from medfinetune_api.choices import Stage
from medfinetune_api.objects import METRICS_PORT, RENDEZVOUS_PORT
from medfinetune_operator.observation import Child
from medfinetune_operator.resources.children import child
from medfinetune_operator.resources.job import job
from medfinetune_operator.settings import Settings
from support.built import NAMESPACE as WARD
from support.built import attempt, pod_of, run_of
from support.chart import NAMESPACE, only, render
from support.network import Peer, passes
from support.rights import of_chart

CLOSED = {"apiServerCIDRs": ["10.9.0.1/32"]}
API_SERVER, ELSEWHERE, CACHE = (Peer(address=address) for address in ("10.9.0.1", "93.184.216.34", "169.254.20.10"))
SCRAPER, STRANGER, DNS = (Peer(namespace, {"app": "any"}) for namespace in ("monitoring", WARD, "kube-system"))


def world(**values: Any) -> tuple[list[dict[str, Any]], dict[str, Peer]]:
    """The policies of a release that carries a run, and its pods."""
    objects = render({"networkPolicy": CLOSED, **values})
    settings = Settings.model_validate(yaml.safe_load(only(objects, "ConfigMap", "medfinetune-operator")["data"]["settings.yaml"]))
    run = run_of(parallelism={"nodes": 2, "gpusPerNode": 1})
    rank = pod_of(job(run, attempt(Stage.TRAIN), settings))["metadata"]["labels"]
    operator, tester = (each["metadata"]["labels"] for each in (only(objects, "Deployment")["spec"]["template"], only(objects, "Pod")))
    policies = [*(each for each in objects if each["kind"] == "NetworkPolicy"), child(Child.POLICY, run, settings)]
    return policies, {"operator": Peer(NAMESPACE, operator), "test": Peer(NAMESPACE, tester), "rank": Peer(WARD, rank)}


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": [WARD]}], ids=["everywhere", "some namespaces"])
def test_operator_and_ranks_reach_what_they_need_and_nothing_else(values: dict[str, Any]) -> None:
    policies, own = world(**values)
    operator, rank = own["operator"], own["rank"]
    outside = {"API server": API_SERVER, "elsewhere": ELSEWHERE, "cache": CACHE, "scraper": SCRAPER, "stranger": STRANGER, "dns": DNS}
    peers = {**own, **outside}
    ports = (53, 443, 6443, 5432, 8080, METRICS_PORT, RENDEZVOUS_PORT)
    said = {(one, other, port) for one in peers for other in peers for port in ports if {one, other} & {"operator", "rank"}}
    let = {(one, other, port) for one, other, port in said if passes(policies, peers[one], peers[other], port)}
    names = {name for name, peer in peers.items() if not peer.address}
    dns = {(one, other, 53) for one in ("operator", "rank") for other in (names - {"operator", "rank"}) | {"cache"}}
    assert let == dns | {
        *(("operator", "API server", port) for port in (443, 6443)),
        *(("rank", "rank", port) for port in ports),
        *((one, "operator", 8080) for one in ("scraper", "test")),
        *((one, "rank", METRICS_PORT) for one in ("operator", "test", "scraper")),  # a run's policy knows the operator by its namespace
    }
    assert all(passes(policies, one, DNS, 53, "UDP") for one in (operator, rank))
    assert not any(passes(policies, one, ELSEWHERE, 53, "UDP") for one in (operator, rank))


def test_without_addresses_the_operator_reaches_any_api_server_and_still_nothing_else() -> None:
    policies, own = world(networkPolicy={"apiServerPorts": [16443]})
    assert [port for port in (53, 443, 16443) if passes(policies, own["operator"], ELSEWHERE, port)] == [16443]


def test_another_namespace_is_asked_nothing_where_only_some_are_watched() -> None:
    policies, own = world(watchNamespaces=["ward-9"])
    assert not passes(policies, own["operator"], Peer("ward-7", own["rank"].labels), METRICS_PORT)
    assert passes(policies, own["operator"], Peer("ward-9", own["rank"].labels), METRICS_PORT)


def test_it_can_be_left_out() -> None:
    assert of_chart("NetworkPolicy", networkPolicy={"enabled": False}) == []
