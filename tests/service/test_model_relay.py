"""The model relay between a client (in the end the real CLI) and a server that stands in for the Claude API."""

import asyncio
import importlib.util
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import structlog
from aiohttp import web

from peerbot.claude.credentials import Credential
from peerbot.errors import SettingsError
from peerbot.gateway.model_relay import ModelRelay

KEY = "sk-ant-api03-planted-key"
RUN = "claude-worker-abc-1"
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
    """The stand-in for the API (`answer` is what it does), and the relay in front of it."""

    answer: Answer = field(default_factory=lambda: stream(start(), text("hello"), stop(1)))
    requests: list[web.Request] = field(default_factory=list)
    received_bytes: int = 0
    make_relay: Callable[[float], ModelRelay] = field(init=False)
    relay: ModelRelay = field(init=False)
    url: str = ""
    session: aiohttp.ClientSession = field(init=False)

    async def api(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        async for chunk in request.content.iter_any():
            self.received_bytes += len(chunk)
        return await self.answer(request)

    async def gateway(self, request: web.Request) -> web.StreamResponse:
        return await self.relay.handle(request, RUN, request.path.removeprefix(GATEWAY_PATH + "/"))

    def post(self, path: str = "v1/messages", **arguments: Any) -> Any:
        return self.session.post(f"{self.url}/{path}", **({"json": {"stream": True}} | arguments))


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


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        world = World()
        api = await serve(stack, world.api)
        world.url = await serve(stack, world.gateway) + GATEWAY_PATH
        ours = await stack.enter_async_context(aiohttp.ClientSession())
        world.session = await stack.enter_async_context(aiohttp.ClientSession())
        world.make_relay = lambda idle_seconds: ModelRelay(
            ours, base_url=api, credential=Credential(KEY), budget_usd=2, turn_seconds=300, idle_seconds=idle_seconds
        )
        world.relay = world.make_relay(60)
        yield world


async def test_the_key_is_put_in_and_the_workers_own_token_stays_behind(world: World) -> None:
    headers = {
        "Authorization": "Bearer agent-token", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "x-api-key": "mine",
        "anthropic-version": "2023-06-01", "anthropic-beta": "one,two", "X-Stainless-Lang": "js", "User-Agent": "cli",
    }  # fmt: skip
    async with world.post("v1/messages?beta=true&other=1", headers=headers) as reply:
        assert reply.status == 200
        await reply.read()
    sent = world.requests[0]
    assert sent.path_qs == "/v1/messages?beta=true"
    assert sent.content_length == len(b'{"stream": true}')
    assert sent.headers.getall("x-api-key") == [KEY]
    assert (sent.headers["anthropic-version"], sent.headers["anthropic-beta"]) == ("2023-06-01", "one,two")
    assert (sent.headers["X-Stainless-Lang"], sent.headers["User-Agent"]) == ("js", "cli")
    assert sent.headers["Accept-Encoding"] == "identity"
    assert not {"Authorization", "Cookie", "X-Forwarded-For"} & set(sent.headers)


async def test_of_the_replys_headers_those_pass_that_the_cli_acts_on(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {
            "request-id": f"req_{KEY}", "anthropic-ratelimit-requests-remaining": "7", "Set-Cookie": "a=b",
            "anthropic-organization-id": "org", "X-Reflected": KEY,
        }  # fmt: skip
        return await begin_stream(request, **headers)

    world.answer = answer
    async with world.post() as reply:
        await reply.read()
    assert reply.content_type == "text/event-stream"
    assert reply.headers["anthropic-ratelimit-requests-remaining"] == "7"
    assert not {"Set-Cookie", "anthropic-organization-id", "X-Reflected"} & set(reply.headers)
    assert KEY not in str(reply.headers)


async def test_a_chunk_is_passed_on_before_the_next_one_exists(world: World) -> None:
    seen = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(start())
        await seen.wait()
        await response.write(stop(1))
        return response

    world.answer = answer
    async with asyncio.timeout(DEADLINE), world.post() as reply:
        assert await reply.content.readany() == start()
        seen.set()
        assert await reply.content.read() == stop(1)


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_goes_ends_the_request_to_the_api(world: World, begun: bool) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if begun:
            await (await begin_stream(request)).write(start())
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    world.answer = answer
    asking = asyncio.create_task(world.post().__aenter__())
    async with asyncio.timeout(DEADLINE):
        await asked.wait()
        if begun:
            (await asking).close()
        else:
            asking.cancel()
        await cancelled.wait()
    await asyncio.gather(asking, return_exceptions=True)


async def test_a_reply_that_breaks_off_is_seen_as_broken(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(start())
        assert request.transport
        request.transport.close()
        return response

    world.answer = answer
    async with world.post() as reply:
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_a_reply_that_falls_silent_is_cut_at_the_idle_deadline(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        await (await begin_stream(request)).write(start())
        await asyncio.Event().wait()
        raise AssertionError

    world.relay = world.make_relay(0.5)
    world.answer = answer
    async with asyncio.timeout(DEADLINE), world.post() as reply:
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_an_api_that_does_not_answer_is_told_as_overloaded_which_the_cli_tries_again(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    world.answer = answer
    async with world.post() as reply:
        assert reply.status == 529
        assert (await reply.json())["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(("asked", "told"), [("7", "7"), ("90", "55"), ("1200", "1200")])
async def test_a_limit_passes_with_the_time_to_wait_in_steps_that_the_cli_takes(
    world: World, asked: str, told: str
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {"retry-after": asked, "x-should-retry": "true"}
        error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
        return web.json_response(error, status=429, headers=headers)

    world.answer = answer
    async with world.post() as reply:
        assert (reply.status, reply.headers["retry-after"], reply.headers["x-should-retry"]) == (429, told, "true")
        assert (await reply.json())["error"]["message"] == "slow down"
    assert world.relay.spent_usd(RUN) == 0


async def test_an_error_that_quotes_the_key_arrives_without_it(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=401, text=f"bad key {request.headers['x-api-key']}, yes {KEY}{KEY}")

    world.answer = answer
    with structlog.testing.capture_logs() as logs:
        async with world.post() as reply:
            assert reply.status == 401
            words = await reply.text()
    assert words.startswith("bad key")
    assert KEY not in words
    assert KEY not in repr(logs)


async def test_a_redirect_is_not_followed_and_not_passed_on(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:9/v1/messages"})

    world.answer = answer
    async with world.post(allow_redirects=False) as reply:
        assert reply.status == 502
        assert "Location" not in reply.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "v1/messages"),
        ("GET", "v1/models"),
        ("POST", "v1/messages/batches"),
        ("POST", "v1/files"),
        ("POST", "v1/complete"),
        ("POST", "v1/messages/"),
        ("GET", "v1/organizations/api_keys"),
        ("POST", "api/hello"),
        ("POST", ""),
    ],
)
async def test_nothing_but_messages_is_relayed(world: World, method: str, path: str) -> None:
    async with world.session.request(method, f"{world.url}/{path}") as reply:
        assert reply.status == 404
        assert (await reply.json())["error"]["type"] == "not_found_error"
    assert not world.requests


async def test_a_greeting_is_answered_without_asking_the_api(world: World) -> None:
    async with world.session.head(f"{world.url}/api/hello") as reply:
        assert reply.status == 200
    assert not world.requests


async def test_a_request_of_thirty_megabytes_streams_in_bounded_memory(world: World) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(480):
            yield bytes(64 * 1024)

    process = psutil.Process()
    before = peak = process.memory_info().rss
    asking = asyncio.create_task(world.post(json=None, data=body()).__aenter__())
    while not asking.done():
        await asyncio.wait([asking], timeout=0.005)
        peak = max(peak, process.memory_info().rss)
    reply = await asking
    await reply.read()
    assert world.received_bytes == 480 * 64 * 1024
    assert peak - before < 12_000_000


@pytest.mark.parametrize("length_is_told", [True, False])
async def test_a_request_beyond_the_bound_is_refused(world: World, length_is_told: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(1025):
            yield bytes(64 * 1024)

    data: Any = body()
    headers = {"Content-Length": str(1025 * 64 * 1024)} if length_is_told else {}
    try:
        async with world.post(json=None, data=data, headers=headers) as reply:
            assert reply.status == 413
    except aiohttp.ClientOSError:
        pass  # it was still sending when it was refused
    assert world.received_bytes <= 64 * 1024 * 1024


async def test_what_a_stream_says_that_it_used_is_counted(world: World) -> None:
    usage = {"input_tokens": 1000, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 30_000,
             "cache_creation": {"ephemeral_5m_input_tokens": 20_000, "ephemeral_1h_input_tokens": 10_000}}  # fmt: skip
    whole = start("claude-sonnet-4-6", **usage) + text("hello") + stop(5000)
    world.answer = stream(*(whole[at : at + 7] for at in range(0, len(whole), 7)))  # events in pieces
    async with world.post() as reply:
        await reply.read()
    expected = (1000 * 3 + 100_000 * 0.3 + 20_000 * 3.75 + 10_000 * 6 + 5000 * 15) / 1_000_000
    assert world.relay.spent_usd(RUN) == pytest.approx(expected)
    world.relay.forget(RUN)
    assert world.relay.spent_usd(RUN) == 0


async def test_what_a_whole_reply_says_that_it_used_is_counted(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"model": "claude-haiku-4-5", "usage": {"input_tokens": 1000, "output_tokens": 100}})

    world.answer = answer
    async with world.post(json={}) as reply:
        assert (await reply.json())["model"] == "claude-haiku-4-5"
    assert world.relay.spent_usd(RUN) == pytest.approx(0.0015)


async def test_an_unknown_model_counts_as_the_dearest(world: World) -> None:
    world.answer = stream(start("claude-next-1", input_tokens=1_000_000), stop(0))
    async with world.post() as reply:
        await reply.read()
    assert world.relay.spent_usd(RUN) >= 15


async def test_counting_tokens_costs_nothing(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"input_tokens": 1_000_000})

    world.answer = answer
    async with world.post("v1/messages/count_tokens") as reply:
        assert reply.status == 200
    assert world.requests[0].path == "/v1/messages/count_tokens"
    assert world.relay.spent_usd(RUN) == 0


async def test_replies_that_are_hung_up_on_count_too(world: World) -> None:
    """An agent that closes every stream before its figures come does not think for nothing."""
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(start(input_tokens=1000) + text("word " * 4000))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return response

    world.answer = answer
    async with asyncio.timeout(DEADLINE):
        reply = await world.post().__aenter__()
        await reply.content.readuntil(b"content_block_stop")
        reply.close()
        await ended.wait()
    assert 0.08 < world.relay.spent_usd(RUN) < 0.3


async def test_a_request_that_is_hung_up_on_before_its_reply_counts_by_its_size(world: World) -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    world.answer = answer
    async with asyncio.timeout(DEADLINE):
        asking = asyncio.create_task(world.post(json=None, data=bytes(400_000)).__aenter__())
        await asked.wait()
        asking.cancel()
        await ended.wait()
    assert 0.1 < world.relay.spent_usd(RUN) < 2


async def test_a_body_that_can_not_be_unpacked_is_an_error_like_others(world: World) -> None:
    async with world.post(json=None, data=b"no gzip", headers={"Content-Encoding": "gzip"}) as reply:
        assert reply.status in (400, 529)
        assert KEY not in await reply.text()


async def test_a_used_up_budget_refuses_this_run_alone(world: World) -> None:
    world.answer = stream(start(input_tokens=1_000_000), stop(1))
    async with world.post() as reply:
        await reply.read()
    async with world.post() as reply:
        assert reply.status == 402
        error = (await reply.json())["error"]
    assert error["type"] == "billing_error"
    assert "budget of $2.00 is used up" in error["message"]
    assert len(world.requests) == 1
    world.relay.forget(RUN)
    async with world.post() as reply:
        assert reply.status == 200


def test_a_subscription_token_is_refused_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="API key") as caught:
        Credential("sk-ant-oat01-planted")
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "a b", "key\n", "ké"])
def test_what_can_not_be_a_key_is_refused(key: str) -> None:
    with pytest.raises(SettingsError, match="ANTHROPIC_API_KEY"):
        Credential(key)


def test_a_credential_does_not_print_itself() -> None:
    assert KEY not in repr(Credential(KEY))


async def ask_claude(world: World, home: Path) -> dict[str, Any]:
    """Ask the real CLI, with the relay as its API; returns its result document."""
    package = importlib.util.find_spec("claude_agent_sdk")
    assert package
    assert package.origin
    process = await asyncio.create_subprocess_exec(
        Path(package.origin).parent / "_bundled" / "claude", "-p", "hello", "--output-format", "json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, cwd=home,
        env={
            "PATH": os.environ["PATH"], "HOME": str(home), "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "ANTHROPIC_BASE_URL": world.url, "ANTHROPIC_AUTH_TOKEN": "agent-token",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
    )  # fmt: skip
    async with asyncio.timeout(40):
        stdout, _ = await process.communicate()
    result: dict[str, Any] = json.loads(stdout)
    return result


async def test_the_real_cli_works_through_the_relay_and_shows_when_the_budget_is_used_up(
    world: World, tmp_path: Path
) -> None:
    """Its base URL has a path: the run's."""
    world.answer = stream(start(input_tokens=1_000_000), text("Hello from the other side."), stop(5))
    result = await ask_claude(world, tmp_path)
    assert (result["is_error"], result["result"]) == (False, "Hello from the other side.")
    assert {request.headers["x-api-key"] for request in world.requests} == {KEY}
    assert all("Authorization" not in request.headers for request in world.requests)
    asked = len(world.requests)
    result = await ask_claude(world, tmp_path)
    assert result["is_error"]
    assert "This run's budget of $2.00 is used up" in result["result"]
    assert len(world.requests) == asked


async def test_the_real_cli_tries_again_when_the_api_was_gone_for_a_moment(world: World, tmp_path: Path) -> None:
    recovered = world.answer

    async def answer(request: web.Request) -> web.StreamResponse:
        world.answer = recovered
        assert request.transport
        request.transport.abort()
        return web.Response()

    world.answer = answer
    assert (await ask_claude(world, tmp_path))["result"] == "hello"
