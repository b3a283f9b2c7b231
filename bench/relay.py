"""The time that the model relay adds to a streamed chunk: an upstream sends the time, read directly and through it."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import aiohttp
from aiohttp import web
from system import System

from bench.figures import Figure, Section, milliseconds
from peerbot.conversation.documents import Run
from peerbot.conversation.keys import Conversation
from peerbot.protocol.documents import new_secret, run_path, secret_hash
from peerbot.worker.gateway import GatewayClient

PAUSE_SECONDS = 0.004
STREAMS = 4  # of each kind, by turns


async def measure(directory: Path, *, quick: bool) -> Section:
    chunks = 300 if quick else 2000
    async with _upstream(chunks // STREAMS) as upstream, System(directory, {"ANTHROPIC_BASE_URL": upstream}) as system:
        await system.start()
        gateway = f"http://127.0.0.1:{await system.port('gateway_port')}"
        async with played_run(system, gateway, "1795000000.000100") as client, aiohttp.ClientSession() as session:
            direct: list[float] = []
            relayed: list[float] = []
            for _ in range(STREAMS):
                direct += await _delays(session, upstream, "none")
                relayed += await _delays(session, f"{client.url}/model", client.agent_token)
    added = median(relayed) - median(direct)
    late = quantiles(relayed, n=20)[18] - quantiles(direct, n=20)[18]
    figure = Figure(
        "a streamed chunk through the model relay", milliseconds(median(relayed)), "the same without the relay",
        milliseconds(median(direct)), f"+{milliseconds(added)} (95th percentiles: {late * 1000:+.2f} ms)", "< +1 ms",
        len(relayed),
    )  # fmt: skip
    return Section("What the model relay adds", [figure])


@asynccontextmanager
async def _upstream(chunks: int) -> AsyncIterator[str]:
    """A server in the Claude API's place. Its events say when they were sent (seconds of a monotonic clock)."""

    async def messages(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(chunks):
            delta = {"type": "text_delta", "text": "some words "}
            event = {"type": "content_block_delta", "index": 0, "delta": delta, "sent": time.monotonic()}
            await response.write(f"event: content_block_delta\ndata: {json.dumps(event)}\n\n".encode())
            await asyncio.sleep(PAUSE_SECONDS)
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
async def played_run(system: System, gateway: str, thread_ts: str) -> AsyncIterator[GatewayClient]:
    """Reserve a run in the journal whose worker is this program, with a secret of our own."""
    conversation = Conversation(system.slack.team, system.slack.general, thread_ts)
    secret = new_secret()
    run = Run(
        n=1, serves=[f"{thread_ts}-message"], secret_hash=secret_hash(secret), repository="bench/bench",
        default_branch="main", branch=conversation.branch, reserved_by=f"bench-{secrets.token_hex(4)}",
    )  # fmt: skip
    await system.journal.reserve(conversation, run)
    async with GatewayClient(gateway + run_path(conversation, 1)) as client:
        await client.start(secret)
        await client.begin()  # without a turn a run gets no model
        yield client
        await client.close_run()


async def _delays(session: aiohttp.ClientSession, base_url: str, token: str) -> list[float]:
    """Ask for one stream; returns each chunk's seconds from its sending to its arrival."""
    body = {"model": "claude-opus-5-5", "max_tokens": 1, "stream": True, "messages": []}
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{base_url}/v1/messages?beta=true", json=body, headers=headers) as reply:
        reply.raise_for_status()
        return [
            time.monotonic() - json.loads(line[6:])["sent"]
            async for line in reply.content
            if line.startswith(b"data: ")
        ]
