"""The scalar types of the manifest: each bounded, each with the words that explain its pattern to a person.

Patterns keep to RE2, which Go (the API server), Rust (pydantic) and CEL share.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from medfinetune_api.rules import PATH_STAYS_INSIDE

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
CLAIM_NAME = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"
LANGUAGE_TAG = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"
SHA256 = r"^[0-9a-f]{64}$"
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"
MODULE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*([.][A-Za-z0-9_]+)*$|^all-linear$"

PATTERN_WORDS = {
    DNS_LABEL: "lower-case letters, digits and '-', beginning and ending with a letter or digit",
    CLAIM_NAME: "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
    LANGUAGE_TAG: "a BCP 47 language tag such as en, ko or pt-BR",
    SHA256: "64 lower-case hexadecimal digits",
    PRINTABLE: "text without control characters",
    MODULE_NAME: "the name of a linear layer such as q_proj, or all-linear",
}
"""What a person is told where a pattern does not match."""

Name = Annotated[str, Field(max_length=63, pattern=DNS_LABEL)]
ClaimName = Annotated[str, Field(max_length=253, pattern=CLAIM_NAME)]
LanguageTag = Annotated[str, Field(max_length=35, pattern=LANGUAGE_TAG)]
Sha256 = Annotated[str, Field(max_length=64, pattern=SHA256)]
Label = Annotated[str, Field(max_length=63, pattern=PRINTABLE)]
ColumnName = Annotated[str, Field(max_length=128, pattern=PRINTABLE)]
ModuleName = Annotated[str, Field(max_length=128, pattern=MODULE_NAME)]
RelativePath = Annotated[str, Field(max_length=512, pattern=PRINTABLE), PATH_STAYS_INSIDE]
