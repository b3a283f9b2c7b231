"""A run as Kubernetes' objects: a Job with one pod, and the Secret that carries its one-use bootstrap secret. Pure.

`runs.py` makes the Job suspended, then the Secret that belongs to it, and then releases the Job. So no Secret is left
without a Job that takes it along when it goes, and no pod starts before its Secret exists.

A Job and a pod hold no prompt text and no secret: a person who may read only those learns the thread, not its words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightkube.models.batch_v1 import (
    JobSpec,
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
)
from lightkube.models.core_v1 import (
    Affinity,
    Capabilities,
    ConfigMapVolumeSource,
    Container,
    EmptyDirVolumeSource,
    EnvVar,
    LocalObjectReference,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SeccompProfile,
    SecretVolumeSource,
    SecurityContext,
    Toleration,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Secret

from peerbot.conversation.deadlines import POD_GRACE_SECONDS
from peerbot.conversation.ends import CUT_OFF_EXIT_CODE, DRAINED_EXIT_CODE
from peerbot.conversation.keys import Conversation
from peerbot.protocol.documents import secret_hash
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import RunSpec

COMPONENT, INSTANCE = "app.kubernetes.io/component", "peerbot.dev/instance"
THREAD, RUN, USER, TURN = "peerbot.dev/thread", "peerbot.dev/run", "peerbot.dev/user", "peerbot.dev/turn"
WOKEN = "peerbot.dev/woken"
RESERVATION = "peerbot.dev/reservation"
CONTAINER = "worker"
SECRET_KEY = "bootstrap"  # noqa: S105 - its name, not its value

USER_ID = 10001
KEPT_SECONDS = 3600
"""How long an ended Job, its pod and its log stay readable."""

UNREACHABLE_SECONDS = 30
"""How long a pod's node may be unreachable until the run is given up and another goes on."""

CA_FILE = "/etc/peerbot/ca/ca.crt"

_PLACES = {"workspace": "/workspace", "home": "/home/worker", "tmp": "/tmp"}  # noqa: S108 - the pod's own


@dataclass(frozen=True, slots=True)
class Size:
    """The CPU and memory that a worker asks for, as Kubernetes' quantities."""

    cpu: str
    memory: str


def labels(pod: WorkerPod) -> dict[str, str]:
    """Label the Job and the pod of a worker; `app.kubernetes.io/name` is not the chart's (decision 0018).

    A Job has no `app.kubernetes.io/instance`: Argo CD takes what has it for its own application's, and would remove a
    run that is not in git.
    """
    return {
        **pod.labels,
        "app.kubernetes.io/name": "peerbot-worker",
        COMPONENT: "worker",
        INSTANCE: pod.instance,
        "app.kubernetes.io/managed-by": "peerbot",
    }


def pod_labels(pod: WorkerPod) -> dict[str, str]:
    """Label the pod of a worker: its Job's labels, and the one by which network policies know the release."""
    return {**labels(pod), "app.kubernetes.io/instance": pod.instance}


def job(spec: RunSpec, pod: WorkerPod, size: Size, *, deadline_seconds: float) -> Job:
    """Make a run's Job, suspended. `deadline_seconds`: the backstop, counted from its release."""
    marks = {**labels(pod), "peerbot.dev/conversation": spec.conversation.id, RUN: str(spec.run)}
    notes = {**pod.annotations, THREAD: str(spec.conversation), USER: spec.user, TURN: str(spec.turn)}
    return Job(
        metadata=ObjectMeta(
            name=spec.name,
            labels=marks,
            annotations={**notes, RESERVATION: secret_hash(spec.bootstrap_secret)},
        ),
        spec=JobSpec(
            suspend=True,
            completions=1,
            parallelism=1,
            backoffLimit=0,
            podReplacementPolicy="Failed",
            podFailurePolicy=_failure_policy(),
            activeDeadlineSeconds=round(deadline_seconds),
            ttlSecondsAfterFinished=KEPT_SECONDS,
            template=PodTemplateSpec(
                metadata=ObjectMeta(labels={**pod_labels(pod), **marks}, annotations=notes), spec=_pod(spec, pod, size)
            ),
        ),
    )


def bootstrap(spec: RunSpec, made: Job) -> Secret:
    """Make the Secret of a run whose Job `made` exists. It goes when the Job goes, if not before."""
    assert made.metadata
    assert made.metadata.name
    assert made.metadata.uid
    return Secret(
        metadata=ObjectMeta(
            name=spec.name,
            labels=made.metadata.labels,
            ownerReferences=[
                OwnerReference(
                    apiVersion="batch/v1",
                    kind="Job",
                    name=made.metadata.name,
                    uid=made.metadata.uid,
                    blockOwnerDeletion=False,
                )
            ],
        ),
        stringData={SECRET_KEY: spec.bootstrap_secret},
        type="Opaque",
    )


def run_of(name: str, annotations: dict[str, str] | None, marks: dict[str, str] | None) -> tuple[Conversation, int]:
    """Say which run an object belongs to. Raises `ValueError` if it is not one of ours."""
    try:
        conversation, n = Conversation.parse((annotations or {})[THREAD]), int((marks or {})[RUN])
    except KeyError as error:
        raise ValueError(f"{name} has no {error}") from error
    return conversation, n


