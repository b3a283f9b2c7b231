"""Twenty conversations at once, with pods killed, an API server that dies and a rolling update: nothing is lost.

People, plan and judge are those of the chaos run on one machine (`tests/chaos`); what goes wrong is the cluster's.
`make cluster-test ARGS="-k test_crowd"` shows the figures.
"""

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import checker
import crowd
import doors
import evidence
import httpx2
import isolation
import plan
import pytest
from control_plane import ControlPlane
from lightkube import ApiError
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod
from node import Node
from product import BUCKET, SECONDS, Product, eventually, world
from programs import FIGURES

pytestmark = pytest.mark.timeout(1500)

SEED = 1
CONVERSATIONS = 20
AT_ONCE = 4  # runs: the node has two cores
DEATHS = 2  # of a conversation's pods: after three its message is answered with the reason
KINDS = {
    "worker's pod: SIGKILL": 8,
    "worker's pod: deleted, with time to end": 4,
    "dispatcher's pod: SIGKILL": 2,
    "dispatcher's pod: deleted, with time to end": 2,
    "API server: SIGKILL, and started again": 1,
    "rolling update": 1,
}


@dataclass(frozen=True)
class Blow:
    """One fault, a number of seconds after a number of conversations has begun."""

    kind: str
    after: int
    wait: float
    pick: float


def make_blows(seed: int) -> list[Blow]:
    chance = random.Random(f"{seed} cluster")
    blows = []
    for kind, times in KINDS.items():
        middle = times == 1
        for _ in range(times):
            after = CONVERSATIONS // 2 if middle else chance.randint(1, CONVERSATIONS)
            blows.append(Blow(kind, after, chance.uniform(0, 8), chance.random()))
    return blows


@dataclass
class Blows:
    """The faults that were made in the cluster."""

    scene: "ClusterCrowd"
    story: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    last_fault: float = field(default_factory=time.time)
    deaths: Counter[str] = field(default_factory=Counter)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)

    def strike(self, blow: Any) -> None:
        """Let a fault happen when it is due."""
        self.under_way.add(asyncio.create_task(self._strike(blow)))

    async def calm(self) -> None:
        """Wait until no fault is under way."""
        await asyncio.gather(*self.under_way)

    async def _strike(self, blow: Blow) -> None:
        await asyncio.sleep(blow.wait)
        if blow.kind == "rolling update":
            struck = await self._upgrade()
        elif blow.kind.startswith("API server"):
            struck = await asyncio.to_thread(self._kill_api_server)
        else:
            struck = await self._pod(blow)
        if struck:
            self.counts[blow.kind] += 1
            self.last_fault = time.time()
            self.story.append(f"{time.time():.1f} {blow.kind}: {struck}")

    async def _upgrade(self) -> str:
        """Do it as an operator does, who tries again if the API server is down, which is our own doing."""
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    await self.scene.product.upgrade("--set", "config.sessionTimeoutMinutes=6")
                    return "sessionTimeoutMinutes=6"
                except (AssertionError, ApiError, httpx2.HTTPError):
                    await asyncio.sleep(1)

    def _kill_api_server(self) -> str:
        self.scene.product.plane.api_server.kill()
        self.scene.product.plane.start_api_server()
        return "it is up again"

    async def _pod(self, blow: Blow) -> str:
        """End one that has something to do; waits until there is one, or all is answered: "" then."""
        deadline = time.monotonic() + SECONDS
        while not self.scene.over and time.monotonic() < deadline:
            try:
                if found := await asyncio.to_thread(self._victims, blow.kind.partition("'")[0]):
                    victim = found[int(blow.pick * len(found))]
                    assert victim.metadata
                    self.deaths[_whose(victim)] += 1
                    await asyncio.to_thread(kill if "SIGKILL" in blow.kind else self._delete, victim)
                    return str(victim.metadata.name)
            except (ApiError, httpx2.HTTPError):
                pass  # the API server is down, by our own doing
            await asyncio.sleep(0.3)
        return ""

    def _victims(self, component: str) -> list[Pod]:
        pods = self.scene.running(component)
        if component == "dispatcher":
            return pods
        at_work = self.scene.at_work()
        return [pod for pod in pods if _whose(pod) in at_work and self.deaths[_whose(pod)] < DEATHS]

    def _delete(self, pod: Pod) -> None:
        """As `kubectl delete pod` does."""
        assert pod.metadata
        with suppress(ApiError):  # it has ended meanwhile
            self.scene.product.plane.client.delete(Pod, str(pod.metadata.name), namespace="peerbot")


def kill(pod: Pod) -> None:
    """SIGKILL to every process of a pod's containers."""
    assert pod.metadata
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"pod{pod.metadata.uid}/" in (directory / "cgroup").read_text() and "pause" not in _command(directory):
                os.kill(int(directory.name), signal.SIGKILL)


def _command(directory: Path) -> str:
    return (directory / "cmdline").read_text().partition("\0")[0]


def _whose(pod: Pod) -> str:
    """`claude-worker-{conversation}`, or what stands for it in a dispatcher's name."""
    return str(pod.metadata and pod.metadata.name).rsplit("-", 2)[0]


