"""`make cluster-bench`: what PeerBot adds in a cluster, beside a bare pod of the same image, in one run.

It runs inside the isolation that the cluster's tests run in (`tests/cluster/run.py`), and prints Markdown as the other
benches do.
"""

import asyncio
import gzip
import io
import os
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import isolation
import psutil
from control_plane import ControlPlane
from lightkube.models.core_v1 import EmptyDirVolumeSource, EnvVar, Volume, VolumeMount
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.types import CascadeType
from node import Node
from pods import job, pod_spec
from product import BUCKET, Product, eventually, released
from stage import StagedNode
from system import eventually as soon

import images
from bench import seeds
from bench.figures import Clock, Figure, Section, Table, logged, mebibytes, milliseconds, now, percentile, seconds
from bench.memory import AT_ONCE, ROOM, SETTLE_SECONDS, talk
from bench.turns import ANSWERED, FOLLOW_UP, PROMPT, STEPS
from peerbot import logs
from peerbot.conversation.keys import Conversation

PLAY_SECONDS = 600.0  # the bucket's emulator lists slowly if it has many objects
TEAM = "T0LOCAL0001"  # the local Slack's
BARE = """
mkdir /tmp/work && cd /tmp/work && git init -q
exec /opt/peerbot/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude -p "$PROMPT" \
    --permission-mode bypassPermissions --setting-sources ""
"""
IDLE = ("--set", "worker.job.idleSeconds=2", "--set", "config.logLevel=DEBUG")
ALONE = (
    *("--set", "dispatcher.replicaCount=1,podDisruptionBudget.enabled=false,worker.maxConcurrent=1000"),
    *("--set-string", r"dispatcher.nodeSelector.kubernetes\.io/hostname=node-1"),
    *("--set-string", r"worker.nodeSelector.kubernetes\.io/hostname=stage"),
)
NOWHERE = ("--set-string", "worker.nodeSelector.nowhere=yes", "--set", "worker.maxConcurrent=1000")


@dataclass
class _Round:
    bare: float
    first: float
    answer: float
    follow_up: float
    steps: dict[str, float]


async def main() -> None:
    quick = "--quick" in sys.argv
    logs.configure("DEBUG", stream=io.StringIO())  # a clock listens; nobody reads it
    print(f"`make cluster-bench`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} CPUs. Medians.", flush=True)
    with tempfile.TemporaryDirectory(prefix="peerbot-bench-") as folder, ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(Path(folder) / "cluster", isolation.ADDRESS))
        stack.enter_context(Node(plane))
        for measure in (turns, jobs, memory):
            began, before = time.monotonic(), os.getloadavg()[0]
            section = await measure(plane, Path(folder), quick=quick)
            _clear(plane)
            load = f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after"
            print(f"\n{section.markdown()}\n\n({time.monotonic() - began:.0f} s, {load})", flush=True)
    print(f"\n{sizes().markdown()}", flush=True)


def _clear(plane: ControlPlane) -> None:
    """Remove the Jobs, which outlive their release: each measurement counts its own."""
    plane.client.deletecollection(Job, namespace=Product.namespace, cascade=CascadeType.BACKGROUND)


# --- a turn


async def turns(plane: ControlPlane, directory: Path, *, quick: bool) -> Section:
    clock = Clock.start()
    async with released(plane, directory, *IDLE) as product:
        await product.answer(*await product.say(PROMPT))  # makes the person's repository, and warms the files up
        await bare_pod(product, clock, 0)
        found = [await _round(product, clock, directory, number + 1) for number in range(2 if quick else 10)]
    return _section(found)


async def _round(product: Product, clock: Clock, directory: Path, number: int) -> _Round:
    bare = await bare_pod(product, clock, number)
    said = now()
    conversation, identity = await product.say(PROMPT)
    first = await clock.first(ANSWERED, said)
    await product.answer(conversation, identity)
    answer = now() - said
    asked = now()
    _, identity = await product.say(FOLLOW_UP, conversation)
    follow_up = await clock.first(ANSWERED, asked)
    turn = await product.answer(conversation, identity)
    if turn.run != 1:
        raise RuntimeError("the follow-up was not served by the run that waited")
    await eventually(lambda: product.runs_of(conversation, "Succeeded"))
    steps = await asyncio.to_thread(_steps, product, conversation, directory, said)
    record = await product.journal.run(conversation, 1)
    if record is None:
        raise RuntimeError("there is no run")
    steps |= {"reserved": record.run.reserved_at.timestamp(), ANSWERED: first}
    return _Round(bare, first - said, answer, follow_up - asked, {name: at - said for name, at in steps.items()})


