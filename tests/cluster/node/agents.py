"""What makes a machine with containerd a node: kubelet, kube-proxy and a name server, each by its configuration file.

All listen inside the node's namespaces on their usual ports. The kubelet lets in whoever reaches it: that is this machine alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from cluster.node import cgroups, containerd
from cluster.node.namespaces import Namespaces
from cluster.processes import Server
from cluster.programs import program

COREFILE = """
. {{
    bind {address}
    log . "asked {{name}}"
    errors
    ready {address}:8181
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
}}
"""


def kubelet(inside: Namespaces, name: str, kubeconfig: Path) -> Server:
    """Start the kubelet of node `name`; it registers the node by itself."""
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": inside.address,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{containerd.SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.name(inside.number)}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [containerd.gateway(inside)],
        "resolvConf": "",
        "volumePluginDir": "/var/lib/kubelet/plugins",
        # Sharing a disk with other work, it must neither evict pods nor remove images because that disk fills.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
    }
    flags = [f"--kubeconfig={kubeconfig}", f"--hostname-override={name}", f"--node-ip={inside.address}"]
    return inside.serve("kubelet", [program("kubelet"), f"--config={_written(inside, 'kubelet', config)}", *flags])


def kube_proxy(inside: Namespaces, name: str, kubeconfig: Path) -> Server:
    """Start kube-proxy: services' addresses, that of the API server among them, lead to their endpoints by iptables rules of the namespaces' own."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "iptables",
        "clusterCIDR": inside.pod_network,
        "hostnameOverride": name,
        "conntrack": {"maxPerCore": 0, "min": 0},
        "oomScoreAdj": 0,
    }
    return inside.serve("kube-proxy", [program("kube-proxy"), f"--config={_written(inside, 'kube-proxy', config)}"])


def name_server(inside: Namespaces, kubeconfig: Path) -> Server:
    """Start CoreDNS on the pods' gateway: the cluster's own names and no others."""
    corefile = inside.folder / "Corefile"
    corefile.write_text(COREFILE.format(address=containerd.gateway(inside), kubeconfig=kubeconfig))
    return inside.serve("coredns", [program("coredns"), "-conf", corefile])


def _written(inside: Namespaces, name: str, config: dict[str, object]) -> Path:
    path = inside.folder / f"{name}.json"
    path.write_text(json.dumps(config, indent=1))
    return path
