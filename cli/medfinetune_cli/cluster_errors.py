"""What an API server, or the way to it, refuses: each as a Refusal with what was found, what was expected, and what to do. No stack traces."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medfinetune_api.errors import InvalidManifest, Refusal
from medfinetune_api.exits import Exit

if TYPE_CHECKING:
    from kubernetes.client.exceptions import ApiException

_RIGHT = re.compile(r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"(?P<scope>.*)')
_HANDSHAKE = re.compile(r"Handshake status (?P<status>\d+).*-\+-\+- (?P<body>.*)", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')
_ANONYMOUS = "system:anonymous"


class ClusterRefusal(Refusal):
    """The cluster cannot do, or does not let this person do, what was asked for."""

    exit = Exit.USAGE

    @property
    def reason(self) -> str:
        """The kind of refusal; the exit table knows runs, not clusters."""
        return type(self).__name__


class Unreachable(ClusterRefusal):
    """The API server does not answer, or is too busy to. The same command may succeed later."""

    exit = Exit.INTERNAL_ERROR


class NotConfigured(ClusterRefusal):
    """The kubeconfig leads nowhere."""


class Unauthenticated(ClusterRefusal):
    """The API server does not know who asks."""


class Forbidden(ClusterRefusal):
    """The API server knows who asks, and does not allow it."""


class NotFound(ClusterRefusal):
    """There is no such object."""


class NotInstalled(ClusterRefusal):
    """The cluster does not know the kind MedFineTune."""


class Conflict(ClusterRefusal):
    """The object is not in a state that allows it."""


class Unexpected(ClusterRefusal):
    """An answer that this program does not know."""

    exit = Exit.INTERNAL_ERROR


@contextmanager
def api_errors(server: str) -> Iterator[None]:
    """Turn what goes wrong between here and the API server at `server` into a Refusal."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise _refusal(error, server) from None
    except AttributeError as error:
        # The client stumbles over its own error where there was no answer to decode: a failed TLS handshake.
        if not isinstance(error.__context__, ApiException):
            raise
        raise _refusal(error.__context__, server) from None
    except HTTPError as error:
        raise unreachable(server, _cause(error)) from None


def unreachable(server: str, found: str) -> Unreachable:
    """No answer from `server`, for the cause `found`."""
    remedy = "Check the address in your kubeconfig (kubectl config view --minify) and the network or VPN between; kubectl cluster-info must answer too."
    return Unreachable(f"the API server {server}", found=found, expected="an answer", remedy=remedy)


def _cause(error: Exception) -> str:
    """A few words of the innermost cause; its text may hold addresses, never data."""
    from urllib3.exceptions import NameResolutionError, NewConnectionError, TimeoutError

    if isinstance(error, NameResolutionError):
        return "a name that cannot be resolved"
    if isinstance(error, NewConnectionError):  # urllib3 counts it among the timeouts
        return "a refused connection"
    return "no answer in time" if isinstance(error, TimeoutError) else f"a broken connection ({type(error).__name__})"


def _refusal(error: ApiException, server: str) -> Refusal:
    code, body = _parts(error)
    where, message = f"the API server {server}", str(body.get("message") or error.reason)
    match code:
        case 0:
            return unreachable(server, f"no secure connection ({message.splitlines()[-1][:300]})")
        case 401:
            return _unauthenticated(where, "credentials that it does not accept")
        case 403:
            return _forbidden(where, message)
        case 404:
            return _not_found(where, body)
        case 409:
            remedy = "Look at the object (kubectl get -o yaml), then try again."
            return Conflict(where, found=message, expected="an object in another state", remedy=remedy)
        case 400 | 422:
            return _invalid(where, message, body)
        case 429 | 500 | 502 | 503 | 504:
            return Unreachable(where, found=f"{code} {_first_line(message)}", expected="an answer", remedy="Try again in a minute; it is busy, or not ready.")
    return _unexpected(where, message)


