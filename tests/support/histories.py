"""A little cluster for histories of one run: a Job controller, pods, nodes and Kueue that move only when told, a view of them that lags, and an operator that
may be killed between any two effects of a decision. What Kubernetes promises is kept (a Job has ended only when its pods have); nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from medfinetune_api.choices import Stage
from medfinetune_api.conditions import ConditionType
from medfinetune_api.exits import Exit
from medfinetune_api.objects import job_name
from medfinetune_api.results import StageResult
from medfinetune_api.status import Attempt, FineTuneStatus
from medfinetune_operator.conditions import is_terminal, is_true
from medfinetune_operator.decision import Decision
from medfinetune_operator.observation import Child, Job, Observation, Pod, PodPhase, RankStep, Refusal, Report
from medfinetune_operator.reconcile import reconcile
from medfinetune_operator.run import Run
from support.observed import NOW, SETTINGS, a_run, settled

Key = tuple[Stage, int]
NODES = 2
STEPS = 100
NEEDS = {Stage.TRAIN: ConditionType.PREPARED, Stage.EVALUATE: ConditionType.TRAINED}


@dataclass
class Cluster:
    """One run in it. `jobs` and `pods` are the truth, `view` is what the operator's watches have told it."""

    now: datetime = NOW
    queued: bool = False
    policy: dict[str, Any] = field(default_factory=dict)
    generation: int = 1
    stored: str = "{}"
    jobs: dict[str, Job] = field(default_factory=dict)
    pods: dict[str, Pod] = field(default_factory=dict)
    children: frozenset[Child] = frozenset()
    view: Observation = field(default_factory=Observation)
    refusing: Refusal | None = None
    refused: Refusal | None = None
    step: int = 0
    made: int = 0
    created: set[Key] = field(default_factory=set)
    ended: dict[Key, Attempt] = field(default_factory=dict)
    end: tuple[object, ...] | None = None
    read: Run | None = None

    # the operator

    @property
    def run(self) -> Run:
        """The run as the API server has it."""
        if self.read is None or self.read.generation != self.generation:
            self.read = a_run(generation=self.generation, parallelism={"nodes": NODES, "gpusPerNode": 1}, runPolicy=self.policy)
        return replace(self.read, status=FineTuneStatus.model_validate_json(self.stored))

    def reconcile(self, killed_after: int = 99) -> Decision:
        """One look, and as many effects of its decision as the operator lives to carry out."""
        run, seen = self.run, replace(self.view, reports=self._reports(), refusal=self.refused)
        decision = reconcile(run, seen, self.now, SETTINGS)
        assert settled(run, decision, seen, self.now, SETTINGS), "deciding again on what was stored changes something"
        for effect in list(self._effects(run, decision))[:killed_after]:
            if not effect():
                break
        return decision

    def _effects(self, run: Run, decision: Decision) -> Iterator[Callable[[], bool]]:
        """The effects of a decision in the controller's order; False ends them."""
        if decision.status != run.status:
            yield lambda: self._store(decision.status)
        for job in decision.stop:
            yield lambda job=job: self.delete(job.name, job.uid)
        if decision.remove_children:
            yield self._remove_children
        for child in decision.make:
            yield lambda child=child: self._make(child)
        if decision.start:
            yield lambda: self._create(decision.start)

    def _store(self, status: FineTuneStatus) -> bool:
        """Store the status, and hold it against everything that was ever stored."""
        for attempt in status.attempts:
            key = (attempt.stage, attempt.number)
            assert key not in self.ended or attempt == self.ended[key], f"{key} had ended and was changed"
            if attempt.end_time:
                self.ended[key] = attempt
        assert status.restarts == sum(attempt.charged for attempt in self.ended.values()), "restarts are not the charged attempts"
        end = (status.phase, status.completion_time, *(is_true(status, kind) for kind in (ConditionType.SUCCEEDED, ConditionType.FAILED)))
        assert self.end is None or end == self.end, "an end is not final"
        self.end = end if is_terminal(status) else None
        self.stored = status.to_json()
        return True

    def _make(self, child: Child) -> bool:
        self.children |= {child}
        return True

    def _create(self, attempt: Attempt) -> bool:
        name, status = job_name("run", attempt.stage, attempt.number), self.run.status
        if name in self.jobs:
            return True
        if self.refusing:
            self.refused = self.refusing
            return False
        needed = {Child.PLAN, Child.POLICY} | ({Child.SERVICE} if attempt.stage is Stage.TRAIN else set())
        assert needed <= self.children, "a Job without what it needs"
        assert any(each == attempt for each in status.attempts), "a Job that status does not know"
        assert is_true(status, NEEDS[attempt.stage]) if attempt.stage in NEEDS else attempt.stage is Stage.PREPARE or is_terminal(status), "too early"
        self.made, self.refused = self.made + 1, None
        wanted = NODES if attempt.stage is Stage.TRAIN else 1
        held = self.queued and attempt.stage is not Stage.PURGE
        self.jobs[name] = Job(name, f"job-{self.made}", attempt.stage, attempt.number, wanted, self.now, suspended=held)
        self.created.add((attempt.stage, attempt.number))
        return True

    def delete(self, name: str, uid: str) -> bool:
        """Delete a Job in the foreground: it goes once its pods have."""
        if name in self.jobs and self.jobs[name].uid == uid:
            self.jobs[name] = replace(self.jobs[name], deleting=True)
            self._terminate(name)
        return True

    def _remove_children(self) -> bool:
        self.children = frozenset()
        for job in list(self.jobs.values()):
            self.delete(job.name, job.uid)
        return True

    # Kubernetes

    def job_controller(self) -> None:
        """Every Job one step on: begun, its pods made, ended, or gone once its pods are."""
        for name, job in list(self.jobs.items()):
            pods = self.pods_of(job)
            if job.deleting:
                if all(pod.ended for pod in pods):
                    self._drop(name)
            elif job.live and not job.suspended:
                self.jobs[name] = self._moved(replace(job, started=job.started or self.now), pods)

    def _moved(self, job: Job, pods: list[Pod]) -> Job:
        blamed = any(pod.disrupted or (pod.phase is PodPhase.FAILED and pod.exit_code != Exit.INTERRUPTED) for pod in pods) or job.uid in self._lost
        if blamed:
            self._terminate(job.name)
            return replace(job, failed=all(pod.ended for pod in pods))
        done = {pod.index for pod in pods if pod.phase is PodPhase.SUCCEEDED}
        standing = done | {pod.index for pod in pods if not pod.ended}
        for index in set(range(job.pods_wanted)) - standing:
            self.made += 1
            pod = Pod(f"pod-{self.made}", f"pod-{self.made}", job.stage, job.number, index, PodPhase.PENDING, node=f"node-{index}")
            self.pods[pod.name] = pod
        return replace(job, complete=len(done) == job.pods_wanted)

    _lost: set[str] = field(default_factory=set)
    """Uids of Jobs of which a pod vanished without an ending."""

    def pods_of(self, job: Job) -> list[Pod]:
        """The pods that there are of a Job."""
        return [pod for pod in self.pods.values() if (pod.stage, pod.attempt) == (job.stage, job.number)]

    def _terminate(self, name: str) -> None:
        for pod in self.pods_of(self.jobs[name]):
            if not pod.ended and pod.deletion is None:
                self.pods[pod.name] = replace(pod, deletion=self.now + timedelta(seconds=630))

    def _drop(self, name: str) -> None:
        for pod in self.pods_of(self.jobs[name]):
            del self.pods[pod.name]
        del self.jobs[name]

    # what happens

    def end_pod(self, pod: Pod, code: int, **fields: Any) -> None:
        """Its container ends."""
        phase = PodPhase.FAILED if code or fields else PodPhase.SUCCEEDED
        self.pods[pod.name] = replace(pod, phase=phase, exit_code=code, result=None if code else self._said(pod.stage), **fields)

    def vanish(self, pod: Pod) -> None:
        """It is gone, however it ended: forced by somebody, or its Node object was deleted."""
        del self.pods[pod.name]
        self._lost |= {job.uid for job in self.jobs.values() if (job.stage, job.number) == (pod.stage, pod.attempt)} if not pod.ended else set()

    def lose_node(self, pod: Pod) -> None:
        """Its node says nothing any more; Kubernetes marks the pod, and waits."""
        self.pods[pod.name] = replace(pod, disrupted=True, deletion=pod.deletion or self.now)

    def kueue(self, job: Job, admit: bool) -> None:
        """Admit a Job, or take its pods away."""
        self.jobs[job.name] = replace(job, suspended=not admit, started=self.now if admit else None)
        if not admit:
            self._terminate(job.name)

    def edit(self, **policy: Any) -> None:
        """The run's owner changes runPolicy."""
        self.policy, self.generation = {**self.policy, **policy}, self.generation + 1

    def tell(self, *, jobs: bool = True, pods: bool = True, children: bool = True) -> None:
        """News reaches the operator: of Jobs, of pods, of children, each on its own way."""
        news: dict[str, Any] = {"jobs": tuple(self.jobs.values())} if jobs else {}
        news |= {"pods": tuple(self.pods.values())} if pods else {}
        self.view = replace(self.view, **news, **({"children": self.children} if children else {}))

    def lose_status(self) -> None:
        """Somebody restored the object without its status; the operator is started anew and lists everything."""
        self.stored, self.ended, self.end = "{}", {}, None
        self.tell()

    # what must hold

    def living(self) -> set[Key]:
        """Attempts that may write: a live Job, or a pod that has not ended."""
        jobs = {(job.stage, job.number) for job in self.jobs.values() if job.live}
        return jobs | {(pod.stage, pod.attempt) for pod in self.pods.values() if not pod.ended}

    def known(self) -> set[Key]:
        """Attempts that status has, or has had."""
        return {(each.stage, each.number) for each in self.run.status.attempts} | set(self.ended)

    def _reports(self) -> tuple[Report, ...]:
        """What a gang of which all pods run says of itself; the clock of its nodes is the operator's."""
        running = [pod for pod in self.view.pods if pod.stage is Stage.TRAIN and pod.phase is PodPhase.RUNNING]
        ranks = tuple(RankStep(pod.index, self.step, self.now) for pod in running)
        return (Report(0, self.step, STEPS, self.now, resume_step=0, loss=1.5, ranks=ranks),) if len(running) == NODES else ()

    def _said(self, stage: Stage) -> StageResult:
        numbers = {"micro_batch": 4.0, "total_steps": float(STEPS), "evaluate_on_gang": 0.0} if stage is Stage.PREPARE else {}
        return StageResult(stage=stage, exit_code=0, reason="Succeeded", message="Done.", numbers=numbers)
