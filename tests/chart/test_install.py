"""A release's whole life on a real API server: install, upgrade, roll back, uninstall, install again; runs and their definition outlive it."""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.control_plane import ControlPlane
from cluster.credentials import ADMIN
from cluster.processes import SECONDS, wait_until
from cluster.programs import program
from cluster.prometheus_operator import definitions
from medfinetune_api.schema import PLURAL
from support.chart import CHART, NAMESPACE, RELEASE, SITES, HelmError, Installed, Manifest, only, render, settings
from support.manifests import MINIMAL
from support.operator_process import operating

DEFINITION = "medfinetunes.medfinetune.io"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
WARD, OPERATOR, HEAD = "ward", "medfinetune-operator", "head"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster without this product, whose namespaces enforce the restricted pod-security level."""
    with ControlPlane(tmp_path_factory.mktemp("installed"), crd=False, users={HEAD: ()}) as started:
        for name in (NAMESPACE, WARD):
            started.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        yield started


@pytest.fixture
def release(cluster: ControlPlane) -> Iterator[Installed]:
    """A release not installed yet; nothing of it is left at the end."""
    with emptied(cluster) as installed:
        yield installed


@pytest.fixture(scope="class")
def notes(cluster: ControlPlane) -> Iterator[str]:
    """What helm says to an install with no values."""
    with emptied(cluster) as installed:
        yield installed.install()


@contextmanager
def emptied(cluster: ControlPlane, installed: Installed | None = None) -> Iterator[Installed]:
    installed = installed or Installed(cluster)
    yield installed
    installed.helm("uninstall", "--ignore-not-found")
    cluster.kubectl("delete", "crd", DEFINITION, "--ignore-not-found")


def listed(cluster: ControlPlane, kind: str, *arguments: str) -> list[Manifest]:
    found: list[Manifest] = json.loads(cluster.kubectl("get", kind, "-o", "json", *arguments).stdout)["items"]
    return found


def begin_run(cluster: ControlPlane) -> dict[str, Any]:
    """Make a run, and say what is stored of it."""
    wait_until("runs to be served", lambda: cluster.kubectl("get", PLURAL, check=False).returncode == 0)
    cluster.apply(MINIMAL, namespace=WARD)
    return run(cluster)


def run(cluster: ControlPlane) -> dict[str, Any]:
    (found,) = listed(cluster, PLURAL, "--namespace", WARD)
    return {"uid": found["metadata"]["uid"], "generation": found["metadata"]["generation"], "spec": found["spec"]}


def older_chart(folder: Path) -> Path:
    """The chart as an earlier version might have been: its definition has another short name, and it knows no dashboards."""
    shutil.copytree(CHART, folder)
    (folder / "templates" / "dashboards.yaml").unlink()
    values = yaml.safe_load((folder / "values.yaml").read_text())
    (folder / "values.yaml").write_text(yaml.safe_dump({name: value for name, value in values.items() if name != "dashboards"}))
    schema = json.loads((folder / "values.schema.json").read_text())
    schema["required"].remove("dashboards")
    (folder / "values.schema.json").write_text(json.dumps(schema))
    changes = {f"files/medfinetune.io_{PLURAL}.yaml": ("\n    - mft\n", "\n    - old\n"), "Chart.yaml": ("\nversion: 0.1.0\n", "\nversion: 0.0.9\n")}
    for name, (present, past) in changes.items():
        text = (folder / name).read_text()
        assert text.count(present) == 1, name
        (folder / name).write_text(text.replace(present, past))
    return folder


def short_name(cluster: ControlPlane) -> str:
    """The short name by which the definition serves runs."""
    (name,) = json.loads(cluster.kubectl("get", "crd", DEFINITION, "-o", "json").stdout)["spec"]["names"]["shortNames"]
    return str(name)


def of_release(cluster: ControlPlane) -> list[Manifest]:
    """What is there of the release, pods that are about to go left out."""
    kinds = sorted({each["kind"] for each in render(SITES["everything"])} - {"Pod", "PodMonitor", "ServiceMonitor", "PrometheusRule"})
    selector = f"app.kubernetes.io/instance={RELEASE}"
    return listed(cluster, ",".join(kinds), "--all-namespaces", "--selector", selector)


class TestDefaultInstall:
    def test_its_pods_are_admitted_where_the_restricted_level_is_enforced(self, cluster: ControlPlane, notes: str) -> None:
        wait_until("the operator's pod", lambda: len(listed(cluster, "pods", "--namespace", NAMESPACE)) == 1)
        (pod,) = listed(cluster, "pods", "--namespace", NAMESPACE)
        assert pod["spec"]["serviceAccountName"] == OPERATOR
        test, unsafe = only(render(), "Pod"), only(render(SITES["openshift"]), "Pod")
        admitted(cluster, test)
        admitted(cluster, unsafe)
        unsafe["spec"]["securityContext"]["runAsNonRoot"] = False
        with pytest.raises(AssertionError, match='violates PodSecurity "restricted:latest"'):
            admitted(cluster, unsafe)

    def test_notes_say_the_next_command_and_what_is_open(self, notes: str) -> None:
        for command in (f"kubectl rollout status deployment/{OPERATOR} --namespace {NAMESPACE}", f"helm test {RELEASE} --namespace {NAMESPACE}"):
            assert f"\n  {command}\n" in notes
        assert [line.split(":")[0].split(" is ")[0] for line in notes.splitlines() if line.startswith("- ")] == [
            *("- imageRegistry", "- operator.image.digest", "- trainer.image.digest", "- admissionPolicies.operator"),
            *("- admissionPolicies.release", "- admissionPolicies.requester", "- trainer.signingSecret"),
            *("- networkPolicy.apiServerCIDRs", "- Each namespace of runs"),
        ]

    def test_the_operator_works_with_what_it_is_given_and_helm_test_says_so(self, cluster: ControlPlane, notes: str, tmp_path: Path) -> None:
        (settings,) = listed(cluster, "configmaps", "--namespace", NAMESPACE, "--field-selector", f"metadata.name={OPERATOR}")
        given = yaml.safe_load(settings["data"]["settings.yaml"])
        given.pop("metricsPort")
        with operating(cluster, tmp_path, account=f"system:serviceaccount:{NAMESPACE}:{OPERATOR}", **given) as operator:
            url = f"http://127.0.0.1:{operator.port}"
            done = helm_test(url)
        assert (done.returncode, done.stdout, done.stderr) == (0, "medfinetune operator 0.1.0 is ready\n", "")
        done = helm_test(url, seconds="0")
        assert done.returncode == 1
        assert f"{url}/readyz: found no answer" in done.stderr


def admitted(cluster: ControlPlane, pod: Manifest) -> None:
    cluster.kubectl("create", "--dry-run=server", "--namespace", NAMESPACE, "-f", "-", input=json.dumps(pod))


def helm_test(url: str, seconds: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run what the pod of `helm test` runs, against the operator at `url`."""
    python, *script, _, patience = only(render(), "Pod")["spec"]["containers"][0]["command"]
    assert python == "python"
    return subprocess.run([sys.executable, *script, url, seconds or patience], capture_output=True, text=True, timeout=SECONDS, check=False)


