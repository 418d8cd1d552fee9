"""The flags of a test's control plane: real in what it decides, quick and frugal in how."""

from __future__ import annotations

import json
from pathlib import Path

from cluster.credentials import Credentials

LOOPBACK = "127.0.0.1"

_WRITES = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]}, {"level": "None"}],
}
"""Audit policy: who wrote what, and how it ended; no bodies."""

_UNNEEDED_CONTROLLERS = (
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-cleaner-controller",
    "certificatesigningrequest-signing-controller",
    "cronjob-controller",
    "daemonset-controller",
    "horizontal-pod-autoscaler-controller",
    "replicationcontroller-controller",
    "statefulset-controller",
)
"""Controllers of kinds that neither the product nor its tests use."""


def etcd(folder: Path, port: int, peer_port: int) -> list[str]:
    """One member that never waits for a disk: what a test keeps need not outlive the machine's power."""
    client, peer = f"http://{LOOPBACK}:{port}", f"http://{LOOPBACK}:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(credentials: Credentials, etcd_port: int, address: str, port: int) -> list[str]:
    """RBAC and the admission plugins that are on by default, Pod Security and ResourceQuota among them.

    Privileged pods are allowed as in any cluster that runs its network as pods: Pod Security is what refuses them, by namespace.
    """
    # The API server will not name a loopback address as where the `kubernetes` service leads.
    endpoints = ["--endpoint-reconciler-type=none"] if address == LOOPBACK else []
    return [
        f"--etcd-servers=http://{LOOPBACK}:{etcd_port}",
        f"--cert-dir={credentials.certificate.parent}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--service-account-key-file={credentials.signing_key}",
        f"--service-account-signing-key-file={credentials.signing_key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--token-auth-file={credentials.token_file}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--kubelet-preferred-address-types=InternalIP",
        "--profiling=false",
        *endpoints,
    ]


def audit(folder: Path) -> list[str]:
    """The API server writes one JSON line for every finished write to `folder`/audit.log, before it answers."""
    policy = folder / "audit-policy.json"
    policy.write_text(json.dumps(_WRITES))
    return [f"--audit-policy-file={policy}", f"--audit-log-path={folder / 'audit.log'}", "--audit-log-mode=blocking", "--audit-log-format=json"]


def controller_manager(credentials: Credentials, kubeconfig: Path) -> list[str]:
    """The real controllers, allowed to be as fast as the machine is: their client's default of 20 requests a second would be what is measured."""
    return [
        f"--kubeconfig={kubeconfig}",
        f"--controllers=*,{','.join(f'-{name}' for name in _UNNEEDED_CONTROLLERS)}",
        "--use-service-account-credentials",
        f"--service-account-private-key-file={credentials.signing_key}",
        f"--root-ca-file={credentials.certificate}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--concurrent-job-syncs=20",
        "--profiling=false",
    ]


def scheduler(kubeconfig: Path) -> list[str]:
    """The real scheduler."""
    return [f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=2000", "--profiling=false"]
