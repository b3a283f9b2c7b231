"""What the viewers of session pages cost a dispatcher: CPU, and calls of the store, beside the same without a viewer.

The journal is in a bucket, through a proxy that counts. A viewer is an open event stream, read as fast as it comes. The
turns at work are played over the workers' own protocol: each keeps a part of its transcript every two seconds.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from faulty_proxy import FaultyProxy, faulty_proxy
from gcs_server import gcs_server
from session_viewers import Viewer, viewing, with_page
from system import System

from bench import seeds
from bench.figures import Table, seconds
from bench.relay import played_run
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.local.slack.shapes import GENERAL, TEAM
from peerbot.protocol.documents import SessionPart
from peerbot.worker.gateway import GatewayClient

BUCKET = "peerbot-bench"
OTHERS = ("U0BOB000001", "U0EVE000001", "U0GUS000001")  # one person may have eight streams
MOST = 10
PART_SECONDS = 2.0
SETTLE_SECONDS = 5.0  # the first look reads everything


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a minute costs the dispatcher: seconds of CPU, and calls of the store."""

    cpu_seconds: float
    calls: float


@dataclass(frozen=True, slots=True)
class _Bench:
    system: System
    proxy: FaultyProxy
    process: psutil.Process
    people: list[Viewer]
    window_seconds: float

    async def minute(self, watched: list[Conversation]) -> _Cost:
        """Measure while each of these conversations has a viewer; they may be the same one."""
        async with AsyncExitStack() as stack:
            for number, conversation in enumerate(watched):
                await stack.enter_async_context(_stream(self.people[number % len(self.people)], conversation))
            await asyncio.sleep(SETTLE_SECONDS if watched else 0)
            before, calls = self.process.cpu_times(), len(self.proxy.seen)
            await asyncio.sleep(self.window_seconds)
            after, factor = self.process.cpu_times(), 60 / self.window_seconds
            cpu_seconds = after.user + after.system - before.user - before.system
            return _Cost(cpu_seconds * factor, (len(self.proxy.seen) - calls) * factor)

    async def rows(self, what: str, those: list[Conversation]) -> list[list[str]]:
        """Measure with no viewer, with one, and with ten, of one conversation and of ten."""
        none = await self.minute([])
        rows = [[what, "none", seconds(none.cpu_seconds), f"{none.calls:.0f}", "", ""]]
        for viewers, watched in (("1", those[:1]), (f"{MOST} of one", those[:1] * MOST), (f"{MOST} of {MOST}", those)):
            found = await self.minute(watched)
            more = [f"{found.cpu_seconds - none.cpu_seconds:+.2f} s", f"{found.calls - none.calls:+.0f}"]
            rows.append([what, viewers, seconds(found.cpu_seconds), f"{found.calls:.0f}", *more])
        return rows


async def cost(directory: Path, *, quick: bool) -> Table:
    """Measure with conversations that are over, and with such that have a turn at work."""
    over = list(seeds.conversations(TEAM, GENERAL, 0, MOST))
    for each in over:  # one by one, since those of one call share their documents
        seeds.answered(directory / "data" / BUCKET, iter([each]))
    rows = []
    with gcs_server(directory / "data") as server:
        async with faulty_proxy(server) as proxy, AsyncExitStack() as stack:
            os.environ["STORAGE_EMULATOR_HOST"] = server  # for this process; the dispatcher gets the proxy
            settings = {"PEERBOT_STORE": f"gs://{BUCKET}", "STORAGE_EMULATOR_HOST": proxy.url, "LOG_LEVEL": "INFO"}
            system = await stack.enter_async_context(System(directory / "system", settings))
            with_page(system)
            everybody = [system.slack.person, *(system.add_person(each, each) for each in OTHERS)]
            process = psutil.Process((await system.start()).pid)
            people = [await stack.enter_async_context(viewing(system, each)) for each in everybody]
            bench = _Bench(system, proxy, process, people, 5.0 if quick else 10.0)
            rows += await bench.rows(f"{MOST} that are over", over)
            async with _at_work(system) as working:
                rows += await bench.rows(f"{MOST} with a turn at work", working)
    head = ["conversations", "viewers", "CPU a minute", "calls of the store a minute", "CPU for the viewers",
            "calls for the viewers"]  # fmt: skip
    return Table("What viewers of session pages cost a dispatcher:", head, rows)


@asynccontextmanager
async def _stream(viewer: Viewer, conversation: Conversation) -> AsyncIterator[None]:
    async with viewer.http.get(f"{viewer.base}/sessions/{conversation}/events") as reply:
        reply.raise_for_status()

        async def read() -> None:
            async for _ in reply.content.iter_any():
                pass

        reading = asyncio.create_task(read())
        try:
            yield
            assert not reading.done(), "the stream has ended"
        finally:
            reading.cancel()
            await asyncio.wait([reading])


@asynccontextmanager
async def _at_work(system: System) -> AsyncIterator[list[Conversation]]:
    """Let ten conversations have a turn at work, whose transcript grows."""
    gateway = f"http://127.0.0.1:{await system.port('gateway_port')}"
    async with AsyncExitStack() as stack:
        those = list(seeds.conversations(TEAM, GENERAL, 100_000, MOST))
        working = []
        for each in those:
            item = Input(
                team=each.team, channel=each.channel, thread_ts=each.thread_ts, ts=each.thread_ts, text="Work",
                user=system.slack.person, user_team=each.team, channel_type="channel", event_id="Ev0000000001",
            )  # fmt: skip
            # Without a marker: nobody but the page looks for a run of it, which this program plays.
            await system.journal.create(paths.input_document(each, item.id), item)
            client = await stack.enter_async_context(played_run(system, gateway, each.thread_ts))
            working.append(asyncio.create_task(_work(client)))
        try:
            yield those
        finally:
            for task in working:
                assert not task.done(), task
                task.cancel()
            await asyncio.wait(working)


async def _work(client: GatewayClient) -> None:
    """Call a tool every two seconds, as an agent does."""
    number = 0
    while True:
        number += 1
        call = {
            "type": "tool_use",
            "id": f"c{number}",
            "name": "Bash",
            "input": {"command": f"make test PART={number}"},
        }
        result = {"type": "tool_result", "tool_use_id": f"c{number}", "content": "42 passed in 0.31 s\n" * 20}
        entries = [
            {"type": "assistant", "uuid": f"a{number}", "message": {"content": [call]}},
            {"type": "user", "uuid": f"u{number}", "message": {"content": [result]}},
        ]
        part = SessionPart(project="workspace", session_id="bench", entries=entries)
        await client.keep_part(1, number, part)
        await asyncio.sleep(PART_SECONDS)
