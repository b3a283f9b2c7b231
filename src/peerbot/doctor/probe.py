"""Starts a worker's pod with a program of the doctor's (`inside.py`): is it admitted, does it run, what does it reach?

Only a real pod shows that. A dry run of a Job does not meet the rules about pods, and a NetworkPolicy has no effect if
the network does not enforce it. The Job has no thread among its annotations, so no dispatcher takes it for a run.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lightkube.models.core_v1 import ContainerStateTerminated
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import CascadeType

from peerbot.doctor import inside
from peerbot.doctor.cluster import NOBODY, Cluster, No, asked, nobodys_run, opened
from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import PeerBotError
from peerbot.runs.jobs import manifest, verdict
from peerbot.runs.jobs.pod_status import workers_end
from peerbot.runs.jobs.worker_pod import NETWORK
from peerbot.settings import Settings
from peerbot.slack.words import how_it_ended

PROBE_SECONDS = 90.0
_SURE_SECONDS = 15.0  # a pod held up for longer is stuck, unless it waits for a node: one may be on its way
_LOOK_SECONDS = 1.0
_TOLD_IN = "/dev/termination-log"
_POD, _REACH, _GATEWAY = "worker_pod", "worker_network", "worker_gateway"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A probe's state at one moment. `said` tells people why it has not begun; `detail` is Kubernetes' own words."""

    ended: ContainerStateTerminated | None
    said: str
    detail: str
    unscheduled: bool


async def look_at_worker(settings: Settings) -> list[Finding]:
    """Start a worker's pod with our program, and read its answers. Takes up to `PROBE_SECONDS`, and leaves nothing."""
    async with opened(settings) as cluster:
        try:
            made = await asked("make a probe Job", cluster.client.create(_job(settings, cluster)))
        except No as no:
            return [skipped(_POD, f"Kubernetes does not let this account make a Job for it ({no.message})")]
        try:
            seen = await _watched(cluster, made)
        finally:
            with contextlib.suppress(PeerBotError):
                gone = cluster.client.delete(Job, str(_meta(made).name), cascade=CascadeType.BACKGROUND)
                await asked("delete the probe Job", gone)
    if seen.ended is None:
        return [_held_up(seen, cluster), skipped(_REACH, "there was no pod to look from")]
    return _findings(seen.ended, cluster)


def _job(settings: Settings, cluster: Cluster) -> Job:
    """Make a Job that is admitted or refused as a run's, with another name, program and owner."""
    deadline = 2 * PROBE_SECONDS  # if we die: nobody else would delete it
    made = manifest.job(nobodys_run(settings), cluster.pod, cluster.size, deadline_seconds=deadline)
    labels, notes = manifest.labels(cluster.pod), dict(cluster.pod.annotations)
    made.metadata = ObjectMeta(name=f"claude-worker-doctor-{secrets.token_hex(4)}", labels=labels, annotations=notes)
    assert made.spec
    made.spec.suspend = False
    made.spec.template.metadata = ObjectMeta(labels=manifest.pod_labels(cluster.pod), annotations=notes)
    assert made.spec.template.spec
    (container,) = made.spec.template.spec.containers
    container.command = ["python3", "-I", "-c", Path(inside.__file__).read_text(), _TOLD_IN]
    return made


async def _watched(cluster: Cluster, made: Job) -> _Seen:
    """Watch the probe until it has ended, or will not begin."""
    began = asyncio.get_running_loop().time()
    while True:
        seen = await _look(cluster, made)
        age = asyncio.get_running_loop().time() - began
        stuck = bool(seen.said) and not seen.unscheduled and age > _SURE_SECONDS
        if seen.ended or stuck or age > PROBE_SECONDS:
            return seen
        await asyncio.sleep(_LOOK_SECONDS)


async def _look(cluster: Cluster, made: Job) -> _Seen:
    name = str(_meta(made).name)
    pods = await _pods(cluster, name)
    about = pods[-1] if pods else made
    events = await _events(cluster, str(_meta(about).uid))
    state = verdict.judge(NOBODY, 1, verdict.Seen(made, pods, events), datetime.now(UTC))
    ended = workers_end(pods[-1]) if pods else None
    conditions = (pods[-1].status.conditions or []) if pods and pods[-1].status else []
    unscheduled = any(c.type == "PodScheduled" and c.status == "False" for c in conditions)
    said = state.said or (how_it_ended(state.end) if state.end else "")
    return _Seen(ended, said, state.detail, unscheduled)


