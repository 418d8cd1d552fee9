"""Reports: what the pods of a training gang say of themselves at `/status`. Advisory, asked in the background, waited for by nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import aiohttp
from medfinetune_api.objects import METRICS_PORT
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from medfinetune_operator.observation import Pod, RankStep, Report
from medfinetune_operator.workqueue import Key

SECONDS = 2.0
"""Until a pod that does not answer is left out."""
AT_ONCE = 64
LARGEST = 1 << 20
"""Bytes of an answer that are read; a longer one cannot be JSON any more."""

Steps = Annotated[int, Field(ge=0, le=1 << 53)]
Figure = Annotated[float, Field(ge=0)]


class _Answer(BaseModel):
    """The part of an answer that is read. A pod is the tenant's: what it says is checked, and what is not known is passed over."""

    model_config = ConfigDict(alias_generator=to_camel, allow_inf_nan=False, hide_input_in_errors=True)


class _Rank(_Answer):
    rank: Annotated[int, Field(ge=0, le=65535)]
    step: Steps
    as_of: AwareDatetime | None = None


class _Status(_Answer):
    step: Steps
    steps_planned: Steps
    as_of: AwareDatetime
    resume_step: Steps | None = None
    loss: Figure | None = None
    tokens_per_second: Figure | None = None
    seconds_left: Figure | None = None
    peak_vram_bytes: Steps | None = None
    ranks: Annotated[tuple[_Rank, ...], Field(max_length=4096)] = ()


@dataclass
class _Heard:
    pods: tuple[str, ...]
    """Uids of the pods that were asked."""
    asked: float
    reports: tuple[Report, ...] = ()


class Reports:
    """The newest reports by run. `news` is called with a run's key when its pods have answered."""

    def __init__(self, every_seconds: float, news: Callable[[Key], None]) -> None:
        self._every, self._news = every_seconds, news
        self._heard: dict[Key, _Heard] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    def of(self, run: Key, pods: Sequence[Pod]) -> tuple[tuple[Report, ...], float]:
        """What these pods said last, and in how many seconds to look again. Asks them in the background where it is time."""
        uids, now = tuple(pod.uid for pod in pods), time.monotonic()
        heard = self._heard.get(run)
        if heard is None or heard.pods != uids:
            heard = self._heard[run] = _Heard(uids, now - self._every)
        if now - heard.asked >= self._every:
            heard.asked = now
            task = asyncio.get_running_loop().create_task(self._ask(run, heard, tuple(pods)))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return heard.reports, heard.asked + self._every - now

    def forget(self, run: Key) -> None:
        """Drop what is known of a run that trains no more."""
        self._heard.pop(run, None)

    async def close(self) -> None:
        """Give up whatever is being asked."""
        for task in self._asking:
            task.cancel()
        if self._session:
            await self._session.close()

    async def _ask(self, run: Key, heard: _Heard, pods: tuple[Pod, ...]) -> None:
        answers = await asyncio.gather(*(self._report(pod) for pod in pods))
        if self._heard.get(run) is heard:
            heard.reports = tuple(report for report in answers if report)
            self._news(run)

    async def _report(self, pod: Pod) -> Report | None:
        """One pod's report; None where it gives none that can be read within the time."""
        host = f"[{pod.address}]" if ":" in (pod.address or "") else pod.address
        try:
            async with self._slots, self._client().get(f"http://{host}:{METRICS_PORT}/status", allow_redirects=False) as answer:
                text = await answer.content.read(LARGEST) if answer.status == 200 else b""
            return _report(pod.index, _Status.model_validate_json(text))
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS), connector=aiohttp.TCPConnector(limit=AT_ONCE))
        return self._session


def _report(index: int, said: _Status) -> Report:
    figures = {name: getattr(said, name) for name in ("step", "as_of", "resume_step", "loss", "tokens_per_second", "seconds_left", "peak_vram_bytes")}
    ranks = tuple(RankStep(each.rank, each.step, each.as_of) for each in said.ranks)
    return Report(index=index, total_steps=said.steps_planned, ranks=ranks, **figures)
