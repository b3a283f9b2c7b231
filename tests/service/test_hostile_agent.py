"""A hostile agent stops nobody else: it holds its run's tokens, and may send the gateway whatever it likes."""

import asyncio
import gzip
import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import claude_agent_sdk
import psutil
import pytest
from aiohttp import web
from gateway_server import GatewayServer, PlayedRun
from system import eventually

from peerbot.conversation.documents import FileChange
from peerbot.gateway.shares import Kind, Shares, Size
from peerbot.journal.open import open_storage
from peerbot.journal.storage import Storage
from peerbot.local.github import LocalGitHub
from peerbot.local.model import DemoModel
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import TurnResult
from peerbot.protocol.sessions import unpack
from peerbot.web.connections import Connections

UNLIMITED = {kind: Size(10_000, 10_000) for kind in Kind}
TINY = {Kind.MODEL: Size(1, 1), Kind.GIT: Size(1, 1), Kind.OWN: Size(8, 16), Kind.LARGE: Size(1, 1)}
CLI = Path(str(claude_agent_sdk.__file__)).parent / "_bundled" / "claude"
ASKED = {"model": "claude-opus-5-5", "max_tokens": 1, "stream": True, "messages": []}
HELD = ASKED | {"max_tokens": 2}  # the API does not answer this one before it may


@dataclass
class World:
    """A gateway, and the runs of two people: one is hostile."""

    server: GatewayServer
    hostile: PlayedRun
    other: PlayedRun
    session: aiohttp.ClientSession
    hostile_name: str
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    def headers(self, run: PlayedRun) -> dict[str, str]:
        return {"Authorization": f"Bearer {run.gateway.agent_token}"}

    async def ask(self, run: PlayedRun, path: str = "model/v1/messages", data: Any = None) -> tuple[int, str]:
        """Ask as the run's agent does; returns status and body."""
        async with self.session.post(
            f"{run.gateway.url}/{path}", data=data or json.dumps(ASKED), headers=self.headers(run)
        ) as reply:
            return reply.status, await reply.text()

    async def begins_and_stops(self) -> AsyncIterator[bytes]:
        """A body whose first byte comes, and no other."""
        yield b"{"
        await self.ends.wait()

    def attack(self, stack: AsyncExitStack, count: int, path: str = "") -> "list[asyncio.Task[Any]]":
        """Begin so many requests of the hostile run that don't go on: held by the API, or with bodies that stop."""
        body = (lambda: json.dumps(HELD)) if not path else self.begins_and_stops
        path = path or "model/v1/messages"
        tasks = [asyncio.create_task(self.ask(self.hostile, path, body())) for _ in range(count)]
        stack.push_async_callback(_cancelled, tasks)
        return tasks


