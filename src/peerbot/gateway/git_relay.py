"""The relay for git: the worker's git talks to us, and we talk to the forge with the credential that it lacks.

The repository and the branch come from the journal, never from the URL. A worker may read everything in that one
repository, and in the submodules that its default branch names. A push may move the conversation's branch and the run's
checkpoint ref, and nothing else. We refuse any other push as a whole, in git's own protocol, so that its user reads
why. On the wire a forced push looks like any other, so we log what each ref pointed to. Everything streams, whatever
its size.
"""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from yarl import URL

from peerbot import metrics
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.gateway.git_protocol import (
    Command,
    CommandReader,
    FetchReader,
    Push,
    error_reply,
    git_protocol,
    push_reply,
)
from peerbot.gateway.streams import IdleDeadline, RequestBody, cut, relay_body
from peerbot.logs import logger

log = logger(__name__)

IDLE_SECONDS = 60.0
CONNECT_SECONDS = 15.0
DRAIN_SECONDS = 600.0
MAX_REQUEST_BYTES = 2 * 1024**3
MOST_WORDS = 300

_SERVICES = ("git-upload-pack", "git-receive-pack")
_REQUEST_HEADERS = ("Accept", "Accept-Language", "Content-Type", "User-Agent")
_RESPONSE_HEADERS = ("Content-Type", "Cache-Control", "Expires", "Pragma")
_NO_LFS = "PeerBot does not support Git LFS: it relays only git itself. Commit the file without LFS."


@dataclass(frozen=True, slots=True)
class GitTarget:
    """The repository and refs of one run's git: from the journal, never from the worker.

    `branch`: the one that may be pushed; None for a repository that may only be read.
    """

    clone_url: str
    branch: str | None
    checkpoint_ref: str
    moved: Callable[[], bool] = lambda: False  # called if nothing is at `clone_url`: may a new look find it elsewhere?

    def refusal(self, command: Command) -> str | None:
        """Say why this may not be pushed, in words that git shows beside the ref; None if it may."""
        if self.branch is None:
            return "PeerBot does not push to submodules"
        if command.ref not in (f"refs/heads/{self.branch}", self.checkpoint_ref):
            return f"you may push only {self.branch}"
        return "PeerBot does not delete branches" if command.deletes else None


