"""Runs as Kubernetes Jobs, one pod each (decisions 0018 and 0006): implements the port `Runs`.

A mirror of Jobs and one of pods (`mirror.py`) tell every replica what changes. Before a replica decides about a run, it
looks at the run again (`look`). `verdict.py` says what a Job's state means, `manifest.py` makes the Job. If a Job will
never run (no node for a quarter of an hour, a dispatcher that died before it released it, a lost node), the replica
that looks at it deletes it before it tells the end, so that no pod of it can begin later.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import httpx2
from lightkube import ApiError, AsyncClient, ConfigError, KubeConfig
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod, Secret
from lightkube.types import CascadeType, PatchType

from peerbot.conversation.deadlines import COMES_WITHIN, POD_GRACE_SECONDS
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, Refused, SettingsError, Unavailable
from peerbot.logs import logger
from peerbot.protocol.documents import secret_hash
from peerbot.runs.jobs import manifest, verdict
from peerbot.runs.jobs.known import KnownJob, KnownPod, keep_job, keep_pod
from peerbot.runs.jobs.mirror import Mirror
from peerbot.runs.jobs.starts import Starts
from peerbot.runs.jobs.worker_pod import NETWORK, WorkerPod
from peerbot.runs.port import Phase, RunEvent, Runs, RunSpec, RunState
from peerbot.runs.watchers import Watchers
from peerbot.tasks import kept

CALL_SECONDS = 10.0
SYNC_SECONDS = 10.0
"""How long a caller waits for a mirror that is not up to date."""

LOOK_SECONDS = 3.0
"""How often a replica looks at runs that have not begun, to tell their threads what the runs wait for."""

OUTLIVES_SECONDS = POD_GRACE_SECONDS + 15.0
"""How long a pod may outlive its worker. The kubelet ends our services within the grace period; others run on."""

log = logger(__name__)

_T = TypeVar("_T")


class KubernetesRuns(Runs):
    """Runs in one namespace. Closes `client` with itself.

    Workers get `pod` and `size`. `deadline_seconds` is the backstop after which Kubernetes ends a run.
    """

    def __init__(
        self,
        client: AsyncClient,
        *,
        pod: WorkerPod,
        size: manifest.Size,
        deadline_seconds: float,
    ) -> None:
        self._client = client
        self._pod = pod
        self._size = size
        self._deadline_seconds = deadline_seconds
        self._watchers = Watchers()
        ours = {manifest.COMPONENT: "worker", manifest.INSTANCE: pod.instance}
        self._jobs = Mirror(client, Job, labels=ours, keep=keep_job, changed=self._job_changed)
        self._pods = Mirror(client, Pod, labels=ours, keep=keep_pod, changed=self._pod_changed)
        self._suspended_since: dict[tuple[Conversation, int], float] = {}  # as we saw it; clocks may be apart
        self._starts = Starts()
        self._outlived_since: dict[tuple[Conversation, int], float] = {}  # pods whose worker has ended
        self._told: dict[tuple[Conversation, int], tuple[Phase, str]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def network(self) -> str:
        """What the chart's policies let runs reach."""
        return self._pod.annotations.get(NETWORK, "")

    async def open(self) -> None:
        """Begin to follow. Raises `Unavailable` if the API server does not answer, or does not let us."""
        loops = {
            "jobs": self._jobs.follow,
            "pods": self._pods.follow,
            "starting_runs": self._watch_starting,
            "outlived_runs": self._end_what_outlives,
        }
        self._tasks = [asyncio.create_task(kept(name, loop)) for name, loop in loops.items()]
        await self._synced()

    async def start(self, spec: RunSpec) -> None:
        """Make the Job and its Secret, and release it. This reservation's Job is success; an older one is deleted."""
        made = await self._made(spec)
        if made is None:
            return
        self._jobs.take(made)
        with contextlib.suppress(_Exists):
            await self._call("make a run's Secret", self._client.create(manifest.bootstrap(spec, made)))
        release = {"metadata": {"uid": _uid(made)}, "spec": {"suspend": False}}
        try:
            self._jobs.take(await self._call("release a run's Job", self._patch(spec.name, release)))
        except _Missing as error:
            raise Refused("Somebody deleted the run's Job before it began.") from error
        self._starts.made(spec.conversation, spec.run)

    async def look(self, conversation: Conversation, run: int) -> RunState | None:
        """Ask the API server, now. Deletes a run that will never begin, and then returns it as ended."""
        name = conversation.job_name(run)
        try:
            job = await self._call("look at a run", self._client.get(Job, name))
        except _Missing:
            return None
        pods = await self._pods_of(name)
        seen = verdict.Seen(job, pods, orphaned=self._is_orphaned(conversation, run, job))
        state = verdict.judge(conversation, run, seen, datetime.now(UTC))
        if state.phase is Phase.STARTING and not state.said:
            about = pods[-1] if pods else job
            seen = verdict.Seen(job, pods, await self._events(about))
            state = verdict.judge(conversation, run, seen, datetime.now(UTC))
        if state.phase is Phase.ENDED and verdict.is_given_up(state, seen):
            log.info("job_given_up", conversation=str(conversation), run=run, reason=state.end, detail=state.detail)
            await self._delete(name)
        return state

    async def list(self) -> list[RunState]:
        """List what the mirror has: it may be a moment old, and has no details."""
        await self._synced()
        begun = {(pod.conversation, pod.run) for pod in self._pods.all if pod.begun}
        ended = {(pod.conversation, pod.run) for pod in self._pods.all if pod.ended}

        def phase(job: KnownJob) -> Phase:
            key = (job.conversation, job.run)
            return Phase.ENDED if job.ended or key in ended else Phase.RUNNING if key in begun else Phase.STARTING

        return [RunState(job.conversation, job.run, phase(job)) for job in self._jobs.all]

    async def wake(self, conversation: Conversation, run: int) -> None:
        """Change the Job's annotation: all replicas watch Jobs, so the replica that the worker waits on hears it."""
        woken = {"metadata": {"annotations": {manifest.WOKEN: datetime.now(UTC).isoformat()}}}
        with contextlib.suppress(_Missing):
            await self._call("wake a run", self._patch(conversation.job_name(run), woken))

    def watch(self) -> AsyncIterator[RunEvent]:
        """Yield every change from now on; several watchers may listen. Ends when the port is closed."""
        return self._watchers.add()

    async def burn(self, conversation: Conversation, run: int) -> None:
        """Delete the run's Secret; the kubelet then takes the file out of the pod, too."""
        with contextlib.suppress(_Missing):
            await self._call("burn a secret", self._client.delete(Secret, conversation.job_name(run)))

    def ending(self) -> None:
        """Do nothing: the runs go on."""

    async def close(self) -> None:
        """End the watches. The runs go on: another replica looks after them. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._watchers.close()
        await self._client.close()

    # --- making

    async def _made(self, spec: RunSpec) -> Job | None:
        """Make the Job, or find the one that an earlier try made and did not release; None if it is released."""
        job = manifest.job(spec, self._pod, self._size, deadline_seconds=self._deadline_seconds)
        try:
            async with asyncio.timeout(3 * CALL_SECONDS):
                while True:
                    try:
                        return await self._call("make a run's Job", self._client.create(job))
                    except _Exists:
                        there = await self._of_this_life(spec)
                        if there is not None:
                            return there if there.spec and there.spec.suspend else None
        except TimeoutError as error:
            raise Unavailable("An old Job of this name is still being deleted.") from error

    async def _of_this_life(self, spec: RunSpec) -> Job | None:
        """Find this reservation's Job. Deletes another of its name (of a journal that was restored since)."""
        try:
            there = await self._call("look at a run", self._client.get(Job, spec.name))
        except _Missing:
            return None
        notes = (there.metadata.annotations if there.metadata else None) or {}
        if notes.get(manifest.RESERVATION) == secret_hash(spec.bootstrap_secret):
            return there
        log.warning("old_job_deleted", conversation=str(spec.conversation), run=spec.run)
        await self._delete(spec.name, until_gone=_uid(there))
        return None

    async def _delete(self, name: str, *, until_gone: str = "") -> None:
        """Delete a Job and its pod; with `until_gone`, the Job's uid, return when they are gone."""
        cascade = CascadeType.FOREGROUND if until_gone else CascadeType.BACKGROUND
        with contextlib.suppress(_Missing):
            await self._call("delete a run", self._client.delete(Job, name, cascade=cascade))
        # Its caller has a deadline, and another program deletes the Job.
        while until_gone and await self._is_there(name, until_gone):  # noqa: ASYNC110
            await asyncio.sleep(0.2)

    async def _is_there(self, name: str, uid: str) -> bool:
        try:
            return _uid(await self._call("look at a run", self._client.get(Job, name))) == uid
        except _Missing:
            return False

    def _patch(self, name: str, change: Mapping[str, object]) -> Awaitable[Job]:
        return self._client.patch(Job, name, dict(change), patch_type=PatchType.MERGE)

    # --- looking

    async def _synced(self) -> None:
        """Wait until the mirrors are up to date. Raises `Unavailable` if that takes too long."""
        try:
            async with asyncio.timeout(SYNC_SECONDS):
                await self._jobs.synced.wait()
                await self._pods.synced.wait()
        except TimeoutError as error:
            raise Unavailable("Kubernetes does not answer, or does not let me see Jobs and pods.") from error

    async def _watch_starting(self) -> None:
        """Look at the runs that have not begun, again and again; tell each change of a state or sentence."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with contextlib.suppress(PeerBotError):
                waiting = [state for state in await self.list() if state.phase is Phase.STARTING]
                keys = {(state.conversation, state.run) for state in waiting}
                self._told = {key: told for key, told in self._told.items() if key in keys}
                for conversation, run in keys:
                    state = await self.look(conversation, run)
                    told = (state.phase, state.said) if state else (Phase.ENDED, "")
                    if self._told.get((conversation, run), (Phase.STARTING, "")) != told:
                        self._told[conversation, run] = told
                        self._watchers.tell(RunEvent(conversation, run, woken=False))

    async def _end_what_outlives(self) -> None:
        """Delete the Jobs of pods that have outlived their workers: a sidecar that Kubernetes does not end runs on."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for (conversation, run), since in list(self._outlived_since.items()):
                if time.monotonic() - since > OUTLIVES_SECONDS:
                    log.info("job_outlived_its_worker", conversation=str(conversation), run=run)
                    with contextlib.suppress(PeerBotError):
                        await self._delete(conversation.job_name(run))
                        self._outlived_since.pop((conversation, run), None)

    def _is_orphaned(self, conversation: Conversation, run: int, job: Job) -> bool:
        """Whether a Job has been unreleased for so long that the dispatcher that made it must have died."""
        if not (job.spec and job.spec.suspend):
            return False
        since = self._suspended_since.setdefault((conversation, run), time.monotonic())
        return time.monotonic() - since > COMES_WITHIN.total_seconds()

    async def _pods_of(self, name: str) -> Sequence[Pod]:
        """List a Job's pods, the newest last; usually there is one."""

        async def pods() -> Sequence[Pod]:
            return [pod async for pod in self._client.list(Pod, labels={"batch.kubernetes.io/job-name": name})]

        found = await self._call("look at a run's pod", pods())
        return sorted(found, key=lambda pod: str(pod.metadata.creationTimestamp if pod.metadata else ""))

    async def _events(self, about: Job | Pod) -> Sequence[Event]:
        """Read the events about an object, oldest first."""

        async def events() -> Sequence[Event]:
            return [event async for event in self._client.list(Event, fields={"involvedObject.uid": _uid(about)})]

        found = await self._call("read events", events())
        return sorted(found, key=lambda event: str(event.lastTimestamp or event.eventTime or ""))

    def _job_changed(self, before: KnownJob | None, now: KnownJob | None) -> None:
        job = now or before
        assert job
        key = (job.conversation, job.run)
        if now and now.suspended:
            self._suspended_since.setdefault(key, time.monotonic())
        else:
            self._suspended_since.pop(key, None)
        if before is None or now is None or before.ended != now.ended:
            self._watchers.tell(RunEvent(*key, woken=False))
        if now and not now.ended and now.woken and (before is None or before.woken != now.woken):
            self._watchers.tell(RunEvent(*key, woken=True))

    def _pod_changed(self, before: KnownPod | None, now: KnownPod | None) -> None:
        pod = now or before
        assert pod
        key = (pod.conversation, pod.run)
        self._starts.seen(*key, scheduled=pod.scheduled, begun=pod.begun, gone=now is None)
        if now and now.ended and not now.over:
            self._outlived_since.setdefault(key, time.monotonic())
        else:
            self._outlived_since.pop(key, None)
        self._watchers.tell(RunEvent(*key, woken=False))

    async def _call(self, doing: str, asking: Awaitable[_T]) -> _T:
        """Ask the API server. Raises `_Exists`, `_Missing`, `Refused` (an admission rule) and `Unavailable`."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await asking
        except ApiError as error:
            raise _failure(doing, error) from error
        except httpx2.HTTPStatusError as error:  # not in Kubernetes' own form, as its 429 is not
            reply = error.response
            raise Unavailable(f"Kubernetes could not {doing} now: {reply.status_code} {reply.text[:200]}") from error
        except (httpx2.HTTPError, TimeoutError, OSError) as error:
            raise Unavailable(f"Kubernetes did not answer (to {doing}).") from error


def cluster_client(namespace: str | None) -> AsyncClient:
    """Connect as the pod's account, or as the kubeconfig says. The caller closes the client.

    Raises `SettingsError` if there is neither.
    """
    try:
        return AsyncClient(
            KubeConfig.from_env(), namespace=namespace, timeout=httpx2.Timeout(CALL_SECONDS), trust_env=False
        )  # through no proxy
    except ConfigError as error:
        raise SettingsError(
            f"PEERBOT_RUNTIME=kubernetes, but PeerBot finds no cluster: {error}. Run it in a pod, or set KUBECONFIG."
        ) from error


class _Exists(PeerBotError):
    """An object of this name exists."""


class _Missing(PeerBotError):
    """No object of this name exists."""


def _failure(doing: str, error: ApiError) -> PeerBotError:
    message = error.status.message or ""
    match error.status.code:
        case 409 if error.status.reason == "AlreadyExists":
            return _Exists()
        case 404:
            return _Missing()
        case 403 if "cannot" in message and "resource" in message:  # RBAC's words; the operator may mend it
            return Unavailable(
                f"Kubernetes does not let me {doing}: {message}. Give the dispatcher's account its Role."
            )
        case 400 | 403 | 422:
            return Refused(f"Kubernetes refused to {doing}: {message}")
    return Unavailable(f"Kubernetes could not {doing} now: {message or error.status.code}")


def _uid(item: Job | Pod) -> str:
    assert item.metadata
    assert item.metadata.uid
    return item.metadata.uid
