"""A run that a gate has stopped: quarantined, purged, and released only by whom the cluster's administrator has allowed it, on a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cluster.control_plane import ControlPlane
from cluster.processes import wait_until
from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionReason as Reason
from medfinetune_api.conditions import ConditionStatus, ConditionType, Phase
from medfinetune_api.errors import InvalidManifest
from medfinetune_api.exits import Exit
from medfinetune_api.objects import RELEASE_ANNOTATION, RELEASED_BY_ANNOTATION
from medfinetune_api.plan import Mounts, RunPlan
from medfinetune_api.results import StageResult
from medfinetune_api.results_evaluation import EvaluationSummary
from medfinetune_api.results_gates import Release, ReleaseRequest
from medfinetune_operator.resources.environment import environment
from medfinetune_operator.resources.volumes import mounts
from medfinetune_operator.run import Run
from medfinetune_trainer.artifacts.verification import verify
from medfinetune_trainer.gates.decide import judged
from medfinetune_trainer.stages.telling import tell
from support.api import CORE, MERGE, Answer, Api
from support.observed import SETTINGS, a_job, after, attempt, condition, decide, done, failed, later, reached, running
from support.operated import Operated, endings, operated, phase, reason
from support.pod_player import SUCCEEDS, WORKS, Act, Script
from support.rights import POLICIES, of_chart, put
from support.told import filled

ALLOWED = SETTINGS.model_copy(update={"release": True})
WANTED = ReleaseRequest(by="dr-kim", reason="Reviewed: costs $5 and $(HOME)")
HOUR = 3600
GATES = [{"name": "most", "task": "exam", "minimum": 0.99}]


def quarantined(release: object = None, policy: bool = True, **spec: object) -> Run:
    """A run that a gate has stopped, and that is purged; whether the policy was there all the while."""
    run, settings = reached(Stage.EVALUATE, **spec), ALLOWED if policy else SETTINGS
    run = after(run, decide(run, a_job(Stage.EVALUATE, failed=True), failed(Stage.EVALUATE, Exit.GATE_FAILED), settings=settings))
    run = after(run, decide(run, settings=settings))
    return replace(after(run, decide(run, *done(Stage.PURGE), settings=settings)), release=release)


def test_a_gate_that_failed_quarantines_the_run_for_good() -> None:
    run = quarantined()
    found = decide(run, settings=ALLOWED)
    assert (found.status.phase, found.start) == (Phase.QUARANTINED, None)
    assert (condition(found, ConditionType.QUARANTINED).status, condition(found, ConditionType.QUARANTINED).reason) == (
        ConditionStatus.TRUE,
        Reason.GATE_FAILED,
    )
    assert found.status.artifacts
    assert found.status.artifacts.adapter is None
    assert [each.stage for each in found.status.attempts][-2:] == [Stage.EVALUATE, Stage.PURGE]


def test_without_the_setting_a_release_is_off_and_one_event_says_so() -> None:
    decision = decide(quarantined(WANTED))
    assert (decision.start, decision.status.phase, [note.reason for note in decision.notes]) == (None, Phase.QUARANTINED, [Reason.RELEASE_OFF])
    assert condition(decision, ConditionType.RELEASED).reason is Reason.RELEASE_OFF
    assert decide(replace(after(quarantined(), decision), release=WANTED)).notes == ()


def test_annotations_that_no_policy_has_looked_at_are_not_heeded_until_they_are_set_anew() -> None:
    """Whether they were planted with the run, or while the policy was off or away."""
    planted = replace(reached(Stage.EVALUATE), release=WANTED)
    planted = after(planted, decide(planted, a_job(Stage.EVALUATE, failed=True), failed(Stage.EVALUATE, Exit.GATE_FAILED), settings=ALLOWED))
    planted = after(replace(planted, release=WANTED), decide(replace(planted, release=WANTED), settings=ALLOWED))
    planted = after(replace(planted, release=WANTED), decide(replace(planted, release=WANTED), *done(Stage.PURGE), settings=ALLOWED))
    off = quarantined(WANTED, policy=False)
    taken_away = quarantined()
    taken_away = replace(after(taken_away, decide(taken_away)), release=WANTED)
    for run in (replace(planted, release=WANTED), off, replace(after(off, decide(off)), release=WANTED), taken_away):
        found = decide(run, settings=ALLOWED)
        assert (found.start, condition(found, ConditionType.RELEASED).reason) == (None, Reason.RELEASE_UNPROVEN)
        bare = replace(after(run, found), release=None)
        bare = after(bare, decide(bare, settings=ALLOWED))
        assert decide(replace(bare, release=WANTED), settings=ALLOWED).start is not None


def test_a_release_begins_after_the_purge_and_ends_the_quarantine() -> None:
    run = quarantined(WANTED)
    begun = decide(run, settings=ALLOWED)
    assert begun.start == attempt(begun)
    assert (attempt(begun).stage, attempt(begun).number, begun.status.stage) == (Stage.RELEASE, 1, Stage.RELEASE)
    run = after(run, begun)
    assert decide(replace(run, release=None), *running(Stage.RELEASE), settings=ALLOWED).stop == (), "what has begun goes on"
    decision = decide(run, *done(Stage.RELEASE), settings=ALLOWED)
    assert (decision.status.phase, decision.status.stage) == (Phase.RELEASED, None)
    conditions = {each.type: each.status for each in decision.status.conditions}
    assert conditions[ConditionType.RELEASED] is ConditionStatus.TRUE
    assert conditions[ConditionType.QUARANTINED] is ConditionStatus.FALSE
    assert (conditions[ConditionType.SUCCEEDED], conditions[ConditionType.FAILED]) == (ConditionStatus.TRUE, ConditionStatus.FALSE)
    assert condition(decision, ConditionType.SUCCEEDED).reason is Reason.RELEASED
    assert (conditions[ConditionType.EVALUATED], condition(decision, ConditionType.EVALUATED).reason) == (ConditionStatus.FALSE, Reason.GATE_FAILED)
    assert decision.status.completion_time == run.status.completion_time, "it ended when its gate failed"
    assert decision.status.artifacts
    assert decision.status.artifacts.adapter == "adapter"
    assert "dr-kim" in condition(decision, ConditionType.RELEASED).message
    later_on = decide(after(run, decision), settings=ALLOWED, now=later(HOUR))
    assert (later_on.start, later_on.status) == (None, decision.status)


def test_a_release_is_tried_again_where_that_may_help_and_otherwise_given_up() -> None:
    run = quarantined(WANTED)
    for number, code in enumerate((Exit.STORAGE_FAILED, Exit.STORAGE_FAILED, Exit.OUTPUT_CONFLICT), 1):
        run = after(run, decide(run, settings=ALLOWED, now=later(HOUR * number)))
        assert attempt(decide(run, settings=ALLOWED)).number == number
        run = after(
            run, decide(run, a_job(Stage.RELEASE, number, failed=True), failed(Stage.RELEASE, code, number), settings=ALLOWED, now=later(HOUR * number))
        )
    decision = decide(run, settings=ALLOWED, now=later(9 * HOUR))
    assert (decision.start, decision.status.phase, decision.status.restarts) == (None, Phase.QUARANTINED, 1)
    assert condition(decision, ConditionType.RELEASED).reason is Reason.RELEASE_FAILED


@pytest.mark.parametrize("release", [WANTED, InvalidManifest("metadata", found="a", expected="b", remedy="C.")])
def test_nothing_else_is_ever_released(release: object) -> None:
    succeeded = reached(Stage.PURGE)
    succeeded = replace(after(succeeded, decide(succeeded, *done(Stage.PURGE))), release=release)
    assert decide(succeeded, settings=ALLOWED).status == succeeded.status
    if isinstance(release, InvalidManifest):
        refused = decide(quarantined(release), settings=ALLOWED)
        assert (refused.start, condition(refused, ConditionType.RELEASED).message) == (None, str(release))


def test_the_pod_is_told_the_decision_word_for_word() -> None:
    run = quarantined(WANTED)
    told = {each["name"]: each.get("value") for each in environment(run, attempt(decide(run, settings=ALLOWED)), ALLOWED)}
    assert told["MEDFINETUNE_RELEASED_BY"] == "dr-kim"
    assert told["MEDFINETUNE_RELEASE_REASON"] == "Reviewed: costs $$5 and $$(HOME)"
    merging = quarantined(WANTED, output={"merge": True})
    assert [each["name"] for each in mounts(merging, Stage.RELEASE)] == ["plan", "models", "output", "tmp"]
    evaluating = reached(Stage.EVALUATE)
    assert not [each for each in environment(evaluating, evaluating.status.attempts[-1], ALLOWED) if "RELEASE" in each["name"]]


class Person(Api):
    """Requests as `user`, whom the administrator impersonates."""

    def __init__(self, cluster: ControlPlane, user: str) -> None:
        super().__init__(cluster)
        self._user = user

    def _headers(self) -> dict[str, str]:
        return super()._headers() | {"Impersonate-User": self._user, "Impersonate-Group": "system:authenticated"}

    def annotate(self, path: str, why: str | None, by: str | None) -> str:
        """Set both annotations; empty where that went through, else the API server's words."""
        try:
            self.send("PATCH", path, {"metadata": {"annotations": {RELEASE_ANNOTATION: why, RELEASED_BY_ANNOTATION: by}}}, MERGE)
        except Answer as answer:
            return str(answer)
        return ""