async def _pods(cluster: Cluster, name: str) -> Sequence[Pod]:
    async def pods() -> Sequence[Pod]:
        return [pod async for pod in cluster.client.list(Pod, labels={"batch.kubernetes.io/job-name": name})]

    return await asked("show the probe's pod", pods())


async def _events(cluster: Cluster, uid: str) -> Sequence[Event]:
    async def events() -> Sequence[Event]:
        return [event async for event in cluster.client.list(Event, fields={"involvedObject.uid": uid})]

    return await asked("show events", events())


def _meta(item: Job | Pod) -> ObjectMeta:
    assert item.metadata
    return item.metadata


def _held_up(seen: _Seen, cluster: Cluster) -> Finding:
    """Say why the probe did not run, and what to do. The reason is in the words of `verdict.py`."""
    because = f"{seen.said or 'Kubernetes does not say why'}" + (f" ({seen.detail})" if seen.detail else "")
    if seen.unscheduled:
        return skipped(_POD, f"no node took a worker's pod within {PROBE_SECONDS:g} s: {because}")
    fix = f"Look for the reason in `kubectl get events -n {cluster.namespace}`."
    if "its service" in seen.said:
        fix = "Correct that service under `worker.services`: its image, its command or its startupProbe."
    elif "LimitRange" in seen.said:
        fix = f"Change the LimitRange of the namespace {cluster.namespace}, or `worker.resources`."
    elif "image" in seen.said:
        fix = f"Push {cluster.pod.image}, or correct `worker.image` (and `global.imagePullSecrets`)."
    elif "quota" in seen.said:
        fix = f"Raise the quota of the namespace {cluster.namespace}, or lower `worker.resources`."
    elif "RuntimeClass" in seen.detail:
        fix = "Install that runtime class, or leave `worker.runtimeClassName` empty."
    elif "rule" in seen.said:
        fix = "Change that rule, or the chart's values under `worker`."
    return wrong(_POD, f"a worker's pod does not start: {because}", fix)


def _findings(ended: ContainerStateTerminated, cluster: Cluster) -> list[Finding]:
    try:
        reach = json.loads(ended.message or "")
        api, metadata, gateway, kernel = (reach[key] for key in ("api", "metadata", "gateway", "kernel"))
    except (ValueError, KeyError, TypeError):
        said = (
            f"a program in it fails: exit code {ended.exitCode}, {(ended.message or ended.reason or '')[-300:].strip()}"
        )
        fix = f"Use the worker image of this release: `worker.image` is {cluster.pod.image}."
        return [wrong(_POD, said, fix), skipped(_REACH, "the program in the pod gave no answer")]
    return [
        good(_POD, f"a worker's pod is admitted, starts and runs (Linux {kernel})"),
        _network(cluster, {"the API server": api, "the metadata server": metadata}),
        _to_gateway(gateway),
    ]


def _network(cluster: Cluster, reached: dict[str, bool]) -> Finding:
    if cluster.pod.annotations.get(NETWORK) == "open":
        return skipped(_REACH, "workers may reach everything: the chart's values say so (`networkPolicy`)")
    if within := [place for place, reaches in reached.items() if reaches]:
        return wrong(
            _REACH,
            f"a worker's pod reaches {' and '.join(within)}, so no NetworkPolicy is enforced for it",
            "Set `networkPolicy.enabled`, on a network that enforces policies (GKE: Dataplane V2; Cilium; Calico).",
        )
    return good(_REACH, "a worker's pod reaches neither the API server nor the metadata server")


def _to_gateway(reached: bool) -> Finding:
    if reached:
        return good(_GATEWAY, "a worker's pod reaches the gateway")
    return wrong(
        _GATEWAY,
        "a worker's pod does not reach the gateway",
        "Check that a dispatcher is ready, that PEERBOT_GATEWAY_URL names its Service, and that DNS is allowed.",
    )