class GitRelay:
    """Relays git's smart HTTP, protocols 0 to 2, to the forge.

    Each request calls `authorization` for the value of the forge's Authorization header.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        authorization: Callable[[], str],
        *,
        idle_seconds: float = IDLE_SECONDS,
        max_request_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        self._session = session
        self._authorization = authorization
        self._idle_seconds = idle_seconds
        self._max_request_bytes = max_request_bytes

    async def handle(self, request: web.Request, target: GitTarget, tail: str) -> web.StreamResponse:
        """Serve one request of a worker's git; `tail` is the path behind the repository's.

        The caller has checked the token. Never raises for anything that the forge or the worker does.
        """
        match request.method, tail:
            case "GET", "info/refs":
                return await self._advertise(request, target)
            case "POST", "git-upload-pack":
                return await self._fetch(request, target)
            case "POST", "git-receive-pack":
                return await self._push(request, target)
        if tail.startswith("info/lfs"):
            return web.json_response({"message": _NO_LFS}, status=403, content_type="application/vnd.git-lfs+json")
        return _text(404, "there is nothing here. PeerBot serves one repository, by git's smart HTTP only.")

    async def _advertise(self, request: web.Request, target: GitTarget) -> web.StreamResponse:
        service = request.query.get("service", "")
        if service not in _SERVICES:
            return _text(403, "this git is too old: it does not speak the smart HTTP protocol.")
        url = f"{target.clone_url}/info/refs?service={service}"
        try:
            return await self._exchange(request, target, url, f"application/x-{service}-advertisement", self._idle())
        except (Refused, Unavailable) as error:
            _count(error)
            return _text(403 if isinstance(error, Refused) else 503, str(error))

    async def _fetch(self, request: web.Request, target: GitTarget) -> web.StreamResponse:
        idle = self._idle()
        body = RequestBody(request, idle, limit_bytes=self._max_request_bytes)
        url = f"{target.clone_url}/git-upload-pack"
        reader = FetchReader()
        try:
            await _read_head(reader, body, idle)
            content_type = "application/x-git-upload-pack-result"
            response = await self._exchange(request, target, url, content_type, idle, _again(reader, body))
            log.debug("git_relayed", push=False, refs=[], status=response.status, sent_bytes=body.bytes)
            return response
        except PeerBotError as error:
            _count(error)
            return await _answer(body, idle, "git-upload-pack", error_reply(f"PeerBot: {error}"))

    async def _push(self, request: web.Request, target: GitTarget) -> web.StreamResponse:
        idle = self._idle()
        body = RequestBody(request, idle, limit_bytes=self._max_request_bytes)
        reader = CommandReader()
        reasons: Sequence[tuple[str, str]] = ()
        try:
            push = await _read_commands(reader, body, idle)
            if not push.commands:
                # git's probe before a large upload asks if it may send. We answer, and do not ask the forge.
                return await _answer(body, idle, "git-receive-pack", b"")
            reasons = _refusals(push, target)
            if reasons:
                raise Refused(f"nothing was pushed: {reasons[0][1]}.")
            for command in push.commands:
                # We log it before it happens, so that no forced push goes unlogged; git itself says if one failed.
                log.info("branch_moved", ref=command.ref, old=command.old, new=command.new)
            url = f"{target.clone_url}/git-receive-pack"
            content_type = "application/x-git-receive-pack-result"
            response = await self._exchange(request, target, url, content_type, idle, _again(reader, body))
            refs = [command.ref for command in push.commands]
            log.debug("git_relayed", push=True, refs=refs, status=response.status, sent_bytes=body.bytes)
            return response
        except PeerBotError as error:
            _count(error)
            log.warning("push_refused", reason=str(error))
            reply = push_reply(reader.capabilities, f"PeerBot: {error}", reasons)
            return await _answer(body, idle, "git-receive-pack", reply)

    def _idle(self) -> IdleDeadline:
        return IdleDeadline(self._idle_seconds)

    async def _exchange(
        self,
        request: web.Request,
        target: GitTarget,
        url: str,
        content_type: str,
        idle: IdleDeadline,
        body: AsyncIterator[bytes] | None = None,
    ) -> web.StreamResponse:
        """Relay one request and its reply. Raises `Refused` or `Unavailable` only before the reply has begun."""
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        if version := git_protocol(request.headers.get("Git-Protocol")):
            headers["Git-Protocol"] = version
        headers |= {"Authorization": self._authorization(), "Accept-Encoding": "identity"}
        response = web.StreamResponse()
        try:
            async with (
                idle,
                self._session.request(
                    request.method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                ) as upstream,
            ):
                if upstream.status != 200 or upstream.content_type != content_type:
                    raise await self._failure(upstream, target)
                for name in _RESPONSE_HEADERS:
                    if name in upstream.headers:
                        response.headers[name] = upstream.headers[name]
                await relay_body(upstream, request, response, idle, _passed_in)
                metrics.git_requests.labels("ok").inc()
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            log.warning("git_broke", begun=response.prepared, cause=repr(error))
            if not response.prepared:
                raise Unavailable("the git server does not answer. Try again in a minute.") from error
            metrics.git_requests.labels("failed").inc()
            cut(request)
        return response

    async def _failure(self, upstream: aiohttp.ClientResponse, target: GitTarget) -> PeerBotError:
        """Make an error that tells the worker's user what the forge's reply means."""
        status, headers = upstream.status, upstream.headers
        log.warning("forge_refused", status=status, content_type=upstream.content_type)
        if status == 429 or (
            status == 403 and ("Retry-After" in headers or headers.get("X-RateLimit-Remaining") == "0")
        ):
            return Unavailable("GitHub's rate limit is used up. Try again in a minute.")
        if (status == 404 or 300 <= status < 400) and target.moved():
            return Unavailable("the repository has moved, and PeerBot looks for it. Try again in a moment.")
        return _refusal(status, await self._words(upstream) if status == 403 else "")

    async def _words(self, upstream: aiohttp.ClientResponse) -> str:
        """Read the forge's plain text as one line; return nothing that could hold our credential."""
        if upstream.content_type != "text/plain":
            return ""
        said = (await upstream.content.read(MOST_WORDS)).decode(errors="replace")
        line = " ".join(said.split()).removeprefix("remote: ").removeprefix("ERROR: ").rstrip(".")
        secret = self._authorization().rpartition(" ")[2]
        with contextlib.suppress(binascii.Error):
            secret += " " + base64.b64decode(secret).decode(errors="replace").rpartition(":")[2]
        return f"{line}. " if line and not any(part in line for part in secret.split()) else ""


