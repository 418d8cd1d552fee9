"""Cluster: the only writer. Every write to the API server goes through `Cluster.write`, and what it answers goes into the cache at once: a watch that lags
behind must not make the operator think that its own Job is missing.
"""

from __future__ import annotations

from typing import Any, Literal

from medfinetune_api.objects import UID_LABEL

from medfinetune_operator.cache import Cache, Json
from medfinetune_operator.client import Api, ApiError
from medfinetune_operator.kinds import Kind, kind_of
from medfinetune_operator.observation import Refusal
from medfinetune_operator.refusals import Refused, RightMissing, refusal_of, right_missing

Verb = Literal["create", "replace", "apply", "delete"]

RIGHTS: dict[Verb, str] = {"create": "create", "replace": "update", "apply": "patch", "delete": "delete"}
"""The verbs of Kubernetes' roles."""
MANAGER = {"fieldManager": "medfinetune-operator"}
FORCE = MANAGER | {"force": "true"}


class Outdated(Exception):  # noqa: N818  # says what is so
    """The object has changed or gone since it was read: look again."""


class Cluster:
    """Writes for runs. Raises ApiError or Unreachable where a retry may help."""

    def __init__(self, api: Api, cache: Cache) -> None:
        self.api, self.cache = api, cache

    async def write(self, verb: Verb, kind: Kind, namespace: str, name: str, body: Json, subresource: str | None = None) -> Json:
        """One write, whatever it is. Returns what the API server answers. Raises RightMissing where the operator's role does not allow it."""
        try:
            return await self._send(verb, kind, namespace, name, body, subresource)
        except ApiError as error:
            if not right_missing(error):
                raise
            resource = "/".join(part for part in (kind.value.plural, subresource) if part)
            raise RightMissing(error, RIGHTS[verb], resource) from None

    async def _send(self, verb: Verb, kind: Kind, namespace: str, name: str, body: Json, subresource: str | None) -> Json:
        path = kind.path(namespace, name, subresource)
        match verb:
            case "create":
                return await self.api.request("POST", kind.path(namespace), query=MANAGER, body=body)
            case "replace":
                return await self.api.request("PUT", path, query=MANAGER, body=body)
            case "apply":
                return await self.api.request("PATCH", path, query=FORCE, body=body, content_type="application/apply-patch+yaml")
            case "delete":
                return await self.api.request("DELETE", path, body=body)

    async def store_status(self, run: Json, status: Json) -> None:
        """Write a run's status, provided that the run is still the one that was read. Raises Outdated otherwise."""
        meta = run["metadata"]
        body = {part: run[part] for part in ("apiVersion", "kind", "spec")} | {"metadata": _identity(meta) | {"resourceVersion": meta["resourceVersion"]}}
        try:
            stored = await self.write("replace", Kind.RUN, meta["namespace"], meta["name"], body | {"status": status}, "status")
        except ApiError as error:
            if error.status in (404, 409):
                raise Outdated from None
            raise
        self.cache.put(Kind.RUN, stored)

    async def create(self, manifest: Json) -> Json:
        """Create an object of a run; done already is done. Returns it. Raises Refused where the API server will not have it or the name is another's."""
        kind, meta = kind_of(manifest), manifest["metadata"]
        try:
            made = await self.write("create", kind, meta["namespace"], meta["name"], manifest)
        except ApiError as error:
            made = await self._own_of_that_name(kind, meta, error)
        self.cache.put(kind, made)
        return made

    async def apply(self, manifest: Json) -> None:
        """Create an object of a run, or update the run's own by server-side apply. Raises Refused as `create` does, Outdated where what was known is gone.

        An apply takes over whatever it finds, so it is bound to the uid of an object that is known to be the run's.
        """
        kind, meta = kind_of(manifest), manifest["metadata"]
        known = self.cache.named(kind, meta["namespace"], meta["name"])
        if known is None or not _same_run(known, meta):
            known = await self.create(manifest)
        if not _annotated_as(known, meta):
            await self._update(kind, manifest | {"metadata": meta | {"uid": known["metadata"]["uid"]}})

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete that very object, and it only once what it owns is gone. One that is gone already is forgotten."""
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
        try:
            answer = await self.write("delete", kind, namespace, name, options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise
            answer = {}
        if answer.get("kind") == kind.value.kind:
            self.cache.put(kind, answer)
        else:
            await self.refresh(kind, namespace, name)

    async def refresh(self, kind: Kind, namespace: str, name: str) -> None:
        """Learn at first hand what is at a name."""
        present, known = await self.api.get(kind, namespace, name), self.cache.named(kind, namespace, name)
        if known and (present is None or present["metadata"]["uid"] != known["metadata"]["uid"]):
            self.cache.drop(kind, known)
        if present:
            self.cache.put(kind, present)

    async def _own_of_that_name(self, kind: Kind, meta: Json, error: ApiError) -> Json:
        """What stands where an object could not be created, if it is the run's own: an earlier attempt to create it did get through."""
        if error.status != 409 or error.reason != "AlreadyExists":
            raise _refused(error) from None
        found = await self.api.get(kind, meta["namespace"], meta["name"])
        if found is None:
            raise Outdated from None
        if not _same_run(found, meta):
            raise _refused(error) from None
        return found

    async def _update(self, kind: Kind, manifest: Json) -> None:
        meta = manifest["metadata"]
        try:
            self.cache.put(kind, await self.write("apply", kind, meta["namespace"], meta["name"], manifest))
        except ApiError as error:
            if error.status != 409:
                raise _refused(error) from None
            await self.refresh(kind, meta["namespace"], meta["name"])
            raise Outdated from None


def _refused(error: ApiError) -> Exception:
    reason = refusal_of(error)
    return error if reason is None else Refused(Refusal(reason, error.fields))


def _same_run(found: Json, meta: Json) -> bool:
    same: bool = (found["metadata"].get("labels") or {}).get(UID_LABEL) == meta["labels"][UID_LABEL]
    return same


def _annotated_as(found: Json, meta: Json) -> bool:
    """Whether what was applied last, which the annotations tell, is this."""
    stamp: dict[str, str] = meta["annotations"]
    return stamp.items() <= (found["metadata"].get("annotations") or {}).items()


def _identity(meta: Json) -> dict[str, Any]:
    return {part: meta[part] for part in ("namespace", "name", "uid")}
