"""Why a run's pod has not begun: for people in a sentence, for the operator in Kubernetes' own words. Pure.

If there is a pod, its conditions and its containers' states say what is missing. If there is none, the Job's events do.
"""

import re
from collections.abc import Sequence
from datetime import timedelta

from lightkube.resources.core_v1 import Event, Pod

from peerbot.runs.jobs.manifest import CONTAINER
from peerbot.runs.jobs.pod_status import before_the_worker, condition_of, workers_state
from peerbot.runs.port import NOT_ADMITTED

IMAGE_PATIENCE = timedelta(seconds=30)
"""The thread hears of an image that can't be pulled only after this time: a registry may fail for a moment."""

QUIET_START = timedelta(seconds=45)
"""If a node needs longer than this to set a pod up, the thread hears of it."""

_SHORT_OF = {"cpu": "CPU", "memory": "memory", "ephemeral-storage": "disk", "pods": "room for another pod"}
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
_OF_ITSELF = ("ContainerCreating", "PodInitializing")

_EXCEEDED = re.compile(r"exceeded quota: ([^,]+), requested: (.+?), used: (?:.+?, limited: (.+))?")
_MUST_SPECIFY = re.compile(r"failed quota: ([^:]+): must specify ([\w./,-]+)")
_RANGE = re.compile(
    r"(maximum|minimum) ([\w./-]+) usage per (Container|Pod) is ([^,.\]]+)"
    r"(?:, but (?:limit|request) is ([^,.\]]+)|\.\s+No (limit|request) is specified)"
)
_RATIO = re.compile(r"([\w./-]+) max limit to request ratio per (Container|Pod) is ([^,\]]+)")


def held_up(pod: Pod | None, events: Sequence[Event], age: timedelta) -> tuple[str, str]:
    """Say what the run waits for, for people and for the operator; empty if all is as it should be."""
    if pod is None:
        return _no_pod(events)
    if unscheduled := condition_of(pod, "PodScheduled", "False"):
        return _no_node(unscheduled.message or "", pod), f"{unscheduled.reason}: {unscheduled.message}"
    for_service = _waits_for(pod, age)
    if any(for_service):
        return for_service
    return _not_made(pod, events, age)


def _not_made(pod: Pod, events: Sequence[Event], age: timedelta) -> tuple[str, str]:
    """Say why a node that has the pod has not started its worker."""
    state = workers_state(pod)
    waiting = state.waiting if state else None
    if waiting and waiting.reason in _IMAGE:
        detail = f"{waiting.reason}: {waiting.message}"
        return ("its image can't be pulled", detail) if age >= IMAGE_PATIENCE else ("", detail)
    if waiting and waiting.reason and waiting.reason not in _OF_ITSELF:
        return "its container can't be made", f"{waiting.reason}: {waiting.message}"
    if age >= QUIET_START:
        newest = next((e for e in reversed(events) if e.type == "Warning"), None)
        return "its node is still setting it up", f"{newest.reason}: {newest.message}" if newest else ""
    return "", ""


def _waits_for(pod: Pod, age: timedelta) -> tuple[str, str]:
    """Say which service the worker waits for; empty if it waits for none, or not for long."""
    for name, status in before_the_worker(pod):
        state, before = status.state, status.lastState.terminated if status.lastState else None
        waiting = state.waiting if state else None
        if waiting and waiting.reason in _IMAGE:
            detail = f"{status.name}: {waiting.reason}: {waiting.message}"
            return (f"the image of {name} can't be pulled", detail) if age >= IMAGE_PATIENCE else ("", detail)
        if waiting and waiting.reason and waiting.reason not in _OF_ITSELF:
            ended = f" (exit code {before.exitCode}: {(before.message or '').strip()[-300:]})" if before else ""
            return f"{name} does not start", f"{status.name}: {waiting.reason}: {waiting.message}{ended}"
        if state and state.running and status.started is False and age >= QUIET_START:
            return f"{name} is not ready", f"{status.name}: its startup probe has not succeeded yet"
    return "", ""


def _no_pod(events: Sequence[Event]) -> tuple[str, str]:
    refused = next((e for e in reversed(events) if e.reason == "FailedCreate"), None)
    if refused is None or not refused.message:
        return "", ""
    message = refused.message
    if "exceeded quota" in message:
        return f"the namespace's quota is used up{_quota(message)}", message
    if unsized := _MUST_SPECIFY.search(message):
        return f"the namespace's quota {unsized[1]} wants values that it has not: {unsized[2]}", message
    if ranges := _ranges(message):
        return f"the namespace's LimitRange does not allow it: {ranges}", message
    if "admission webhook" in message or "violates PodSecurity" in message or "denied" in message:
        return NOT_ADMITTED, message
    return "its pod can't be made", message


def _quota(message: str) -> str:
    """Name the quota, and how much it has of that which is short: `(team: at most 4 CPU)`."""
    short = _EXCEEDED.search(message)
    if not short:
        return ""
    hard = dict(part.partition("=")[::2] for part in (short[3] or "").strip().rstrip(".").split(","))
    names = [name for name in (part.partition("=")[0] for part in short[2].split(",")) if name]
    words = [f"{hard[name]} {_word(name)}" if hard.get(name) else _word(name) for name in names]
    listed = ", ".join(dict.fromkeys(words))
    return f" ({short[1]}: at most {listed})" if any(hard.values()) else f" ({listed})"


def _ranges(message: str) -> str:
    """Name the limits of the namespace's LimitRange that the pod breaks."""
    found = []
    for most, resource, kind, bound, asked, missing in _RANGE.findall(message):
        allowed = f"{'at most' if most == 'maximum' else 'at least'} {bound} {_word(resource)} for a {kind.lower()}"
        found.append(f"{allowed} ({f'it asks for {asked}' if asked else f'it has no {missing}'})")
    for resource, kind, bound in _RATIO.findall(message):
        found.append(f"a {kind.lower()}'s limit of {_word(resource)} is at most {bound} times its request")
    return "; ".join(dict.fromkeys(found))


def _word(resource: str) -> str:
    name = resource.removeprefix("requests.").removeprefix("limits.")
    return "pods" if name == "pods" else _SHORT_OF.get(name, name)


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


def _asked(pod: Pod) -> str:
    """Say what this pod asks for, read from the pod: another release may have made it, with other settings."""
    containers = [c for c in pod.spec.containers if c.name == CONTAINER] if pod.spec else []
    requests = (containers[0].resources.requests if containers and containers[0].resources else None) or {}
    asked = [f"{requests['cpu']} CPU"] if "cpu" in requests else []
    asked += [requests["memory"]] if "memory" in requests else []
    return f" (it asks for {' and '.join(asked)})" if asked else ""