async def _read_commands(reader: CommandReader, body: RequestBody, idle: IdleDeadline) -> Push:
    try:
        async with idle:
            async for chunk in body.chunks():
                if push := reader.feed(chunk):
                    return push
    except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
        raise Unavailable("the push did not arrive completely. Push again.") from error
    raise Refused("this push is not in a form that PeerBot can read")


async def _read_head(reader: FetchReader, body: RequestBody, idle: IdleDeadline) -> None:
    """Read a fetch up to where it says what it is. Raises `Refused` if it is nothing that PeerBot relays."""
    try:
        async with idle:
            async for chunk in body.chunks():
                if reader.feed(chunk):
                    return
    except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
        raise Unavailable("the request did not arrive completely. Try again.") from error
    raise Refused("this fetch is not in a form that PeerBot can read")


async def _again(reader: CommandReader | FetchReader, body: RequestBody) -> AsyncIterator[bytes]:
    """Yield the request as it came: first the part that the reader took, then the rest."""
    out = metrics.git_bytes.labels("out")
    out.inc(len(reader.received))
    yield bytes(reader.received)
    async for chunk in body.chunks():
        out.inc(len(chunk))
        yield chunk


def _passed_in(chunk: bytes) -> None:
    metrics.git_bytes.labels("in").inc(len(chunk))


def _count(error: PeerBotError) -> None:
    metrics.git_requests.labels("refused" if isinstance(error, Refused) else "failed").inc()


def _refusals(push: Push, target: GitTarget) -> list[tuple[str, str]]:
    """Say why each ref does not move, the cause first; empty if all may move."""
    causes = {command.ref: why for command in push.commands if (why := target.refusal(command))}
    if not causes:
        return []
    others = [command.ref for command in push.commands if command.ref not in causes]
    return [*causes.items(), *((ref, "pushed together with a ref that PeerBot refuses") for ref in others)]


def _refusal(status: int, words: str) -> PeerBotError:
    match status:
        case 401:
            return Refused("GitHub does not accept PeerBot's token. Your PeerBot operator has to set a valid one.")
        case 403:
            return Refused(
                f"{words or 'GitHub does not allow this. '}PeerBot's token needs the right to write to the repository, "
                "and nobody can push to an archived one. Your PeerBot operator can check both."
            )
        case 404:
            return Refused(
                "the repository is gone, or PeerBot's token may not see it. Your PeerBot operator can check both."
            )
        case _ if 300 <= status < 400:
            return Refused("the repository has moved. Your PeerBot operator can find it.")
        case _:
            return Unavailable(f"the git server has a problem (HTTP {status}). Try again in a minute.")


async def _answer(body: RequestBody, idle: IdleDeadline, service: str, reply: bytes | None) -> web.StreamResponse:
    """Reply ourselves, but first read the rest of the request: git reads no reply before it has sent everything."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS), idle:
            await body.drain()
    except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
        log.warning("git_not_drained", cause=repr(error))
        response: web.StreamResponse = _text(413, "the request did not arrive completely, or it is too large.")
        response.force_close()
        return response
    if reply is None:
        return _text(403, "PeerBot refused this, and this git is too old to show the reason.")
    return web.Response(
        body=reply, headers={"Content-Type": f"application/x-{service}-result", "Cache-Control": "no-cache"}
    )


def _text(status: int, sentence: str) -> web.Response:
    """Make a reply that git prints as a `remote:` line."""
    return web.Response(status=status, text=f"PeerBot: {sentence}\n")
