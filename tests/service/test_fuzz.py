"""The dispatcher's two servers against requests that nobody would send, over the raw socket.

Whatever comes: no answer without a token, no 500, no traceback, and no memory, task or connection that stays.
"""

import asyncio
import gzip
import json
import logging
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from keep_world import KeepWorld, Run, keep_world
from system import System, eventually

from peerbot.gateway.git_protocol import FLUSH, pkt_line

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
REPLY_SECONDS = 10.0
MOST_GROWTH_BYTES = 32 * 1024 * 1024
WITHOUT_A_TOKEN = {100, 400, 403, 404, 405, 408, 411, 413, 414, 417, 429, 431, 503}
BROKEN = {500, 502, 504}
SUPERVISOR, AGENT = "{supervisor}", "{agent}"  # stand for the run's tokens
ZEROS = "0" * 40

odd_text = st.one_of(
    st.sampled_from(["", "0", "-1", "null", "../..", "%2e%2e", "a" * 5000, "\x00", "é", "1e9"]), st.text()
)
odd_bytes = st.one_of(odd_text.map(lambda text: text.encode(errors="surrogatepass")), st.binary(max_size=300))
odd_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
nested = st.integers(100, 20_000).map(lambda n: "[" * n + "]" * n)


def tails() -> st.SearchStrategy[str]:
    """Paths below a run's: every route, with numbers and names that are odd."""
    number = st.sampled_from(["0", "1", "2", "999999", "1000000", "-1", "x", "%31", "1/1"])
    name = st.sampled_from(["peerbot-community", "..", "a%2fb", "%00", "user-ada"])
    modules, model = "modules/{name}/{name}", "model/v1"
    routes = st.sampled_from(
        [
            *("", "start", "inputs", "inputs?wait=x", "inputs?wait=nan", "ready", "close", "modules"),
            *("turns", "turns/{n}/progress", "turns/{n}/session", "turns/{n}/session/{n}", "turns/{n}/work"),
            *("turns/{n}/work/{n}", "turns/{n}/thread", "turns/{n}/finish"),
            *(f"{modules}/info/refs?service=git-upload-pack", f"{modules}/git-upload-pack", "git/HEAD"),
            *("git/info/refs", "git/info/refs?service=git-receive-pack", "git/git-upload-pack", "git/git-receive-pack"),
            *("git/info/lfs/objects/batch", f"{model}/messages", f"{model}/messages?beta=true"),
            *(f"{model}/messages/count_tokens", f"{model}/files", "model/api/hello"),
        ]
    )
    return st.builds(lambda route, n, name: route.replace("{n}", n).replace("{name}", name), routes, number, name)


def pushes() -> st.SearchStrategy[bytes]:
    """Lists of commands that are nearly git's."""
    line = st.one_of(
        st.builds(
            lambda old, new, ref, rest: f"{old} {new} {ref}{rest}".encode(),
            st.sampled_from([ZEROS, "1" * 40, "x" * 40, ""]),
            st.sampled_from([ZEROS, "2" * 40, ""]),
            st.sampled_from(["refs/heads/main", "refs/heads/a b", "refs/../x", "HEAD", "refs/heads/\x01"]),
            st.sampled_from(["", "\0report-status", "\0push-options=1", "\0" * 3, "\0agent=x side-band-64k"]),
        ),
        st.binary(max_size=200),
    )
    framed = st.lists(st.one_of(line.map(pkt_line), line), max_size=5).map(b"".join)
    ends = st.sampled_from([FLUSH, b"", b"0001", b"0003", b"ffff", b"zzzz", FLUSH + b"PACK" + b"\0" * 20])
    return st.builds(lambda lines, end: lines + end, framed, ends)


