"""A model relay between a client and a server that stands in for the Claude API, for the tests of the relay."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from peerbot.claude.credentials import Credential
from peerbot.conversation.documents import now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit, Scope
from peerbot.errors import Refused
from peerbot.gateway.budget import Account, Accounts
from peerbot.gateway.model_relay import ModelRelay
from peerbot.journal.budgets import Chains
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.tasks import Tasks

KEY = "sk-ant-api03-planted-key"
CONVERSATION = Conversation("T1", "C1", "1795000000.000100")
RUN = 1
ASK: dict[str, Any] = {"model": "claude-opus-5-5", "max_tokens": 1000, "stream": True, "messages": []}
BODY = web.RequestKey("body", bytes)
GATEWAY_PATH = "/v1/runs/T1/C1/1795000000.000100/1/model"
DEADLINE = 10

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(kind: str, **data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def start(model: str = "claude-opus-5-5", **usage: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 0, "output_tokens": 1} | usage,
    }  # fmt: skip
    return event("message_start", message=message)


def text(words: str) -> bytes:
    return (
        event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})
        + event("content_block_stop", index=0)
    )


def stop(output_tokens: int) -> bytes:
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return event("message_delta", delta=delta, usage={"output_tokens": output_tokens}) + event("message_stop")


async def begin_stream(request: web.Request, **headers: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8", **headers})
    await response.prepare(request)
    return response


def stream(*chunks: bytes) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        for chunk in chunks:
            await response.write(chunk)
        return response

    return answer


@dataclass
class World:
    """The stand-in for the API (`answer` is its behaviour), and the relay in front of it."""

    answer: Answer = field(default_factory=lambda: stream(start(), text("hello"), stop(1)))
    asked: list[web.Request] = field(default_factory=list)  # the requests at the relay
    requests: list[web.Request] = field(default_factory=list)  # those that it passed on
    bodies: list[bytes] = field(default_factory=list)
    run: int = RUN
    moment: datetime | None = None  # the time for those who look; None: now
    make_relay: Callable[..., ModelRelay] = field(init=False)
    relay: ModelRelay = field(init=False)
    journal: Journal = field(init=False)
    url: str = ""
    session: aiohttp.ClientSession = field(init=False)

    async def api(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        request[BODY] = await request.content.read()
        self.bodies.append(request[BODY])
        return await self.answer(request)

    async def gateway(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        tail = request.path.removeprefix(GATEWAY_PATH + "/")
        try:
            return await self.relay.handle(request, CONVERSATION, self.run, tail)
        except Refused as error:
            return web.Response(status=403, text=str(error))

    def post(self, path: str = "v1/messages", **arguments: Any) -> Any:
        return self.session.post(f"{self.url}/{path}", **({"json": ASK} | arguments))

    async def ask(self, **changes: Any) -> tuple[int, dict[str, Any]]:
        """Ask, and read the reply; returns its status, and the error if it is one."""
        async with self.post(json={**ASK, **changes}) as reply:
            text = await reply.text()
        return reply.status, {} if reply.status == 200 else json.loads(text)["error"]

    async def status(self) -> int:
        """Ask; returns the reply's status."""
        async with self.post() as reply:
            await reply.read()
        status: int = reply.status
        return status

    async def account(self) -> Account:
        return await self.relay.accounts.of(CONVERSATION, self.run)

    async def spent_usd(self) -> float:
        return (await self.account()).spent_usd


async def serve(stack: AsyncExitStack, handler: Answer) -> str:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(
        app, shutdown_timeout=0.1, lingering_time=0.2, handler_cancellation=handler.__name__ == "api"
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@asynccontextmanager
async def relay_world(directory: Path) -> AsyncIterator[World]:
    """A world, in whose conversation run 1 has begun turn 1."""
    async with AsyncExitStack() as stack:
        world = World()
        api = await serve(stack, world.api)
        world.url = await serve(stack, world.gateway) + GATEWAY_PATH
        ours = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        world.session = await stack.enter_async_context(aiohttp.ClientSession())
        world.journal = Journal(await open_storage((directory / "journal").as_uri()))
        stack.push_async_callback(world.journal.close)
        tasks = Tasks()
        stack.push_async_callback(tasks.close, DEADLINE)

        def make_relay(
            *,
            idle_seconds: float = 60,
            budget_usd: float = 2,
            held_seconds: float = 0.2,
            server_tools: frozenset[str] = frozenset(),
            limits: Sequence[Limit] = (),
            linger_seconds: float = 60,
            base_url: str = api,
        ) -> ModelRelay:
            async def limits_of(_conversation: Conversation, _user: str) -> tuple[Limit, ...]:
                return (Limit(scope=Scope.TURN, usd=budget_usd), *limits)

            return ModelRelay(
                ours,
                base_url=base_url,
                credential=Credential(KEY),
                accounts=Accounts(
                    world.journal,
                    chains=Chains(world.journal),
                    limits=limits_of,
                    held_seconds=held_seconds,
                    linger_seconds=linger_seconds,
                    spawn=tasks.spawn,
                    clock=lambda: world.moment or now(),
                ),
                turn_seconds=300,
                idle_seconds=idle_seconds,
                server_tools=server_tools,
            )

        world.make_relay = make_relay
        world.relay = world.make_relay()
        await world.relay.accounts.begin(CONVERSATION, RUN, "U1")
        yield world
