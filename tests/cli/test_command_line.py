"""What a person meets first: help that teaches, completion, versions, and a manifest's problems said plainly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from medfinetune_api.exits import EXITS
from medfinetune_api.layout import RunFolder
from medfinetune_cli.folder_map import folder_map
from medfinetune_cli.output import console
from support.cli import medfinetune
from support.manifests import minimal_manifest

SLOW = ("torch", "transformers", "datasets", "lm_eval", "rich", "pydantic", "yaml", "asyncio")


def written(folder: Path, manifest: object) -> Path:
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return path


def test_importing_the_command_line_imports_nothing_slow() -> None:
    code = f"import sys, medfinetune_cli.main; print([name for name in {SLOW!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_version_names_the_trainers_libraries_without_importing_them() -> None:
    code = "import sys; from medfinetune_cli.main import app; app(['-o', 'json', 'version'], standalone_mode=False); print('torch' in sys.modules)"
    found, imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert {"medfinetune", "python", "torch", "transformers", "peft", "bitsandbytes", "lm-eval"} <= json.loads(found).keys()
    assert imported == "False"


def test_help_teaches() -> None:
    general, run = medfinetune("--help").stdout, medfinetune("run", "--help").stdout
    for phrase in ("medfinetune validate manifest.yaml", "--install-completion", "inside its own"):
        assert phrase in general
    for phrase in ("adapter/", "evaluation/summary.json", "medfinetune --output json run", "After an interruption run it again"):
        assert phrase in run
    for code, meaning in EXITS.items():
        assert f"{code:>3}  {meaning.reason}" in general
        assert f"{code:>3}  {meaning.reason}" in run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_the_verbs(shell: str) -> None:
    words = {"COMP_WORDS": "medfinetune ", "COMP_CWORD": "1"} if shell == "bash" else {"_TYPER_COMPLETE_ARGS": "medfinetune "}
    action = {"_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell == "fish" else {}
    code = "from medfinetune_cli.main import app; app(prog_name='medfinetune')"
    environment = {"_MEDFINETUNE_COMPLETE": f"complete_{shell}", **words, **action, "PATH": "/usr/bin"}
    offered = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False).stdout
    for verb in ("run", "validate", "version"):
        assert verb in offered


def test_a_valid_manifest_is_named_by_plan_and_folder(tmp_path: Path) -> None:
    found = json.loads(medfinetune("validate", "--output", "json", written(tmp_path, minimal_manifest())).stdout)
    assert (found["exitCode"], found["problems"]) == (0, [])
    assert found["folder"].startswith("run-")
    assert found["planSha256"] in medfinetune("validate", tmp_path / "manifest.yaml").stdout


def test_brackets_and_colons_in_a_path_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[old] :smile: [" / "red]"
    folder.mkdir(parents=True)
    manifest = written(folder, minimal_manifest())
    assert f"valid  {manifest}\n" in medfinetune("validate", manifest, COLUMNS="1000").stdout
    console("stdout").print(folder_map(RunFolder(Path("y[/red]"))))
    assert "In y[/red]" in capsys.readouterr().out


def test_every_problem_is_said_with_the_nearest_name(tmp_path: Path) -> None:
    manifest = written(tmp_path, minimal_manifest(data={"maxLenght": 64}, training={"epochs": 0}, model={"path": "../elsewhere"}))
    ended = medfinetune("validate", "-o", "json", manifest)
    problems = {problem["where"].split(" ")[0]: problem for problem in json.loads(ended.stdout)["problems"]}
    assert ended.returncode == 64
    assert problems.keys() == {"spec.data.maxLenght", "spec.training.epochs", "spec.model.path"}
    assert "maxLength" in problems["spec.data.maxLenght"]["remedy"]
    said = medfinetune("validate", manifest)
    assert said.returncode == 64
    assert all(where in said.stderr for where in problems)
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("kind: Pod\napiVersion: medfinetune.io/v1alpha1\n", "kind"),
        ("kind: MedFineTune\napiVersion: medfinetune.io/v2\n", "apiVersion"),
        ("- a list\n", "manifest"),
        ("a: [1\n", "manifest.yaml"),
        ("", "manifest"),
    ],
)
def test_what_is_no_manifest_is_one_problem(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(text, encoding="utf-8")
    ended = medfinetune("validate", path, "--output", "json")
    (problem,) = json.loads(ended.stdout)["problems"]
    assert ended.returncode == 64
    assert where in problem["where"]
    assert ended.stderr == ""


def test_a_missing_folder_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    manifest = written(tmp_path, minimal_manifest())
    ended = medfinetune("--output", "json", "run", manifest, "--models", tmp_path / "none", "--data", tmp_path, "--output", tmp_path / "out")
    assert ended.returncode == 2
    assert json.loads(ended.stdout)["problems"][0]["where"] == "--models"
    assert not (tmp_path / "out").exists()


def test_without_the_trainer_the_command_to_install_it_is_named(tmp_path: Path) -> None:
    manifest = written(tmp_path, minimal_manifest())
    code = "import sys; sys.modules['torch'] = None; from medfinetune_cli.main import app; app(sys.argv[1:])"
    command = [sys.executable, "-c", code, "run", manifest, "--models", tmp_path, "--data", tmp_path, "--output", tmp_path / "out"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "medfinetune[trainer]" in ended.stderr
    assert not (tmp_path / "out").exists()