def _unexpected(where: str, message: str) -> Unexpected:
    return Unexpected(where, found=_first_line(message), expected="that the request is carried out", remedy="Ask who runs the cluster what that means.")


def _parts(error: ApiException) -> tuple[int, Mapping[str, Any]]:
    """HTTP status and Status object. A refused websocket hides both in its text."""
    handshake = _HANDSHAKE.search(error.reason or "") if not error.status else None
    status, text = (int(handshake["status"]), handshake["body"]) if handshake else (error.status or 0, error.body)
    try:
        body = json.loads(text or "{}")
    except ValueError:
        body = {}
    return status, body if isinstance(body, dict) else {}


def _first_line(text: str) -> str:
    return text.splitlines()[0][:300] if text else "no reason given"


def _unauthenticated(where: str, found: str) -> Unauthenticated:
    remedy = "They may have expired: log in to the cluster again, or choose other ones by --context or --kubeconfig."
    return Unauthenticated(where, found=found, expected="valid credentials", remedy=remedy)


def _forbidden(where: str, message: str) -> Refusal:
    right = _RIGHT.search(message)
    if right is None:
        remedy = "Its quota and policies are its administrators': ask them."
        return Forbidden(where, found=_first_line(message), expected="a request that the namespace's rules admit", remedy=remedy)
    if right["user"] == _ANONYMOUS:
        return _unauthenticated(where, "no credentials")
    namespace = re.search(r'in the namespace "([^"]*)"', right["scope"])
    resource = ".".join(filter(None, (right["resource"].partition("/")[0], right["group"]))) + "".join(right["resource"].partition("/")[1:])
    return lacking(right["verb"], resource, namespace[1] if namespace else None, right["user"])


def lacking(verb: str, resource: str, namespace: str | None, user: str | None = None) -> Forbidden:
    """A right that the caller does not have."""
    place = f"namespace {namespace}" if namespace else "the whole cluster"
    remedy = f"Ask an administrator of the cluster for a role with verb {verb} on {resource} in {place}."
    found = f"user {user} without that right" if user else "that you do not have that right"
    return Forbidden(f"{verb} {resource} in {place}", found=found, expected="a role that allows it", remedy=remedy)


def _not_found(where: str, body: Mapping[str, Any]) -> Refusal:
    details = body.get("details") or {}
    if not details.get("name"):
        remedy = "Ask an administrator of the cluster to install medfinetune, or choose another --context."
        return NotInstalled(
            where, found="no resource medfinetunes.medfinetune.io", expected="a cluster with medfinetune's CustomResourceDefinition", remedy=remedy
        )
    kind, name = details.get("kind", "object"), details["name"]
    if kind == "namespaces":
        remedy = "Check --namespace and --context; kubectl get namespaces lists them."
        return NotFound(f"namespace {name}", found="no such namespace", expected="one that exists", remedy=remedy)
    return NotFound(f"{kind} {name}", found="no such object", expected="one that exists", remedy="Look what there is: kubectl get " + kind)


def _invalid(where: str, message: str, body: Mapping[str, Any]) -> Refusal:
    """Every cause with its field, in the API server's own words; strict decoding answers in one sentence, without causes."""
    from medfinetune_api.manifest import ManifestErrors

    causes = [(cause.get("field") or where, cause.get("message", "")) for cause in (body.get("details") or {}).get("causes") or ()]
    causes = causes or [(field, "unknown field") for field in _UNKNOWN_FIELD.findall(message)]
    # `<nil>` only says that rules were not checked because something else is wrong.
    named = tuple(_cause_of(field, said) for field, said in dict.fromkeys(causes) if field != "<nil>")
    return ManifestErrors(named) if named else _unexpected(where, message)


def _cause_of(field: str, said: str) -> InvalidManifest:
    return InvalidManifest(field, found="what the API server refuses", expected=said, remedy="Correct the manifest, then submit it again.")
