"""The doctor's checks of the cluster: the API server, the account's rights, a run's Job, the runtime class."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.models.authorization_v1 import ResourceAttributes, SelfSubjectAccessReviewSpec
from lightkube.resources.authentication_v1 import SelfSubjectReview
from lightkube.resources.authorization_v1 import SelfSubjectAccessReview
from lightkube.resources.node_v1 import RuntimeClass

from peerbot.conversation.deadlines import backstop_seconds
from peerbot.conversation.keys import Conversation
from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import PeerBotError, SettingsError, Unavailable
from peerbot.runs.jobs.manifest import Size, job
from peerbot.runs.jobs.runs import cluster_client
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import RunSpec
from peerbot.settings import Settings

RIGHTS = {
    ("batch", "jobs"): ("create", "get", "list", "watch", "patch", "delete"),
    ("", "pods"): ("get", "list", "watch"),
    ("", "events"): ("get", "list", "watch"),
    ("", "secrets"): ("create", "delete"),
}
"""The rights that the dispatcher's account needs in its namespace, by API group and resource; the chart's Role."""

NOBODY = Conversation("TDOCTOR", "CDOCTOR", "1.000000")
"""A made-up conversation, for the description of a run that never begins."""

_DESCRIPTION, _RIGHTS, _JOB, _RUNTIME_CLASS = "worker_description", "kubernetes_rights", "worker_job", "runtime_class"

_T = TypeVar("_T")


class No(PeerBotError):
    """The API server refused. `status` is its HTTP status, `message` its own words."""

    def __init__(self, doing: str, status: int, message: str) -> None:
        super().__init__(f"Kubernetes would not {doing}: {message}")
        self.status = status
        self.message = message

    @property
    def is_for_want_of_a_right(self) -> bool:
        """Whether the refusal comes from RBAC, not from an admission rule."""
        return self.status == HTTPStatus.FORBIDDEN and "cannot" in self.message and "resource" in self.message


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster, and the settings' description of its workers."""

    client: AsyncClient
    pod: WorkerPod
    size: Size

    @property
    def namespace(self) -> str:
        """The namespace of the Jobs."""
        return str(self.client.namespace)


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AsyncClient]:
    """Open the cluster of the settings. Raises `SettingsError` if there is none."""
    client = cluster_client(settings.peerbot_namespace)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Cluster]:
    """Open the cluster, with the description of workers. Raises `SettingsError` if either is missing."""
    pod = _described(settings)
    async with connected(settings) as client:
        yield Cluster(client, pod, Size(settings.worker_cpu, settings.worker_memory))


def _described(settings: Settings) -> WorkerPod:
    assert settings.peerbot_worker_pod, "the settings have checked it"
    return WorkerPod.read(settings.peerbot_worker_pod)


def look_at_description(settings: Settings) -> Finding:
    """Check the file that describes workers' pods."""
    try:
        pod = _described(settings)
    except SettingsError as error:
        fix = "Correct that file. In a cluster, `helm upgrade` writes it again from the chart's values under `worker`."
        return wrong(_DESCRIPTION, str(error).removesuffix("."), fix)
    return good(_DESCRIPTION, f"workers run the image {pod.image} as the service account {pod.serviceAccountName}")


async def asked(doing: str, asking: Awaitable[_T]) -> _T:
    """Ask the API server. Raises `No`, and `Unavailable` if it does not answer."""
    try:
        return await asking
    except ApiError as error:
        status = int(error.status.code or 0)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unavailable(f"Kubernetes is busy or broken (status {status}). Try again in a moment.") from error
        raise No(doing, status, error.status.message or f"status {status}") from error
    except (httpx2.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise Unavailable(f"the API server does not answer ({reason}). Check that `kubectl get pods` works.") from error


async def look_at_rights(settings: Settings) -> list[Finding]:
    """Check that the API server answers, and that this account may do what a dispatcher does."""
    async with connected(settings) as client:
        asking = [may(client, verb, group, resource) for (group, resource), verbs in RIGHTS.items() for verb in verbs]
        me, *denied = await asyncio.gather(_who(client), *asking)
    missing = ", ".join(filter(None, denied))
    if not missing:
        return [good(_RIGHTS, f"{me} has all rights that it needs in the namespace {client.namespace}")]
    return [
        wrong(
            _RIGHTS,
            f"{me} may not {missing} in the namespace {client.namespace}",
            "Give it the chart's Role claude-worker (`helm upgrade` makes the Role and its binding again).",
        )
    ]


async def may(client: AsyncClient, verb: str, group: str, resource: str) -> str:
    """Ask for one right; returns it if the account lacks it, otherwise nothing."""
    what = ResourceAttributes(namespace=client.namespace, verb=verb, group=group, resource=resource)
    review = SelfSubjectAccessReview(spec=SelfSubjectAccessReviewSpec(resourceAttributes=what))
    answer = await asked("say what I may", client.create(review))
    return "" if answer.status and answer.status.allowed else f"{verb} {resource}"


async def _who(client: AsyncClient) -> str:
    answer = await asked("say who I am", client.create(SelfSubjectReview()))
    return str(answer.status and answer.status.userInfo and answer.status.userInfo.username)


async def look_at_job(settings: Settings) -> list[Finding]:
    """Check that a run's own Job would be admitted, by a dry run: it goes through every rule and is not kept."""
    async with opened(settings) as cluster:
        deadline = backstop_seconds(settings.session_timeout_minutes * 60)
        made = job(nobodys_run(settings), cluster.pod, cluster.size, deadline_seconds=deadline)
        try:
            await asked("take a run's Job", cluster.client.create(made, dry_run=True))
        except No as no:
            if no.is_for_want_of_a_right:
                return [skipped(_JOB, "the account may not create Jobs")]
            fix = "Change that rule, or the chart's values under `worker`."
            return [wrong(_JOB, f"a run's Job is not admitted: {no.message}", fix)]
    return [good(_JOB, f"a run's Job is admitted in the namespace {cluster.namespace}")]


def nobodys_run(settings: Settings) -> RunSpec:
    """Describe a run as a dispatcher would, for a made-up conversation."""
    environment = {"PEERBOT_GATEWAY_URL": str(settings.peerbot_gateway_url)}
    return RunSpec(NOBODY, 1, "", environment)


async def look_at_runtime_class(settings: Settings) -> list[Finding]:
    """Check that the workers' runtime class is there, as far as the account may see it."""
    async with opened(settings) as cluster:
        name = cluster.pod.runtimeClassName
        if not name:
            return [skipped(_RUNTIME_CLASS, "workers ask for no runtime class")]
        try:
            await asked("show a runtime class", cluster.client.get(RuntimeClass, name))
        except No as no:
            if no.status == HTTPStatus.NOT_FOUND:
                fix = "Install it, or leave `worker.runtimeClassName` empty."
                return [wrong(_RUNTIME_CLASS, f"there is no runtime class {name}", fix)]
            return [skipped(_RUNTIME_CLASS, f"the account may not look at {name}; the worker pod below shows it")]
    return [good(_RUNTIME_CLASS, f"{name} is there")]
