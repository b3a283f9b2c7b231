"""A run's state as Kubernetes' objects show it, in our words: its phase, why it waits, why it ended. Pure.

A run ends when its worker's container ends: another container of the pod may outlive it, such as a service mesh's. A
Job says how it ended even after its pod is gone: its failure policy (`manifest.py`) makes Kubernetes write the reason
into the Job's status. `held_up.py` says what is missing before a run begins.

`RunState.said` is a sentence for the thread, without Kubernetes' words if there are better ones. `detail` is for the
operator, and has all of Kubernetes' words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lightkube.models.core_v1 import ContainerStateTerminated, PodCondition
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod

from peerbot.conversation.deadlines import LONGEST_START, spoken
from peerbot.conversation.ends import DRAINED_EXIT_CODE, RunEnd, by_signal, end_of
from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs.held_up import held_up
from peerbot.runs.jobs.pod_status import before_the_worker, condition_of, is_over, workers_end, workers_state
from peerbot.runs.port import NOT_ASKED, Phase, RunState

_KILLED_EXIT_CODE = 137
_DISRUPTIONS = {
    "DeletionByTaintManager": (RunEnd.NODE_LOST, ""),
    "DeletionByPodGC": (RunEnd.NODE_LOST, ""),
    "PreemptionByScheduler": (RunEnd.EVICTED, "it had to make room for something more important"),
    "EvictionByEvictionAPI": (RunEnd.EVICTED, "its node is being emptied"),
    "TerminationByKubelet": (RunEnd.EVICTED, ""),
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The objects that a verdict is made from: a Job, its pods and, if we asked for them, the events about both."""

    job: Job
    pods: Sequence[Pod] = ()
    events: Sequence[Event] = ()
    orphaned: bool = False  # its dispatcher made it, and died before it released it


def judge(conversation: Conversation, run: int, seen: Seen, now: datetime) -> RunState:
    """Say how the run is at `now`. The run may have ended though its Job has not: we end a Job that waits for good."""
    if ended := _ended(seen, now):
        end, said, detail, signalled = ended
        return RunState(conversation, run, Phase.ENDED, end, detail, said, signalled)
    pod = seen.pods[-1] if seen.pods else None
    if pod and has_begun(pod):
        return RunState(conversation, run, Phase.RUNNING)
    age = now - _created(seen.job)
    said, detail = held_up(pod, seen.events, age)
    if age < LONGEST_START:
        return RunState(conversation, run, Phase.STARTING, detail=detail, said=said)
    said = said or "it did not start, and Kubernetes does not say why"
    return RunState(
        conversation, run, Phase.ENDED, RunEnd.NOT_ADMITTED, detail or f"pending for {spoken(LONGEST_START)}", said
    )


def is_given_up(state: RunState, seen: Seen) -> bool:
    """Whether only we call the run ended: for Kubernetes its Job goes on, so a pod of it may still begin or live."""
    over = any(is_over(pod) for pod in seen.pods)
    return state.end in (RunEnd.NEVER_STARTED, RunEnd.NOT_ADMITTED, RunEnd.NODE_LOST) and not over


# --- how it ended


class _End(NamedTuple):
    """An end; words for people if there are better ones than the end's own; the details; `by_signal` of `RunState`."""

    end: RunEnd
    said: str
    detail: str
    by_signal: bool = False


def _ended(seen: Seen, now: datetime) -> _End | None:
    """Say how it ended; None if it has not."""
    if seen.orphaned:
        return _End(RunEnd.NEVER_STARTED, "", "its dispatcher died before it could release it")
    of_job = _job_end(seen.job)
    if of_job and of_job.end is RunEnd.DEADLINE:
        return of_job  # Kubernetes deletes the pod for it, which looks as if somebody had asked it to end
    for pod in reversed(seen.pods):
        if is_over(pod) or workers_end(pod):
            return _pod_end(pod)
        if _is_lost(pod, now):
            return _End(RunEnd.NODE_LOST, "", _disruption_detail(pod))
    if not of_job and seen.job.metadata and seen.job.metadata.deletionTimestamp and not seen.pods:
        return _End(RunEnd.GONE, "somebody deleted it", "its Job is being deleted")
    return of_job


def _job_end(job: Job) -> _End | None:
    """Say how a Job ended whose pod is gone; None while it goes on."""
    conditions = {c.type: c for c in (job.status.conditions or [] if job.status else []) if c.status == "True"}
    if complete := conditions.get("Complete"):
        return _End(RunEnd.FINISHED, "", complete.message or "")
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    return _why_failed(failed.reason or "", failed.message or "") if failed else None


def _why_failed(reason: str, message: str) -> _End:
    detail = f"{reason}: {message}"
    if reason == "DeadlineExceeded":
        return _End(RunEnd.DEADLINE, "", detail)
    if reason == "PodFailurePolicy":
        if "condition DisruptionTarget" in message:
            return _End(RunEnd.EVICTED, "its node was emptied, or lost", detail)
        if code := re.search(r"exit code (\d+)", message):
            end = end_of(int(code[1]), asked=True)  # an agent can't remove its pod: somebody deleted it
            return _End(RunEnd.OUT_OF_MEMORY if end is RunEnd.CRASHED else end, "", detail)
    return _End(RunEnd.GONE, "its pod is gone, and nothing says why", detail)


