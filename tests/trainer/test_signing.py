"""A whole small run, made by the real stages and signed: any byte that changes is named, attempts cannot be removed, and only the site's key is its key."""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from medfinetune_api.errors import InvalidManifest, OutputConflict
from medfinetune_api.exits import Exit
from medfinetune_api.layout import RunFolder
from medfinetune_api.plan import RunPlan
from medfinetune_trainer.artifacts import attempts, signing
from medfinetune_trainer.artifacts.files import sha256_file
from medfinetune_trainer.artifacts.lineage import Lineage, paths, write
from medfinetune_trainer.artifacts.maker import requester
from medfinetune_trainer.artifacts.signing import Signature, public_key
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.stages.program import main as program
from medfinetune_trainer.tools.verify import main, rendered
from support.site_keys import MAKE, SiteKey, site_key
from support.small_real import small_real_run
from support.stages import plan_file


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SiteKey:
    return site_key(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def run(key: SiteKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunPlan]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(signing.KEY, str(key.private))
        patched.setenv("MEDFINETUNE_REQUESTER", "erika@ward-3")
        patched.setenv("MEDFINETUNE_REQUESTER_VERIFIED", "true")
        yield small_real_run(tmp_path_factory.mktemp("output"), tmp_path_factory.mktemp("agent"))


@pytest.fixture
def folder(run: RunPlan, tmp_path: Path) -> RunFolder:
    """A copy that a test may spoil."""
    return RunFolder(shutil.copytree(run.folder.root, tmp_path / run.identity.folder))


def test_a_byte_changed_in_any_file_names_that_file(run: RunPlan, key: SiteKey) -> None:
    root, public = run.folder.root, public_key(key.public)
    verdict = verify(root, public)
    assert (verdict.problems, verdict.unchecked, verdict.signature) == ((), (), Signature.HOLDS)
    artifacts = [path for path in paths(root) if not path.startswith(".")]
    assert {"plan.json", "prepared.json", "metrics.jsonl", "attempts.jsonl", "contamination.json", "privacy.json", "report.html"} <= {*artifacts}
    assert {"lineage.json", "lineage.dsse.json", "evaluation/gates.json", "adapter/README.md", "data/manifest.json"} <= {*artifacts}
    for path in artifacts:
        before = (root / path).read_bytes()
        assert before, path
        for at in {0, len(before) // 2, len(before) - 1}:
            (root / path).write_bytes(before[:at] + bytes([before[at] ^ 1]) + before[at + 1 :])
            assert path in named(root, public), (path, at)
        (root / path).write_bytes(before)
    assert verify(root, public).problems == ()


def named(root: Path, public: Any) -> set[str]:
    """Files that verification names: all of them, or the lineage where that cannot be read."""
    try:
        return {problem.where for problem in verify(root, public).problems}
    except OutputConflict as conflict:
        return {Path(conflict.where).name}


def test_the_lineage_says_what_was_made_by_whom(run: RunPlan) -> None:
    lineage = Lineage.model_validate_json(run.folder.lineage.read_bytes())
    told = attempts.read(run.folder)
    assert [each.stage for each in told] == ["prepare", "train", "train", "evaluate"]
    last_step = max(int(found.name[5:]) for found in run.folder.checkpoints.glob("step-*"))
    assert [(each.step, each.processes) for each in told[1:3]] == [(0, 1), (last_step - 1, 1)]
    assert told[0].before == run.sha256
    assert lineage.attempts.entries == 4
    assert {lineage.made_from.requester.name, *(each.requester.name for each in told)} == {"erika@ward-3"}
    assert lineage.made_from.requester.verified
    assert {lineage.made_from.code_sha256} == {each.code_sha256 for each in told}
    assert "questions resemble training records" in lineage.verdicts.contamination
    assert "names not scanned in en, ko" in lineage.verdicts.privacy
    assert lineage.verdicts.gates == "all 1 hold"
    assert dict(lineage.made_from.data) == json.loads(run.folder.data_manifest.read_text())["files"]


@pytest.mark.parametrize(("variables", "expected"), [({}, False), ({"MEDFINETUNE_REQUESTER": ""}, False)])
def test_without_an_executors_word_nobody_is_verified(variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDFINETUNE_REQUESTER", raising=False)
    monkeypatch.setenv("MEDFINETUNE_REQUESTER_VERIFIED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = requester()
    assert found.verified is expected
    assert found.name == ("unknown" if variables else pwd.getpwuid(os.getuid()).pw_name)


def without(line: int) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: lines[:line] + lines[line + 1 :]


def edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b'"step":0', b'"step":1'), *lines[2:]]


@pytest.mark.parametrize(
    ("spoil", "says"), [(without(0), "attempt 1 does not"), (without(2), "attempt 3 does not"), (without(3), "3 attempts"), (edited, "attempt 3")]
)
def test_an_attempt_removed_or_edited_shows_though_every_hash_is_made_anew(folder: RunFolder, spoil: Callable[[list[bytes]], list[bytes]], says: str) -> None:
    lines = spoil(folder.attempts.read_bytes().splitlines(keepends=True))
    folder.attempts.write_bytes(b"".join(lines))
    lineage = Lineage.model_validate_json(folder.lineage.read_bytes())
    write(folder, lineage.model_copy(update={"files": {**lineage.files, "attempts.jsonl": sha256_file(folder.attempts)}}))
    problems = verify(folder.root).problems
    assert {problem.where for problem in problems} == {"attempts.jsonl"}
    assert any(says in problem.found for problem in problems)


def test_a_lineage_made_anew_does_not_have_the_sites_signature(folder: RunFolder, key: SiteKey, tmp_path: Path) -> None:
    signature, public = folder.signature.read_bytes(), public_key(key.public)
    (folder.adapter / "adapter_model.safetensors").write_bytes(b"poisoned")
    lineage = Lineage.model_validate_json(folder.lineage.read_bytes())
    poisoned = sha256_file(folder.adapter / "adapter_model.safetensors")
    write(folder, lineage.model_copy(update={"files": {**lineage.files, "adapter/adapter_model.safetensors": poisoned}}))
    assert (verify(folder.root).problems, verify(folder.root).signature) == ((), Signature.UNSIGNED)  # all that hashes alone can say
    assert [problem.where for problem in verify(folder.root, public).problems] == ["lineage.dsse.json"]
    folder.signature.write_bytes(signature)
    assert [problem.found for problem in verify(folder.root).problems] == ["a signature of another lineage.json"]
    other = public_key(site_key(tmp_path, "ecdsa").public)
    assert verify(folder.root, other).signature is Signature.DOES_NOT_HOLD


@pytest.mark.parametrize("kind", MAKE)
def test_the_envelope_is_dsse_around_an_in_toto_statement_and_any_tool_can_check_it(
    folder: RunFolder, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = site_key(tmp_path, kind)
    monkeypatch.setenv(signing.KEY, str(mine.private))
    write(folder, Lineage.model_validate_json(folder.lineage.read_bytes()), signing.signer())
    assert verify(folder.root, public_key(mine.public)).signature is Signature.HOLDS
    envelope = json.loads(folder.signature.read_text())
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)
    subjects = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
    assert (envelope["payloadType"], statement["_type"]) == ("application/vnd.in-toto+json", "https://in-toto.io/Statement/v1")
    assert subjects == json.loads(folder.lineage.read_text())["files"] | {"lineage.json": sha256_file(folder.lineage)}
    if kind == "ed25519":  # by hand: the protocol's pre-authentication encoding, and nothing of our library
        public: Any = load_pem_public_key(mine.public.read_bytes())
        signed = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
        public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)
    assert mine.private.read_text().splitlines()[1] not in folder.signature.read_text()


def test_a_report_made_anew_is_whole_while_it_says_what_the_files_say(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert rendered(folder.root) == folder.report.read_text(), "wherever it lies, the same files make the same page"
    folder.signature.unlink()
    text = folder.lineage.read_text().replace(sha256_file(folder.report), "0" * 64)
    folder.lineage.write_text(Lineage.model_validate_json(text).sealed.text)
    assert [problem.where for problem in verify(folder.root).problems] == ["report.html"]
    assert verify(folder.root, rendered=rendered).problems == ()
    folder.report.write_text(folder.report.read_text().replace("Quarantined", "").replace("OPEN", "done"))
    assert main([str(folder.root)]) == Exit.OUTPUT_CONFLICT
    assert "report.html" in capsys.readouterr().err


def encrypted(folder: Path) -> Path:
    return site_key(folder, passphrase=b"secret").private


def public_half(folder: Path) -> Path:
    return site_key(folder).public


def missing(folder: Path) -> Path:
    return folder / "none.pem"


@pytest.mark.parametrize(("make", "found"), [(encrypted, "a key behind a passphrase"), (public_half, "no key of a kind"), (missing, "No such file")])
def test_a_key_that_cannot_sign_is_refused_by_name_before_anything_is_made(
    run: RunPlan, make: Callable[[Path], Path], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path)
    monkeypatch.setenv(signing.KEY, str(path))
    with pytest.raises(InvalidManifest) as refused:
        signing.signer()
    assert (found in refused.value.found, str(path) in refused.value.where) == (True, True)
    plan = run.model_copy(update={"mounts": run.mounts.model_copy(update={"output": str(tmp_path / "output")})})
    for stage in ("prepare", "train", "evaluate"):
        assert program([stage, "--plan", str(plan_file(plan))]) == Exit.INVALID_MANIFEST
    assert [path.name for path in plan.folder.root.iterdir() if path.name[0] != "."] == []