async def bare_pod(product: Product, clock: Clock, number: int) -> float:
    """Time Claude Code alone in a pod of the worker's image: seconds from the Job's create to a model request."""
    spec = pod_spec(images.WORKER, "sh", "-c", BARE, volumes=[Volume(name="tmp", emptyDir=EmptyDirVolumeSource())])
    (container,) = spec.containers
    container.imagePullPolicy = "Never"
    container.volumeMounts = [VolumeMount(name="tmp", mountPath="/tmp")]
    settings = {
        "HOME": "/tmp",
        "PROMPT": PROMPT,
        "ANTHROPIC_BASE_URL": product.model.url,
        "ANTHROPIC_AUTH_TOKEN": product.model.api_key,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_ENABLE_TASKS": "0",
        "IS_SANDBOX": "1",
    }
    container.env = [EnvVar(name=name, value=value) for name, value in settings.items()]
    began, name, client = now(), f"bare-{number}", product.plane.client
    await asyncio.to_thread(client.create, job(name, spec), namespace=product.namespace)
    first = await clock.first(ANSWERED, began)
    await eventually(lambda: _succeeded(client.get(Job, name, namespace=product.namespace)))
    return first - began


def _succeeded(found: Job) -> bool:
    return bool(found.status and found.status.succeeded)


def _steps(product: Product, conversation: Conversation, directory: Path, said: float) -> dict[str, float]:
    """Find when each part was done, in the logs of the dispatchers and the worker."""
    dispatchers = ("logs", "-l", "app.kubernetes.io/component=dispatcher", "--tail=-1", "-n", product.namespace)
    worker = ("logs", f"jobs/{conversation.job_name(1)}", "-n", product.namespace)
    found: dict[str, float] = {}
    for asked in (worker, dispatchers):
        file = directory / "log"
        file.write_text(product.kubectl(*asked))
        found |= logged(file, str(conversation), said)
    return found


def _section(rounds: list[_Round]) -> Section:
    bare, first = median(r.bare for r in rounds), median(r.first for r in rounds)
    added = median(r.first - r.bare for r in rounds)
    follow_up, beside = median(r.follow_up for r in rounds), "bare pod: create → first model request"
    names = [name for name in (*STEPS, "run_placed") if all(name in r.steps for r in rounds)]
    rows, before = [], 0.0
    for name, at in sorted(((n, median(r.steps[n] for r in rounds)) for n in names), key=lambda step: step[1]):
        rows.append([STEPS.get(name, "Job made and released"), f"{at:.3f}", f"{at - before:.3f}"])
        before = at
    return Section(
        "A turn in a pod, beside the bare CLI in a pod",
        [
            Figure("mention → first model request", seconds(first), beside, seconds(bare),
                   f"+{seconds(added)} (×{first / bare:.1f})", "≤ +1.5 s", len(rounds)),
            Figure("follow-up to a waiting run → model request", milliseconds(follow_up), beside, seconds(bare),
                   f"×{follow_up / bare:.2f}", "", len(rounds)),
            Figure("mention → answer, with pull request", seconds(median(r.answer for r in rounds)), "", "", "", "",
                   len(rounds)),
        ],
        [Table("Where the time goes, in seconds after the mention:", ["step", "at", "after the step before"], rows)],
    )  # fmt: skip


# --- Jobs


async def jobs(plane: ControlPlane, directory: Path, *, quick: bool) -> Section:
    """Mention the bot in many threads, and measure all of their Jobs; no node takes the pods."""
    count = 10 if quick else 100
    async with released(plane, directory, *NOWHERE) as product:
        began = time.monotonic()
        await asyncio.gather(*(product.say("what is in this repository?") for _ in range(count)))
        await eventually(lambda: len(_released(product)) == count)
        took = time.monotonic() - began
        made = _released(product)
        alone = await asyncio.to_thread(_creates, product, made[0], count)
    each = took / count
    return Section(
        f"{count} mentions at once, two dispatchers: Jobs",
        [
            Figure("all Jobs made and released, for each", milliseconds(each), "one create of such a Job, one by one",
                   milliseconds(median(alone)), f"×{each / median(alone):.1f}", "", count),
            Figure("", "", "p99 of that", milliseconds(percentile(alone, 99)), "", "", count),
        ],
        notes=[f"From the first mention to the last Job: {took:.1f} s."],
    )  # fmt: skip


