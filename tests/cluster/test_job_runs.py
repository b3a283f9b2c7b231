"""Runs as Jobs, against a real control plane: started, looked at, woken, watched, ended, and told about.

The node is played (`stage.py`), so each verdict is quick to provoke. `test_cluster.py` shows that a real kubelet
reports the same.
"""

import asyncio
from collections.abc import Callable

import pytest
from lightkube.models.core_v1 import LimitRangeItem, LimitRangeSpec, ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import LimitRange, Pod, PodEviction, ResourceQuota, Secret
from lightkube.types import CascadeType
from pods import quota_holds
from programs import until
from replicas import CONVERSATION, SECONDS, SECRET, Place, ended, heard, looked, spec
from stage import StagedNode

from peerbot.conversation.ends import RunEnd
from peerbot.runs.jobs import manifest
from peerbot.runs.jobs.runs import OUTLIVES_SECONDS
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import NOT_ASKED, Phase, RunEvent
from peerbot.slack.words import how_it_ended


async def test_a_run_is_a_job_with_one_pod_and_a_secret_that_belongs_to_it(place: Place, stage: StagedNode) -> None:
    """In a namespace that enforces `restricted`; and who reads Jobs and pods learns no secret."""
    async with place.replica() as runs:
        await runs.start(spec())
        pod = await place.pod()
        made = place.job()
        assert made.metadata
        assert made.spec
        assert made.metadata.name == "claude-worker-" + CONVERSATION.id + "-1"
        assert made.spec.suspend is False
        assert made.metadata.annotations
        assert made.metadata.annotations[manifest.THREAD] == str(CONVERSATION)
        assert SECRET not in str(made.to_dict()) + str(pod.to_dict())
        secret = place.client.get(Secret, CONVERSATION.job_name(1), namespace=place.namespace)
        assert secret.metadata
        assert [owner.uid for owner in secret.metadata.ownerReferences or []] == [made.metadata.uid]

        stage.run(pod)
        assert (await looked(runs, lambda state: state is not None and state.phase is Phase.RUNNING)) is not None
        stage.exit(pod, 0)
        assert (await ended(runs)).end is RunEnd.FINISHED


async def test_the_secret_is_gone_once_it_is_burnt_and_goes_with_its_job_else(place: Place, stage: StagedNode) -> None:
    async with place.replica() as runs:
        await runs.start(spec(1))
        await runs.start(spec(2))
        assert len(place.secrets()) == 2
        await runs.burn(CONVERSATION, 1)
        await runs.burn(CONVERSATION, 1)
        assert place.secrets() == [CONVERSATION.job_name(2)]
        place.client.delete(Job, CONVERSATION.job_name(2), namespace=place.namespace, cascade=CascadeType.BACKGROUND)
        await asyncio.to_thread(until, lambda: not place.secrets(), SECONDS, "the secret to go with its Job")
        assert await runs.look(CONVERSATION, 2) is None


async def test_two_replicas_that_start_one_run_make_one(place: Place, stage: StagedNode) -> None:
    async with place.replica() as one, place.replica() as other:
        await asyncio.gather(one.start(spec()), other.start(spec()), one.start(spec()))
        await place.pod()
        assert len(place.pods()) == 1
        assert len([state for state in await other.list() if state.run == 1]) == 1


async def test_an_old_job_of_the_same_name_makes_way(place: Place, stage: StagedNode) -> None:
    """As after a journal was restored: the name says the same, the reservation does not."""
    async with place.replica() as runs:
        await runs.start(spec(secret="of another life"))
        old = place.job()
        stage.run(await place.pod())
        await runs.start(spec())
        new = place.job()
        assert old.metadata
        assert new.metadata
        assert new.metadata.uid != old.metadata.uid
        await asyncio.to_thread(until, lambda: len(place.pods()) == 1, SECONDS, "the old pod to go")


async def test_a_job_that_was_never_released_is_given_up_after_ten_seconds(place: Place, stage: StagedNode) -> None:
    """Its dispatcher died between its writes, and only it knew the secret."""
    async with place.replica() as runs:
        job = manifest.job(spec(), WorkerPod(image="x"), manifest.Size("1", "1Gi"), deadline_seconds=60)
        place.client.create(job, namespace=place.namespace)
        first = await looked(runs, lambda state: state is not None)
        assert first
        assert first.phase is Phase.STARTING
        assert (await ended(runs)).end is RunEnd.NEVER_STARTED
        assert await looked(runs, lambda state: state is None) is None  # and so it can't begin later
        assert place.pods() == []


