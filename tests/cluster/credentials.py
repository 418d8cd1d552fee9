"""Who may talk to a test's API server: users with tokens and groups, the key that signs service accounts' tokens, kubeconfig files."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ADMIN = "admin"
"""The user who may do everything."""

VISITOR = "visitor"
"""A user who is known and may do nothing."""


class Credentials:
    """The secrets of one control plane, in `folder`; `users` are beside ADMIN and VISITOR, by name with their groups."""

    def __init__(self, folder: Path, users: Mapping[str, Sequence[str]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.certificate, self.signing_key, self.token_file = folder / "apiserver.crt", folder / "service-accounts.key", folder / "tokens.csv"
        self.tokens = {name: secrets.token_hex(16) for name in (ADMIN, VISITOR, *users)}
        groups = {ADMIN: ["system:masters"], VISITOR: (), **users}
        self.token_file.write_text("".join(f'{token},{name},{name},"{",".join(groups[name])}"\n' for name, token in self.tokens.items()))
        subprocess.run(["openssl", "genrsa", "-out", self.signing_key, "2048"], check=True, capture_output=True)

    def kubeconfig(self, url: str, user: str, token: str, namespace: str) -> Path:
        """Write the file that lets `user` talk to the API server at `url`, and say where it is."""
        path = self._folder / f"{user.replace(':', '.')}.{namespace}.kubeconfig"
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(self.certificate)}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": namespace}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=1))
        return path
