"""The model relay between a client (in the end the real CLI) and a server that stands in for the Claude API."""

import asyncio
import importlib.util
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import structlog
from aiohttp import web
from relay_world import ASK, DEADLINE, KEY, World, begin_stream, relay_world, start, stop, stream, text

from peerbot.claude.credentials import Credential
from peerbot.errors import SettingsError


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with relay_world(tmp_path) as world:
        yield world


async def test_the_key_is_put_in_and_the_workers_own_token_stays_behind(world: World) -> None:
    headers = {
        "Authorization": "Bearer agent-token", "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1", "x-api-key": "mine",
        "anthropic-version": "2023-06-01", "anthropic-beta": "effort-2025-11-24, mcp-client-2025-11-20,one",
        "X-Stainless-Lang": "js", "User-Agent": "cli",
    }  # fmt: skip
    async with world.post("v1/messages?beta=true&other=1", headers=headers) as reply:
        assert reply.status == 200
        await reply.read()
    sent = world.requests[0]
    assert sent.path_qs == "/v1/messages?beta=true"
    assert sent.content_length == len(json.dumps(ASK))
    assert json.loads(world.bodies[0]) == ASK
    assert sent.headers.getall("x-api-key") == [KEY]
    assert (sent.headers["anthropic-version"], sent.headers["anthropic-beta"]) == (
        "2023-06-01",
        "effort-2025-11-24",
    )
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

    world.relay = world.make_relay(idle_seconds=0.5)
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
    assert await world.spent_usd() == 0


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


async def test_a_request_of_thirty_megabytes_passes_byte_by_byte(world: World) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 30_000_000}}
    body = json.dumps({**ASK, "messages": [{"role": "user", "content": [picture]}]}, indent=1).encode()

    async def in_pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 64 * 1024):
            yield body[at : at + 64 * 1024]

    async with world.post(json=None, data=in_pieces()) as reply:
        assert reply.status == 200
        await reply.read()
    assert world.bodies == [body]


async def test_bodies_take_bounded_memory_together(world: World) -> None:
    """Twelve clients of one run send thirty megabytes each, at once and without their end."""
    process = psutil.Process()
    before = peak = process.memory_info().rss
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(30 * 16):
            yield bytes(64 * 1024)
        await ended.wait()

    async def send() -> None:
        async with world.post(json=None, data=body()) as reply:
            assert reply.status == 400

    async with asyncio.timeout(60), asyncio.TaskGroup() as clients:
        for _ in range(12):
            clients.create_task(send())
        for _ in range(40):
            await asyncio.sleep(0.05)
            peak = max(peak, process.memory_info().rss)
        ended.set()
    assert peak - before < 160_000_000
    assert not world.requests


@pytest.mark.parametrize("length_is_told", [True, False])
async def test_a_request_beyond_the_bound_is_refused(world: World, length_is_told: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(513):
            yield bytes(64 * 1024)

    data: Any = body()
    headers = {"Content-Length": str(513 * 64 * 1024)} if length_is_told else {}
    try:
        async with world.post(json=None, data=data, headers=headers) as reply:
            assert reply.status == 413
    except aiohttp.ClientOSError:
        pass  # it was still sending when it was refused
    assert not world.requests


async def test_a_body_that_can_not_be_unpacked_is_an_error_like_others(world: World) -> None:
    async with world.post(json=None, data=b"no gzip", headers={"Content-Encoding": "gzip"}) as reply:
        assert reply.status == 400
        assert KEY not in await reply.text()
    assert not world.requests


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


async def ask_claude(world: World, home: Path, **environment: str) -> dict[str, Any]:
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
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", **environment,
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
    assert "This turn's budget of $2.00 is used up" in result["result"]
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
