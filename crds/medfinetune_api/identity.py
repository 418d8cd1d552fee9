"""Which run a manifest is where no cluster gives it a uid: the same name and spec are the same run, a changed spec is another."""

from __future__ import annotations

import json
import uuid

from medfinetune_api.plan import Identity
from medfinetune_api.spec import MedFineTune

LOCAL_NAMESPACE = "local"
RUNS = uuid.uuid5(uuid.NAMESPACE_DNS, "medfinetune.io")
"""Namespace of the UUIDs of local runs."""


def local_identity(manifest: MedFineTune) -> Identity:
    """Identity of a run on this machine: a UUID5 of its name and canonical spec, whatever the order and comments of the file.

    What only a cluster reads (`runPolicy`, `scheduling`, `pods`) does not make it another run.
    """
    spec = manifest.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"run_policy", "scheduling", "pods"})
    text = json.dumps([manifest.metadata.name, spec], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return Identity(name=manifest.metadata.name, namespace=LOCAL_NAMESPACE, uid=str(uuid.uuid5(RUNS, text)))
