"""Cache: what the operator knows of the cluster. Filled by a list, kept fresh by watches and by the operator's own writes, trued up by later lists.

Every change carries the resourceVersion that orders it, so it does not matter who brings the news first: an older version never replaces a newer one, and an
object that was deleted, or was not there when all were listed, is not brought back by news from before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from medfinetune_api.objects import RUN_LABEL

from medfinetune_operator.kinds import KEPT, Kind
from medfinetune_operator.workqueue import Key

Json = dict[str, Any]

_UNREAD: dict[Kind, tuple[str, ...]] = {Kind.POD: ("spec",), Kind.CONFIG_MAP: ("data",), Kind.SERVICE: ("spec", "status"), Kind.NETWORK_POLICY: ("spec",)}
"""Parts of objects that nothing here reads; a thousand runs' would fill the memory."""


class Cache:
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Json]] = {kind: {} for kind in KEPT}
        self._gone: dict[Kind, dict[Key, int]] = {kind: {} for kind in KEPT}
        self._listed: dict[tuple[Kind, str | None], int] = {}
        self._of_run: dict[tuple[Kind, Key], set[Key]] = defaultdict(set)
        self._users: dict[Key, set[Key]] = defaultdict(set)

    def named(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object of that name, where there is one."""
        return self._objects[kind].get((namespace, name))

    def of_run(self, kind: Kind, run: Key) -> list[Json]:
        """Objects that carry the run's name as label: its own, and those of an earlier run of that name."""
        return [self._objects[kind][key] for key in sorted(self._of_run.get((kind, run), ()))]

    def runs(self) -> Iterable[Json]:
        """Every run."""
        return self._objects[Kind.RUN].values()

    def concerned(self, kind: Kind, body: Json) -> set[Key]:
        """The runs to look at when `body` has changed."""
        key = key_of(body)
        if kind is Kind.RUN:
            return {key}
        users = self._users.get(key, set()) if kind is Kind.CLAIM else set()
        return _runs_of(key[0], body) | users

    def put(self, kind: Kind, body: Json) -> bool:
        """Take `body` in; False where it is no news."""
        key, version = key_of(body), version_of(body)
        present = self._objects[kind].get(key)
        if version <= (version_of(present) if present else self._absent_since(kind, key)):
            return False
        if present:
            self._unlink(kind, key, present)
        self._gone[kind].pop(key, None)
        self._objects[kind][key] = kept = _kept(kind, body)
        self._link(kind, key, kept)
        return True

    def drop(self, kind: Kind, body: Json) -> bool:
        """Forget an object that was deleted, `body` being the last that was seen of it; False where that is no news."""
        key, version = key_of(body), version_of(body)
        present = self._objects[kind].get(key)
        self._gone[kind][key] = max(version, self._gone[kind].get(key, 0))
        if present is None or version_of(present) > version:
            return False
        self._unlink(kind, key, self._objects[kind].pop(key))
        return True

    def true_up(self, kind: Kind, namespace: str | None, listed: list[Json], version: str) -> set[Key]:
        """Make a namespace's objects, or all of a kind, as the list says that they were at `version`; says which runs that is news for."""
        at, concerned = int(version), set[Key]()
        there = {key_of(body) for body in listed}
        for key, body in [*self._objects[kind].items()]:
            if key not in there and (namespace is None or key[0] == namespace) and version_of(body) <= at:
                concerned |= self.concerned(kind, body)
                self._unlink(kind, key, self._objects[kind].pop(key))
        for body in listed:
            if self.put(kind, body):
                concerned |= self.concerned(kind, body)
        self._listed[kind, namespace] = at
        self._gone[kind] = {key: gone for key, gone in self._gone[kind].items() if gone > at}
        return concerned

    def _absent_since(self, kind: Kind, key: Key) -> int:
        """Newest version at which the object is known not to have existed."""
        listed = max(self._listed.get((kind, None), 0), self._listed.get((kind, key[0]), 0))
        return max(self._gone[kind].get(key, 0), listed)

    def _link(self, kind: Kind, key: Key, body: Json) -> None:
        for run in _runs_of(key[0], body):
            self._of_run[kind, run].add(key)
        for claim in claims_named(body).values() if kind is Kind.RUN else ():
            self._users[key[0], claim].add(key)

    def _unlink(self, kind: Kind, key: Key, body: Json) -> None:
        for run in _runs_of(key[0], body):
            _discard(self._of_run, (kind, run), key)
        for claim in claims_named(body).values() if kind is Kind.RUN else ():
            _discard(self._users, (key[0], claim), key)


def key_of(body: Json) -> Key:
    """Namespace and name."""
    return body["metadata"]["namespace"], body["metadata"]["name"]


def version_of(body: Json) -> int:
    """The resourceVersion as the number that it is in every API server on etcd (and by Kubernetes' own promise since 1.35)."""
    return int(body["metadata"]["resourceVersion"])


def claims_named(body: Json) -> dict[str, str]:
    """Existing claims that a run's spec names, by field."""
    return dict(_claims(body.get("spec") or {}))


def _claims(spec: Json) -> Iterator[tuple[str, str]]:
    for part in ("model", "data", "output"):
        volume = (spec.get(part) or {}).get("volume") or {}
        if name := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
            yield f"spec.{part}.volume", name


def _runs_of(namespace: str, body: Json) -> set[Key]:
    name = (body["metadata"].get("labels") or {}).get(RUN_LABEL)
    return {(namespace, name)} if name else set()


def _kept(kind: Kind, body: Json) -> Json:
    slim = {part: value for part, value in body.items() if part not in _UNREAD.get(kind, ())}
    slim["metadata"] = {part: value for part, value in body["metadata"].items() if part != "managedFields"}
    if kind is Kind.POD:
        slim["spec"] = {"nodeName": (body.get("spec") or {}).get("nodeName")}
    if kind is Kind.JOB:
        slim["spec"] = {part: (body.get("spec") or {}).get(part) for part in ("completions", "suspend")}
    return slim


def _discard(index: dict[Any, set[Key]], entry: Any, key: Key) -> None:
    index[entry].discard(key)
    if not index[entry]:
        del index[entry]
