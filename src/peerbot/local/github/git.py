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
_RULES = r"""#!/bin/sh
# GitHub's own rules for a push: no file over 100 MB, and, where push protection is on, no secret.
none=0000000000000000000000000000000000000000
pushed=$(while read -r _ new ref; do [ "$new" = $none ] || echo "$new"; done)
[ -n "$pushed" ] || exit 0
objects=$(git rev-list --objects $pushed --not --all) || exit 0
large=$(printf '%s\n' "$objects" |
    git cat-file --batch-check='%(objecttype) %(objectsize) %(rest)' |
    awk -v limit="$PEERBOT_LARGEST_FILE" '$1 == "blob" && $2 > limit {
        size = $2; sub(/^[^ ]+ [^ ]+ /, ""); printf "error: File %s is %.2f MB; ", $0, size / 1048576
        printf "this exceeds GitHub'"'"'s file size limit of 100.00 MB\n" }')
if [ -n "$large" ]; then
    printf '%s\n' "$large" "error: GH001: Large files detected. You may want to try Git Large File Storage." >&2
    exit 1
fi
[ -n "$PEERBOT_PUSH_PROTECTION" ] || exit 0
found=$(mktemp)
trap 'rm -f "$found"' EXIT
git rev-list $pushed --not --all | while read -r commit; do
    git grep -n -E '(gh[pousr]_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16})' "$commit" | cut -d: -f1-3 |
        sed -E 's/^([0-9a-f]+):(.*):([0-9]+)$/    - commit: \1\n      path: \2:\3/'
done >"$found"
if [ -s "$found" ]; then
    printf '%s\n' "error: GH013: Repository rule violations found." "" "- GITHUB PUSH PROTECTION" \
        "    - Push cannot contain secrets" "" "      —— GitHub Personal Access Token ——" "       locations:" >&2
    sed 's/^/     /' "$found" | head -10 >&2
    exit 1
fi
"""
_DECLINE = '#!/bin/sh\nprintf "%s\\n" "$PEERBOT_DECLINE" >&2\nexit 1\n'


class GitFailed(PeerBotError):
    """A git command of the local GitHub failed. `printed` is what it said on its standard output all the same."""

    def __init__(self, message: str, printed: bytes = b"") -> None:
        super().__init__(message)
        self.printed = printed


@dataclass(slots=True)
class Rules:
    """What the server refuses in a push: GitHub's limit for a file, and secrets where push protection is on."""

    largest_file_bytes: int = 100 * 1024 * 1024
    push_protection: bool = False


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
        rules = home / "hooks"
        rules.mkdir(exist_ok=True)
        for place, text in ((declining, _DECLINE), (rules, _RULES)):
            hook = place / "pre-receive"
            hook.write_text(text)
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
        """Run `git …` with `data` as its standard input; returns its output. Raises `GitFailed` with git's words."""
        return (await self._printed(*arguments, data=data)).decode(errors="replace")

    async def output(self, *arguments: str | Path) -> bytes:
        """Run `git …`; returns its output as it is. Raises `GitFailed`."""
        return await self._printed(*arguments)

    async def path(self, *arguments: str | Path) -> Path:
        """Run a `git …` command that prints one path, whatever bytes its names have. Raises `GitFailed`."""
        return Path(os.fsdecode((await self._printed(*arguments)).removesuffix(b"\n")))

    async def _printed(self, *arguments: str | Path, data: bytes = b"") -> bytes:
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
            words = complained.decode(errors="replace").strip() or f"git ended with {process.returncode}"
            raise GitFailed(words, printed)
        return printed

    async def first(self, *arguments: str | Path, most: int) -> tuple[bytes, bool]:
        """Run `git …`; returns at most `most` bytes of its output, and whether there is more. Raises `GitFailed`."""
        process = await asyncio.create_subprocess_exec(
            *("git", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self.environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        printed = bytearray()
        try:
            async with asyncio.timeout(_COMMAND_SECONDS):
                while len(printed) <= most and (chunk := await process.stdout.read(_CHUNK_BYTES)):
                    printed += chunk
                if len(printed) > most:
                    return bytes(printed[:most]), True
                code = await process.wait()
        except TimeoutError as error:
            raise Unavailable(f"git took longer than {_COMMAND_SECONDS:.0f} s.") from error
        finally:
            await _end(process)
        if code != 0:
            raise GitFailed(f"git ended with {code}")
        return bytes(printed), False

    async def ask(self, *arguments: str | Path) -> str | None:
        """Run a `git …` command whose failure is an answer, too; returns None if it fails."""
        try:
            return (await self.run(*arguments)).strip()
        except GitFailed:
            return None

    async def serve(
        self, request: web.Request, *, root: Path, path: str, user: str, decline: str | None, rules: "Rules"
    ) -> web.StreamResponse:
        """Serve one smart-HTTP request from the repositories below `root`, streaming both ways.

        If there are words in `decline`, a push is refused with them, as a hook refuses it.
        """
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**self.environment, **_cgi(request, root=root, path=path, user=user), **self._hooks(decline, rules)},
            start_new_session=True,
            limit=_CHUNK_BYTES,
        )
        feeding = asyncio.create_task(_feed(request, process))
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                return await _relay(request, process)
        finally:
            feeding.cancel()
            try:
                await asyncio.gather(feeding, return_exceptions=True)
            finally:  # the server may be closed just now
                await _end(process)

    def _hooks(self, decline: str | None, rules: "Rules") -> Mapping[str, str]:
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "core.hooksPath",
            "GIT_CONFIG_VALUE_0": str(self.home / ("hooks" if decline is None else "declining-hooks")),
            "PEERBOT_DECLINE": decline or "",
            "PEERBOT_LARGEST_FILE": str(rules.largest_file_bytes),
            "PEERBOT_PUSH_PROTECTION": "1" if rules.push_protection else "",
        }


def _cgi(request: web.Request, *, root: Path, path: str, user: str) -> dict[str, str]:
    """Return the CGI variables, without CONTENT_LENGTH: aiohttp has unzipped the body, so that length is wrong."""
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
        with contextlib.suppress(ConnectionError):  # git has read enough, or the client left
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
        pass  # git does its work, and the client does not learn the result
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
            pass  # read what is left in the pipe: asyncio closes the pipe only at its end
    await process.wait()
