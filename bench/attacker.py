"""A hostile agent: `python -m bench.attacker NAME`, with the run's tokens as a JSON document (`Wanted`) on its input.

It says `at work` once it is, and goes on until it is killed.
"""

import asyncio
import gzip
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from peerbot.dispatcher.process import raise_file_limit
from peerbot.gateway.keeping import LARGEST_WORK_BYTES
from peerbot.protocol.sessions import LARGEST_PACKED_BYTES, LARGEST_PART_BYTES

UPLOADS, HALF_OPEN = 100, 1000
SLOW_SECONDS = 10.0  # between two bytes of a slow upload
REST_SECONDS = 0.5  # before anything is begun again

Work = Coroutine[Any, Any, None]


@dataclass(frozen=True)
class Wanted:
    """The dispatcher's ports, and the hostile run: its address, its tokens and its turn."""

    gateway: str
    health: str
    run: str
    agent: str
    supervisor: str
    turn: int


def _slow_uploads(target: Wanted, session: aiohttp.ClientSession) -> list[Work]:
    """Requests to the model and to git that come a byte at a time, begun again as soon as they are refused."""

    async def slow() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(SLOW_SECONDS)

    async def again(path: str) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError):
                async with session.post(f"{target.run}/{path}", data=slow(), headers=_token(target.agent)) as reply:
                    await reply.read()
            await asyncio.sleep(REST_SECONDS)

    paths = ("model/v1/messages", "git/git-upload-pack", "git/git-receive-pack", "model/v1/messages")
    return [again(paths[number % 4]) for number in range(UPLOADS)]


def _half_open(target: Wanted) -> list[Work]:
    """Connections that begin a request and never end it, opened again as soon as they are closed."""

    async def again(url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    writer.write(b"POST /v1/runs/ HTTP/1.1\r\nHost: x\r\n")
                    await reader.read()
                finally:
                    writer.close()
            await asyncio.sleep(REST_SECONDS)

    urls = (target.gateway, target.health)
    return [again(urls[number % 2]) for number in range(2 * HALF_OPEN)]


def _forged(target: Wanted, session: aiohttp.ClientSession) -> list[Work]:
    """Transcripts and saved states as large as they may be, many at once, kept and fetched again and again."""
    nested = b'{"schema":1,"transcripts":[' + b'{"a":[' * (LARGEST_PACKED_BYTES // 6)
    bodies: list[tuple[str, bytes]] = [
        ("session", gzip.compress(nested, 1)),
        ("session", os.urandom(LARGEST_PACKED_BYTES - 1)),
        ("session/1", b'{"schema":1,"entries":[' + b"[" * (LARGEST_PART_BYTES // 2)),
        ("session/2", b'{"a":1,' * (LARGEST_PART_BYTES // 16)),
        ("work/1", os.urandom(LARGEST_WORK_BYTES - 1)),
    ]
    url = f"{target.run}/turns/{target.turn}"

    async def call(method: str, path: str, body: bytes | None) -> None:
        while True:
            with suppress(aiohttp.ClientError, OSError):
                async with session.request(
                    method, f"{url}/{path}", data=io.BytesIO(body) if body else None, headers=_token(target.supervisor)
                ) as reply:
                    async for _ in reply.content.iter_chunked(1 << 20):
                        pass
            await asyncio.sleep(REST_SECONDS)

    calls: list[tuple[str, str, bytes | None]] = [("PUT", path, body) for path, body in bodies]
    calls += [("GET", "session", None), ("GET", "work", None)]
    return [call(method, path, body) for _ in range(4) for method, path, body in calls]


ATTACKS: dict[str, Callable[[Wanted, aiohttp.ClientSession], list[Work]]] = {
    "uploads": _slow_uploads,
    "connections": lambda wanted, _: _half_open(wanted),
    "forged": _forged,
}


def _token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def main() -> None:
    wanted = Wanted(**json.loads(sys.stdin.readline()))
    raise_file_limit()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        works = [asyncio.create_task(work) for work in ATTACKS[sys.argv[1]](wanted, session)]
        await asyncio.sleep(1)
        print("at work", flush=True)
        await asyncio.gather(*works)


if __name__ == "__main__":
    os.nice(19)  # its own work is no part of what others may feel
    asyncio.run(main())
