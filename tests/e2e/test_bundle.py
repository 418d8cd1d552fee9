"""The archive for a site without internet, made from these images: verified, refused with one changed byte, loaded into an empty registry, pulled by digest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cluster.images.registry import answers
from cluster.processes import Server, free_port
from cluster.programs import program
from e2e.cluster_access import Cluster

CLONE = Path(__file__).parents[2]
VERSION = "0.1.0"


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def said(*command: str | Path, **environment: str) -> str:
    """What a command says. Raises AssertionError with its words where it fails."""
    done = run(*command, **environment)
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def bundle(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundle of the cluster's images, carried elsewhere and unpacked."""
    folder = tmp_path_factory.mktemp("bundle")
    images = {"OPERATOR_IMAGE": cluster.seen_from_here(cluster.operator_image), "TRAINER_IMAGE": cluster.seen_from_here(cluster.trainer_image)}
    tools = {"HELM": str(program("helm")), "PYTHON": sys.executable, "CLI_PYTHONS": f"{sys.version_info.major}.{sys.version_info.minor}"}
    said(CLONE / "packaging" / "bundle.sh", OUTPUT=str(folder), SKOPEO_OPTIONS="--src-tls-verify=false", **images, **tools)
    archive = folder / f"medfinetune-{VERSION}-bundle.tar"
    said("tar", "-xf", archive, "-C", folder)
    archive.unlink()
    yield folder / f"medfinetune-{VERSION}"
    shutil.rmtree(folder)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """An empty registry, as a site has one."""
    address = f"localhost:{free_port()}"
    config = {"version": "0.1", "log": {"level": "warn"}, "storage": {"filesystem": {"rootdirectory": str(tmp_path / "layers")}}, "http": {"addr": address}}
    (tmp_path / "registry.json").write_text(json.dumps(config))
    server = Server(["docker-registry", "serve", tmp_path / "registry.json"], tmp_path / "registry.log")
    try:
        server.wait_for("answering /v2/", lambda: answers(f"http://{address}/v2/"))
        yield address
    finally:
        server.kill()
        shutil.rmtree(tmp_path / "layers", ignore_errors=True)


def test_a_bundle_with_one_changed_byte_is_refused(bundle: Path, registry: str) -> None:
    layer = max((bundle / "images" / "blobs").rglob("*"), key=lambda path: path.stat().st_size)
    flip(layer)
    try:
        done = run(bundle / "load.sh", registry)
        assert done.returncode == 1
        assert f"{layer.name}: FAILED" in done.stdout
        assert not (bundle / "images.yaml").exists()
    finally:
        flip(layer)


def flip(file: Path) -> None:
    with file.open("r+b") as content:
        content.seek(file.stat().st_size // 2)
        (byte,) = content.read(1)
        content.seek(-1, os.SEEK_CUR)
        content.write(bytes([byte ^ 1]))


def test_a_bundle_is_loaded_and_the_chart_names_its_images_by_digest(bundle: Path, registry: str, tmp_path: Path) -> None:
    said(bundle / "load.sh", f"{registry}/mirror", SKOPEO_OPTIONS="--dest-tls-verify=false")
    values = yaml.safe_load((bundle / "images.yaml").read_text())
    (chart,) = (bundle / "chart").glob("*.tgz")
    rendered = said(program("helm"), "template", "medfinetune", chart, "--values", bundle / "images.yaml")
    for part in ("operator", "trainer"):
        image = f"{registry}/mirror/medfinetune/{part}@{values[part]['image']['digest']}"
        assert image in rendered
        config = json.loads(said("skopeo", "inspect", "--tls-verify=false", "--config", f"docker://{image}"))["config"]
        assert config["User"] == "65532:65532"
        assert config["Labels"]["org.opencontainers.image.title"] == f"medfinetune {part}"
        assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    operator = f"docker://{registry}/mirror/medfinetune/operator@{values['operator']['image']['digest']}"
    said("skopeo", "copy", "--quiet", "--src-tls-verify=false", operator, f"oci:{tmp_path / 'pulled'}")
    assert {path.stem for path in (bundle / "crds").iterdir()} == {"medfinetune.io_medfinetunes"}


def test_the_command_line_installs_without_an_index(bundle: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    said(tmp_path / "venv" / "bin" / "pip", "install", "--quiet", "--no-index", "--find-links", bundle / "cli", "medfinetune")
    manifest = CLONE / "examples" / "01-minimal" / "manifest.yaml"
    told = json.loads(said(tmp_path / "venv" / "bin" / "kubectl-medfinetune", "validate", manifest, "--output", "json", PYTHONPATH=""))
    assert told["folder"].startswith("minimal-")
