"""The facts that the mirrors keep of Jobs and pods."""

from dataclasses import dataclass

from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs import manifest, verdict
from peerbot.runs.jobs.pod_status import is_over, workers_end


@dataclass(frozen=True, slots=True)
class KnownJob:
    """The facts that the mirror keeps of a Job."""

    conversation: Conversation
    run: int
    ended: bool
    suspended: bool
    woken: str


@dataclass(frozen=True, slots=True)
class KnownPod:
    """The facts that the mirror keeps of a pod; `state` shows that it changed, but not what that means."""

    conversation: Conversation
    run: int
    scheduled: bool
    begun: bool
    ended: bool  # the worker has
    over: bool  # all of its containers have ended
    state: tuple[str, ...]


def keep_job(job: Job) -> KnownJob | None:
    """Read what is kept of a Job; None if it is no run's."""
    assert job.metadata
    notes = job.metadata.annotations or {}
    try:
        conversation, run = manifest.run_of(str(job.metadata.name), notes, job.metadata.labels)
    except ValueError:
        return None
    suspended = bool(job.spec and job.spec.suspend)
    return KnownJob(conversation, run, _has_ended(job), suspended, notes.get(manifest.WOKEN, ""))


def keep_pod(pod: Pod) -> KnownPod | None:
    """Read what is kept of a pod; None if it is no run's."""
    assert pod.metadata
    try:
        conversation, run = manifest.run_of(str(pod.metadata.name), pod.metadata.annotations, pod.metadata.labels)
    except ValueError:
        return None
    return KnownPod(
        conversation,
        run,
        scheduled=bool(pod.spec and pod.spec.nodeName),
        begun=verdict.has_begun(pod),
        ended=workers_end(pod) is not None,
        over=is_over(pod),
        state=verdict.visible_state(pod),
    )


def _has_ended(job: Job) -> bool:
    conditions = (job.status.conditions if job.status else None) or []
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in conditions)
