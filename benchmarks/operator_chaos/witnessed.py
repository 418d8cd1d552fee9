"""A control plane with a second API server on the same etcd, which never crashes: the witness watches there without a gap, whatever becomes of the first."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from urllib3.exceptions import HTTPError

from benchmarks.operator_setup import RUNS, Refused, Rest

from cluster import flags  # isort: skip  # found through operator_setup
from cluster.control_plane import ControlPlane  # isort: skip
from cluster.credentials import ADMIN  # isort: skip
from cluster.processes import Server, free_port  # isort: skip
from cluster.programs import program  # isort: skip


class WitnessedControlPlane(ControlPlane):
    """`witness` is the kubeconfig that leads to the second API server."""

    witness: Path

    def _start(self) -> None:
        super()._start()
        port = free_port()
        url = f"https://{flags.LOOPBACK}:{port}"
        self.witness = self.credentials.kubeconfig(url, ADMIN, self.token, "witness")
        command = [program("kube-apiserver"), *flags.api_server(self.credentials, self._etcd_port, flags.LOOPBACK, port)]
        self.servers["witness"] = Server(command, self.folder / "witness.log")
        self.servers["witness"].wait_for("serving runs", self._serves_runs)

    def _serves_runs(self) -> bool:
        with suppress(Refused, HTTPError):
            Rest(self.witness).request("GET", f"{RUNS}/medfinetunes")
            return True
        return False
