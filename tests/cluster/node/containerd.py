"""containerd, the node's container runtime: what it is told, and that it answers.

Its images outlive the tests in a folder of the cache, so that a second run pulls only layers that changed; everything else of it is in the node's
namespaces and goes with them.
"""

from __future__ import annotations

import json
from pathlib import Path

from cluster.node.namespaces import Namespaces
from cluster.processes import Server

SOCKET = "/run/containerd/containerd.sock"

_CONFIG = """
version = 2
root = "{root}"

[plugins."io.containerd.internal.v1.opt"]
  path = "/run/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Where the score of the node's own programs may not be lowered, runc could not start any container without it.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{networks}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    # The registry has the compressed layers too: one copy is enough.
    discard_unpacked_layers = true
"""


def start(inside: Namespaces, root: Path, pause: str) -> Server:
    """Start containerd with its images in `root` and `pause` as the image that holds a pod's namespaces; wait until it answers."""
    networks = inside.folder / "networks"
    networks.mkdir(parents=True, exist_ok=True)
    (networks / "pods.conflist").write_text(json.dumps(_pod_network(inside), indent=1))
    config = inside.folder / "containerd.toml"
    config.write_text(_CONFIG.format(root=root, pause=pause, networks=networks))
    # The bridge is there before the first pod: the name server listens on it.
    inside.run("sh", "-c", f"ip link add {BRIDGE} type bridge && ip address add {gateway(inside)}/24 dev {BRIDGE} && ip link set {BRIDGE} up")
    server = inside.serve("containerd", ["containerd", "--config", config])
    server.wait_for("answering", lambda: Path(f"/proc/{inside.pid}/root{SOCKET}").exists())
    inside.run("ctr", "--connect-timeout", "60s", "version")
    return server


BRIDGE = "pods0"


def gateway(inside: Namespaces) -> str:
    """The node's own address on the network of its pods."""
    return inside.pod_network.replace(".0/24", ".1")


def _pod_network(inside: Namespaces) -> dict[str, object]:
    """One bridge; no masquerade, so that nothing beyond this machine can be reached."""
    addresses = {"type": "host-local", "ranges": [[{"subnet": inside.pod_network}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}