def test_runs_and_their_definition_outlive_every_release(cluster: ControlPlane, release: Installed, tmp_path: Path) -> None:
    release.helm("install", older_chart(tmp_path / "older"), values={"imageRegistry": "mirror.example"})
    begun = begin_run(cluster)
    with pytest.raises(HelmError, match="missing property 'dashboards'"):  # --reuse-values takes the older chart's defaults, too
        release.helm("upgrade", CHART, "--reuse-values")
    release.helm("upgrade", CHART, "--reset-then-reuse-values")
    assert (run(cluster), short_name(cluster)) == (begun, "mft")
    (deployment,) = listed(cluster, "deployments", "--namespace", NAMESPACE)
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].startswith("mirror.example/")
    release.helm("rollback", "1")
    assert (run(cluster), short_name(cluster)) == (begun, "old")
    words = release.helm("uninstall")
    assert f"[CustomResourceDefinition] {DEFINITION}" in words
    assert (run(cluster), [each["metadata"]["name"] for each in of_release(cluster)]) == (begun, [DEFINITION])
    release.install()
    assert (run(cluster), short_name(cluster)) == (begun, "mft")
    other, namesake = Installed(cluster, "other", "default"), Installed(cluster, namespace="default")
    found = f"found that release {RELEASE} of namespace {NAMESPACE} carries runs"
    for one, wanted in itertools.product((other, namesake), ([], [WARD])):
        with pytest.raises(HelmError, match=f"release {one.release}: {found} everywhere already"):
            one.install(crds={"enabled": False}, watchNamespaces=wanted)
    release.upgrade(watchNamespaces=[WARD])
    for one, wanted in itertools.product((other, namesake), ([], [WARD])):
        with pytest.raises(HelmError, match=f"release {one.release}: {found} in namespace {WARD} already"):
            one.install(crds={"enabled": False}, watchNamespaces=wanted)
    release.helm("uninstall")
    with pytest.raises(HelmError, match=r'annotation validation error: key "meta.helm.sh/release-name" must equal "other"'):
        other.install()
    notes = other.helm("install", CHART, "--take-ownership", values={"crds": {"keep": False}})
    assert run(cluster) == begun
    assert "- crds.keep is off: `helm uninstall`, or a rollback to a revision without the definition, will delete every run of this cluster." in notes
    assert "- Namespace default does not enforce the restricted pod-security level" in notes
    other.helm("uninstall")
    wait_until("the definition to go, for it was not to be kept", lambda: DEFINITION not in cluster.kubectl("get", "crds", "-o", "name").stdout)


