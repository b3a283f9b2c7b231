"""Jobs and pods as tests need them, and what became of them."""

from collections.abc import Callable
from typing import Any, Protocol

from lightkube import ApiError, Client
from lightkube.models.batch_v1 import JobSpec, JobStatus
from lightkube.models.core_v1 import (
    Capabilities,
    Container,
    EnvVar,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SeccompProfile,
    SecurityContext,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, ResourceQuota
from programs import until

POD_SECONDS = 180.0  # 3 to 6 s on a machine with nothing else to do


class HasMetadata(Protocol):
    """An object of Kubernetes."""

    @property
    def metadata(self) -> ObjectMeta | None: ...


def pod_spec(image: str, *command: str, limits: dict[str, str] | None = None, **spec: Any) -> PodSpec:
    """A pod that the Pod Security Standard `restricted` lets in."""
    container = Container(
        name="main",
        image=image,
        command=list(command) or None,
        env=[EnvVar(name="HOME", value="/tmp")],
        resources=ResourceRequirements(limits=limits) if limits else None,
        securityContext=SecurityContext(
            allowPrivilegeEscalation=False, capabilities=Capabilities(drop=["ALL"]), readOnlyRootFilesystem=True
        ),
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    security = PodSecurityContext(
        runAsNonRoot=True, runAsUser=10001, runAsGroup=10001, seccompProfile=SeccompProfile(type="RuntimeDefault")
    )
    given: dict[str, Any] = {"automountServiceAccountToken": False, "terminationGracePeriodSeconds": 5, **spec}
    return PodSpec(containers=[container], restartPolicy="Never", securityContext=security, **given)


def job(name: str, spec: PodSpec) -> Job:
    """A Job of one pod, which is tried once."""
    return Job(metadata=ObjectMeta(name=name), spec=JobSpec(backoffLimit=0, template=PodTemplateSpec(spec=spec)))


def job_status(client: Client, namespace: str, job: str) -> JobStatus:
    """How a Job stands; nothing is set while the controller has not looked at it."""
    return client.get(Job, job, namespace=namespace).status or JobStatus()


def quota_holds(client: Client, namespace: str, quota: str) -> bool:
    """Whether the controller has taken a quota up."""
    status = client.get(ResourceQuota, quota, namespace=namespace).status
    return bool(status and status.hard)


def pod_of(client: Client, namespace: str, job: str) -> Pod | None:
    """The newest pod of a Job."""
    pods = client.list(Pod, namespace=namespace, labels={"batch.kubernetes.io/job-name": job})
    return max(pods, key=lambda pod: str(metadata(pod).creationTimestamp), default=None)


def wait_for_pod(
    client: Client, namespace: str, job: str, condition: Callable[[Pod], object], seconds: float = POD_SECONDS
) -> Pod:
    """Wait until the Job's pod is as `condition` says; the pod."""
    found: list[Pod] = []

    def so() -> bool:
        pod = pod_of(client, namespace, job)
        if pod is None or not condition(pod):
            return False
        found.append(pod)
        return True

    def last() -> str:
        pod = pod_of(client, namespace, job)
        return str(pod.status if pod else f"no pod of {job}")

    until(so, seconds, f"a pod of {job}", last)
    return found[-1]


def gone(client: Client, kind: Any, name: str, namespace: str | None = None) -> bool:
    """Whether an object is not there any more."""
    try:
        client.get(kind, name, namespace=namespace) if namespace else client.get(kind, name)
    except ApiError as error:
        return bool(error.status.code == 404)
    return False


def metadata(thing: HasMetadata) -> ObjectMeta:
    """An object's metadata, which everything has that came from the API server."""
    assert thing.metadata
    return thing.metadata


def name_of(thing: HasMetadata) -> str:
    """The name that an object has."""
    name = metadata(thing).name
    assert name
    return name


def node_of(pod: Pod) -> str:
    """The name of the node that the pod is on; "" while it is on none."""
    return (pod.spec and pod.spec.nodeName) or ""


def phase(pod: Pod) -> str:
    return (pod.status and pod.status.phase) or ""


def terminated(pod: Pod) -> Any:
    """How its container ended: `.exitCode`, `.reason`, `.message`; None while it has not."""
    statuses = (pod.status and pod.status.containerStatuses) or []
    return statuses[0].state.terminated if statuses and statuses[0].state else None


def waiting(pod: Pod) -> str:
    """Say why its container waits; "" if it does not."""
    statuses = (pod.status and pod.status.containerStatuses) or []
    state = statuses[0].state if statuses else None
    return (state and state.waiting and state.waiting.reason) or ""


def condition(pod: Pod, kind: str) -> Any:
    """Return a condition of the pod; None if it has none of that kind."""
    return next((c for c in (pod.status and pod.status.conditions) or [] if c.type == kind), None)
