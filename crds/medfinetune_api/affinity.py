"""A Pod's affinity, as Kubernetes has it, with lists bounded: the schema must know every field, or an edit of one would pass unseen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from medfinetune_api.base import Contract
from medfinetune_api.choices import SelectorOperator
from medfinetune_api.scalars import BoundedKey, LabelValue, Name, Weight

Values = Annotated[tuple[LabelValue, ...], Field(max_length=16)]


class Requirement(Contract):
    """One comparison of a label."""

    key: BoundedKey
    """Key of the label."""
    operator: SelectorOperator
    """In, NotIn, Exists, DoesNotExist; Gt and Lt for nodes."""
    values: Values = ()
    """Values to compare with, at most 16; none with Exists and DoesNotExist."""


Requirements = Annotated[tuple[Requirement, ...], Field(max_length=8)]


class LabelSelector(Contract):
    """Which pods."""

    match_labels: Annotated[Mapping[BoundedKey, LabelValue], Field(max_length=16)] | None = None
    """Labels that a pod must have."""
    match_expressions: Requirements = ()
    """Comparisons that must hold, at most 8."""


class NodeSelectorTerm(Contract):
    """Which nodes; all of its parts must hold."""

    match_expressions: Requirements = ()
    """Comparisons of a node's labels, at most 8."""
    match_fields: Requirements = ()
    """Comparisons of a node's fields (metadata.name), at most 8."""


class NodeSelector(Contract):
    """Which nodes; one of its terms must hold."""

    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...], Field(min_length=1, max_length=8)]
    """Terms, 1 to 8."""


class PreferredNode(Contract):
    """A preference among nodes."""

    weight: Weight
    """Weight of the preference, 1 to 100."""
    preference: NodeSelectorTerm
    """Which nodes."""


class NodeAffinity(Contract):
    """Which nodes the pods must or should run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    """What a node must have."""
    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[PreferredNode, ...], Field(max_length=8)] = ()
    """What a node should have, at most 8."""


class PodAffinityTerm(Contract):
    """Pods to be near to, or far from."""

    label_selector: LabelSelector
    """Which pods."""
    topology_key: BoundedKey
    """Label of nodes whose equal value means near."""
    namespaces: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Namespaces of those pods, at most 8. Default: the run's own."""


class PreferredPods(Contract):
    """A preference about other pods."""

    weight: Weight
    """Weight of the preference, 1 to 100."""
    pod_affinity_term: PodAffinityTerm
    """Which pods."""


class PodAffinity(Contract):
    """Which other pods must or should be near; as podAntiAffinity, far."""

    required_during_scheduling_ignored_during_execution: Annotated[tuple[PodAffinityTerm, ...], Field(max_length=8)] = ()
    """What must hold, at most 8."""
    preferred_during_scheduling_ignored_during_execution: Annotated[tuple[PreferredPods, ...], Field(max_length=8)] = ()
    """What should hold, at most 8."""


class AffinitySpec(Contract):
    """Rules about nodes and other pods."""

    node_affinity: NodeAffinity | None = None
    """Which nodes the pods run on."""
    pod_affinity: PodAffinity | None = None
    """Which pods they are near to."""
    pod_anti_affinity: PodAffinity | None = None
    """Which pods they are far from."""
