"""What NetworkPolicies let through, by the semantics of networking.k8s.io/v1: a plugin that enforces them is not needed to know what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Rule = Mapping[str, Any]
_HOLDS = {
    "In": lambda labels, asked: labels.get(asked["key"]) in asked["values"],
    "NotIn": lambda labels, asked: labels.get(asked["key"]) not in asked["values"],
    "Exists": lambda labels, asked: asked["key"] in labels,
    "DoesNotExist": lambda labels, asked: asked["key"] not in labels,
}


@dataclass(frozen=True)
class Peer:
    """A pod in a namespace, or an address outside of the cluster."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""

    @property
    def namespace_labels(self) -> dict[str, str]:
        """Those that every namespace has."""
        return {"kubernetes.io/metadata.name": self.namespace}


def passes(policies: Sequence[Rule], source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let out where it begins and in where it ends."""
    return _lets(policies, "egress", source, target, port, protocol) and _lets(policies, "ingress", target, source, port, protocol)


def _lets(policies: Sequence[Rule], way: str, own: Peer, other: Peer, port: int, protocol: str) -> bool:
    """By the policies that select `own`; where none does that way, everything."""
    bound = [each for each in policies if _selects_pod(each, own) and way.capitalize() in each["spec"]["policyTypes"]]
    end = "to" if way == "egress" else "from"
    rules = [(rule, each["metadata"]["namespace"]) for each in bound for rule in each["spec"].get(way, ())]
    return not bound or any(_on_port(rule, port, protocol) and _with(rule.get(end), home, other) for rule, home in rules)


def _selects_pod(policy: Rule, pod: Peer) -> bool:
    return not pod.address and policy["metadata"]["namespace"] == pod.namespace and matches(policy["spec"]["podSelector"], pod.labels)


def _on_port(rule: Rule, port: int, protocol: str) -> bool:
    ports = rule.get("ports")
    return not ports or any(
        each.get("protocol", "TCP") == protocol and each.get("port", port) <= port <= each.get("endPort", each.get("port", port)) for each in ports
    )


def _with(peers: Sequence[Rule] | None, home: str, other: Peer) -> bool:
    return not peers or any(_is(each, home, other) for each in peers)


def _is(peer: Rule, home: str, other: Peer) -> bool:
    if "ipBlock" in peer or other.address:
        block = peer.get("ipBlock")
        return bool(block and other.address) and _inside(block, other.address)
    namespace = matches(peer["namespaceSelector"], other.namespace_labels) if "namespaceSelector" in peer else other.namespace == home
    return namespace and matches(peer.get("podSelector", {}), other.labels)


def _inside(block: Rule, address: str) -> bool:
    found = ip_address(address)
    return found in ip_network(block["cidr"]) and not any(found in ip_network(each) for each in block.get("except", ()))


def matches(selector: Rule, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects what has these labels; an empty one selects everything."""
    exact = all(labels.get(name) == value for name, value in (selector.get("matchLabels") or {}).items())
    return exact and all(_HOLDS[each["operator"]](labels, each) for each in selector.get("matchExpressions") or ())
