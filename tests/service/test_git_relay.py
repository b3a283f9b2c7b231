"""Real git through the git relay, to a forge that is git's own `http-backend`."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
import pytest
import structlog
from aiohttp import web
from yarl import URL

from peerbot.gateway.git_protocol import FLUSH, pkt_line
from peerbot.gateway.git_relay import GitRelay, GitTarget

BRANCH = "peerbot/2026-11-23-abc"
CHECKPOINT = "refs/peerbot/abc/1"
CREDENTIAL = "Basic Zm9yZ2U6c2VjcmV0"
LARGEST = 32_000_000
GATEWAY_PATH = "/v1/runs/T1/C1/1795000000.000100/1/git"

Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Forge:
    """A forge with one bare repository. `fault` stands in for the next requests when it is set."""

    root: Path
    requests: list[web.Request] = field(default_factory=list)
    fault: Fault | None = None
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.fault:
            return await self.fault(request)
        if request.headers.get("Authorization") != CREDENTIAL:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="forge"'})
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", stdin=pipe, stdout=pipe, env=environment, start_new_session=True
        )
        assert process.stdin
        assert process.stdout
        feeding = asyncio.create_task(self._feed(request, process.stdin))
        response = web.StreamResponse()
        response.set_cookie("forge", "cookie")
        while line := (await process.stdout.readline()).strip().decode():
            name, _, value = line.partition(": ")
            if name == "Status":
                response.set_status(int(value[:3]))
            else:
                response.headers[name] = value
        try:
            await response.prepare(request)
            while chunk := await process.stdout.read(65536):
                await response.write(chunk)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(ConnectionError):
                await process.stdin.wait_closed()
            await process.wait()
        return response

    async def _feed(self, request: web.Request, stdin: asyncio.StreamWriter) -> None:
        try:
            async for chunk in request.content.iter_any():
                stdin.write(chunk)
                await stdin.drain()
        finally:
            stdin.close()

    def ref(self, name: str) -> str | None:
        found = subprocess.run(
            ["git", "-C", self.root / "acme" / "shop.git", "rev-parse", "-q", "--verify", name],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return found.stdout.strip() or None


@dataclass
class Ran:
    code: int
    stdout: str
    stderr: str


@dataclass
class World:
    """A forge, the relay in front of it, and a folder to work in."""

    forge: Forge
    url: str
    folder: Path
    requests: list[web.Request] = field(default_factory=list)
    replies: list[web.StreamResponse] = field(default_factory=list)

    async def git(self, *arguments: str, at: str = "work", fails: bool = False) -> Ran:
        home = {"HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
        folder = self.folder / at
        process = await asyncio.create_subprocess_exec(
            "git", *arguments, cwd=folder if folder.exists() else self.folder, stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"], **home},
        )  # fmt: skip
        async with asyncio.timeout(120):
            stdout, stderr = await process.communicate()
        assert process.returncode is not None
        ran = Ran(process.returncode, stdout.decode(), stderr.decode())
        assert (ran.code != 0) == fails, ran
        return ran

    async def commit(self, name: str, content: bytes = b"print(1)\n") -> str:
        (self.folder / "work" / name).write_bytes(content)
        await self.git("add", "-A")
        await self.git("commit", "-q", "-m", name)
        return (await self.git("rev-parse", "HEAD")).stdout.strip()


async def serve(stack: AsyncExitStack, handler: Fault, *, cancels: bool) -> str:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, lingering_time=0.2, handler_cancellation=cancels)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forge with one commit on main, and a checkout of it in `work`, on the conversation's branch."""
    home = tmp_path_factory.mktemp("template")
    (home / ".gitconfig").write_text(
        "[user]\nname=A\nemail=a@example.com\n[init]\ndefaultBranch=main\ntemplateDir=\n[core]\ncompression=0\n"
    )
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=home, env=environment, check=True)

    git("init", "-q", "--bare", "forge/acme/shop.git")
    for key in ("http.receivepack", "uploadpack.allowFilter", "receive.advertisePushOptions"):
        git("-C", "forge/acme/shop.git", "config", key, "true")
    git("init", "-q", "work")
    (home / "work" / "README.md").write_text("print(1)\n")
    git("-C", "work", "add", "-A")
    git("-C", "work", "commit", "-q", "-m", "one")
    git("-C", "work", "push", "-q", "../forge/acme/shop.git", "main", "main:refs/heads/doomed", "main:refs/tags/v1")
    git("-C", "work", "switch", "-q", "-c", BRANCH)
    return home


