"""Git for the local GitHub: commands with an environment of their own, and `git http-backend` behind aiohttp.

A person's own git configuration (aliases, signing, credential helpers, `insteadOf`) must neither help nor harm here.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from peerbot.errors import PeerBotError, SettingsError, Unavailable

UNHEARD = web.RequestKey("unheard", bool)
"""Whether to serve the request but break off its answer."""

_COMMAND_SECONDS = 120.0
_REQUEST_SECONDS = 900.0  # a whole clone or push
_CHUNK_BYTES = 64 * 1024
_CONFIGURATION = """\
[safe]
    directory = *
[init]
    defaultBranch = main
[gc]
    auto = 0
[maintenance]
    auto = false
[receive]
    autogc = false
[http]
    receivepack = true
[uploadpack]
    allowFilter = true
    allowAnySHA1InWant = true
[core]
    hooksPath = /dev/null
"""
_DECLINE = '#!/bin/sh\nprintf "%s\\n" "$PEERBOT_DECLINE" >&2\nexit 1\n'


class GitFailed(PeerBotError):
    """A git command of the local GitHub failed."""


@dataclass(frozen=True, slots=True)
class Git:
    """Git with a home of its own: no configuration of the machine or of its people."""

    home: Path

    @classmethod
    def prepare(cls, home: Path) -> "Git":
        """Write the home's configuration. Raises `SettingsError` if git, or its server part, is missing."""
        if shutil.which("git") is None:
            raise SettingsError("git is not installed. Install it (Debian: apt-get install git), then try again.")
        declining = home / "declining-hooks"
        declining.mkdir(parents=True, exist_ok=True)
        (home / "gitconfig").write_text(_CONFIGURATION)
        hook = declining / "pre-receive"
        hook.write_text(_DECLINE)
        hook.chmod(0o755)
        return cls(home)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a git process: nothing more than it needs."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
        }

    async def run(self, *arguments: str | Path, data: bytes = b"") -> str:
        """Run `git …`, `data` on its standard input; return what it printed. Raises `GitFailed` with git's words."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                printed, complained = await process.communicate(data)
        except TimeoutError as error:
            raise Unavailable(f"git {arguments[0]} took longer than {_COMMAND_SECONDS:.0f} s.") from error
        finally:
            await _end(process)
        if process.returncode != 0:
            raise GitFailed(complained.decode(errors="replace").strip() or f"git ended with {process.returncode}")
        return printed.decode(errors="replace")

    async def ask(self, *arguments: str | Path) -> str | None:
        """Run a `git …` command that may fail as its answer; returns None then."""
        try:
            return (await self.run(*arguments)).strip()
        except GitFailed:
            return None

    async def serve(
        self, request: web.Request, *, root: Path, path: str, user: str, decline: str | None
    ) -> web.StreamResponse:
        """Serve one smart-HTTP request from the repositories below `root`, streaming both ways.

        A push is refused with the words `decline`, where there are any, as by a hook.
        """
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**self.environment, **_cgi(request, root=root, path=path, user=user), **self._declining(decline)},
            start_new_session=True,
            limit=_CHUNK_BYTES,
        )
        feeding = asyncio.create_task(_feed(request, process))
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await _relay(request, process)
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await _end(process)

    def _declining(self, message: str | None) -> Mapping[str, str]:
        if message is None:
            return {}
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": str(self.home / "declining-hooks"),
            "PEERBOT_DECLINE": message,
        }


def _cgi(request: web.Request, *, root: Path, path: str, user: str) -> dict[str, str]:
    """The CGI variables. No CONTENT_LENGTH: aiohttp has ungzipped the body, so that its length is not the header's."""
    return {
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query_string,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        "REMOTE_USER": user,
        "REMOTE_ADDR": request.remote or "",
    }


async def _feed(request: web.Request, process: asyncio.subprocess.Process) -> None:
    """Send git the request's body as fast as git takes it."""
    assert process.stdin is not None
    try:
        with contextlib.suppress(ConnectionError):  # git has heard enough, or the client left
            async for chunk in request.content.iter_chunked(_CHUNK_BYTES):
                process.stdin.write(chunk)
                await process.stdin.drain()
    finally:
        process.stdin.close()


async def _relay(request: web.Request, process: asyncio.subprocess.Process) -> web.StreamResponse:
    """Send git's output to the client as fast as the client takes it."""
    assert process.stdout is not None
    response = web.StreamResponse()
    while line := (await process.stdout.readline()).decode("latin-1").strip():
        name, _, value = line.partition(":")
        if name.lower() == "status":
            response.set_status(int(value.split()[0]))
        else:
            response.headers[name] = value.strip()
    if process.stdout.at_eof() and "Content-Type" not in response.headers:
        response.set_status(500)
    while request.get(UNHEARD) and await process.stdout.read(_CHUNK_BYTES):
        pass  # git ends, and the client does not learn how
    if request.get(UNHEARD):
        return response
    with contextlib.suppress(ConnectionError):  # the client left; the caller ends git
        await response.prepare(request)
        while chunk := await process.stdout.read(_CHUNK_BYTES):
            await response.write(chunk)
    return response


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that the process and its children are gone: a client that left leaves none behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(_CHUNK_BYTES):
            pass  # what is left in the pipe: only at its end does asyncio close it
    await process.wait()