async def _cancelled(tasks: "list[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Api:
    """A server in the Claude API's place, which counts the requests that have begun."""

    url: str = ""
    begun: int = 0
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        self.begun += 1
        if (await request.json())["max_tokens"] == HELD["max_tokens"]:
            await self.ends.wait()
        return web.json_response({"content": []})


@asynccontextmanager
async def api() -> AsyncIterator[Api]:
    found = Api()
    app = web.Application()
    app.router.add_post("/v1/messages", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()


@asynccontextmanager
async def world(
    directory: Path, *, wrap: "Callable[[Storage], Storage] | None" = None, **how: Any
) -> AsyncIterator[World]:
    storage = await open_storage((directory / "journal").as_uri())
    async with (
        LocalSlack() as slack,
        LocalGitHub() as github,
        GatewayServer(wrap(storage) if wrap else storage, slack, github, **how) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        item = await server.say("@peerbot attack")
        hostile = await server.run(item)
        other = await server.run(await server.say("@peerbot work"))
        for run in (hostile, other):
            await run.gateway.begin()
        yield World(server, hostile, other, session, item.conversation.job_name(1))


# Each run's share


@pytest.mark.parametrize("planted", [False, True], ids=["shares", "planted: all share one session's connections"])
async def test_requests_that_never_end_leave_another_run_its_model(tmp_path: Path, planted: bool) -> None:
    weak: dict[str, Any] = {"shares": Shares(sizes=UNLIMITED), "model_connections": 100} if planted else {}
    async with api() as model, world(tmp_path, model_url=model.url, **weak) as it, AsyncExitStack() as stack:
        it.attack(stack, 120)
        await eventually(lambda: model.begun == (100 if planted else 8))

        asking = asyncio.create_task(it.ask(it.other))
        done, _ = await asyncio.wait([asking], timeout=1.0 if planted else 20.0)

        assert bool(done) is not planted
        if planted:
            asking.cancel()
        else:
            assert asking.result() == (200, '{"content": []}')


async def test_a_run_that_asks_for_too_much_is_told_in_the_apis_own_form_to_come_back(tmp_path: Path) -> None:
    async with api() as model, world(tmp_path, model_url=model.url) as it, AsyncExitStack() as stack:
        held = it.attack(stack, 8 + 32)
        await eventually(lambda: model.begun == 8 and it.server.shares.waiting(it.hostile_name, Kind.MODEL) == 32)

        async with it.session.post(
            f"{it.hostile.gateway.url}/model/v1/messages", json=ASKED, headers=it.headers(it.hostile)
        ) as reply:
            error = await reply.json()

        assert (reply.status, reply.headers["Retry-After"]) == (429, "5")
        assert error["error"]["type"] == "rate_limit_error"
        assert "more at once than its share" in error["error"]["message"]
        assert not any(task.done() for task in held), "those that wait still wait"
        model.ends.set()
        assert {status for status, _ in await asyncio.gather(*held)} == {200}, "they come in their turn"


async def test_the_real_cli_comes_back_after_such_an_answer(tmp_path: Path) -> None:
    async with (
        DemoModel() as model,
        world(
            tmp_path, model_url=model.url, model_key=model.api_key, shares=Shares(sizes=TINY, wait_seconds=0.5)
        ) as it,
        AsyncExitStack() as stack,
    ):
        [held] = it.attack(stack, 1, "model/v1/messages")
        process = await asyncio.create_subprocess_exec(
            *(CLI, "-p", "hello", "--output-format", "stream-json", "--verbose"),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, cwd=tmp_path,
            env={
                "PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "CLAUDE_CONFIG_DIR": str(tmp_path / "claude"),
                "ANTHROPIC_BASE_URL": f"{it.hostile.gateway.url}/model",
                "ANTHROPIC_AUTH_TOKEN": it.hostile.gateway.agent_token,
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            },
        )  # fmt: skip
        assert process.stdout
        told = []
        async with asyncio.timeout(60):
            async for line in process.stdout:
                told.append(json.loads(line))
                if told[-1].get("subtype") == "api_retry" and not held.done():
                    assert told[-1]["error_status"] == 429
                    it.ends.set()
            await process.wait()

        assert "api_retry" in [line.get("subtype") for line in told]
        assert told[-1]["is_error"] is False


async def test_real_git_says_why_it_has_to_wait(tmp_path: Path) -> None:
    """The run's only place for git is taken by a request that does not end, and so is the place in line."""
    async with world(tmp_path, shares=Shares(sizes=TINY)) as it, AsyncExitStack() as stack:
        it.attack(stack, 2, "git/git-upload-pack")
        url = f"{it.hostile.gateway.url}/git"
        header = f"http.extraHeader=Authorization: Bearer {it.hostile.gateway.agent_token}"

        async def refused() -> bool:
            git = await asyncio.create_subprocess_exec(
                "git",
                "-c",
                header,
                "ls-remote",
                url,
                stderr=subprocess.PIPE,
                env={"LANG": "C", "PATH": "/usr/bin:/bin"},
            )
            _, said = await asyncio.wait_for(git.communicate(), 20)
            return b"remote: PeerBot: This run asks for more at once than its share. Try again in a moment." in said

        async with asyncio.timeout(20):
            while not await refused():  # until both requests have come
                pass


@pytest.mark.slow
@pytest.mark.parametrize("path", ["model/v1/messages", "git/git-upload-pack"])
async def test_a_request_that_comes_a_byte_at_a_time_is_given_up(tmp_path: Path, path: str) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while not it.ends.is_set():
            yield b" "
            await asyncio.sleep(0.5)  # this test is about the pace

    async with api() as model, world(tmp_path, model_url=model.url) as it:
        async with asyncio.timeout(40):  # each byte moves the deadline of silence, which is longer than this
            try:
                status, _ = await it.ask(it.hostile, path, trickle())
                assert status >= 400
            except aiohttp.ClientError:
                pass  # it was still sending when it was cut off


async def test_one_run_moves_one_large_body_at_a_time_and_small_ones_pass(tmp_path: Path) -> None:
    async with world(tmp_path, shares=Shares(sizes=TINY)) as it, AsyncExitStack() as stack:
        turn = (await it.hostile.gateway.begin()).turn
        supervisor = {"Authorization": f"Bearer {it.hostile.gateway._supervisor_token}"}

        async def put(part: int, body: Any) -> int:
            url = f"{it.hostile.gateway.url}/turns/{turn}/session/{part}"
            async with it.session.put(url, data=body, headers=supervisor) as reply:
                return reply.status

        large = [asyncio.create_task(put(part, it.begins_and_stops())) for part in (1, 2)]
        stack.push_async_callback(_cancelled, large)
        await eventually(lambda: it.server.shares.waiting(it.hostile_name, Kind.LARGE) == 1)

        assert await put(3, it.begins_and_stops()) == 503, "one moves, one waits"
        assert await put(4, b"small") == 204
        other = (await it.other.gateway.begin()).turn
        url = f"{it.other.gateway.url}/turns/{other}/work/1"
        headers = {"Authorization": f"Bearer {it.other.gateway._supervisor_token}"}
        async with it.session.put(url, data=io.BytesIO(bytes(3 * 1024 * 1024)), headers=headers) as reply:
            assert reply.status == 204, "another run's large one passes"
        it.ends.set()
        assert await asyncio.gather(*large) == [204, 204]


FORGED = b'{"schema":1,"transcripts":[{"project":"w","session_id":"s","entries":[' + b"{}," * 5_000_000 + b"{}]}]}"


@dataclass
class Parsing:
    """The weakness: a storage that first reads what is written, as the gateway of release 0.1.0 did."""

    storage: Storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        if "/sessions/" in key:
            await asyncio.to_thread(unpack, data)
        return await self.storage.put_if_absent(key, data, new=new)


@pytest.mark.parametrize("planted", [False, True], ids=["bytes", "planted: it is parsed"])
async def test_a_forged_transcript_takes_no_more_memory_than_its_bytes(tmp_path: Path, planted: bool) -> None:
    """Fifteen megabytes of empty entries: twenty kilobytes packed, half a gigabyte parsed."""
    packed, process = gzip.compress(FORGED), psutil.Process()
    async with world(tmp_path, wrap=Parsing if planted else None) as it:
        turn = (await it.hostile.gateway.begin()).turn
        supervisor = {"Authorization": f"Bearer {it.hostile.gateway._supervisor_token}"}
        before = peak = process.memory_info().rss

        async def send() -> None:
            url = f"{it.hostile.gateway.url}/turns/{turn}"
            async with it.session.put(f"{url}/session", data=packed, headers=supervisor) as reply:
                assert reply.status == 204
            async with it.session.put(f"{url}/session/1", data=io.BytesIO(FORGED), headers=supervisor) as reply:
                assert reply.status == 204 or planted
            async with it.session.get(f"{url}/session", headers=supervisor) as reply:
                assert reply.status == 200
                assert len(await reply.read()) < 1_000_000

        sending = asyncio.create_task(send())
        while not sending.done():
            await asyncio.wait([sending], timeout=0.005)
            peak = max(peak, process.memory_info().rss)
        await sending

        assert (peak - before > 200_000_000) is planted
        assert planted or peak - before < 100_000_000


@pytest.mark.parametrize(
    ("method", "path", "size"),
    [
        ("POST", "start", 5_000),
        ("PUT", "turns/1/progress", 300_000),
        ("POST", "turns/1/finish", 3_000_000),
        ("PUT", "turns/1/session/1", 41 * 1024 * 1024),
        ("PUT", "turns/1/session", 65 * 1024 * 1024),
        ("PUT", "turns/1/work/1", 65 * 1024 * 1024),
    ],
)
@pytest.mark.parametrize("length_is_told", [True, False])
async def test_each_body_has_its_limit(tmp_path: Path, method: str, path: str, size: int, length_is_told: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // 1000 + 1):
            yield bytes(1000)

    async with world(tmp_path) as it:
        await it.hostile.gateway.begin()
        headers = {"Authorization": f"Bearer {it.hostile.gateway._supervisor_token}"}
        headers |= {"Content-Length": str((size // 1000 + 1) * 1000)} if length_is_told else {}
        try:
            async with it.session.request(
                method, f"{it.hostile.gateway.url}/{path}", data=body(), headers=headers
            ) as reply:
                assert (reply.status, "too large" in await reply.text()) == (403, True)
        except aiohttp.ClientOSError:
            pass  # it was still sending when it was refused


async def test_a_turn_that_changed_a_hundred_thousand_files_can_still_be_finished(tmp_path: Path) -> None:
    """An honest worker keeps to the limit."""
    async with world(tmp_path) as it:
        turn = (await it.other.gateway.begin()).turn
        files = [FileChange(path=f"node_modules/package-{n}/index.js", added=1, removed=0) for n in range(100_000)]
        [item] = await it.other.gateway.inputs(0)
        result = TurnResult(inputs=[item.id], status="done", text="Done.", files=files, seconds=1)

        assert (await it.other.gateway.finish(turn, result)).turn == turn


# Connections


async def half_open(stack: AsyncExitStack, url: str, count: int, sent: bytes = b"GET / HTTP/1.1\r\n") -> "list[Any]":
    """Open connections that begin a request and do not end it; returns their readers."""
    host, port = url.removeprefix("http://").split(":")
    found = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port))
        stack.callback(writer.close)
        writer.write(sent)
        found.append(reader)
    return found


@pytest.mark.parametrize("planted", [False, True], ids=["deadline", "planted: aiohttp's own server"])
async def test_a_connection_that_ends_no_request_is_closed(tmp_path: Path, planted: bool) -> None:
    connections = None if planted else Connections(100, anonymous_seconds=0.5)
    async with world(tmp_path, connections=connections) as it, AsyncExitStack() as stack:
        start = f"POST {it.other.gateway.url.removeprefix(it.server.url)}/start HTTP/1.1\r\nHost: x\r\n"
        readers = [
            *await half_open(stack, it.server.url, 3, b""),
            *await half_open(stack, it.server.url, 3),
            *await half_open(stack, it.server.url, 3, f"{start}Content-Length: 9\r\n\r\n".encode()),
        ]
        ended = [asyncio.create_task(reader.read()) for reader in readers]
        stack.push_async_callback(_cancelled, ended)
        done, _ = await asyncio.wait(ended, timeout=2.0 if planted else 20.0)

        assert len(done) == (0 if planted else 9)


async def test_a_crowd_of_half_open_connections_keeps_nobody_out(tmp_path: Path) -> None:
    """Those that have said nothing whole for the longest time make room; a run at work keeps its connections."""
    connections = Connections(20, anonymous_seconds=60)
    async with (
        api() as model,
        world(tmp_path, model_url=model.url, connections=connections) as it,
        AsyncExitStack() as stack,
    ):
        streaming = asyncio.create_task(it.ask(it.other, data=json.dumps(HELD)))
        stack.push_async_callback(_cancelled, [streaming])
        await eventually(lambda: model.begun == 1)
        await half_open(stack, it.server.url, 200)

        async with aiohttp.ClientSession() as session:
            for _ in range(5):
                url, headers = f"{it.other.gateway.url}/model/v1/messages", it.headers(it.other)
                async with session.post(url, json=ASKED, headers=headers) as reply:
                    assert reply.status == 200
        assert connections.all <= 20
        model.ends.set()
        assert (await streaming)[0] == 200


def test_the_limit_of_open_files_is_raised_to_what_the_system_allows() -> None:
    program = (
        "import resource; hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "from peerbot.dispatcher.process import raise_file_limit\n"
        "print(raise_file_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "True\n"
    )