class ClusterCrowd(crowd.Crowd):
    """A crowd before a release in the cluster, which reaches everything through doors."""

    blows: Blows

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.product = product
        self.slack, self.github, self.journal = product.slack, product.github, product.journal
        self.google, self.bucket = product.google, BUCKET
        self.died: list[str] = []
        self.blows = Blows(self)
        self.populate()

    def running(self, component: str) -> list[Pod]:
        """The pods that run and are not ending."""
        pods = [pod for pod in self.product.pods(component) if pod.status and pod.status.phase == "Running"]
        return [pod for pod in pods if pod.metadata and not pod.metadata.deletionTimestamp]

    @property
    def over(self) -> bool:
        """Whether every conversation was held to its end."""
        return len(self.courses) == CONVERSATIONS and all(course.ended for course in self.courses)

    def at_work(self) -> set[str]:
        """List the conversations with unanswered messages, by the names of their Jobs."""
        waiting = [c for c in self.courses if any(said.identity not in c.answered for said in c.said)]
        return {f"claude-worker-{course.conversation.id}" for course in waiting if course.conversation}

    def left(self) -> list[str]:
        """Workers that run, and Jobs that have not ended."""
        jobs = self.product.plane.client.list(Job, namespace="peerbot")
        active = [str(job.metadata.name) for job in jobs if job.metadata and job.status and job.status.active]
        return [str(pod.metadata and pod.metadata.name) for pod in self.running("worker")] + active

    async def hold(self, talks: plan.Plan, blows: list[Blow]) -> None:
        """Hold the conversations, all at once, with the faults in between."""
        due: dict[int, list[Blow]] = {}
        for blow in blows:
            due.setdefault(blow.after, []).append(blow)
        ringing = asyncio.create_task(self.ring())

        async def one(number: int, talk: plan.Talk) -> None:
            await asyncio.sleep(number)  # one a second
            for blow in due.get(number, ()):
                self.blows.strike(blow)
            course = crowd.Course(talk)
            self.courses.append(course)
            await self.converse(course)

        try:
            await asyncio.gather(*(one(number, talk) for number, talk in enumerate(talks.talks, 1)))
            await self.blows.calm()
        finally:
            ringing.cancel()
            await asyncio.gather(ringing, return_exceptions=True)


@pytest.fixture
async def scene(control_plane: ControlPlane, node: Node, tmp_path: Path) -> AsyncIterator[ClusterCrowd]:
    async with AsyncExitStack() as stack:
        product = await stack.enter_async_context(world(control_plane, tmp_path))
        scene = ClusterCrowd(product)
        stack.push_async_callback(scene.blows.calm)
        github = doors.Door("GitHub", product.github.url, scene.notes.push, host=isolation.ADDRESS)
        model = doors.Door("model", product.model.url, scene.notes.ask, host=isolation.ADDRESS)
        store = doors.Door("store", product.google, scene.notes.store, host=isolation.ADDRESS)
        for door in (github, model, store):
            await stack.enter_async_context(door)
        values = json.loads(product.values.read_text())
        addresses = {"GITHUB_API_URL": f"{github.url}/api/v3", "ANTHROPIC_BASE_URL": model.url}
        addresses["STORAGE_EMULATOR_HOST"] = store.url
        addresses["PEERBOT_CHECKPOINT_SECONDS"] = "1"
        kept = [item for item in values["dispatcher"]["extraEnv"] if item["name"] not in addresses]
        values["dispatcher"]["extraEnv"] = [*kept, *({"name": k, "value": v} for k, v in addresses.items())]
        values["worker"] |= {"maxConcurrent": AT_ONCE, "job": {"idleSeconds": 3}}
        product.values.write_text(json.dumps(values))
        await asyncio.to_thread(product.install, *product.secrets())
        yield scene
        await product.uninstall()


async def test_twenty_conversations_get_every_answer_once_whatever_dies(scene: ClusterCrowd) -> None:
    began = time.monotonic()
    talks, blows = plan.make_plan(SEED, CONVERSATIONS), make_blows(SEED)
    await scene.hold(talks, blows)
    try:
        await eventually(lambda: not scene.left())
    finally:
        seen = await evidence.gather(scene)
        problems = checker.judge(seen)
        FIGURES.append(figures(scene, seen, problems, time.monotonic() - began))
    assert [str(problem) for problem in problems] == [], "\n".join(scene.blows.story)
    assert set(scene.blows.counts) == set(KINDS), "each kind of fault has happened"

    # And the judge would have seen it.
    twice = seen.conversations[0]
    twice.shown.append(replace(twice.shown[0], ts=twice.shown[-1].ts))
    assert [problem.name for problem in checker.judge(seen)] == [checker.Name.DOUBLED]


def figures(scene: ClusterCrowd, seen: evidence.Evidence, problems: list[checker.Problem], seconds: float) -> str:
    """Tables for people."""
    names = Counter(problem.name for problem in problems)
    waits = sorted(
        course.answered[said.identity] - said.at
        for course in scene.courses
        for said in course.said
        if said.identity in course.answered
    )
    after = [one.waited for one in seen.conversations if one.waited is not None]
    runs = [closed["reason"] for one in seen.conversations for closed in one.documents("runs.closed").values()]
    rows: dict[str, object] = {
        "conversations": len(seen.conversations),
        "messages": sum(len(one.asked) for one in seen.conversations),
        **scene.blows.counts,
        "runs": len(runs),
        **{f"runs that ended so: {reason}": times for reason, times in Counter(runs).most_common()},
        "lost": names[checker.Name.LOST],
        "doubled": names[checker.Name.DOUBLED] + names[checker.Name.ANSWERED_TWICE],
        "otherwise wrong": names.total() - names[checker.Name.LOST] - names[checker.Name.DOUBLED],
        "message → answer, median": f"{waits[len(waits) // 2]:.1f} s" if waits else "–",
        "message → answer, longest": f"{waits[-1]:.1f} s" if waits else "–",
        "longest wait after the last fault": f"{max(after):.1f} s" if after else "–",
        "time": f"{seconds:.0f} s",
    }
    return "\n".join(("", "| what | |", "| --- | --- |", *(f"| {what} | {value} |" for what, value in rows.items())))
