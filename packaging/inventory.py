"""What an image holds: a CycloneDX bill of materials and a list of licences, made in a build stage that is thrown away (see Dockerfile.trainer).

    python inventory.py SITE_PACKAGES OUTPUT      # sbom.cdx.json and licenses.md in the folder OUTPUT; needs cyclonedx-bom (locks/inventory.txt)

The bill names every Python distribution of the environment, by cyclonedx-py, and every Debian package of the base, from dpkg's database. A distribution
whose licence is neither allowed nor reviewed in licenses.toml ends the build: a person reads its licence first. Debian packages are listed with the
names that their machine-readable copyright files give; they are Debian main, whose terms Debian reviews, and are not judged here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

POLICY = Path(__file__).with_name("licenses.toml")


class Licence(NamedTuple):
    """Under what a distribution may be used: what its metadata declares, and what a reviewer concluded where that is not enough."""

    name: str
    version: str
    declared: tuple[str, ...]
    concluded: str = ""
    note: str = ""


class UnreviewedError(Exception):
    """A distribution's licence is neither allowed nor reviewed."""


def judged(found: Iterable[Distribution], policy: Mapping[str, Any]) -> list[Licence]:
    """The licence of each distribution, by name. Raises UnreviewedError with all that a person must read first."""
    licences = sorted((_judge(each, policy) for each in found), key=lambda licence: licence.name)
    open_ones = [licence for licence in licences if not (licence.concluded or _allowed(licence.declared, policy))]
    if open_ones:
        lines = [f"  {each.name} {each.version}: found {' | '.join(each.declared) or 'no licence in its metadata'}" for each in open_ones]
        remedy = f"expected one that {POLICY.name} allows. Read the licence that it brings; then allow it or add what you concluded under [reviewed]."
        raise UnreviewedError("\n".join(["licences that nobody has reviewed:", *lines, remedy]))
    return licences


def normal(name: str) -> str:
    """A distribution's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _judge(distribution: Distribution, policy: Mapping[str, Any]) -> Licence:
    name = normal(distribution.metadata["Name"])
    reviewed = [entry for pattern, entry in policy["reviewed"].items() if fnmatch(name, pattern)]
    more = (reviewed[0]["concluded"], reviewed[0]["note"]) if reviewed else ()
    return Licence(name, distribution.version, _declared(distribution), *more)


def _declared(distribution: Distribution) -> tuple[str, ...]:
    """The licence expression (PEP 639), else the classifiers, else the first line of the free text."""
    metadata = distribution.metadata
    if expressions := metadata.get_all("License-Expression"):
        return tuple(expressions)
    classifiers = [each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", []) if each.startswith("License ::")]
    return tuple(classifiers) or tuple("".join(metadata.get_all("License", [])).strip().splitlines()[:1])


def _allowed(declared: Sequence[str], policy: Mapping[str, Any]) -> bool:
    """Whether each name is allowed; of an expression with OR too, which is stricter than its writer was."""
    names = [name for each in declared for name in ([each] if each in policy["allowed"] else re.split(r"\W* (?:AND|OR) \W*", each.strip("()")))]
    return bool(names) and all(name in policy["allowed"] for name in names)


def debian_packages(root: Path = Path("/")) -> list[dict[str, Any]]:
    """The Debian packages of the image as components of the bill."""
    form = "${Package}\t${Version}\t${Architecture}\t${db:Status-Abbrev}\n"
    listed = subprocess.run(["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", f"--showformat={form}"], check=True, capture_output=True, text=True)
    rows = [line.split("\t") for line in listed.stdout.splitlines()]
    return [_debian(root, *row[:3]) for row in rows if row[3].startswith("ii")]


def _debian(root: Path, name: str, version: str, architecture: str) -> dict[str, Any]:
    url = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
    copyright = root / "usr" / "share" / "doc" / name / "copyright"
    text = copyright.read_text(encoding="utf-8", errors="replace") if copyright.is_file() else ""
    names = sorted(set(re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)))
    licences = [{"license": {"name": each, "acknowledgement": "declared"}} for each in names]
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url, **({"licenses": licences} if licences else {})}


def bill(python: Path, licences: Sequence[Licence], debian: Sequence[Mapping[str, Any]]) -> str:
    """The bill of materials: cyclonedx-py's of the environment, completed by what reviewers concluded and by the Debian packages. Valid CycloneDX 1.6."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    command = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", "--output-reproducible", "--sv", "1.6", str(python)]
    made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    concluded = {licence.name: licence.concluded for licence in licences if licence.concluded}
    declared = {licence.name: licence.declared for licence in licences}
    for component in made["components"]:
        name = normal(component["name"])
        if name in concluded:
            component["licenses"] = [{"license": {"name": concluded[name], "acknowledgement": "concluded"}}]
        elif not component.get("licenses"):
            component["licenses"] = [{"license": {"name": each, "acknowledgement": "declared"}} for each in declared[name]]
    made["components"] += debian
    text = json.dumps(made, indent=1)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise ValueError(f"the bill of materials is not CycloneDX 1.6: {error}")
    return text


def listed(licences: Sequence[Licence]) -> str:
    """The licences for a reader; their texts lie in each distribution's dist-info and in /usr/share/doc."""
    lines = ["| distribution | version | licence declared | concluded by review | note |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {each.name} | {each.version} | {'; '.join(each.declared)} | {each.concluded} | {each.note} |" for each in licences]) + "\n"


def main(site_packages: Path, output: Path) -> None:
    """Write both files; the environment is the one that holds `site_packages`."""
    licences = judged(distributions(path=[str(site_packages)]), tomllib.loads(POLICY.read_text(encoding="utf-8")))
    output.mkdir(parents=True)
    (output / "sbom.cdx.json").write_text(bill(site_packages.parents[2] / "bin" / "python", licences, debian_packages()), encoding="utf-8")
    (output / "licenses.md").write_text(listed(licences), encoding="utf-8")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    except UnreviewedError as unreviewed:
        sys.exit(str(unreviewed))
