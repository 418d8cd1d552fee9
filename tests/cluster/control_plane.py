"""A real Kubernetes control plane for tests: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes of this machine.

    with ControlPlane(folder) as cluster, cluster.namespace() as namespace:
        cluster.kubectl("apply", "-n", namespace, "-f", "manifest.yaml")

Ready in seconds, without root and without a kubelet: a test plays the node by writing pods' status, and everything else is as in a cluster.
Several may run beside one another.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster import flags
from cluster.credentials import ADMIN, Credentials
from cluster.processes import SECONDS, Server, free_port, wait_until
from cluster.programs import program

CRD = Path(__file__).parents[2] / "crds" / "medfinetune.io_medfinetunes.yaml"


class ControlPlane:
    """One control plane with all that it keeps in `folder`; a context manager.

    `controllers` and `scheduler` say which of these run beside the API server. `audit` keeps the log that `audit_events` reads. `address` is what
    the API server listens on: the machine's own where pods have to reach it. `users` are added by name, with their groups. Flags are added to the
    programs' own: `--min-request-timeout=5`, for one, lets watches expire after 5 to 10 s. `crd` installs this repository's
    CustomResourceDefinition before the controllers start: the garbage collector looks for new kinds only every 30 s. `api_server` is the program that
    serves: kube-apiserver-oldest is the oldest that the chart claims to install on.
    """

    def __init__(
        self,
        folder: Path,
        *,
        crd: bool = True,
        controllers: bool = True,
        scheduler: bool = False,
        audit: bool = False,
        address: str = flags.LOOPBACK,
        users: Mapping[str, Sequence[str]] | None = None,
        api_server: str = "kube-apiserver",
        api_server_flags: Sequence[str] = (),
        controller_manager_flags: Sequence[str] = (),
    ) -> None:
        self.folder, self.credentials = folder, Credentials(folder / "credentials", users or {})
        self._port, self._etcd_port = free_port(address), free_port()
        self.url = f"https://{address}:{self._port}"
        self.token = self.credentials.tokens[ADMIN]
        self.kubeconfig = self.kubeconfig_for(ADMIN)
        self._crd, self._controllers, self._scheduler, self._controller_manager_flags = crd, controllers, scheduler, controller_manager_flags
        self._programs = {"kube-apiserver": api_server}
        # Without controllers no namespace gets the service account that this plugin wants of every pod.
        without = [] if controllers else ["--disable-admission-plugins=ServiceAccount"]
        log = flags.audit(folder) if audit else []
        self._api_server_flags = [*flags.api_server(self.credentials, self._etcd_port, address, self._port), *log, *without, *api_server_flags]
        self.servers: dict[str, Server] = {}
        """What has been started, by program."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def kubeconfig_for(self, user: str, namespace: str = "default") -> Path:
        """A kubeconfig of `user`: one this control plane was made with, or an existing service account, `system:serviceaccount:NAMESPACE:NAME`."""
        if user.startswith("system:serviceaccount:"):
            home, name = user.split(":")[2:]
            token = self.kubectl("create", "token", name, "--namespace", home, "--duration=24h").stdout.strip()
        else:
            token = self.credentials.tokens[user]
        return self.credentials.kubeconfig(self.url, user, token, namespace)

    def kubectl(self, *arguments: str | Path, input: str | None = None, check: bool = True, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl, as the administrator unless told otherwise. Raises AssertionError with what it printed where it fails and `check` is set."""
        # Its cache of what an API server serves is kept by address: under a person's home, the next test's server on this port would inherit it.
        own = {"KUBECONFIG": str(kubeconfig or self.kubeconfig), "KUBECACHEDIR": str(self.folder / "kubectl"), "KUBERC": "off", "NO_PROXY": "*"}
        command = [program("kubectl"), *arguments]
        done = subprocess.run(command, input=input, env=os.environ | own, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert not check or done.returncode == 0, f"kubectl {' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def apply(self, *manifests: Path | Mapping[str, Any], namespace: str = "default") -> None:
        """Apply files or objects on the server's side, unknown fields refused. Raises AssertionError with kubectl's words."""
        text = "\n---\n".join(each.read_text() if isinstance(each, Path) else json.dumps(each) for each in manifests)
        self.kubectl("apply", "--server-side", "--validate=strict", "--namespace", namespace, "-f", "-", input=text)

    def install_crd(self) -> None:
        """Apply this repository's CustomResourceDefinition, or what it has become, and wait until it is served."""
        self.apply(CRD)
        # Not `kubectl wait --for=condition=Established`: it fails where the definition has no conditions yet.
        wait_until("medfinetunes to be served", lambda: self.kubectl("get", "medfinetunes", check=False).returncode == 0)

    @contextmanager
    def namespace(self, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A namespace with a name of its own, in which pods can be created. Its deletion is asked for at the end, not waited for."""
        name = f"test-{secrets.token_hex(4)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}})
        if self._controllers:
            wait_until(f"the service account of {name}", lambda: self.answers(f"/api/v1/namespaces/{name}/serviceaccounts/default"))
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false", check=False)

    def answers(self, path: str) -> bool:
        """Whether the API server answers the administrator's GET of `path` with success."""
        try:
            context = ssl.create_default_context(cafile=self.credentials.certificate)
        except OSError:  # not there yet, or (an SSLError) not written to its end
            return False
        return _succeeds(urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"}), context)

    def audit_events(self) -> list[dict[str, Any]]:
        """Every finished write so far, in order, as Events of audit.k8s.io/v1. Needs `audit`."""
        lines = (self.folder / "audit.log").read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def stop_api_server(self) -> None:
        """Crash the API server: its clients' connections are cut, and refused from now on. (Asked gracefully it waits a minute for its watches.)"""
        self.servers["kube-apiserver"].kill()

    def start_api_server(self) -> None:
        """Start the API server, again at the same address with the same state, and wait until it is ready."""
        self._launch("kube-apiserver", self._api_server_flags).wait_for("answering /readyz", lambda: self.answers("/readyz"))

    def stop(self) -> None:
        """End every process and remove etcd's 120 MB; the logs stay. Nothing kept is needed any more, so none is asked to end gracefully."""
        for server in reversed(self.servers.values()):
            server.kill()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)

    def _start(self) -> None:
        health = urllib.request.Request(f"http://{flags.LOOPBACK}:{self._etcd_port}/health")
        self._launch("etcd", flags.etcd(self.folder, self._etcd_port, free_port())).wait_for("answering /health", lambda: _succeeds(health))
        self.start_api_server()
        if self._crd:
            self.install_crd()
        if self._controllers:
            manager = [*flags.controller_manager(self.credentials, self.kubeconfig), *self._controller_manager_flags]
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._launch("kube-controller-manager", manager).wait_for("making the first service account", lambda: self.answers(account))
        if self._scheduler:
            self._launch("kube-scheduler", flags.scheduler(self.kubeconfig))

    def _launch(self, name: str, arguments: Sequence[str]) -> Server:
        self.servers[name] = Server([program(self._programs.get(name, name)), *arguments], self.folder / f"{name}.log", os.environ | {"NO_PROXY": "*"})
        return self.servers[name]


def _succeeds(request: urllib.request.Request, context: ssl.SSLContext | None = None) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=5):
            return True
    except OSError:
        return False