@pytest.fixture(scope="module")
def stage(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    """An operator that releases, and the policy that says who may ask for it; dr-kim may, editor may edit."""
    with operated(control_plane, tmp_path_factory.mktemp("quarantine"), stopSeconds=1, release=True) as stage:
        put(control_plane, of_chart("ClusterRole", *POLICIES, admissionPolicies={"release": {"enabled": True}}))
        for role, user in (("medfinetune-editor", "editor"), ("medfinetune-releaser", "dr-kim")):
            control_plane.kubectl("create", "rolebinding", user, "--namespace", stage.home, "--clusterrole", role, "--user", user)
        yield stage


def stopped_folder(plan: RunPlan) -> None:
    """What evaluate leaves of a run that its gate has stopped, with weights of a few bytes."""
    filled(plan)
    plan.folder.adapter.rename(plan.folder.quarantine)
    summary = EvaluationSummary.read(plan.folder.summary)
    assert summary
    assert judged(plan, summary).failed
    tell(plan, summary)


def run_release(container: dict[str, Any], plan: RunPlan, folder: Path) -> StageResult:
    """The Job's own command with its own environment, as a process; the plan with its volumes where they are here."""
    (folder / "plan.json").write_text(plan.to_json())
    told = {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("MEDFINETUNE_RELEASE")}
    command = [sys.executable, "-m", "medfinetune_trainer", container["args"][0], "--plan", str(folder / "plan.json")]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | told | {"MEDFINETUNE_ATTEMPT": "1"}, check=False)
    assert ended.returncode == 0, ended.stderr
    return StageResult.model_validate_json(ended.stdout)