bodies = st.one_of(
    odd_bytes,
    odd_json.map(lambda value: json.dumps(value).encode(errors="surrogatepass")),
    nested.map(str.encode),
    pushes(),
    st.binary(max_size=100).map(gzip.compress),
    st.just(gzip.compress(b"[" * 10_000_000)),
    st.just(zlib.compress(b"\0" * 10_000_000)),
)
headers = st.lists(
    st.one_of(
        st.tuples(
            st.just("Authorization"),
            st.sampled_from(
                [f"Bearer {AGENT}", f"Bearer {SUPERVISOR}", "Bearer", "Bearer \xff", "Basic eDp5", "bearer  x"]
            ),
        ),
        st.tuples(st.just("Content-Encoding"), st.sampled_from(["gzip", "deflate", "br", "zstd", "identity", "x"])),
        st.tuples(st.just("Content-Length"), st.sampled_from(["-1", "0", "1", "99999999999999999999", "x", "1, 2"])),
        st.tuples(st.just("Transfer-Encoding"), st.sampled_from(["chunked", "gzip, chunked", "identity", "x"])),
        st.tuples(st.just("Expect"), st.sampled_from(["100-continue", "x"])),
        st.tuples(st.just("Git-Protocol"), st.sampled_from(["version=2", "version=3:x", "\x01", "a" * 9000])),
        st.tuples(st.just("anthropic-beta"), st.sampled_from(["", ",,,", "x" * 9000])),
        st.tuples(st.just("Upgrade"), st.sampled_from(["websocket", "h2c"])),
        st.tuples(st.sampled_from(["X", "", "A B", "Host", "é"]), st.text(max_size=20)),
    ),
    max_size=5,
)
methods = st.sampled_from(
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "G T", "", "é"]
)
first_lines = st.sampled_from(
    ["{method} {target} HTTP/1.1", "{method} {target} HTTP/1.0", "{method} {target}", "{target}"]
)


@dataclass(frozen=True)
class Request:
    """A request that may break every rule of HTTP."""

    first_line: str
    method: str
    tail: str
    headers: list[tuple[str, str]]
    body: bytes
    cut: int  # so many of its last bytes are never sent

    def data(self, base: str, tokens: dict[str, str]) -> bytes:
        line = self.first_line.replace("{method}", self.method).replace("{target}", f"{base}/{self.tail}")
        lines = [line, "Host: x", "Connection: close"]
        lines += [f"{name}: {tokens.get(value.removeprefix('Bearer '), value)}" for name, value in self.headers]
        if not any(name in ("Content-Length", "Transfer-Encoding") for name, _ in self.headers):
            lines.append(f"Content-Length: {len(self.body)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        whole = head.encode("latin-1", errors="replace") + self.body
        return whole[: len(whole) - self.cut]


requests = st.builds(
    Request,
    first_lines,
    methods,
    tails(),
    headers,
    bodies,
    st.sampled_from([0, 0, 0, 1, 30, 10_000]),
)


async def replies(port: int, data: bytes) -> bytes:
    """Send the bytes, end our side, and read until the server closes. Raises `TimeoutError` if it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(REPLY_SECONDS):
            with suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
                writer.write_eof()
                return await reader.read()
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def statuses(reply: bytes) -> set[int]:
    return {int(found) for found in re.findall(rb"^HTTP/1\.[01] (\d{3})", reply, re.MULTILINE)}


class Errors(logging.Handler):
    """What the servers log as errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


class Fuzzed:
    """What all examples of a test share, on one event loop."""

    def __init__(self, directory: Path) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.directory = directory

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)

    def enter(self, context: Any) -> Any:
        return self.run(self._stack.enter_async_context(context))

    def close(self) -> None:
        self.run(self._stack.aclose())
        self._runner.close()

    def play(self, check: Callable[[Any], Coroutine[Any, Any, None]], examples: st.SearchStrategy[Any]) -> None:
        """Run `check` on examples."""
        checking = settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        )
        checking(given(examples)(lambda example: self.run(check(example))))()


