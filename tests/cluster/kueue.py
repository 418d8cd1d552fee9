"""The CustomResourceDefinitions of Kueue, out of its Go module: the first release that serves v1beta2."""

from __future__ import annotations

from pathlib import Path

from cluster.modules import module

MODULE, VERSION, SUM = "sigs.k8s.io/kueue", "v0.15.0", "h1:9Khzc2ne6/eWuZx5o+R4KlVBzh3kZkTIMzpPC2e8Spg="
KINDS = ("clusterqueues", "localqueues", "resourceflavors")


def definitions() -> list[Path]:
    """Files of the definitions of KINDS. Raises AssertionError if it is not the pinned module."""
    folder = module(MODULE, VERSION, SUM) / "config" / "components" / "crd" / "bases"
    return [folder / f"kueue.x-k8s.io_{kind}.yaml" for kind in KINDS]