async def test_a_wake_is_heard_by_every_replica(place: Place, stage: StagedNode) -> None:
    async with place.replica() as one, place.replica() as other:
        await one.start(spec())
        await place.pod()
        watches = [one.watch(), other.watch()]
        for _ in range(2):
            await other.wake(CONVERSATION, 1)
            woken = RunEvent(CONVERSATION, 1, woken=True)
            assert [await heard(watch, lambda event: event.woken) for watch in watches] == [woken, woken]
        await one.wake(CONVERSATION, 7)  # there is none: nothing happens


# --- verdicts


@pytest.mark.parametrize(
    ("happens", "end", "said"),
    [
        (lambda stage, pod: stage.exit(pod, 137, "OOMKilled"), RunEnd.OUT_OF_MEMORY, "it ran out of memory"),
        (lambda stage, pod: stage.exit(pod, 1, message="Traceback"), RunEnd.CRASHED, "it crashed"),
        (lambda stage, pod: stage.exit(pod, 75), RunEnd.CUT_OFF, "it lost its connection"),
        (lambda stage, pod: stage.exit(pod, 124), RunEnd.HUNG, "it hung"),
        (lambda stage, pod: stage.exit(pod, 143), RunEnd.CRASHED, NOT_ASKED),
        (
            lambda stage, pod: stage.evict(pod, "The node was low on resource: ephemeral-storage."),
            RunEnd.EVICTED,
            "it used too much disk for its node",
        ),
    ],
    ids=["oom", "crash", "cut off", "hung", "a drain that nobody asked for", "evicted"],
)
async def test_a_run_that_ended_says_why_and_gets_no_second_pod(
    place: Place, stage: StagedNode, happens: Callable[[StagedNode, Pod], None], end: RunEnd, said: str
) -> None:
    async with place.replica() as runs:
        watch = runs.watch()
        await runs.start(spec())
        pod = await place.pod()
        stage.run(pod)
        happens(stage, pod)
        await heard(watch, lambda event: not event.woken)
        state = await ended(runs)
        assert (state.end, how_it_ended(end, state.said)) == (end, said)
        await asyncio.to_thread(
            until, lambda: (status := place.job().status) and status.conditions, SECONDS, "the Job to have failed"
        )
        assert len(place.pods()) == 1


async def test_an_eviction_is_told_apart_from_a_crash_also_when_the_pod_is_gone(
    place: Place, stage: StagedNode
) -> None:
    """A replica that was not there tells it: only the Job is left."""
    async with place.replica() as runs:
        await runs.start(spec())
        pod = await place.pod()
        stage.run(pod)
        evict(place, pod)
        stage.exit(pod, 143)  # a worker that is asked to end and does not
        await asyncio.to_thread(until, lambda: not place.pods(), SECONDS, "the pod to go")
    async with place.replica() as another:
        state = await ended(another)
        assert (state.end, state.said) == (RunEnd.EVICTED, "its node was emptied, or lost")


async def test_a_worker_whose_pod_somebody_deletes_was_asked_to_end(place: Place, stage: StagedNode) -> None:
    """As `kubectl delete pod` does."""
    async with place.replica() as runs:
        await runs.start(spec())
        pod = await place.pod()
        stage.run(pod)
        assert pod.metadata
        place.client.delete(Pod, str(pod.metadata.name), namespace=place.namespace)
        stage.exit(pod, 143)
        state = await ended(runs)
        assert (state.end, state.by_signal) == (RunEnd.DRAINED, False)


def evict(place: Place, pod: Pod) -> None:
    """By the Eviction API, as `kubectl drain` does."""
    assert pod.metadata
    name = str(pod.metadata.name)
    place.client.create(PodEviction(metadata=ObjectMeta(name=name)), name, namespace=place.namespace)


async def test_a_pod_that_finds_no_node_says_what_is_missing_and_starts_when_there_is_one(place: Place) -> None:
    async with place.replica() as runs:
        watch = runs.watch()
        await runs.start(spec())
        state = await looked(runs, lambda state: state is not None and state.said != "")
        assert state
        assert (state.phase, state.said) == (Phase.STARTING, "there is no node for it")
        with StagedNode(place.plane, "small", room={"cpu": "50m", "memory": "4Gi", "pods": "10"}):
            state = await looked(runs, lambda state: state is not None and "CPU" in state.said, 60)
            assert state
            assert state.said == "no node has enough CPU free (it asks for 100m CPU and 64Mi)"
        with StagedNode(place.plane) as stage:
            pod = await place.pod()
            stage.run(pod)
            await looked(runs, lambda state: state is not None and state.phase is Phase.RUNNING)
            await heard(watch, lambda event: not event.woken)


