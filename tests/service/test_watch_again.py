"""A watch of the cluster that dies of an odd answer is started again, and counted: nothing that loops dies unseen.

The answers of a real API server are in `tests/cluster/`: it gives no odd ones. So this server speaks as much of its
protocol as a watch needs, and one wrong word.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from lightkube import AsyncClient, KubeConfig

from peerbot import metrics
from peerbot.conversation.keys import Conversation
from peerbot.runs.jobs import manifest
from peerbot.runs.jobs.runs import KubernetesRuns
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import Phase

CONVERSATION = Conversation("T1", "C1", "1700000000.000100")


@dataclass
class Cluster:
    """An API server with one Job. `odd`: how many of the next lists of Jobs have no version."""

    odd: int = 0
    lists: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def jobs(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        self.lists += 1
        job = {
            "metadata": {
                "name": CONVERSATION.job_name(1),
                "uid": "1",
                "annotations": {manifest.THREAD: str(CONVERSATION)},
                "labels": {manifest.COMPONENT: "worker", manifest.RUN: "1"},
            }
        }
        self.odd, odd = max(0, self.odd - 1), self.odd > 0
        return web.json_response({"metadata": {} if odd else {"resourceVersion": "7"}, "items": [job]})

    async def pods(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await self._watch(request)
        return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await self.over.wait()
        return response


@asynccontextmanager
async def served(cluster: Cluster) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/apis/batch/v1/namespaces/x/jobs", cluster.jobs)
    app.router.add_get("/api/v1/namespaces/x/pods", cluster.pods)
    server = web.AppRunner(app, shutdown_timeout=0.1)
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{server.addresses[0][1]}"
    finally:
        cluster.over.set()
        await server.cleanup()


def _config(url: str) -> KubeConfig:
    named = {"clusters": [{"name": "c", "cluster": {"server": url}}], "users": [{"name": "u", "user": {"token": "x"}}]}
    context = {"name": "n", "context": {"cluster": "c", "user": "u", "namespace": "x"}}
    return KubeConfig.from_dict({**named, "contexts": [context], "current-context": "n"})


def restarts() -> float:
    return metrics.REGISTRY.get_sample_value("peerbot_loop_restarts_total", {"loop": "jobs"}) or 0.0


async def test_a_watch_that_dies_of_an_odd_answer_begins_again_and_is_counted() -> None:
    cluster, before = Cluster(odd=2), restarts()
    async with served(cluster) as url:
        client = AsyncClient(config=_config(url), namespace="x")
        runs = KubernetesRuns(client, pod=WorkerPod(image="x"), size=manifest.Size("1", "1Gi"), deadline_seconds=60)
        try:
            await runs.open()
            states = await runs.list()
        finally:
            await runs.close()

    assert [(state.conversation, state.phase) for state in states] == [(CONVERSATION, Phase.STARTING)]
    assert cluster.lists == 3
    assert restarts() - before == 2
