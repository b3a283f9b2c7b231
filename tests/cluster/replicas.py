"""Replicas that run Jobs in a namespace of a test's own, and what tests ask of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from control_plane import ControlPlane
from lightkube import AsyncClient, Client, KubeConfig
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, Secret
from lightkube.types import PatchType
from pods import node_of
from programs import until

from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs import manifest
from peerbot.runs.jobs.runs import KubernetesRuns
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import Phase, RunEvent, RunSpec, RunState

CONVERSATION = Conversation("T01", "C01", "1795489988.273013")
SECONDS = 30.0
SECRET = "a-secret-of-one-run"


def spec(run: int = 1, *, secret: str = SECRET) -> RunSpec:
    environment = {"PEERBOT_GATEWAY_URL": "http://peerbot-gateway:3001", "PEERBOT_RUN_PATH": "/v1/runs/x"}
    return RunSpec(CONVERSATION, run, secret, environment, user="U01", turn=3)


class Place:
    """A namespace, and replicas that run Jobs in it."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.client: Client = plane.client

    @asynccontextmanager
    async def replica(self, **pod: Any) -> AsyncIterator[KubernetesRuns]:
        runs = self.runs(**pod)
        try:
            await runs.open()
            yield runs
        finally:
            await runs.close()

    def runs(self, **pod: Any) -> KubernetesRuns:
        config = KubeConfig.from_file(self.plane.kubeconfig)
        return KubernetesRuns(
            AsyncClient(config=config, namespace=self.namespace, trust_env=False),
            pod=WorkerPod(image="example.com/worker:1", serviceAccountName="default", **pod),
            size=manifest.Size("100m", "64Mi"),
            deadline_seconds=3600,
        )

    def job(self, run: int = 1) -> Job:
        return self.client.get(Job, CONVERSATION.job_name(run), namespace=self.namespace)

    def secrets(self) -> list[str]:
        ours = self.client.list(Secret, namespace=self.namespace, labels={manifest.COMPONENT: "worker"})
        return [str(secret.metadata.name) for secret in ours if secret.metadata]

    def pods(self) -> list[Pod]:
        return list(self.client.list(Pod, namespace=self.namespace))

    async def pod(self) -> Pod:
        """The run's pod, once the scheduler has put it somewhere."""
        await asyncio.to_thread(until, lambda: any(map(node_of, self.pods())), SECONDS, "a pod with a node")
        return next(filter(node_of, self.pods()))

    async def patch(self, change: dict[str, Any], run: int = 1) -> None:
        name = CONVERSATION.job_name(run)
        self.client.patch(Job, name, change, namespace=self.namespace, patch_type=PatchType.MERGE)


async def looked(
    runs: KubernetesRuns, wanted: Callable[[RunState | None], bool], seconds: float = SECONDS
) -> RunState | None:
    """Look until it is as wanted."""
    async with asyncio.timeout(seconds):
        while True:
            state = await runs.look(CONVERSATION, 1)
            if wanted(state):
                return state
            await asyncio.sleep(0.1)


async def ended(runs: KubernetesRuns, seconds: float = SECONDS) -> RunState:
    state = await looked(runs, lambda state: state is not None and state.phase is Phase.ENDED, seconds)
    assert state
    return state


async def heard(watch: AsyncIterator[RunEvent], wanted: Callable[[RunEvent], bool]) -> RunEvent:
    async with asyncio.timeout(SECONDS):
        async for event in watch:
            if wanted(event):
                return event
    raise AssertionError("the watch ended")