@pytest.fixture
async def world(template: Path, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A copy of the template, its forge behind the relay. Its parameter is the relay's idle deadline in seconds."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    async with AsyncExitStack() as stack:
        forge = Forge(tmp_path / "forge")
        forge.url = await serve(stack, forge.handle, cancels=True)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        idle_seconds = getattr(request, "param", 60.0)
        relay = GitRelay(session, lambda: CREDENTIAL, idle_seconds=idle_seconds, max_request_bytes=LARGEST)
        target = GitTarget(f"{forge.url}/acme/shop.git", BRANCH, CHECKPOINT)
        world = World(forge, "", tmp_path)

        async def gateway(request: web.Request) -> web.StreamResponse:
            world.requests.append(request)
            reply = await relay.handle(request, target, request.path.removeprefix(GATEWAY_PATH + "/"))
            world.replies.append(reply)
            return reply

        world.url = await serve(stack, gateway, cancels=False) + GATEWAY_PATH
        await world.git("remote", "add", "origin", world.url)
        yield world


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_clones_and_fetches_in_every_protocol(world: World, version: str) -> None:
    await world.git("-c", f"protocol.version={version}", "clone", "-q", world.url, "copy", at=".")
    assert (world.folder / "copy" / "README.md").read_text() == "print(1)\n"
    new = await world.commit("more.py")
    await world.git("push", "-q", str(world.forge.root / "acme/shop.git"), "HEAD:refs/heads/main")
    await world.git("-c", f"protocol.version={version}", "fetch", "-q", at="copy")
    assert (await world.git("cat-file", "-e", new, at="copy")).code == 0


async def test_clones_without_blobs_and_fetches_them_when_they_are_needed(world: World) -> None:
    await world.git("clone", "-q", "--filter=blob:none", "--no-checkout", world.url, "copy", at=".")
    before = len(world.forge.requests)
    await world.git("checkout", "-q", "main", at="copy")
    assert (world.folder / "copy" / "README.md").exists()
    assert len(world.forge.requests) > before


async def test_a_fetch_with_a_zipped_request_arrives(world: World) -> None:
    """git zips a request beyond a kilobyte, such as one that wants many commits; aiohttp has unzipped it."""
    branches = []
    for n in range(40):
        await world.git("commit", "-q", "--allow-empty", "-m", str(n))
        branches.append(f"HEAD~{n}:refs/heads/b{n}")
    await world.git("push", "-q", str(world.forge.root / "acme/shop.git"), *branches)
    await world.git("clone", "-q", world.url, "copy", at=".")
    assert "gzip" in [request.headers.get("Content-Encoding") for request in world.requests]
    assert "gzip" not in [request.headers.get("Content-Encoding") for request in world.forge.requests]


async def test_the_branch_is_pushed_and_may_be_forced(world: World) -> None:
    first = await world.commit("one.py")
    await world.git("push", "-q", "origin", BRANCH)
    assert world.forge.ref(f"refs/heads/{BRANCH}") == first
    await world.git("commit", "-q", "--amend", "-m", "other")
    with structlog.testing.capture_logs() as logs:
        await world.git("push", "-q", "--force", "origin", BRANCH)
    second = world.forge.ref(f"refs/heads/{BRANCH}")
    assert second != first
    moved = [entry for entry in logs if entry["event"] == "branch_moved"]
    assert [(entry["ref"], entry["old"], entry["new"]) for entry in moved] == [(f"refs/heads/{BRANCH}", first, second)]


async def test_a_shallow_clone_can_push(world: World) -> None:
    await world.git("clone", "-q", "--depth=1", world.url, "copy", at=".")
    await world.git("commit", "-q", "--allow-empty", "-m", "x", at="copy")
    await world.git("push", "-q", "origin", f"HEAD:refs/heads/{BRANCH}", at="copy")
    assert world.forge.ref(f"refs/heads/{BRANCH}")


async def test_a_checkpoint_is_pushed_over_another(world: World) -> None:
    await world.git("push", "-q", "origin", f"+HEAD:{CHECKPOINT}")
    await world.git("commit", "-q", "--amend", "--allow-empty", "-m", "no descendant")
    await world.git("push", "-q", "origin", f"+HEAD:{CHECKPOINT}")
    assert world.forge.ref(CHECKPOINT)


REFUSED = {
    "main": ["HEAD:refs/heads/main"],
    "another branch": ["HEAD:refs/heads/other"],
    "a branch that begins alike": [f"HEAD:refs/heads/{BRANCH}/x"],
    "a tag": ["HEAD:refs/tags/v2"],
    "another run's checkpoint": ["HEAD:refs/peerbot/abc/2"],
    "a note": ["HEAD:refs/notes/x"],
    "a deleted branch": [":refs/heads/doomed"],
    "a deleted tag": [":refs/tags/v1"],
    "its own branch and main": [f"HEAD:refs/heads/{BRANCH}", "HEAD:refs/heads/main"],
    "its own branch and main, at once or not at all": ["--atomic", f"HEAD:refs/heads/{BRANCH}", "HEAD:refs/heads/main"],
    "everything": ["--mirror"],
}


@pytest.mark.parametrize("arguments", REFUSED.values(), ids=REFUSED.keys())
async def test_refuses_every_other_push_as_a_whole_and_says_why(world: World, arguments: list[str]) -> None:
    await world.commit("evil.py")
    before = (await refs(world)), len(world.forge.requests)
    ran = await world.git("push", "origin", *arguments, fails=True)
    assert f"remote: PeerBot: nothing was pushed: you may push only {BRANCH}" in ran.stderr
    assert "[remote rejected]" in ran.stderr
    assert await refs(world) == before[0]
    assert len(world.forge.requests) == before[1] + 1  # the advertisement: the push itself never came near


async def refs(world: World) -> str:
    return (await world.git("for-each-ref", at="forge/acme/shop.git")).stdout


async def test_its_own_branch_and_checkpoint_are_not_deleted_either(world: World) -> None:
    await world.git("push", "-q", "origin", BRANCH, f"HEAD:{CHECKPOINT}")
    for ref in (f"refs/heads/{BRANCH}", CHECKPOINT):
        ran = await world.git("push", "origin", f":{ref}", fails=True)
        assert "PeerBot does not delete branches" in ran.stderr
        assert world.forge.ref(ref)


async def test_a_push_of_more_refs_than_a_hundred_is_refused_in_gits_words(world: World) -> None:
    ran = await world.git("push", "origin", *(f"HEAD:refs/heads/x{n}" for n in range(150)), fails=True)
    assert "remote: PeerBot: this push names too many refs" in ran.stderr


async def test_a_push_with_options_is_refused_since_a_forge_may_act_on_them(world: World) -> None:
    ran = await world.git("push", "-o", "merge_request.create", "origin", BRANCH, fails=True)
    assert "remote: PeerBot: PeerBot does not support push options (git push -o)" in ran.stderr
    assert not world.forge.ref(f"refs/heads/{BRANCH}")


async def test_a_body_that_can_not_be_unpacked_is_refused(world: World) -> None:
    async with aiohttp.ClientSession() as session:
        url, headers = f"{world.url}/git-receive-pack", {"Content-Encoding": "gzip"}
        async with session.post(url, data=b"no gzip", headers=headers) as reply:
            assert reply.status in (400, 413)


@pytest.mark.parametrize("ref", [f"refs/heads/{BRANCH}", "refs/heads/main"])
async def test_a_push_of_thirty_megabytes_streams_in_bounded_memory(world: World, ref: str) -> None:
    """Both ways: passed on, and read to its end and refused, which git must be able to read."""
    await world.commit("large.bin", os.urandom(30_000_000))
    process = psutil.Process()
    before = process.memory_info().rss
    pushing = asyncio.create_task(
        world.git("-c", "core.compression=0", "push", "origin", f"HEAD:{ref}", fails="main" in ref)
    )
    peak = before
    while not pushing.done():
        peak = max(peak, process.memory_info().rss)
        await asyncio.wait([pushing], timeout=0.01)
    ran = await pushing
    assert peak - before < 12_000_000
    if "main" in ref:
        assert {request.method for request in world.forge.requests} == {"GET"}
        assert f"remote: PeerBot: nothing was pushed: you may push only {BRANCH}" in ran.stderr
    else:
        assert world.forge.ref(ref)


async def test_a_client_without_side_band_still_gets_its_report(world: World) -> None:
    oid = world.forge.ref("main")
    assert oid
    line = f"{'0' * 40} {oid} refs/heads/main\0report-status".encode()
    async with aiohttp.ClientSession() as session:
        reply = await session.post(f"{world.url}/git-receive-pack", data=pkt_line(line) + FLUSH + b"PACK")
        assert b"ng refs/heads/main you may push only" in await reply.read()
        reply = await session.post(
            f"{world.url}/git-receive-pack", data=pkt_line(line.partition(b"\0")[0]) + FLUSH + b"PACK"
        )
        assert (reply.status, "PeerBot" in await reply.text()) == (403, True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "HEAD", 404),
        ("GET", "objects/info/packs", 404),
        ("GET", "info/refs", 403),
        ("GET", "info/refs?service=git-upload-archive", 403),
        ("GET", "git-upload-pack", 404),
        ("POST", "info/refs?service=git-upload-pack", 404),
        ("POST", "other.git/git-upload-pack", 404),
        ("POST", "git-upload-pack/..%2fgit-receive-pack", 404),
        ("POST", "info/lfs/objects/batch", 403),
        ("GET", "info/lfs/locks", 403),
    ],
)
async def test_nothing_but_smart_http_is_relayed(world: World, method: str, path: str, status: int) -> None:
    async with aiohttp.ClientSession() as session:
        reply = await session.request(method, URL(f"{world.url}/{path}", encoded=True))
        text = await reply.text()
    assert reply.status == status
    assert "PeerBot" in text
    assert not world.forge.requests


