"""`lineage.dsse.json`: the lineage, signed by the site's own key, in formats that other tools read too.

A DSSE envelope (Dead Simple Signing Envelope, protocol v1) around an in-toto Statement v1: its subjects are lineage.json and every file that it lists, by
SHA-256, its predicate is the rest of the lineage under a type of ours. Signed and checked by securesystemslib with keys of the package cryptography: Ed25519,
ECDSA (P-256, P-384, P-521) or RSA, in PEM. Where the key lies is told by MEDFINETUNE_SIGNING_KEY; it is read, and neither copied nor shown.

The libraries are imported only where there is a key or a signature.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medfinetune_api.errors import InvalidManifest

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key, Signer

    from medfinetune_trainer.artifacts.lineage import Lineage

KEY = "MEDFINETUNE_SIGNING_KEY"
"""Environment variable that names the file of the private key; unset or empty, nothing is signed."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://medfinetune.io/lineage/v1"
KINDS = "a private key in PEM without a passphrase: Ed25519, ECDSA or RSA"


class Signature(StrEnum):
    """What is known of a lineage's signature."""

    UNSIGNED = "unsigned"
    NO_KEY = "signed, no key given to check it"
    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"


def signer() -> Signer | None:
    """Of the key that the environment names; None where it names none. Raises InvalidManifest where that key cannot sign."""
    path = os.environ.get(KEY)
    if not path:
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import CryptoSigner

    try:
        return CryptoSigner(load_pem_private_key(Path(path).read_bytes(), password=None))
    except TypeError:
        found = "a key behind a passphrase"
    except OSError as error:
        found = os.strerror(error.errno or 0)
    except (ValueError, UnsupportedAlgorithm, UnsupportedLibraryError):
        found = "no key of a kind that can sign here"
    remedy = "Name the site's private key by --signing-key, or mount it and name it by the variable; leave both out to sign nothing."
    raise InvalidManifest(f"{KEY}={path}", found=found, expected=KINDS, remedy=remedy) from None


def public_key(path: Path) -> Key:
    """The public key in a PEM file. Raises InvalidManifest where there is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.exceptions import UnsupportedLibraryError
    from securesystemslib.signer import SSlibKey

    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except OSError as error:
        found = os.strerror(error.errno or 0)
    except (ValueError, UnsupportedAlgorithm, UnsupportedLibraryError):
        found = "no public key of a kind that can be checked with"
    expected = "a public key in PEM: Ed25519, ECDSA or RSA"
    raise InvalidManifest(f"--key {path}", found=found, expected=expected, remedy="Name the public half of the key that the site signs with.") from None


def envelope(text: str, lineage: Lineage, by: Signer) -> str:
    """The signed envelope of a lineage.json that will hold `text`."""
    from securesystemslib.dsse import Envelope

    made = Envelope(json.dumps(_statement(text, lineage), ensure_ascii=False).encode(), PAYLOAD_TYPE, {})
    made.sign(by)
    return _canonical(made)


def check(file: Path, lineage_text: bytes, key: Key | None) -> tuple[Signature, tuple[str, ...]]:
    """What is known of the signature in `file`, and in words what is wrong with it; where there is no file, only a given key makes that wrong."""
    try:
        found = file.read_bytes()
    except FileNotFoundError:
        return Signature.UNSIGNED, ("no such file, and a key to check it with",) if key else ()
    made = _parsed(found)
    if made is None:
        return Signature.DOES_NOT_HOLD, ("no signature that can be read",)
    wrong = tuple(_wrong(made, found, lineage_text, key))
    if wrong:
        return Signature.DOES_NOT_HOLD, wrong
    return (Signature.HOLDS if key else Signature.NO_KEY), ()


def _wrong(made: Envelope, found: bytes, lineage_text: bytes, key: Key | None) -> Iterator[str]:
    from securesystemslib.exceptions import VerificationError

    if found != _canonical(made).encode():
        yield "other bytes around the signature than were written"
    if made.payload_type != PAYLOAD_TYPE or _signed_lineage(made) != hashlib.sha256(lineage_text).hexdigest():
        yield "a signature of another lineage.json"
    if key:
        try:
            made.verify([key], threshold=1)
        except VerificationError:
            yield "a signature that is not of this key"


def _statement(text: str, lineage: Lineage) -> dict[str, Any]:
    files = {"lineage.json": hashlib.sha256(text.encode()).hexdigest()} | dict(json.loads(text)["files"])
    predicate = json.loads(lineage.model_copy(update={"seal": None}).to_json())
    del predicate["files"]
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }


def _signed_lineage(made: Envelope) -> str | None:
    """The hash of lineage.json that the statement is about; None where it is none of ours."""
    try:
        statement = json.loads(made.payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            return None
        found: str = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}["lineage.json"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return found


def _parsed(text: bytes) -> Envelope | None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError

    try:
        return Envelope.from_dict(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FormatError):
        return None


def _canonical(made: Envelope) -> str:
    return json.dumps(made.to_dict(), indent=1) + "\n"
