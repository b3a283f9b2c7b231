"""The doctor's look at the namespace of the Jobs: does it hold anything that is not PeerBot's?

An account that may create Jobs may mount every Secret of its namespace into them, and run as every service account
there. RBAC has no narrower right. So PeerBot's account is kept from other programs' secrets only by a namespace of its
own.
"""

from collections.abc import Iterable, Mapping, Sequence

from lightkube import AsyncClient
from lightkube.models.core_v1 import PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Secret

from peerbot.doctor.cluster import No, asked, connected, may
from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.settings import Settings

_CHECK = "namespace"
_NAME, _PART_OF = "app.kubernetes.io/name", "app.kubernetes.io/part-of"
_OURS = ("peerbot", "peerbot-worker")
_OF_THE_CLUSTER = ("helm.sh/release.v1", "kubernetes.io/service-account-token")
_MOST_NAMED = 5


async def look_at_namespace(settings: Settings) -> list[Finding]:
    """Name pods and, if the account may list them, Secrets in the namespace that are not PeerBot's.

    The dispatcher's own account may not list Secrets; an operator's may. Raises `Unavailable`.
    """
    async with connected(settings) as client:
        try:
            pods = await _pods(client)
            lists_secrets = not await may(client, "list", "", "secrets")
            secrets = await _secrets(client) if lists_secrets else []
        except No as no:
            return [skipped(_CHECK, f"the account may not look at the namespace ({no.message})")]
        namespace = str(client.namespace)
    others = foreign(pods, secrets)
    if others:
        named = ", ".join(others[:_MOST_NAMED]) + (f" and {len(others) - _MOST_NAMED} more" if others[5:] else "")
        return [
            wrong(
                _CHECK,
                f"the namespace {namespace} holds things that are not PeerBot's: {named}. PeerBot's account may create "
                "Jobs there, and so may read each Secret of the namespace",
                "Give PeerBot a namespace of its own (docs/deploy.md), or move the others to another one.",
            )
        ]
    limit = "" if lists_secrets else " (pods; this account may not list Secrets, which an operator's may)"
    return [good(_CHECK, f"the namespace {namespace} holds nothing that is not PeerBot's{limit}")]


def foreign(pods: Sequence[Pod], secrets: Sequence[Secret]) -> list[str]:
    """Name the pods and Secrets that are neither PeerBot's nor the cluster's own, nor what PeerBot's pods mount."""
    ours = [pod for pod in pods if _is_ours(pod.metadata)]
    mounted = {name for pod in ours if pod.spec for name in _mounted(pod.spec)}
    found = [f"the pod {_name(pod.metadata)}" for pod in pods if not _is_ours(pod.metadata)]
    for secret in secrets:
        known = _is_ours(secret.metadata) or secret.type in _OF_THE_CLUSTER or _name(secret.metadata) in mounted
        if not known:
            found.append(f"the Secret {_name(secret.metadata)}")
    return sorted(found)


def _is_ours(metadata: ObjectMeta | None) -> bool:
    labels: Mapping[str, str] = (metadata and metadata.labels) or {}
    return labels.get(_NAME) in _OURS or labels.get(_PART_OF) == "peerbot"


def _name(metadata: ObjectMeta | None) -> str:
    return str(metadata and metadata.name)


def _mounted(spec: PodSpec) -> Iterable[str]:
    """Name the Secrets that a pod mounts, reads or pulls its images with."""
    for pull in spec.imagePullSecrets or []:
        yield str(pull.name)
    for volume in spec.volumes or []:
        if volume.secret:
            yield str(volume.secret.secretName)
        for source in (volume.projected and volume.projected.sources) or []:
            if source.secret:
                yield str(source.secret.name)
    for container in [*spec.containers, *(spec.initContainers or [])]:
        for variable in container.env or []:
            if variable.valueFrom and variable.valueFrom.secretKeyRef:
                yield str(variable.valueFrom.secretKeyRef.name)
        for variables in container.envFrom or []:
            if variables.secretRef:
                yield str(variables.secretRef.name)


async def _pods(client: AsyncClient) -> list[Pod]:
    async def pods() -> list[Pod]:
        return [pod async for pod in client.list(Pod)]

    return await asked("list pods", pods())


async def _secrets(client: AsyncClient) -> list[Secret]:
    """List the Secrets. Only their names, labels and types are used; their values are dropped at once."""

    async def secrets() -> list[Secret]:
        found = []
        async for secret in client.list(Secret):
            secret.data = secret.stringData = None
            found.append(secret)
        return found

    return await asked("list Secrets", secrets())