def _failure_policy() -> PodFailurePolicy:
    """Make the Job itself say why its pod failed: the pod may be gone when somebody looks.

    Kubernetes writes the rule's condition or exit code into the Job's status (`verdict.py` reads it there).
    """
    return PodFailurePolicy(
        rules=[
            PodFailurePolicyRule(
                action="FailJob",
                onPodConditions=[PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")],
            ),
            PodFailurePolicyRule(
                action="FailJob",
                onExitCodes=PodFailurePolicyOnExitCodesRequirement(
                    containerName=CONTAINER, operator="In", values=[CUT_OFF_EXIT_CODE, 137, DRAINED_EXIT_CODE]
                ),
            ),
        ]
    )


def _pod(spec: RunSpec, pod: WorkerPod, size: Size) -> PodSpec:
    user = USER_ID if pod.fixedUser else None
    return PodSpec(
        restartPolicy="Never",
        serviceAccountName=pod.serviceAccountName,
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        terminationGracePeriodSeconds=POD_GRACE_SECONDS,
        securityContext=PodSecurityContext(
            runAsNonRoot=True,
            seccompProfile=SeccompProfile(type="RuntimeDefault"),
            runAsUser=user,
            runAsGroup=user,
            fsGroup=user,
        ),
        initContainers=[_service(service) for service in pod.services] or None,
        containers=[_container(spec, pod, size)],
        volumes=[
            *(Volume(name=name, emptyDir=EmptyDirVolumeSource()) for name in _PLACES),
            # Optional, so that the kubelet takes the file away once the Secret is burnt, and does not complain.
            Volume(
                name="bootstrap",
                secret=SecretVolumeSource(secretName=spec.name, defaultMode=0o440, optional=True),
            ),
            *([Volume(name="ca", configMap=ConfigMapVolumeSource(name=pod.caBundle))] if pod.caBundle else ()),
            *(cast(Volume, Volume.from_dict(volume)) for volume in pod.extraVolumes),
        ],
        imagePullSecrets=[LocalObjectReference(name=name) for name in pod.imagePullSecrets],
        nodeSelector=pod.nodeSelector or None,
        affinity=cast(Affinity, Affinity.from_dict(pod.affinity)) if pod.affinity else None,
        tolerations=[
            *(cast(Toleration, Toleration.from_dict(toleration)) for toleration in pod.tolerations),
            *(
                Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=UNREACHABLE_SECONDS)
                for key in ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
            ),
        ],
        priorityClassName=pod.priorityClassName or None,
        runtimeClassName=pod.runtimeClassName or None,
    )


def _container(spec: RunSpec, pod: WorkerPod, size: Size) -> Container:
    environment = {
        **spec.environment,
        "PEERBOT_BOOTSTRAP_FILE": f"/run/peerbot/{SECRET_KEY}",
        "HOME": _PLACES["home"],
        "TMPDIR": _PLACES["tmp"],
        **({"PEERBOT_CA_FILE": CA_FILE} if pod.caBundle else {}),
    }
    own = {variable["name"]: None for variable in pod.extraEnv}
    if own:
        environment["PEERBOT_AGENT_VARIABLES"] = ",".join(own)
    return Container(
        name=CONTAINER,
        image=pod.image,
        imagePullPolicy=pod.imagePullPolicy,
        workingDir=_PLACES["workspace"],
        env=[
            *(EnvVar(name=name, value=value) for name, value in sorted(environment.items()) if name not in own),
            *(cast(EnvVar, EnvVar.from_dict(variable)) for variable in pod.extraEnv),
        ],
        resources=ResourceRequirements(
            requests={**pod.requests, "cpu": size.cpu, "memory": size.memory}, limits=pod.limits or None
        ),
        terminationMessagePolicy="FallbackToLogsOnError",
        securityContext=SecurityContext(
            allowPrivilegeEscalation=False,
            readOnlyRootFilesystem=True,
            runAsNonRoot=True,
            capabilities=Capabilities(drop=["ALL"]),
        ),
        volumeMounts=[
            *(VolumeMount(name=name, mountPath=path) for name, path in _PLACES.items()),
            VolumeMount(name="bootstrap", mountPath="/run/peerbot", readOnly=True),
            *([VolumeMount(name="ca", mountPath=str(Path(CA_FILE).parent), readOnly=True)] if pod.caBundle else ()),
            *(cast(VolumeMount, VolumeMount.from_dict(mount)) for mount in pod.extraVolumeMounts),
        ],
    )


def _service(service: Mapping[str, Any]) -> Container:
    """Make a service beside the worker: a native sidecar, which Kubernetes starts before it and ends after it.

    It keeps to the standard `restricted` where the chart's values do not say otherwise.
    """
    security = dict(service.get("securityContext") or {})
    if not security.get("privileged"):
        restricted = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
        security = {**restricted, **security}
    more = {"restartPolicy": "Always", "terminationMessagePolicy": "FallbackToLogsOnError"}
    return cast(Container, Container.from_dict({**service, **more, "securityContext": security}))
