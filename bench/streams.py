"""The cost of streams through the model relay, beside nginx with the same: the process's CPU seconds for each chunk.

Both pass the same streams on from the same upstream, unbuffered, by turns. The relay does more on the way: it checks
the caller and the headers, and counts the budget. nginx shows the least that a proxy can cost.
"""

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import aiohttp
import psutil
from aiohttp import web
from system import System, eventually

from bench.figures import Figure, Section
from bench.relay import played_run

CHUNKS_A_SECOND = 50  # of one stream: about as fast as a large model writes
STREAMS = 20  # at once
RUNS = 4  # that they belong to: each has its share
NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr error;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path other; uwsgi_temp_path other;
    scgi_temp_path other;
    upstream model {{ server {upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffering off; proxy_read_timeout 300s;
        }}
    }}
}}
"""


@dataclass
class _Cost:
    """The cost of one way to the upstream: its process's CPU seconds, and the chunks and bytes that it passed on."""

    seconds: float
    chunks: int
    bytes: int

    @property
    def microseconds_a_chunk(self) -> float:
        return self.seconds / self.chunks * 1e6

    @property
    def seconds_a_megabyte(self) -> float:
        return self.seconds / self.bytes * 1e6

    @property
    def streams_a_core(self) -> float:
        return self.chunks / self.seconds / CHUNKS_A_SECOND


async def measure(directory: Path, *, quick: bool) -> Section:
    rounds, seconds = (1, 2.0) if quick else (5, 8.0)
    relayed: list[_Cost] = []
    beside: list[_Cost] = []
    quiet = {"LOG_LEVEL": "INFO", "PEERBOT_RUN_BUDGET_USD": "1000"}  # one run has the whole budget
    async with (
        upstream(seconds) as model,
        _nginx(directory / "nginx", model) as nginx,
        System(directory / "system", {"ANTHROPIC_BASE_URL": model} | quiet) as system,
    ):
        dispatcher = await system.start()
        gateway = f"http://127.0.0.1:{await system.port('gateway_port')}"
        connections = aiohttp.TCPConnector(limit=STREAMS)
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connections))
            roots = [f"179500000{n}.000100" for n in range(RUNS)]
            runs = [await stack.enter_async_context(played_run(system, gateway, root)) for root in roots]
            doors = [(f"{run.url}/model", run.agent_token) for run in runs]
            for _ in range(rounds):
                relayed.append(await _cost(session, dispatcher.pid, doors))
                if nginx:
                    beside.append(await _cost(session, nginx[0], [(nginx[1], "none")]))
    ours = _median(relayed)
    title = f"{STREAMS} streams of {CHUNKS_A_SECOND} chunks a second through the model relay"
    if not beside:
        shown = f"{ours.streams_a_core:.0f} streams a core, {ours.microseconds_a_chunk:.0f} µs of CPU a chunk"
        return Section(title, notes=[f"There is no nginx here, so nothing to compare with: {shown}."])
    theirs = _median(beside)
    return Section(
        title,
        [
            Figure(
                "CPU time of a chunk", f"{ours.microseconds_a_chunk:.0f} µs", "nginx",
                f"{theirs.microseconds_a_chunk:.0f} µs",
                f"×{ours.microseconds_a_chunk / theirs.microseconds_a_chunk:.1f}", "", ours.chunks,
            ),
            Figure(
                "CPU time of a megabyte", f"{ours.seconds_a_megabyte:.2f} s", "nginx",
                f"{theirs.seconds_a_megabyte:.2f} s",
                f"×{ours.seconds_a_megabyte / theirs.seconds_a_megabyte:.1f}", "", ours.chunks,
            ),
            Figure(
                "streams a core", f"{ours.streams_a_core:.0f}", "nginx", f"{theirs.streams_a_core:.0f}",
                f"×{ours.streams_a_core / theirs.streams_a_core:.2f}", "", ours.chunks,
            ),
        ],
    )  # fmt: skip


def _median(costs: list[_Cost]) -> _Cost:
    """Return the cost of all chunks at the median CPU time of one."""
    chunks, size = sum(cost.chunks for cost in costs), sum(cost.bytes for cost in costs)
    return _Cost(median(cost.seconds / cost.chunks for cost in costs) * chunks, chunks, size)


async def _cost(session: aiohttp.ClientSession, pid: int, doors: list[tuple[str, str]]) -> _Cost:
    """Read `STREAMS` streams at once to their ends, through `doors` (addresses with their tokens) by turns.

    Returns the cost of that for the process `pid`.
    """
    process = psutil.Process(pid)
    before = process.cpu_times()
    found = await asyncio.gather(*(_read(session, *doors[n % len(doors)]) for n in range(STREAMS)))
    after = process.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return _Cost(spent, sum(chunks for chunks, _ in found), sum(size for _, size in found))


async def _read(session: aiohttp.ClientSession, url: str, token: str) -> tuple[int, int]:
    body = {"model": "claude-opus-5-5", "max_tokens": 1, "stream": True, "messages": []}
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{url}/v1/messages?beta=true", json=body, headers=headers) as reply:
        reply.raise_for_status()
        data = await reply.read()
    return data.count(b"\n\n"), len(data)


@asynccontextmanager
async def upstream(seconds: float) -> AsyncIterator[str]:
    """A server in the Claude API's place: each reply streams for this long."""
    delta = {"type": "text_delta", "text": "some words of an answer "}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    chunk = f"event: content_block_delta\ndata: {json.dumps(event)}\n\n".encode()

    async def messages(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(int(seconds * CHUNKS_A_SECOND)):
            await asyncio.sleep(max(0.0, began + number / CHUNKS_A_SECOND - loop.time()))
            await response.write(chunk)
        await response.write_eof()
        return response

    app = web.Application()
    app.router.add_post("/v1/messages", messages)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _nginx(directory: Path, upstream: str) -> AsyncIterator[tuple[int, str] | None]:
    """Start nginx before `upstream`; yields its process and its URL, or None if this machine has no nginx."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        yield None
        return
    await asyncio.to_thread(directory.mkdir, parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (directory / "nginx.conf").write_text(NGINX.format(upstream=urlsplit(upstream).netloc, port=port))
    process = await asyncio.create_subprocess_exec(program, "-p", str(directory), "-c", "nginx.conf", "-e", "stderr")
    try:
        await eventually(lambda: _listens(port))
        yield process.pid, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True