def test_an_upgrade_deletes_no_runs_with_a_definition_that_is_not_kept(cluster: ControlPlane, release: Installed) -> None:
    release.install(crds={"keep": False})
    begun = begin_run(cluster)
    for more in ({}, {"watchNamespaces": [WARD]}, {"fullnameOverride": "renamed"}):
        with pytest.raises(HelmError, match="this upgrade would delete it, and with it every run of the cluster"):
            release.upgrade(crds={"enabled": False}, **more)
    release.upgrade()
    release.upgrade(crds={"enabled": False}, watchNamespaces=[WARD])
    release.upgrade(crds={"enabled": False})
    assert run(cluster) == begun


def test_who_has_rights_in_some_namespaces_installs_as_the_docs_say(cluster: ControlPlane) -> None:
    """Both blocks of docs/install.md, word for word: the administrator's, then that of a user who holds `admin` and what the first gave."""
    section = (CHART.parents[1] / "docs" / "install.md").read_text().split("## With rights in some namespaces only")[1].split("\n## ")[0]
    prepare, install = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    home, *wards = ("medfinetune-ward", "ward-1", "ward-2")
    for name in (home, *wards):
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        cluster.kubectl("create", "rolebinding", HEAD, "--namespace", name, "--clusterrole", "admin", "--user", HEAD)
    mine, given = Installed(cluster, namespace=home, user=HEAD), {"watchNamespaces": wards, "crds": {"enabled": False}}
    with pytest.raises(HelmError, match=r"watchNamespaces: found .* RoleBindings you may not list\. Take .*rolebindings.* is forbidden"):
        mine.install()
    with pytest.raises(HelmError, match=r"rbac\.listClusterRoleBindings: found true, where you may not list .*clusterrolebindings.* is forbidden"):
        mine.install(**given)
    with emptied(cluster, mine):
        assert shell(cluster, prepare, ADMIN).startswith("No resources found\n")
        notes = shell(cluster, install, HEAD)
        assert "kubectl apply --namespace ward-1 -f manifest.yaml" in notes
        assert f"The CustomResourceDefinition {DEFINITION} is not part of this release" in notes
        assert "\n- rbac.listClusterRoleBindings is off: nobody has looked whether an operator of all namespaces carries these runs too.\n" in notes
        for verb, rbac, roles in (("upgrade", {"listClusterRoleBindings": False}, {"Role", "RoleBinding"}), ("upgrade", {"create": False}, set())):
            notes = mine.helm(verb, CHART, "--reset-values", values=given | {"rbac": rbac})
            made = {each["kind"] for each in of_release(cluster)}
            assert made & {"NetworkPolicy", "Role", "RoleBinding", "ServiceAccount"} == {"NetworkPolicy", "ServiceAccount", *roles}
        assert "\n- rbac.create is off: nobody has looked whether another operator carries these runs too.\n" in notes