async def test_what_the_url_says_beyond_the_service_is_not_passed_on(world: World) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{world.url}/info/refs?service=git-upload-pack&token=x"
        async with session.get(url, headers={"Cookie": "a=b"}) as reply:
            assert await reply.read()
    assert world.forge.requests[0].query_string == "service=git-upload-pack"
    assert "Cookie" not in world.forge.requests[0].headers


async def test_credentials_are_put_in_and_never_come_back(world: World) -> None:
    await world.git("-c", "http.extraHeader=Authorization: Bearer agent", "push", "-q", "origin", BRANCH)
    assert {request.headers["Authorization"] for request in world.forge.requests} == {CREDENTIAL}
    for reply in world.replies:
        assert set(reply.headers) <= {"Content-Type", "Cache-Control", "Expires", "Pragma", "Date", "Server",
                                      "Content-Length", "Transfer-Encoding", "Connection"}  # fmt: skip


def answer(status: int, **headers: str) -> Fault:
    async def fault(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=f"you sent {request.headers['Authorization']}", headers=headers)

    return fault


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answer(401, **{"WWW-Authenticate": "Basic"}), "does not accept PeerBot's token"),
        (answer(403), "GitHub does not allow this. PeerBot's token needs the right to write"),
        (answer(404), "the repository is gone"),
        (answer(301, Location="http://127.0.0.1:9/elsewhere"), "has moved"),
        (answer(500), "has a problem (HTTP 500)"),
        (answer(200), "has a problem (HTTP 200)"),
    ],
)
async def test_what_the_forge_refuses_git_can_read(world: World, fault: Fault, words: str) -> None:
    await world.commit("x.py")
    world.forge.fault = fault
    ran = await world.git("fetch", "origin", fails=True)
    assert words in ran.stderr

    async def fault_on_post(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return await fault(request)
        world.forge.fault = None
        try:
            return await world.forge.handle(request)
        finally:
            world.forge.fault = fault_on_post

    clone = ["clone", world.url, "copy"]
    for arguments in (clone, ["-c", "protocol.version=0", *clone], ["push", "origin", BRANCH]):
        world.forge.fault = fault_on_post
        ran = await world.git(*arguments, fails=True)
        assert words in ran.stderr
        assert CREDENTIAL not in ran.stderr


async def test_a_forge_that_is_not_there_is_told_as_a_sentence(world: World) -> None:
    async def gone(request: web.Request) -> web.StreamResponse:
        assert request.transport
        request.transport.abort()
        return web.Response()

    world.forge.fault = gone
    assert "the git server does not answer" in (await world.git("fetch", "origin", fails=True)).stderr


@pytest.mark.parametrize("world", [1.0], indirect=True)
async def test_a_silent_forge_ends_at_the_idle_deadline(world: World) -> None:
    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    world.forge.fault = silent
    assert "the git server does not answer" in (await world.git("fetch", "origin", fails=True)).stderr


async def test_a_reply_that_breaks_off_is_seen_as_broken(world: World) -> None:
    """A half of a pack must never look like a whole one."""

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-git-upload-pack-result"})
        await response.prepare(request)
        await response.write(b"0008NAK\n")
        assert request.transport
        request.transport.close()
        return response

    world.forge.fault = half
    async with aiohttp.ClientSession() as session:
        reply = await session.post(f"{world.url}/git-upload-pack", data=b"0000")
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_a_request_beyond_the_bound_is_not_read_on(world: World) -> None:
    await world.commit("large.bin", os.urandom(LARGEST + 1))
    before = await refs(world)
    await world.git("push", "origin", "HEAD:refs/heads/main", fails=True)
    await world.git("push", "origin", BRANCH, fails=True)
    assert await refs(world) == before


SMUGGLED = b"report-status push-options=1 agent=git/2"


async def pushed_raw(world: World, url: str, capabilities: bytes, commit: str) -> bytes:
    """Push `commit` to the branch as no git does: our own bytes, with a push option behind the commands."""
    packing = await asyncio.create_subprocess_exec(
        "git", "-C", str(world.folder / "work"), "pack-objects", "--stdout", "-q", "--revs",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    pack, _ = await packing.communicate(commit.encode() + b"\n")
    command = f"{'0' * 40} {commit} refs/heads/{BRANCH}".encode() + b"\0 " + capabilities
    body = pkt_line(command) + FLUSH + pkt_line(b"repo.private=false") + FLUSH + pack
    headers = {"Content-Type": "application/x-git-receive-pack-request", "Authorization": CREDENTIAL}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/git-receive-pack", data=body, headers=headers) as reply,
    ):
        return await reply.read()


def told_options(world: World) -> str:
    """The push options that the forge's hook was told, one a line; empty if it was told none."""
    told = world.forge.root / "acme/shop.git/told"
    return told.read_text() if told.exists() else ""


async def test_no_push_option_reaches_the_forge_however_its_capability_is_written(world: World) -> None:
    """git's own server takes `push-options=1` for `push-options`. Forgejo changes visibility by an option."""
    hook = world.forge.root / "acme/shop.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\n[ -z "$GIT_PUSH_OPTION_0" ] || echo "$GIT_PUSH_OPTION_0" >> "$GIT_DIR/told"\n')
    hook.chmod(0o755)
    commit = await world.commit("more.py")

    refused = await pushed_raw(world, world.url, SMUGGLED, commit)
    assert b"PeerBot does not support push options" in refused
    assert world.forge.ref(f"refs/heads/{BRANCH}") is None
    assert told_options(world) == ""
    plain = await world.git("push", "-q", "-o", "repo.private=false", "origin", BRANCH, fails=True)
    assert "PeerBot does not support push options" in plain.stderr
    assert told_options(world) == ""
    await world.git("push", "-q", "--atomic", "origin", BRANCH)
    assert world.forge.ref(f"refs/heads/{BRANCH}") == commit
    assert told_options(world) == ""

    await world.git("-C", str(world.forge.root / "acme/shop.git"), "update-ref", "-d", f"refs/heads/{BRANCH}")
    await pushed_raw(world, f"{world.forge.url}/acme/shop.git", SMUGGLED, commit)  # the same bytes, without the relay
    assert told_options(world) == "repo.private=false\n"


async def test_a_fetch_asks_the_forge_for_objects_and_nothing_else(world: World) -> None:
    refused = await world.git("-c", "protocol.version=2", "fetch", "-q", "-o", "x=1", "origin", "main", fails=True)
    assert "PeerBot does not support server options" in refused.stderr
    asked = len(world.forge.requests)
    headers = {"Content-Type": "application/x-git-upload-pack-request", "Git-Protocol": "version=2"}
    async with aiohttp.ClientSession() as session:
        for body in (pkt_line(b"command=bundle-uri") + FLUSH, pkt_line(b"command=fetch") + pkt_line(b"x=1") + FLUSH):
            async with session.post(f"{world.url}/git-upload-pack", data=body, headers=headers) as reply:
                assert b"ERR PeerBot: " in await reply.read()
        assert len(world.forge.requests) == asked
        url = f"{world.url}/info/refs?service=git-upload-pack"
        async with session.get(url, headers={"Git-Protocol": "version=2:server-option=x"}) as reply:
            assert reply.status == 200
    assert "Git-Protocol" not in world.forge.requests[-1].headers


async def test_sessions_ids_and_the_quiet_of_a_real_git_pass(world: World) -> None:
    bare = world.forge.root / "acme/shop.git"
    await world.git("-C", str(bare), "config", "transfer.advertiseSID", "true")
    await world.commit("more.py")
    await world.git("-c", "transfer.advertiseSID=true", "push", "--quiet", "--atomic", "origin", BRANCH)
    await world.git("-c", "transfer.advertiseSID=true", "fetch", "-q", "origin")
