"""Quarantine and release: a real evaluation of a real adapter that fails its gate, told and verified; let out by a decision that survives SIGKILL anywhere."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from medfinetune_api.choices import Stage
from medfinetune_api.errors import InvalidManifest, InvalidModel, OutputConflict, Refusal
from medfinetune_api.exits import Exit
from medfinetune_api.plan import RunPlan
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.results_gates import GateReport, Release
from medfinetune_trainer.artifacts.files import new_folder
from medfinetune_trainer.artifacts.lineage import Lineage
from medfinetune_trainer.artifacts.quarantined import refuse_quarantined
from medfinetune_trainer.artifacts.signing import KEY, Signature, public_key
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.gates.release import is_told
from medfinetune_trainer.stages import evaluate, purge
from medfinetune_trainer.stages import release as stage
from medfinetune_trainer.tools.release import released
from peft import PeftModel
from support.evaluation import evaluation_plan, example_tasks, mark_prepared, tiny_base
from support.gates import gate, gated
from support.html_page import Page
from support.models import adapted, save_adapter
from support.site_keys import site_key
from transformers import AutoModelForCausalLM

REASON = "Reviewed by the board: *for* English notes only"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def quarantined(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunPlan:
    """A run that two of its three gates have stopped; purged, and to be merged where it is ever released."""
    plan = evaluation_plan(tmp_path_factory.mktemp("output"), base, example_tasks())
    law = gate(name="law", task="kormedmcqa", subject="nurse", minimum=0.99)
    plan = gated(plan, gate(name="most", task="medqa", minimum=0.99), gate(name="any", task="medqa", minimum=0), law)
    plan = plan.model_copy(update={"output": plan.output.model_copy(update={"merge": True})})
    with new_folder(plan.folder.final) as folder:
        save_adapter(adapted(base), folder, plan.model.path)
    mark_prepared(plan)
    plan.folder.plan.write_text(plan.to_json() + "\n", encoding="utf-8")
    assert evaluate.run(plan).exit_code == Exit.GATE_FAILED
    return plan


@pytest.fixture
def plan(quarantined: RunPlan, tmp_path: Path) -> RunPlan:
    """A copy of it on another volume."""
    return copied(quarantined, tmp_path / "output")


def copied(plan: RunPlan, output: Path) -> RunPlan:
    shutil.copytree(plan.mounts.output, output)
    return plan.model_copy(update={"mounts": plan.mounts.model_copy(update={"output": str(output)})})


def state(plan: RunPlan) -> dict[str, bytes]:
    root = plan.folder.root
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_run_that_fails_a_gate_has_no_adapter_and_says_why_everywhere(plan: RunPlan) -> None:
    report = GateReport.read(plan.folder.gates)
    summary = EvaluationSummary.read(plan.folder.summary)
    assert report
    assert summary
    assert [outcome.gate.name for outcome in report.failed] == ["most", "law"]
    assert (report.gates[0].n, report.gates[0].low) == (summary.tasks[0].tuned.n, summary.tasks[0].tuned.low)
    assert report.gates[2].value == summary.tasks[1].tuned_by_subject["nurse"].accuracy
    assert {path.name for path in plan.folder.root.iterdir()} >= {"quarantine", "report.html", "lineage.json"}
    assert not any(path.exists() for path in (plan.folder.adapter, plan.folder.model, plan.folder.final))
    loud = "Quarantined: this model failed the gates most, law and is not released. Use it for nothing."
    assert f"# ⚠ {loud}" in (plan.folder.quarantine / "README.md").read_text(encoding="utf-8")
    page = Page(plan.folder.report.read_text(encoding="utf-8")).text
    assert loud in page
    assert "Quarantined: most, law failed" in page
    assert report.gates[0].sentence in page
    assert verify(plan.folder.root).problems == ()


def test_started_again_it_ends_the_same_and_the_purge_keeps_the_quarantine(plan: RunPlan) -> None:
    before = state(plan)
    again = evaluate.run(plan)
    assert (again.exit_code, again.numbers["gates_failed"], state(plan)) == (Exit.GATE_FAILED, 2, before)
    assert again.message.startswith("Quarantined: 2 of 3 gates failed (most, law). Accuracy of medqa: ")
    purge.run(plan)
    assert evaluate.run(plan).exit_code == Exit.GATE_FAILED
    assert verify(plan.folder.root).problems == ()
    assert plan.folder.quarantine.exists()


def test_a_crash_between_summary_and_quarantine_is_made_good(plan: RunPlan) -> None:
    before = state(plan)
    plan.folder.checkpoints.mkdir(exist_ok=True)
    plan.folder.quarantine.rename(plan.folder.final)
    for file in (plan.folder.gates, plan.folder.lineage, plan.folder.report):
        file.unlink()
    assert evaluate.run(plan).exit_code == Exit.GATE_FAILED
    told = {"report.html": b"", "lineage.json": b""}
    assert state(plan) | told == before | told, "only the page names the volume, and the lineage its hash"
    assert verify(plan.folder.root).problems == ()


def test_a_release_is_recorded_told_and_loads(plan: RunPlan, base: Path) -> None:
    purge.run(plan)
    lineage, made_from = verify(plan.folder.root).lineage_sha256, verify(plan.folder.root).lineage.made_from
    record = released(plan.folder.root, "Dr. Kim", f" {REASON} ")
    assert (record.by, record.reason, record.gates, record.lineage_sha256) == ("Dr. Kim", REASON, ("most", "law"), lineage)
    assert Release.read(plan.folder.release) == record
    assert not plan.folder.quarantine.exists()
    assert verify(plan.folder.root).problems == ()
    now = Lineage.read(plan.folder.lineage)
    assert now
    assert now.made_from == made_from
    assert now.files["release.json"]
    for card in (plan.folder.adapter / "README.md", plan.folder.model / "README.md"):
        text = card.read_text(encoding="utf-8")
        assert "# ⚠ Released although it failed the gates most, law." in text
        assert "Reviewed by the board: \\*for\\* English notes only" in text
    page = Page(plan.folder.report.read_text(encoding="utf-8")).text
    assert f"Released by Dr. Kim on {record.time:%Y-%m-%d %H:%M} UTC: {REASON}" in page
    assert "Complete, and released against its gates" in page
    PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), plan.folder.adapter)
    AutoModelForCausalLM.from_pretrained(plan.folder.model)
    assert evaluate.run(plan).exit_code == Exit.SUCCEEDED, "what a person released is not quarantined again"
    with pytest.raises(OutputConflict, match=r"a run that Dr\. Kim released on"):
        released(plan.folder.root, "Dr. Lee", "once more")


def test_what_a_gate_has_stopped_is_nothing_to_start_from_whatever_it_is_copied_as_until_it_is_released(plan: RunPlan, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(plan.folder.quarantine, tmp_path / "ordinary"))
    for folder in (plan.folder.quarantine, copy):
        with pytest.raises(InvalidModel, match=r"spec\.model\.path: found what a gate has stopped"):
            refuse_quarantined(folder, "spec.model.path")
    released(plan.folder.root, "the board", "for a workshop")
    refuse_quarantined(plan.folder.adapter, "spec.model.path")


def test_what_cannot_be_released_stays_as_it_is(plan: RunPlan, tmp_path: Path) -> None:
    before = state(plan)
    root = plan.folder.root

    def refused(kind: type[Refusal], words: str, by: str = "Dr. Kim", reason: str = REASON) -> None:
        with pytest.raises(kind, match=words):
            released(root, by, reason)
        assert {name: content for name, content in state(plan).items() if name != ".lock"} == before

    refused(InvalidManifest, "release reason: found none; expected one line of 1 to 1000", reason=" \t ")
    refused(InvalidManifest, "release reason: found 1001 characters", reason="a" * 1001)
    refused(InvalidManifest, "not all of them printable", reason="first\nsecond")
    refused(InvalidManifest, "release by: found none", by="")
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(OutputConflict, "another live run that holds this folder")
    weights = plan.folder.quarantine / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(OutputConflict, match=r"quarantine/adapter_model\.safetensors: found SHA-256"):
        released(root, "Dr. Kim", REASON)
    weights.write_bytes(content)
    root.rename(root.with_name("another"))
    with pytest.raises(OutputConflict, match="under another name"):
        released(root.with_name("another"), "Dr. Kim", REASON)


def test_a_run_that_no_gate_stopped_has_nothing_to_release(plan: RunPlan) -> None:
    plan.folder.quarantine.rename(plan.folder.adapter)
    with pytest.raises(OutputConflict, match="a run that is not quarantined"):
        released(plan.folder.root, "Dr. Kim", REASON)


def killed_before(plan: RunPlan, operation: int) -> bool:
    """Release in a process that is killed before its n-th change of a name; whether it was."""
    child = os.fork()
    if child == 0:
        try:
            _kill_before(operation)
            released(plan.folder.root, "Dr. Kim", REASON)
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _kill_before(operation: int) -> None:
    done = iter(range(operation))
    for name in ("rename", "replace", "unlink"):
        plain = getattr(Path, name)

        def counted(self: Path, *arguments: object, plain: object = plain, **options: object) -> object:
            if next(done, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(self, *arguments, **options)  # type: ignore[operator]  # the method it stands for

        setattr(Path, name, counted)


def kills(quarantined: RunPlan, folder: Path) -> Iterator[RunPlan]:
    """The run after a release that was killed at each change of a name in turn."""
    for operation in range(100):
        plan = copied(quarantined, folder / str(operation))
        plan = plan.model_copy(update={"output": plan.output.model_copy(update={"merge": False})})
        if not killed_before(plan, operation):
            return
        yield plan


def test_a_release_that_is_killed_anywhere_is_whole_or_not_at_all(quarantined: RunPlan, tmp_path: Path) -> None:
    """In the plan that lies in the folder nothing is merged: a merge would be all the time that this takes."""
    unmerged = copied(quarantined, tmp_path / "unmerged")
    unmerged = unmerged.model_copy(update={"output": unmerged.output.model_copy(update={"merge": False})})
    rewrite(unmerged)
    found = set()
    for plan in kills(unmerged, tmp_path / "killed"):
        out = plan.folder.adapter.exists()
        assert out is not plan.folder.quarantine.exists()
        record = Release.read(plan.folder.release)
        assert record is not None or not out, "an adapter without the decision that let it out"
        found.add((out, record is not None))
        if not (out and is_told(plan)):
            who = released(plan.folder.root, "Dr. Lee", "Another reason").by
            assert who == ("Dr. Kim" if out else "Dr. Lee"), "the decision that let it out is the one on record"
        assert verify(plan.folder.root).problems == ()
        assert not list(plan.folder.adapter.glob(".*"))
    assert found == {(False, False), (False, True), (True, True)}


def rewrite(plan: RunPlan) -> None:
    """Make the folder that of a changed plan: every hash of it, and what is told of it."""
    old = RunPlan.read(plan.folder.plan)
    assert old
    for file in (plan.folder.prepared, plan.folder.summary, plan.folder.gates):
        file.write_text(file.read_text(encoding="utf-8").replace(old.sha256, plan.sha256), encoding="utf-8")
    plan.folder.plan.write_text(plan.to_json() + "\n", encoding="utf-8")
    for told in (plan.folder.lineage, plan.folder.attempts):
        told.unlink()
    assert evaluate.run(plan).exit_code == Exit.GATE_FAILED


def test_the_stage_takes_the_decision_from_its_environment_and_is_idempotent(quarantined: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = copied(quarantined, tmp_path / "output")
    with pytest.raises(InvalidManifest, match="release by: found none"):
        stage.run(plan)
    monkeypatch.setenv(stage.BY, "system:serviceaccount:ward:reviewer")
    monkeypatch.setenv(stage.REASON, REASON)
    first = stage.run(plan)
    before = state(plan)
    assert (first.stage, first.exit_code, first.message) == (Stage.RELEASE, Exit.SUCCEEDED, "Released adapter against most, law.")
    assert stage.run(plan) == first
    assert state(plan) == before
    (plan.folder.adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(OutputConflict, match="other files than were released"):
        stage.run(plan)


def test_of_a_signed_run_the_release_is_signed_too(plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = site_key(tmp_path)
    monkeypatch.setenv(KEY, str(private))
    plan.folder.lineage.unlink()
    evaluate.run(plan)
    monkeypatch.delenv(KEY)
    with pytest.raises(InvalidManifest, match="found none, and a run whose lineage is signed; expected the key that signs its release"):
        released(plan.folder.root, "Dr. Kim", REASON)
    monkeypatch.setenv(KEY, str(private))
    released(plan.folder.root, "Dr. Kim", REASON)
    verdict = verify(plan.folder.root, public_key(public))
    assert (verdict.problems, verdict.signature) == ((), Signature.HOLDS)