def shell(cluster: ControlPlane, script: str, user: str) -> str:
    """What lines of the docs say in the hands of `user`, run from the clone. Raises AssertionError where one fails."""
    programs = os.pathsep.join(str(Path(program(name)).parent) for name in ("helm", "kubectl"))
    own = {"PATH": programs + os.pathsep + os.environ["PATH"], "KUBECONFIG": str(cluster.kubeconfig_for(user)), "NO_PROXY": "*"}
    cached = {"KUBECACHEDIR": str(cluster.folder / "kubectl"), "KUBERC": "off"}
    command = ["bash", "-euc", f"exec 2>&1\n{script}"]
    done = subprocess.run(command, cwd=CHART.parents[1], env=os.environ | own | cached, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_everything_installs_once_its_monitors_are_known(cluster: ControlPlane, release: Installed) -> None:
    everything = SITES["everything"]
    with pytest.raises(HelmError, match=r'no matches for kind "PodMonitor" in version "monitoring.coreos.com/v1"\nensure CRDs are installed first'):
        release.install(**everything)
    assert of_release(cluster) == []
    cluster.apply(*definitions())
    wait_until("monitors to be served", lambda: cluster.kubectl("get", "podmonitors,servicemonitors,prometheusrules", check=False).returncode == 0)
    notes = release.install(**everything)
    (secret,) = listed(cluster, "secrets", "--namespace", NAMESPACE, "--selector", "owner=helm,name=medfinetune")
    assert len(secret["data"]["release"]) < 700_000  # an object may have 1 MiB; helm keeps the chart and what it rendered in one
    made = [each for each in render(everything) if each["kind"] != "Pod"]
    cluster.kubectl("get", "-f", "-", input="\n---\n".join(map(json.dumps, made)))
    assert "medfinetune 0.1.0 is installed" in notes
    assert [line for line in notes.splitlines() if line.startswith("- ")] == [
        line for line in notes.splitlines() if line.startswith("- Each namespace of runs:")
    ]


def test_names_that_yaml_reads_as_something_else_are_names(cluster: ControlPlane) -> None:
    everything = copy.deepcopy(SITES["everything"])
    everything["operator"] |= {"priorityClassName": "123"}
    everything |= {"fullnameOverride": "on", "imagePullSecrets": ["123"], "serviceAccount": {"name": "1e3"}, "watchNamespaces": ["1e3"]}
    cluster.apply(*definitions(), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "1e3"}})
    wait_until("monitors to be served", lambda: cluster.kubectl("get", "podmonitors,servicemonitors,prometheusrules", check=False).returncode == 0)
    with emptied(cluster, Installed(cluster, "off", "1e3")) as installed:
        installed.install(**everything)
        (deployment,) = listed(cluster, "deployments", "--namespace", "1e3")
        pod = deployment["spec"]["template"]["spec"]
        assert (deployment["metadata"]["labels"]["app.kubernetes.io/instance"], deployment["metadata"]["name"]) == ("off", "on-operator")
        assert (pod["priorityClassName"], pod["serviceAccountName"], pod["imagePullSecrets"]) == ("123", "1e3", [{"name": "123"}])
        given = settings(render(everything, "off", "1e3"))
        assert (given.lease_namespace, given.watch_namespaces) == ("1e3", ("1e3",))
