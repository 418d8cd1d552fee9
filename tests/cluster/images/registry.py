"""The registry that the node pulls from: Debian's docker-registry, inside the node's namespaces, its layers in the cache outside the clone.

Seen by the node it is `localhost:5000`, which every runtime lets be without TLS; pushed to from outside by the node's address.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from cluster.node.namespaces import Namespaces
from cluster.processes import Server

PORT = 5000


def serve(inside: Namespaces, store: Path) -> Server:
    """Start the registry with its layers in `store` and wait until it answers."""
    storage = {"filesystem": {"rootdirectory": str(store / "registry")}}
    config = inside.folder / "registry.json"
    config.write_text(json.dumps({"version": "0.1", "log": {"level": "warn"}, "storage": storage, "http": {"addr": f":{PORT}"}}))
    server = inside.serve("registry", ["docker-registry", "serve", config])
    server.wait_for("answering /v2/", lambda: answers(f"http://{inside.address}:{PORT}/v2/"))
    return server


def answers(url: str) -> bool:
    """Whether GET of `url` succeeds."""
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5):
            return True
    except urllib.error.URLError:
        return False