@pytest.fixture
def fuzzed() -> Iterator[Fuzzed]:
    with tempfile.TemporaryDirectory() as directory:
        fuzzed = Fuzzed(Path(directory))
        try:
            yield fuzzed
        finally:
            fuzzed.close()


@pytest.mark.parametrize("server", ["gateway", "health"])
def test_a_stranger_gets_nothing_and_leaves_nothing(fuzzed: Fuzzed, server: str) -> None:
    system: System = fuzzed.enter(System(fuzzed.directory))
    dispatcher = fuzzed.run(system.start())
    port = fuzzed.run(system.port("gateway_port" if server == "gateway" else "port"))
    process = psutil.Process(dispatcher.pid)
    base = "/v1/runs/T0LOCAL0001/C0GENERAL01/1796011054.289167/1" if server == "gateway" else ""

    async def check(request: Request) -> None:
        reply = await replies(port, request.data(base, {}))
        assert statuses(reply) <= WITHOUT_A_TOKEN, reply[:300]
        assert b"Traceback" not in reply

    fuzzed.play(check, requests)
    before = process.memory_info().rss
    fuzzed.play(check, requests)
    assert process.memory_info().rss - before < MOST_GROWTH_BYTES
    fuzzed.run(nothing_is_left(process, port))
    assert [line for line in system.log_file.read_text().splitlines() if "Traceback" in line] == []
    assert fuzzed.run(system.get("/ready"))[0] == 200


async def nothing_is_left(process: psutil.Process, port: int) -> None:
    """Wait until the server has no connection any more."""

    def none() -> bool:
        return not [c for c in process.net_connections() if c.laddr.port == port and c.status == "ESTABLISHED"]

    await eventually(none, REPLY_SECONDS)


def test_a_run_of_its_own_gets_no_error_that_was_not_foreseen(fuzzed: Fuzzed) -> None:
    """With its tokens, which a hostile agent may have, too."""
    world: KeepWorld = fuzzed.enter(keep_world(fuzzed.directory))
    run: Run = fuzzed.run(world.begun())
    url = run.gateway.url
    port, base = int(url.split(":")[2].partition("/")[0]), "/" + url.split("/", 3)[3]
    tokens = {SUPERVISOR: f"Bearer {run.gateway._supervisor_token}", AGENT: f"Bearer {run.gateway.agent_token}"}
    errors = Errors()
    logging.getLogger().addHandler(errors)
    refs = world.git("for-each-ref")

    async def check(request: Request) -> None:
        if request.tail == "close" and SUPERVISOR in str(request.headers):
            return  # it may end itself
        reply = await replies(port, request.data(base, tokens))
        assert not statuses(reply) & BROKEN, (reply[:300], errors.lines)
        assert b"Traceback" not in reply

    try:
        fuzzed.play(check, requests)
    finally:
        logging.getLogger().removeHandler(errors)
    assert not [line for line in errors.lines if "Traceback" in line]
    assert world.git("for-each-ref") == refs  # nothing was pushed
    fuzzed.run(run.gateway.came_back())


def test_the_git_relay_takes_no_list_that_git_would_not_write(fuzzed: Fuzzed) -> None:
    world: KeepWorld = fuzzed.enter(keep_world(fuzzed.directory))
    run: Run = fuzzed.run(world.begun())
    url = run.gateway.url
    port, base = int(url.split(":")[2].partition("/")[0]), "/" + url.split("/", 3)[3]
    refs = world.git("for-each-ref")

    async def check(push: bytes) -> None:
        request = Request(
            "{method} {target} HTTP/1.1",
            "POST",
            "git/git-receive-pack",
            [("Authorization", f"Bearer {AGENT}"), ("Content-Type", "application/x-git-receive-pack-request")],
            push,
            0,
        )
        reply = await replies(port, request.data(base, {AGENT: f"Bearer {run.gateway.agent_token}"}))
        assert statuses(reply) <= {200, 403, 413}, reply[:300]

    fuzzed.play(check, pushes())
    assert world.git("for-each-ref") == refs