def _released(product: Product) -> list[Job]:
    jobs = product.plane.client.list(Job, namespace=product.namespace, labels={"app.kubernetes.io/component": "worker"})
    return [one for one in jobs if one.spec and not one.spec.suspend]


def _creates(product: Product, like: Job, count: int) -> list[float]:
    """Measure how long the API server takes for each of as many Jobs of the same form, one after the other."""
    took = []
    for number in range(count):
        assert like.spec
        like.spec.selector = None
        like.spec.suspend = True
        like.spec.template.metadata = ObjectMeta(labels={"of": "the-bench"})
        made = Job(metadata=ObjectMeta(name=f"alone-{number}"), spec=like.spec)
        began = time.monotonic()
        product.plane.client.create(made, namespace=product.namespace)
        took.append(time.monotonic() - began)
    return took


# --- memory


async def memory(plane: ControlPlane, directory: Path, *, quick: bool) -> Section:
    """Measure a dispatcher that knows many conversations and has many runs; their pods are played."""
    known, running = (200, 20) if quick else (10_000, 500)
    threads = list(seeds.conversations(TEAM, ROOM, 0, known))
    data = directory / "known"
    seeds.answered(data / BUCKET, iter(threads), refused=True)
    async with released(plane, directory, *ALONE, data=data) as product:
        with StagedNode(plane) as stage:
            product.slack.add_channel(ROOM, "threads", members=(product.slack.person, product.slack.bot_user))
            process = _process(product)
            idle = process.memory_info().rss
            for first in range(0, known, AT_ONCE):
                await talk(product.slack, threads[first : first + AT_ONCE])
            knowing = process.memory_info().rss
            await asyncio.gather(*(product.say("what is in this repository?") for _ in range(running)))
            await soon(lambda: _play(product, stage) >= running, PLAY_SECONDS)
            await asyncio.sleep(SETTLE_SECONDS)
            busy = process.memory_info().rss
    return Section(
        "Memory of a dispatcher in a pod (RSS)",
        [
            Figure(f"it knows {known:,} conversations", mebibytes(knowing), "idle", mebibytes(idle),
                   f"+{mebibytes(knowing - idle)}", "", known),
            Figure(f"and {running} runs are Jobs that run", mebibytes(busy), "idle", mebibytes(idle),
                   f"+{mebibytes(busy - idle)}", "< 150 MiB", running),
        ],
    )  # fmt: skip


def _process(product: Product) -> psutil.Process:
    """Find the dispatcher in its pod."""
    (pod,) = product.pods("dispatcher")
    assert pod.metadata
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            in_pod = f"pod{pod.metadata.uid}/" in Path(f"/proc/{process.pid}/cgroup").read_text()
            if in_pod and "python" in process.name() + process.cmdline()[0]:
                return process
    raise RuntimeError("the dispatcher's process is not to be found")


def _play(product: Product, stage: StagedNode) -> int:
    """Mark every pod that has a node as running; returns how many run."""
    pods = product.pods("worker")
    for pod in pods:
        if pod.spec and pod.spec.nodeName and pod.status and pod.status.phase == "Pending":
            stage.run(pod)
    return len([pod for pod in pods if pod.status and pod.status.phase == "Running"])


# --- images


def sizes() -> Section:
    rows = []
    for name in (images.DISPATCHER, images.WORKER):
        archive = images.archive(name).read_bytes()
        packed = len(gzip.compress(archive, 6)) / 1e6
        rows.append([name.rpartition("/")[2].partition(":")[0], f"{len(archive) / 1e6:.0f} MB", f"{packed:.0f} MB"])
    return Section("Images", tables=[Table("", ["image", "unpacked", "packed, as a registry has it"], rows)])


if __name__ == "__main__":
    asyncio.run(main())
