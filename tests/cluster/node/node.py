"""One real Kubernetes node on this machine, in namespaces of its own (needs root).

    with Node(folder) as node, ControlPlane(folder, scheduler=True, address=node.gateway, users=node.users) as plane:
        node.join(plane)

From outside, `images` takes images and `gateway` is what the API server listens on; pods reach the API server as in any cluster, through the
`kubernetes` service. One node at a time has the cached images; another waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.control_plane import ControlPlane
from cluster.credentials import ADMIN
from cluster.images import cache, recipes, registry
from cluster.images.build import Images
from cluster.images.pause import pause_folder
from cluster.node import agents, containerd
from cluster.node.namespaces import Namespaces
from cluster.processes import SECONDS, Server

_PROXY = "system:kube-proxy"


class Node:
    """A node called `name` whose logs and configuration are in `folder`; a context manager."""

    def __init__(self, folder: Path, name: str = "node-1") -> None:
        self.name = name
        self._user = f"system:node:{name}"
        self._inside = Namespaces(folder, pause_folder() / "pause")
        self._stack = ExitStack()
        self.agents: dict[str, Server] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(cache.locked())
            inside = stack.enter_context(self._inside)
            self.gateway = inside.gateway
            store = cache.store(recipes.generation())
            registry.serve(inside, store)
            self.images = Images(inside.address, store)
            containerd.start(inside, store / "containerd", recipes.pause(self.images))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def users(self) -> Mapping[str, Sequence[str]]:
        """Whom the control plane must know, with their groups: the node's own programs, with a node's rights and no more."""
        return {self._user: ["system:nodes"], _PROXY: []}

    def join(self, plane: ControlPlane) -> None:
        """Become a node of that control plane, and return once it is Ready and names are answered."""
        inside = self._inside
        self.agents["kubelet"] = agents.kubelet(inside, self.name, plane.kubeconfig_for(self._user))
        self.agents["kube-proxy"] = agents.kube_proxy(inside, self.name, plane.kubeconfig_for(_PROXY))
        self.agents["coredns"] = agents.name_server(inside, plane.kubeconfig_for(ADMIN))
        self.agents["kubelet"].wait_for("registering the node", lambda: plane.answers(f"/api/v1/nodes/{self.name}"))
        plane.kubectl("wait", "--for=condition=Ready", f"--timeout={SECONDS:.0f}s", f"node/{self.name}")
        ready = f"http://{containerd.gateway(inside)}:8181/ready"
        self.agents["coredns"].wait_for("answering /ready", lambda: registry.answers(ready))