def _pod_end(pod: Pod) -> _End:
    """Say how a pod's worker ended that has ended."""
    assert pod.status
    if disruption := _disruption(pod):
        end, said = _DISRUPTIONS.get(disruption.reason or "", (RunEnd.EVICTED, ""))
        if pod.status.reason == "Evicted":
            said = _why_evicted(pod.status.message or "")
        return _End(end, said, _disruption_detail(pod))
    if pod.status.reason == "Evicted":  # a kubelet that sets no condition
        return _End(RunEnd.EVICTED, _why_evicted(pod.status.message or ""), f"Evicted: {pod.status.message}")
    if pod.status.reason in ("NodeShutdown", "Terminated", "NodeLost", "NodeAffinity", "UnexpectedAdmissionError"):
        return _End(RunEnd.NODE_LOST, "its node went away", f"{pod.status.reason}: {pod.status.message}")
    if pod.status.reason == "DeadlineExceeded":
        return _End(RunEnd.DEADLINE, "", f"DeadlineExceeded: {pod.status.message}")
    ended = workers_end(pod)
    if ended is None:
        detail = f"{pod.status.reason or pod.status.phase}: {pod.status.message or 'no container has run'}"
        return _End(RunEnd.NEVER_STARTED, "", detail)
    return _exit(ended, deleted=bool(pod.metadata and pod.metadata.deletionTimestamp))


def _exit(ended: ContainerStateTerminated, *, deleted: bool) -> _End:
    """Say how a container ended. `deleted`: somebody deleted its pod, which asks it to end and kills it in the end."""
    detail = _exit_detail(ended)
    if ended.reason == "OOMKilled":
        return _End(RunEnd.OUT_OF_MEMORY, "", detail)
    if ended.reason in ("ContainerCannotRun", "StartError", "CreateContainerError"):
        return _End(RunEnd.CRASHED, "its program could not be started", detail)
    if deleted and ended.exitCode == _KILLED_EXIT_CODE:
        return _End(RunEnd.DRAINED, "", detail)
    end = end_of(ended.exitCode, asked=deleted)
    said = NOT_ASKED if ended.exitCode == DRAINED_EXIT_CODE and not deleted else ""
    return _End(end, said, detail, end.died_of_itself and by_signal(ended.exitCode))


def _exit_detail(ended: ContainerStateTerminated) -> str:
    tail = (ended.message or "").strip()[-500:]
    return f"exit code {ended.exitCode} ({ended.reason or 'Error'})" + (f": {tail}" if tail else "")


def _is_lost(pod: Pod, now: datetime) -> bool:
    """Whether a pod's node is lost: Kubernetes deleted the pod for that, and the time that it had to end is over."""
    deleted = pod.metadata.deletionTimestamp if pod.metadata else None
    disruption = _disruption(pod)
    return bool(deleted and deleted <= now and disruption and disruption.reason in ("DeletionByTaintManager",))


def _disruption(pod: Pod) -> PodCondition | None:
    return condition_of(pod, "DisruptionTarget", "True")


def _disruption_detail(pod: Pod) -> str:
    condition = _disruption(pod)
    said = f"{condition.reason}: {condition.message}" if condition else ""
    return "; ".join(filter(None, (said, pod.status.message if pod.status else "")))


def _why_evicted(message: str) -> str:
    for resource, word in (("ephemeral-storage", "disk"), ("ephemeral local storage", "disk"), ("memory", "memory")):
        if resource in message:
            return f"it used too much {word} for its node"
    return "its node was short of something"


# --- reading


def _created(job: Job) -> datetime:
    assert job.metadata
    assert job.metadata.creationTimestamp
    return job.metadata.creationTimestamp


def has_begun(pod: Pod) -> bool:
    """Whether the worker's container runs."""
    state = workers_state(pod)
    return bool(state and state.running)


def visible_state(pod: Pod) -> tuple[str, ...]:
    """Pick the parts of a pod's state that a verdict depends on: if they are equal, the run needs no second look."""
    state, status = workers_state(pod), pod.status
    others = [other.state for _, other in before_the_worker(pod)]
    waiting = state.waiting.reason if state and state.waiting else ""
    ended = state.terminated.reason if state and state.terminated else ""
    conditions = (condition_of(pod, "PodScheduled", "False"), _disruption(pod))
    return (
        (status.phase if status else "") or "",
        waiting or "",
        ended or "",
        *(other.waiting.reason or "" if other and other.waiting else "" for other in others),
        *(condition.message or condition.type if condition else "" for condition in conditions),
        "deleted" if pod.metadata and pod.metadata.deletionTimestamp else "",
    )
