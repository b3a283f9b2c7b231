"""What a pod's status says about its containers: the worker's own, and those beside it. Pure."""

from collections.abc import Iterator

from lightkube.models.core_v1 import ContainerState, ContainerStateTerminated, ContainerStatus, PodCondition
from lightkube.resources.core_v1 import Pod

from peerbot.runs.jobs.manifest import CONTAINER

_OVER = ("Succeeded", "Failed")


def is_over(pod: Pod) -> bool:
    """Whether all of the pod's containers have ended."""
    return bool(pod.status and pod.status.phase in _OVER)


def workers_state(pod: Pod) -> ContainerState | None:
    """Return the state of the worker's container."""
    statuses = pod.status.containerStatuses or [] if pod.status else []
    return next((status.state for status in statuses if status.name == CONTAINER), None)


def workers_end(pod: Pod) -> ContainerStateTerminated | None:
    """Say how the worker's container ended. It is never started again, and another container may outlive it."""
    state = workers_state(pod)
    return state.terminated if state else None


def before_the_worker(pod: Pod) -> Iterator[tuple[str, ContainerStatus]]:
    """Yield what has to be up, or done, before the worker starts, each with its name for people."""
    specs = pod.spec.initContainers or [] if pod.spec else []
    services = {spec.name for spec in specs if spec.restartPolicy == "Always"}
    for status in pod.status.initContainerStatuses or [] if pod.status else []:
        yield f"its {'service' if status.name in services else 'container'} {status.name}", status


def condition_of(pod: Pod, kind: str, status: str) -> PodCondition | None:
    """Find a condition of the pod that has this status."""
    conditions = pod.status.conditions or [] if pod.status else []
    return next((c for c in conditions if c.type == kind and c.status == status), None)
