"""The operator as a process: what it needs to start, what its probes prove, what it says, where it works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.control_plane import ControlPlane
from cluster.credentials import ADMIN, VISITOR
from cluster.processes import wait_until
from medfinetune_api.conditions import Phase
from support.api import Api
from support.operated import Operated, operated, phase
from support.operator_process import OperatorProcess, operating
from support.pod_player import SUCCEEDS, playing
from support.rights import install_rights

SYSTEM = "medfinetune-system"
RBAC = "rbac.authorization.k8s.io"


def run_operator(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medfinetune_operator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=120, check=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "trainerImage"),
        ("{trainerImage: x, watchNamespace: [a]}", "watchNamespace"),
        ("{trainerImage: x, leaseSeconds: 0}", "leaseSeconds"),
        ("{trainerImage: [}", "line 1"),
    ],
)
def test_half_a_configuration_is_refused_with_the_field(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    done = run_operator("--config", str(tmp_path / "settings.yaml"))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_without_credentials_it_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("{trainerImage: x, metricsPort: 0}")
    done = run_operator("--config", str(tmp_path / "settings.yaml"), KUBECONFIG="", HOME=str(tmp_path))
    assert done.returncode == 1
    assert "KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_resource_it_says_what_to_install(tmp_path: Path) -> None:
    with ControlPlane(tmp_path / "plane", crd=False) as plane:
        operator = OperatorProcess(plane, tmp_path, account=ADMIN, leaseNamespace="default")
        try:
            wait_until("it to end", operator.server.ended, evidence=operator.server.tail)
            said = operator.server.tail()
            assert "found no CustomResourceDefinition medfinetunes.medfinetune.io: install the chart" in said
            assert "Traceback" not in said
        finally:
            operator.server.kill()


def test_it_never_imports_the_official_client(tmp_path: Path) -> None:
    """Which kopf would, and which costs more memory than a thousand runs."""
    program = "import sys; import medfinetune_operator.__main__; print(sum(name.startswith('kubernetes') for name in sys.modules if sys.modules[name]))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "0"


def test_told_to_stop_it_stops_and_lets_the_next_one_in(control_plane: ControlPlane, tmp_path: Path) -> None:
    with operated(control_plane, tmp_path, leaseSeconds=3600) as stage:
        stage.apply("served")
        stage.wait("served", "succeeded", phase(Phase.SUCCEEDED))
        stage.operator.signal(signal.SIGTERM)
        wait_until("it to end", stage.operator.server.ended)
        assert {line["level"] for line in stage.operator.log()} == {"info"}
        lease = stage.api.get("/apis/coordination.k8s.io/v1/namespaces/medfinetune-system/leases/medfinetune-operator")
        assert lease
        assert lease["spec"].get("holderIdentity", "") == ""
    with operating(control_plane, tmp_path, leaseSeconds=3600) as heir:
        assert heir.asked("/readyz") == (200, "ok\n")
        heir.signal(signal.SIGTERM)
        wait_until("it to end", heir.server.ended)


def test_liveness_is_proven_by_what_the_watch_brings_back(control_plane: ControlPlane, tmp_path: Path) -> None:
    """Beside the real one, an account that may do the same but not watch the Lease: it renews, but never sees that it did."""
    install_rights(control_plane)
    names = {"kind": "Role", "apiGroup": RBAC, "name": "blind"}
    account = {"kind": "ServiceAccount", "name": "blind", "namespace": SYSTEM}
    rules = [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]}]
    everywhere = {"kind": "ClusterRole", "apiGroup": RBAC, "name": "medfinetune-operator"}
    meta = {"name": "blind"}
    control_plane.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {"apiVersion": f"{RBAC}/v1", "kind": "RoleBinding", "metadata": meta, "roleRef": names, "subjects": [account]},
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": meta, "roleRef": everywhere, "subjects": [account]},
        namespace=SYSTEM,
    )
    blind = OperatorProcess(control_plane, tmp_path, account=f"system:serviceaccount:{SYSTEM}:blind", leaseName="of-the-blind", leaseSeconds=3)
    try:
        with operating(control_plane, tmp_path, {"POD_NAME": "seeing"}, leaseSeconds=3) as seeing:
            blind.wait_ready()
            blind.server.wait_for("no longer healthy", lambda: blind.asked("/healthz") == (503, "no sign of life came through the watch\n"))
            assert blind.asked("/readyz")[0] == 200
            assert seeing.asked("/healthz") == (200, "ok\n")
    finally:
        blind.server.kill()


def test_where_it_may_not_read_it_does_not_say_that_it_is_ready(control_plane: ControlPlane, tmp_path: Path) -> None:
    operator = OperatorProcess(control_plane, tmp_path, account=VISITOR)
    try:
        operator.server.wait_for("trying", lambda: any(line.get("error") == "403 Forbidden" for line in operator.log()))
        assert operator.asked("/readyz")[0] == 503
        assert operator.asked("/healthz")[0] == 200
    finally:
        operator.server.kill()


def test_with_rights_in_one_namespace_it_serves_that_one(control_plane: ControlPlane, tmp_path: Path) -> None:
    """Beside a release that may everywhere one that may there alone, by Roles."""
    api = Api(control_plane)
    with control_plane.namespace() as ward, control_plane.namespace() as other, playing(control_plane) as player:
        account = install_rights(control_plane, release="one", watchNamespaces=[ward])
        with operating(control_plane, tmp_path, account=account, leaseName="one-medfinetune-operator", watchNamespaces=[ward]) as operator:
            at = {home: Operated(control_plane, api, home, player, operator) for home in (ward, other)}
            for stage in at.values():
                for name in ("models", "datasets", "results"):
                    stage.claim(name)
                stage.apply("mine", lambda part: SUCCEEDS)
            at[ward].wait("mine", "succeeded", phase(Phase.SUCCEEDED))
            assert at[other].status("mine").phase is None
