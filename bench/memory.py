"""How much a dispatcher's memory grows with the conversations that it knows, and with the runs that work on it.

It gets to know conversations as in production: people go on talking in threads that it once answered in, so it has to
look whether they mean it. This program plays the runs over the worker's own protocol, since fifty real workers are too
many for this machine. Each run has a turn, reports progress, waits for inputs, and has a reply of the model streaming
through the relay.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import psutil
from system import System

from bench import seeds
from bench.figures import Figure, Section, mebibytes
from bench.relay import played_run
from bench.streams import upstream
from peerbot.conversation.keys import Conversation
from peerbot.conversation.progress import Progress, Step, StepStatus
from peerbot.local.slack import LocalSlack
from peerbot.worker.gateway import GatewayClient

ROOM = "C0THREADS01"
AT_ONCE = 20  # events on their way
STREAM_SECONDS = 15.0
SETTLE_SECONDS = 2.0


async def measure(directory: Path, *, quick: bool) -> Section:
    known, running = (200, 10) if quick else (10_000, 50)
    seconds = 3.0 if quick else STREAM_SECONDS
    async with (
        upstream(seconds) as model,
        System(directory, {"ANTHROPIC_BASE_URL": model, "LOG_LEVEL": "INFO", "PEERBOT_MODEL": "x"}) as system,
    ):
        system.slack.add_channel(ROOM, "threads", members=(system.slack.person, system.slack.bot_user))
        process = psutil.Process((await system.start()).pid)
        await asyncio.sleep(SETTLE_SECONDS)
        idle = process.memory_info().rss
        for first in range(0, known, AT_ONCE):
            those = list(seeds.conversations(system.slack.team, ROOM, first, AT_ONCE))
            seeds.answered(directory / "journal", iter(those), refused=True)
            await talk(system.slack, those)
        knowing = process.memory_info().rss
        busy = await _running(system, process, running, seconds)
    return Section(
        "Memory of a dispatcher (RSS)",
        [
            Figure(
                f"it knows {known:,} conversations", mebibytes(knowing), "idle", mebibytes(idle),
                f"+{mebibytes(knowing - idle)}", "", known,
            ),
            Figure(
                f"and {running} runs stream, report and poll", mebibytes(busy), "idle", mebibytes(idle),
                f"+{mebibytes(busy - idle)} ({(busy - knowing) / running / 2**20:.2f} MiB a run)", "", running,
            ),
        ],
    )  # fmt: skip


async def talk(slack: LocalSlack, threads: list[Conversation]) -> None:
    """Let people go on talking in threads; returns when the dispatchers have heard all of it."""
    said = {"type": "message", "channel": ROOM, "channel_type": "channel", "user": slack.person}
    for thread in threads:
        reply = {"ts": f"{thread.thread_ts[:-1]}2", "thread_ts": thread.thread_ts, "text": "we were talking"}
        slack.send_event(ROOM, said | reply)
    await slack.wait_for(lambda: slack.undelivered == 0, 120)


async def _running(system: System, process: psutil.Process, count: int, seconds: float) -> int:
    """Measure the dispatcher's memory while `count` runs are at work."""
    gateway = f"http://127.0.0.1:{await system.port('gateway_port')}"
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        roots = [await system.slack.say(system.slack.person, system.slack.general, "work") for _ in range(count)]
        clients = [await stack.enter_async_context(played_run(system, gateway, root)) for root in roots]
        working = [asyncio.create_task(_work(session, client, seconds)) for client in clients]
        await asyncio.sleep(seconds / 2)
        busy = 0
        for _ in range(5):
            busy = max(busy, process.memory_info().rss)
            await asyncio.sleep(seconds / 20)
        await asyncio.gather(*working)
        return busy


async def _work(session: aiohttp.ClientSession, client: GatewayClient, seconds: float) -> None:
    """Work as a worker does: a turn, progress, a poll, and a reply that streams."""
    turn = (await client.begin()).turn
    body = {"model": "claude-opus-5-5", "max_tokens": 1, "stream": True, "messages": []}
    headers = {"Authorization": f"Bearer {client.agent_token}"}
    polling = asyncio.create_task(client.inputs(seconds))
    async with session.post(f"{client.url}/model/v1/messages?beta=true", json=body, headers=headers) as reply:
        reply.raise_for_status()
        number = 0
        async for line in reply.content:
            number += line.startswith(b"data: ")
            if number % 100 == 1:
                steps = [
                    Step(id=str(n), title="Run the tests", status=StepStatus.COMPLETE, output="42 passed")
                    for n in range(8)
                ]
                report = Progress(seq=number, title="Run the tests", steps=steps, narration="So far so good", seconds=1)
                await client.progress(turn, report)
    await polling