async def test_a_run_ends_with_its_worker_and_a_sidecar_that_outlives_it_is_ended(
    place: Place, stage: StagedNode
) -> None:
    async with place.replica() as runs:
        await runs.start(spec())
        pod = await place.pod()
        stage.run(pod)
        await looked(runs, lambda state: state is not None and state.phase is Phase.RUNNING)
        stage.exit(pod, 0, outlived=True)
        assert (await ended(runs)).end is RunEnd.FINISHED
        assert [state.phase for state in await runs.list()] == [Phase.ENDED]
        assert place.job().status
        await asyncio.to_thread(until, lambda: not place.pods(), OUTLIVES_SECONDS + SECONDS, "the sidecar to be ended")


async def test_a_service_that_does_not_start_is_told_and_one_that_does_is_there_before_the_worker(
    place: Place, stage: StagedNode
) -> None:
    """The API server admits the pod under `restricted`, with its service as a native sidecar."""
    async with place.replica(services=[{"name": "db", "image": "example.com/db:1"}]) as runs:
        await runs.start(spec())
        pod = await place.pod()
        assert pod.spec
        assert [item.restartPolicy for item in pod.spec.initContainers or []] == ["Always"]
        stage.wait_for_service(pod, "db", "CrashLoopBackOff")
        state = await looked(runs, lambda state: state is not None and state.said != "")
        assert state
        assert (state.phase, state.said) == (Phase.STARTING, "its service db does not start")


async def test_a_limit_range_that_does_not_allow_a_worker_is_told_by_its_limit(place: Place, stage: StagedNode) -> None:
    limits = LimitRangeSpec(limits=[LimitRangeItem(type="Container", max={"cpu": "50m"})])
    place.client.create(LimitRange(metadata=ObjectMeta(name="small"), spec=limits), namespace=place.namespace)
    async with place.replica(limits={"cpu": "100m"}) as runs:
        await runs.start(spec())
        state = await looked(runs, lambda state: state is not None and state.said != "")
        assert state
        assert "the namespace's LimitRange does not allow it: at most 50m CPU for a container" in state.said


async def test_a_quota_that_is_used_up_is_told(place: Place, stage: StagedNode) -> None:
    quota = ResourceQuota(metadata=ObjectMeta(name="team"), spec=ResourceQuotaSpec(hard={"requests.cpu": "50m"}))
    place.client.create(quota, namespace=place.namespace)
    await asyncio.to_thread(
        until, lambda: quota_holds(place.client, place.namespace, "team"), SECONDS, "the quota to hold"
    )
    async with place.replica() as runs:
        await runs.start(spec())
        state = await looked(runs, lambda state: state is not None and state.said != "")
        assert state
        assert (state.phase, state.said) == (Phase.STARTING, "the namespace's quota is used up (team: at most 50m CPU)")


async def test_an_image_that_cannot_be_pulled_is_told(place: Place, stage: StagedNode) -> None:
    async with place.replica() as runs:
        await runs.start(spec())
        stage.wait(await place.pod(), "ImagePullBackOff", "Back-off pulling image")
        state = await looked(runs, lambda state: state is not None and state.said != "", 60)
        assert state
        assert state.said == "its image can't be pulled"


async def test_a_run_whose_node_is_lost_is_given_up_and_its_job_removed(place: Place, stage: StagedNode) -> None:
    """Kubernetes waits for a kubelet that will never answer; the thread does not.

    `stage` stays well: where every node is lost, Kubernetes takes it for a fault of its own and deletes nothing.
    """
    with StagedNode(place.plane, "lost") as node:
        async with place.replica(nodeSelector={"kubernetes.io/hostname": "lost"}) as runs:
            await runs.start(spec())
            node.run(await place.pod())
            await looked(runs, lambda state: state is not None and state.phase is Phase.RUNNING)
            node.go_silent()
            state = await ended(runs, 180)
            assert (state.end, how_it_ended(RunEnd.NODE_LOST, state.said)) == (RunEnd.NODE_LOST, "its node was lost")


async def test_a_job_that_somebody_deleted_is_gone(place: Place, stage: StagedNode) -> None:
    async with place.replica() as runs:
        watch = runs.watch()
        await runs.start(spec())
        stage.run(await place.pod())
        await looked(runs, lambda state: state is not None and state.phase is Phase.RUNNING)
        place.client.delete(Job, CONVERSATION.job_name(1), namespace=place.namespace)
        await looked(runs, lambda state: state is None)
        await heard(watch, lambda event: not event.woken)
        assert await runs.list() == []
