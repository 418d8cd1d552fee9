"""What packs and loads a release: mistakes are refused before anything is built or pushed, and a bundle that is not what was packed is never loaded."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType

import pytest

CLONE = Path(__file__).parents[2]
PACKAGING = CLONE / "packaging"


def run(program: str | Path, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of packaging/, or of a bundle, with nothing else in its environment."""
    return subprocess.run([PACKAGING / program, *arguments], env={"PATH": "/usr/bin:/bin"} | environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("program", "arguments", "environment", "named"),
    [
        ("images.sh", [], {"ENGINE": "kaniko"}, "ENGINE: found 'kaniko'"),
        ("images.sh", [], {"VARIANT": "gpu"}, "VARIANT: found 'gpu'"),
        ("bundle.sh", [], {}, "OPERATOR_IMAGE: found ''"),
        ("bundle.sh", [], {"OPERATOR_IMAGE": "docker-daemon:a/b:1", "TRAINER_IMAGE": "trainer"}, "TRAINER_IMAGE: found 'trainer'"),
        ("load.sh", [], {}, "found ''; expected the registry"),
        ("load.sh", ["--verfiy"], {}, "found '--verfiy'; expected the registry"),
        ("load.sh", ["https://registry.example"], {}, "expected a registry without scheme"),
        ("load.sh", ["registry.example/"], {}, "without '/' at its end"),
        ("seal.sh", ["/nowhere"], {}, "expected a bundle's folder"),
    ],
)
def test_a_mistake_is_refused_with_its_name(program: str, arguments: list[str], environment: dict[str, str], named: str) -> None:
    done = run(program, *arguments, **environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle, sealed, packed, and unpacked elsewhere."""
    packed, elsewhere = tmp_path / "medfinetune-0.0.0", tmp_path / "elsewhere"
    (packed / "images" / "blobs").mkdir(parents=True)
    elsewhere.mkdir()
    (packed / "images" / "blobs" / "layer with a name").write_bytes(bytes(range(256)))
    (packed / "VERSION").write_text("0.0.0\n")
    (packed / "load.sh").write_bytes((PACKAGING / "load.sh").read_bytes())
    (packed / "load.sh").chmod(0o755)
    sealed = run("seal.sh", packed, tmp_path / "bundle.tar")
    assert sealed.returncode == 0, sealed.stderr
    subprocess.run(["sha256sum", "--check", "--quiet", "bundle.tar.sha256"], cwd=tmp_path, check=True)
    subprocess.run(["tar", "-xf", tmp_path / "bundle.tar", "-C", elsewhere], check=True)
    return elsewhere / packed.name


def test_a_bundle_as_it_was_packed_is_verified(bundle: Path) -> None:
    done = run(bundle / "load.sh", "--verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "verified: 3 files\n", "")


def flip(bundle: Path) -> str:
    layer = bundle / "images" / "blobs" / "layer with a name"
    content = bytearray(layer.read_bytes())
    content[100] ^= 1
    layer.write_bytes(content)
    return "layer with a name: FAILED"


def remove(bundle: Path) -> str:
    (bundle / "VERSION").unlink()
    return "./VERSION: FAILED open or read"


def add(bundle: Path) -> str:
    (bundle / "images" / "blobs" / "added").write_text("by somebody else")
    return "nobody packed ./images/blobs/added"


def hide(bundle: Path) -> str:
    (bundle / "images" / "images.yaml").write_text("by somebody else")
    return "nobody packed ./images/images.yaml"


def link(bundle: Path) -> str:
    (bundle / "images" / "added").symlink_to("/etc/hostname")
    return "nobody packed ./images/added"


def replace_by_link(bundle: Path) -> str:
    (bundle / "VERSION").rename(bundle.parent / "VERSION")
    (bundle / "VERSION").symlink_to("../VERSION")
    return "nobody packed ./VERSION"


@pytest.mark.parametrize("change", [flip, remove, add, hide, link, replace_by_link])
def test_a_changed_bundle_is_refused_and_the_file_named(change: object, bundle: Path) -> None:
    assert callable(change)
    named = change(bundle)
    done = run(bundle / "load.sh", "registry.example")
    assert done.returncode == 1
    assert named in done.stdout + done.stderr
    assert "install nothing" in done.stderr
    assert not (bundle / "images.yaml").exists()


@pytest.fixture(scope="module")
def inventory() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inventory", PACKAGING / "inventory.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["inventory"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def locked_here() -> list[Distribution]:
    """The distributions of the images' locks, as they are installed here; a lock also names what other systems need."""
    found = []
    for lock in ("trainer", "operator", "cli"):
        for name in re.findall(r"^([\w.-]+)==", (CLONE / "locks" / f"{lock}.txt").read_text(), re.MULTILINE):
            try:
                found.append(distribution(name))
            except PackageNotFoundError:
                continue
    return found


def test_every_licence_in_the_images_is_allowed_or_was_reviewed(inventory: ModuleType) -> None:
    policy = tomllib.loads((PACKAGING / "licenses.toml").read_text())
    licences = {licence.name: licence for licence in inventory.judged(locked_here(), policy)}
    assert licences["torch"].concluded == ""
    assert licences["nvidia-cublas"].concluded == "LicenseRef-NVIDIA-SDK"
    assert all(entry["concluded"] and entry["note"] for entry in policy["reviewed"].values())


def test_the_lock_without_cuda_is_the_trainers_less_torch() -> None:
    """At the same versions: what passes without CUDA says something of what runs with it."""
    trainer, cpu = ({line.split()[0] for line in (CLONE / "locks" / f"{name}.txt").open() if "==" in line} for name in ("trainer", "trainer-cpu"))
    assert cpu < trainer
    names = {each.partition("==")[0] for each in trainer} - {each.partition("==")[0] for each in cpu}
    ours = {name for name in names if not name.startswith(("cuda-", "nvidia-"))}
    assert ours == {"torch", "triton", "mpmath", "networkx", "sympy"}  # the last three come with Debian's torch


def test_a_licence_that_nobody_reviewed_is_named(inventory: ModuleType, tmp_path: Path) -> None:
    for name, line in {
        "closed": "License-Expression: MIT AND LicenseRef-Closed",
        "silent": "Summary: of no licence",
        "fine": "License-Expression: MIT",
    }.items():
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{line}\n")
    with pytest.raises(inventory.UnreviewedError) as refused:
        inventory.judged(inventory.distributions(path=[str(tmp_path)]), {"allowed": ["MIT"], "reviewed": {}})
    assert [line.strip() for line in str(refused.value).splitlines()[1:3]] == [
        "closed 1.0: found MIT AND LicenseRef-Closed",
        "silent 1.0: found no licence in its metadata",
    ]
    assert "fine" not in str(refused.value)


def test_the_images_differ_only_in_what_they_are() -> None:
    """Two files because there are two images: what one of them learns, the other must not miss."""
    steps = {}
    for part in ("operator", "trainer"):
        lines = [
            line for line in (CLONE / f"Dockerfile.{part}").read_text().splitlines() if not re.fullmatch(r"#.*|COPY \w+ \w+|.*image\.description=.*", line)
        ]
        steps[part] = [line.replace(part, "PART") for line in lines]
    assert steps["operator"] == steps["trainer"]