def fails_its_gate(in_purge: Act = SUCCEEDS) -> Script:
    return lambda part: Act(exit=Exit.GATE_FAILED) if part.stage is Stage.EVALUATE else in_purge if part.stage is Stage.PURGE else SUCCEEDS


def test_only_a_holder_of_the_verb_releases_a_quarantined_run_and_in_no_other_name(stage: Operated, control_plane: ControlPlane, tmp_path: Path) -> None:
    path = stage.path("stopped")
    editor, reviewer = Person(control_plane, "editor"), Person(control_plane, "dr-kim")
    evaluation = {"tasks": [{"name": "exam", "path": "exam.jsonl", "format": "MedQA", "language": "en"}], "gates": GATES}
    stage.apply("stopped", lambda part: WORKS if part.stage is Stage.EVALUATE else SUCCEEDS, evaluation=evaluation)
    stage.wait("stopped", "evaluating", lambda status: any(each.stage is Stage.EVALUATE for each in status.attempts))
    wait_until("the policy to hold", lambda: "without the verb `release`" in editor.annotate(path, "because", "editor"))
    early = reviewer.annotate(path, "because", "dr-kim")
    stage.player.play("stopped", fails_its_gate())
    status = stage.wait("stopped", "purged", reason(ConditionType.PURGED, Reason.SUCCEEDED))
    assert "found a run that is not quarantined" in early
    assert (status.phase, status.restarts) == (Phase.QUARANTINED, 1)
    assert "without the verb `release`" in editor.annotate(path, "because", "dr-kim")
    assert "expected dr-kim, who asks" in reviewer.annotate(path, "because", "dr-lee")
    assert "expected none, for there is no release" in reviewer.annotate(path, None, "dr-kim")
    assert stage.jobs("stopped").keys() & {"stopped-release-a1"} == set()
    assert reviewer.annotate(path, "Reviewed by the board: $5, $(HOME)", "dr-kim") == ""
    status = stage.wait("stopped", "released", phase(Phase.RELEASED))
    assert endings(status)[-1] == ("release", 1, "Succeeded", False)
    control_plane.kubectl("wait", "mft/stopped", "-n", stage.home, "--for=condition=Succeeded", "--timeout=0s")
    assert status.artifacts
    assert status.artifacts.adapter == "adapter"
    assert "without the verb `release`" in editor.annotate(path, None, None), "nor may anybody else take it back"
    editor.send("PATCH", path, {"metadata": {"annotations": {"ward": "5"}}, "spec": {"runPolicy": {"maxRestarts": 1}}}, MERGE)
    job = stage.jobs("stopped")["stopped-release-a1"]["spec"]["template"]["spec"]["containers"][0]
    assert job["args"][0] == "release"
    folder = stage.status("stopped").artifacts
    assert folder
    stored = stage.api.get(f"{CORE}/namespaces/{stage.home}/configmaps/{folder.folder}")
    assert stored
    plan = RunPlan.model_validate_json(stored["data"]["plan.json"])
    plan = plan.model_copy(update={"mounts": Mounts(models=str(tmp_path), data=str(tmp_path), output=str(tmp_path))})
    stopped_folder(plan)
    assert run_release(job, plan, tmp_path).message == "Released adapter against most."
    record = Release.read(plan.folder.release)
    assert record
    assert (record.by, record.reason) == ("dr-kim", "Reviewed by the board: $5, $(HOME)".replace("$", "$$")), "Kubernetes reads $$ as $"
    assert plan.folder.adapter.exists()
    assert verify(plan.folder.root).problems == ()
    wait_until("an event", lambda: any(event["reason"] == "Released" and "dr-kim" in event["message"] for event in stage.events("stopped")))


def test_nobody_creates_a_run_that_is_released_before_it_is_judged(stage: Operated, control_plane: ControlPlane) -> None:
    body = stage.api.get(stage.path("stopped"))
    assert body
    annotations = {RELEASE_ANNOTATION: "in advance", RELEASED_BY_ANNOTATION: "admin"}
    manifest = {key: body[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "early", "annotations": annotations}}
    with pytest.raises(Answer, match="found a run that is not quarantined"):
        stage.api.send("POST", stage.path("").rstrip("/"), json.loads(json.dumps(manifest)))


def test_the_policy_is_well_typed(stage: Operated, control_plane: ControlPlane) -> None:
    """The API server checks the expressions against the schema, and tells in the policy's status what it found wrong."""
    policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/medfinetune-release"

    def status() -> dict[str, object]:
        return (stage.api.get(policy) or {}).get("status") or {}

    wait_until("the policy to be checked", lambda: "typeChecking" in status())
    assert status()["typeChecking"] == {}
