"""A run's state as Kubernetes' objects show it, in our words: its phase, why it waits, why it ended. Pure.

A Job says how it ended even after its pod is gone: its failure policy (`manifest.py`) makes Kubernetes write the reason
into the Job's status. Before a run begins, the pod's conditions and its container's state say what is missing; if there
is no pod, the Job's events do.

`RunState.said` is a sentence for the thread, without Kubernetes' words if there are better ones. `detail` is for the
operator, and has all of Kubernetes' words.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from lightkube.models.core_v1 import ContainerState, ContainerStateTerminated, PodCondition
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Event, Pod

from peerbot.conversation.deadlines import LONGEST_START, spoken
from peerbot.conversation.ends import DRAINED_EXIT_CODE, RunEnd, by_signal, end_of
from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs.manifest import CONTAINER
from peerbot.runs.port import NOT_ADMITTED, NOT_ASKED, Phase, RunState

IMAGE_PATIENCE = timedelta(seconds=30)
"""The thread hears of an image that can't be pulled only after this time: a registry may fail for a moment."""

QUIET_START = timedelta(seconds=45)
"""If a node needs longer than this to set a pod up, the thread hears of it."""

_SHORT_OF = {"cpu": "CPU", "memory": "memory", "ephemeral-storage": "disk", "pods": "room for another pod"}
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_OVER = ("Succeeded", "Failed")
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
    said, detail = _held_up(seen, pod, age)
    if age < LONGEST_START:
        return RunState(conversation, run, Phase.STARTING, detail=detail, said=said)
    said = said or "it did not start, and Kubernetes does not say why"
    return RunState(
        conversation, run, Phase.ENDED, RunEnd.NOT_ADMITTED, detail or f"pending for {spoken(LONGEST_START)}", said
    )


def is_given_up(state: RunState, seen: Seen) -> bool:
    """Whether only we call the run ended: for Kubernetes its Job goes on, so a pod of it may still begin or live."""
    over = any(pod.status and pod.status.phase in _OVER for pod in seen.pods)
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
        if pod.status and pod.status.phase in _OVER:
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
    """Say how a pod ended that has ended."""
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
    state = _state(pod)
    if state is None or state.terminated is None:
        detail = f"{pod.status.reason or pod.status.phase}: {pod.status.message or 'no container has run'}"
        return _End(RunEnd.NEVER_STARTED, "", detail)
    return _exit(state.terminated, deleted=bool(pod.metadata and pod.metadata.deletionTimestamp))


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
    return _condition(pod, "DisruptionTarget", "True")


def _disruption_detail(pod: Pod) -> str:
    condition = _disruption(pod)
    said = f"{condition.reason}: {condition.message}" if condition else ""
    return "; ".join(filter(None, (said, pod.status.message if pod.status else "")))


def _why_evicted(message: str) -> str:
    for resource, word in (("ephemeral-storage", "disk"), ("ephemeral local storage", "disk"), ("memory", "memory")):
        if resource in message:
            return f"it used too much {word} for its node"
    return "its node was short of something"


# --- why it has not begun


def _held_up(seen: Seen, pod: Pod | None, age: timedelta) -> tuple[str, str]:
    """Say what the run waits for, for people and for the operator; empty if all is as it should be."""
    if pod is None:
        return _no_pod(seen)
    unscheduled = _condition(pod, "PodScheduled", "False")
    if unscheduled:
        return _no_node(unscheduled.message or "", pod), f"{unscheduled.reason}: {unscheduled.message}"
    state = _state(pod)
    waiting = state.waiting if state else None
    if waiting and waiting.reason in _IMAGE:
        detail = f"{waiting.reason}: {waiting.message}"
        return ("its image can't be pulled", detail) if age >= IMAGE_PATIENCE else ("", detail)
    if waiting and waiting.reason and waiting.reason not in ("ContainerCreating", "PodInitializing"):
        return "its container can't be made", f"{waiting.reason}: {waiting.message}"
    if age >= QUIET_START:
        newest = next((e for e in reversed(seen.events) if e.type == "Warning"), None)
        return "its node is still setting it up", f"{newest.reason}: {newest.message}" if newest else ""
    return "", ""


def _no_pod(seen: Seen) -> tuple[str, str]:
    refused = next((e for e in reversed(seen.events) if e.reason == "FailedCreate"), None)
    if refused is None or not refused.message:
        return "", ""
    message = refused.message
    if "exceeded quota" in message:
        return f"the namespace's quota is used up{_quota(message)}", message
    if "admission webhook" in message or "violates PodSecurity" in message or "denied" in message:
        return NOT_ADMITTED, message
    return "its pod can't be made", message


def _quota(message: str) -> str:
    short = re.search(r"requested: ([^,]+(?:,[^ ,:]+=[^ ,]+)*)", message)
    names = [name for name in (part.partition("=")[0] for part in (short[1] if short else "").split(",")) if name]
    words = [_SHORT_OF.get(name.removeprefix("requests.").removeprefix("limits."), name) for name in names]
    return f" ({', '.join(dict.fromkeys(words))})" if words else ""


def _no_node(message: str, pod: Pod) -> str:
    """Say what the scheduler lacks: `0/3 nodes are available: 2 Insufficient cpu, 1 node(s) had untolerated taint`."""
    short = [_SHORT_OF.get(name, name) for name in re.findall(r"Insufficient ([\w./-]*\w)", message)]
    if short:
        return f"no node has enough {' and '.join(dict.fromkeys(short))} free{_asked(pod)}"
    if "node selector" in message or "node affinity" in message:
        return "no node is of the kind that it needs"
    if "taint" in message:
        return "no node takes it at the moment"
    return "there is no node for it"


# --- reading


def _asked(pod: Pod) -> str:
    """Say what this pod asks for, read from the pod: another release may have made it, with other settings."""
    containers = [c for c in pod.spec.containers if c.name == CONTAINER] if pod.spec else []
    requests = (containers[0].resources.requests if containers and containers[0].resources else None) or {}
    asked = [f"{requests['cpu']} CPU"] if "cpu" in requests else []
    asked += [requests["memory"]] if "memory" in requests else []
    return f" (it asks for {' and '.join(asked)})" if asked else ""


def _created(job: Job) -> datetime:
    assert job.metadata
    assert job.metadata.creationTimestamp
    return job.metadata.creationTimestamp


def has_begun(pod: Pod) -> bool:
    """Whether the worker's container runs."""
    state = _state(pod)
    return bool(state and state.running)


def visible_state(pod: Pod) -> tuple[str, ...]:
    """Pick the parts of a pod's state that a verdict depends on: if they are equal, the run needs no second look."""
    state, status = _state(pod), pod.status
    waiting = state.waiting.reason if state and state.waiting else ""
    ended = state.terminated.reason if state and state.terminated else ""
    conditions = (_condition(pod, "PodScheduled", "False"), _disruption(pod))
    return (
        (status.phase if status else "") or "",
        waiting or "",
        ended or "",
        *(condition.message or condition.type if condition else "" for condition in conditions),
        "deleted" if pod.metadata and pod.metadata.deletionTimestamp else "",
    )


def _state(pod: Pod) -> ContainerState | None:
    statuses = pod.status.containerStatuses or [] if pod.status else []
    return next((status.state for status in statuses if status.name == CONTAINER), None)


def _condition(pod: Pod, kind: str, status: str) -> PodCondition | None:
    conditions = pod.status.conditions or [] if pod.status else []
    return next((c for c in conditions if c.type == kind and c.status == status), None)
