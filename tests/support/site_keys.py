"""Keys that a site signs its lineages with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

MAKE = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


class SiteKey(NamedTuple):
    """Both halves, in PEM."""

    private: Path
    public: Path


def site_key(folder: Path, kind: str = "ed25519", passphrase: bytes | None = None) -> SiteKey:
    """A new key of `kind` in `folder`."""
    made, private, public = MAKE[kind](), folder / f"{kind}.pem", folder / f"{kind}.pub"
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return SiteKey(private, public)
