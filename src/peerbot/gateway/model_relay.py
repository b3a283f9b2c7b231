"""The relay for Claude: it passes on Anthropic's Messages API, with the key that the worker lacks.

It passes only what the Claude Code CLI needs: messages, and the count of their tokens. It reads a request whole and
checks all of it (`claude/allowed.py`); then exactly those bytes go out. Replies stream through chunk by chunk. Each
request reserves the most that it can cost in its turn's budget (`gateway/budget.py`), and settles it by the usage that
its reply reports. The budget is approximate (list prices): it bounds what an injected agent can burn, it is no bill.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from peerbot import metrics
from peerbot.claude.allowed import NotAllowed, betas, check
from peerbot.claude.credentials import Credential
from peerbot.claude.usage import Bound, UsageMeter
from peerbot.conversation.held import Bounds
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Scope
from peerbot.conversation.spent import Spent
from peerbot.gateway.budget import Account, Accounts
from peerbot.gateway.model_bodies import MOST_BYTES, Bodies, Room, TooLarge
from peerbot.gateway.pots import UsedUp
from peerbot.gateway.streams import IdleDeadline, cut, relay_body, while_connected
from peerbot.logs import logger

log = logger(__name__)

IDLE_SECONDS = 60.0
"""How long a reply that has begun may be silent: Claude sends a sign of life every few seconds."""

FIRST_BYTE_SECONDS = 120.0
"""How long a stream may take to begin, or another reply to come."""

CLI_WAITS_SECONDS = 60
"""If it is asked to wait longer than this, the CLI gives up at once."""

CONNECT_SECONDS = 15.0
_MAX_ERROR_BYTES = 256 * 1024
_LARGE_BODY_BYTES = 256 * 1024  # to check a larger one takes milliseconds
_PIECE_BYTES = 64 * 1024

_COSTLY = "v1/messages"
_PATHS = (_COSTLY, "v1/messages/count_tokens")
_REQUEST_HEADERS = ("accept", "user-agent", "x-app")
_REQUEST_PREFIXES = ("x-stainless-",)
_RESPONSE_HEADERS = ("content-type", "request-id", "retry-after", "x-should-retry")
_RESPONSE_PREFIXES = ("anthropic-ratelimit-",)
_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}")
_FIRST_VERSION = "2023-06-01"
_WHOSE = {
    Scope.TURN: "This turn's",
    Scope.THREAD: "This thread's",
    Scope.PERSON: "This person's monthly",
    Scope.CHANNEL: "This channel's monthly",
    Scope.MONTH: "This month's",
}


_BROKEN = web.ResponseKey("broken", bool)  # on a reply that Claude's API did not finish


class _Exchange:
    """One request that was checked: its body, its reply, its deadline and its cost."""

    def __init__(self, request: web.Request, tail: str, body: bytes, bound: Bound) -> None:
        self.request = request
        self.tail = tail
        self.bound = bound
        self.size = len(body)
        self.response = web.StreamResponse()
        self.idle = IdleDeadline(FIRST_BYTE_SECONDS)
        self.meter = UsageMeter(bound)
        self.received = 0  # bytes of the reply
        self.free = False  # set if the API charges nothing: it was never asked, or it refused
        self._body = body
        self.sent_at = time.monotonic()

    @property
    def spent(self) -> Spent | None:
        """What it has used and cost up to now; None if the API charges nothing."""
        return None if self.free else self.meter.spent(time.monotonic() - self.sent_at)

    def took(self, chunk: bytes) -> None:
        """Read a chunk of the reply."""
        self.received += len(chunk)
        self.meter.received(chunk)

    async def upload(self, room: Room) -> AsyncIterator[bytes]:
        """Yield the body's bytes, and forget them: the room is free then."""
        body, self._body = self._body, b""
        for at in range(0, len(body), _PIECE_BYTES):
            yield body[at : at + _PIECE_BYTES]
            self.idle.touch()
        del body
        room.leave()


class ModelRelay:
    """Relays to `base_url` with `credential`, within the budgets of `accounts`.

    The CLI may wait for a rate limit within `turn_seconds`. A stream may be silent for `idle_seconds`. `server_tools`
    are the tools of Claude's servers that may be used, `bounds` has the models.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        credential: Credential,
        accounts: Accounts,
        turn_seconds: float,
        server_tools: frozenset[str] = frozenset(),
        bounds: Bounds | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.accounts = accounts
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._credential = credential
        self._turn_seconds = turn_seconds
        self._server_tools = server_tools
        self._bounds = bounds or Bounds()
        self._idle_seconds = idle_seconds
        self._bodies = Bodies()
        self._large = asyncio.Lock()  # a large body takes many times its size while it is checked
        self._large_of: WeakValueDictionary[tuple[Conversation, int], asyncio.Lock] = WeakValueDictionary()

    async def handle(self, request: web.Request, conversation: Conversation, run: int, tail: str) -> web.StreamResponse:
        """Serve one request of a worker's CLI; `tail` is the path behind the relay's.

        The caller has checked the token. Raises `NoTurn` if the run works on no turn, and `Unavailable` if the journal
        is away and needed; everything else that the API or the worker does becomes a reply.
        """
        if tail == "api/hello" and request.method in ("GET", "HEAD"):
            return web.json_response({})
        if request.method != "POST" or tail not in _PATHS:
            return _error(404, "not_found_error", "PeerBot relays only the Messages API.")
        began, outcome = time.perf_counter(), "gone"
        try:
            response = await while_connected(request, self._serve(request, conversation, run, tail))
            outcome = _outcome(response)
        except (TooLarge, NotAllowed, UsedUp, TimeoutError, ConnectionError) as error:
            outcome = _outcome_of(error)
            return self._refusal(error)
        finally:
            metrics.model_requests.labels(outcome).inc()
            metrics.model_request_seconds.labels(outcome).observe(time.perf_counter() - began)
        return response

    def _refusal(self, error: Exception) -> web.Response:
        match error:
            case TooLarge():
                return _error(413, "request_too_large", f"The request is larger than {MOST_BYTES >> 20} MiB.")
            case NotAllowed():
                log.warning("model_request_not_allowed", reason=str(error))
                return _error(400, "invalid_request_error", str(error))
            case UsedUp(limit=limit):
                metrics.budget_refusals.labels(limit.scope.value).inc()
                log.warning("budget_used_up", scope=limit.scope.value, budget_usd=limit.usd)
                # Of the errors after which the CLI does not try again, it shows this one as it is, in one sentence.
                return _error(402, "billing_error", f"{_WHOSE[limit.scope]} budget of ${limit.usd:.2f} is used up.")
        return _error(529, "overloaded_error", "PeerBot could not serve this request in time.")

    async def _serve(self, request: web.Request, conversation: Conversation, run: int, tail: str) -> web.StreamResponse:
        """Read and check a request, and relay it."""
        log.debug("model_request", path=tail)
        if request.headers.get("content-encoding", "identity") != "identity":
            raise NotAllowed("PeerBot takes only bodies that are not compressed.")
        asking = asyncio.ensure_future(self.accounts.of(conversation, run))  # while the body comes in
        try:
            async with self._bodies.room((conversation, run), request) as room:
                body = await room.read(request)
                bound = await self._checked(body, conversation, run)
                if not self._bounds.passes(bound.model):
                    raise NotAllowed("The operator does not allow this model (PEERBOT_MODELS).")
                account = await asking
                exchange = _Exchange(request, tail, body, bound)
                del body
                async with self._paid(exchange, account, run):
                    response = await self._exchange(exchange, room)
                log.debug(
                    "model_replied",
                    path=tail,
                    model=bound.model,
                    status=response.status,
                    sent_bytes=exchange.size,
                    received_bytes=exchange.received,
                    seconds=round(time.monotonic() - exchange.sent_at, 3),
                )
                return response
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _checked(self, body: bytes, conversation: Conversation, run: int) -> Bound:
        if len(body) < _LARGE_BODY_BYTES:
            return check(body, self._server_tools)
        own = self._large_of.setdefault((conversation, run), asyncio.Lock())  # so that a run stands in line only once
        async with own, self._large:
            return await asyncio.to_thread(check, body, self._server_tools)

    @asynccontextmanager
    async def _paid(self, exchange: _Exchange, account: Account, run: int) -> AsyncIterator[None]:
        """Reserve the most that a request can cost, and book what it did cost."""
        exchange.free = exchange.tail != _COSTLY
        reservation = await account.reserve(0.0 if exchange.free else exchange.bound.usd, run)
        try:
            yield
        finally:
            account.settle(reservation, exchange.spent, run)

    async def _exchange(self, exchange: _Exchange, room: Room) -> web.StreamResponse:
        exchange.sent_at = time.monotonic()
        try:
            return await self._relay(exchange, room)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            exchange.free |= isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
            begun = exchange.response.prepared
            log.warning("model_broke", begun=begun, cause=type(error).__name__)
            if begun:
                cut(exchange.request)
                response: web.StreamResponse = exchange.response
            else:
                response = _error(529, "overloaded_error", "PeerBot got no answer from the Claude API.")
            response[_BROKEN] = True
            return response

    async def _relay(self, exchange: _Exchange, room: Room) -> web.StreamResponse:
        request, response = exchange.request, exchange.response
        async with (
            exchange.idle,
            self._session.post(
                f"{self._base_url}/{exchange.tail}",
                params={"beta": "true"} if request.query.get("beta") == "true" else None,
                headers=self._request_headers(request, exchange.size),
                data=exchange.upload(room),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            ) as upstream,
        ):
            room.leave()
            response.set_status(upstream.status)
            for name, value in _allowed(upstream.headers, _RESPONSE_HEADERS, _RESPONSE_PREFIXES):
                response.headers.add(name, self._credential.redact(value.encode()).decode())
            if upstream.status != 200:
                exchange.free = True
                log.warning("model_refused", status=upstream.status)
                self._shorten_wait(response.headers)
                if upstream.status in (401, 403):  # a second try does not help a bad key: the CLI would try for 20 s
                    response.headers["x-should-retry"] = "false"
                return await self._relay_error(upstream, exchange)
            exchange.meter.begin(upstream.content_type)
            if upstream.content_type == "text/event-stream":
                exchange.idle.within(self._idle_seconds)
            await relay_body(upstream, request, response, exchange.idle, exchange.took)
            exchange.meter.end()
            return response

    async def _relay_error(self, upstream: aiohttp.ClientResponse, exchange: _Exchange) -> web.StreamResponse:
        """Read the whole error, which is small, and remove the key: an error may quote our request."""
        error = b""
        while len(error) < _MAX_ERROR_BYTES and (chunk := await upstream.content.readany()):
            error += chunk
        exchange.response.set_status(upstream.status if upstream.status >= 400 else 502)
        await exchange.response.prepare(exchange.request)
        exchange.received = len(error)
        await exchange.response.write_eof(self._credential.redact(error))
        return exchange.response

    def _shorten_wait(self, headers: CIMultiDict[str]) -> None:
        """Shorten a wait for which the turn has time but which is so long that the CLI would give up at once."""
        asked = headers.get("retry-after", "")
        if asked.isdecimal() and CLI_WAITS_SECONDS < int(asked) < self._turn_seconds:
            headers["retry-after"] = str(CLI_WAITS_SECONDS - 5)

    def _request_headers(self, request: web.Request, size: int) -> CIMultiDict[str]:
        headers = CIMultiDict(_allowed(request.headers, _REQUEST_HEADERS, _REQUEST_PREFIXES))
        headers.update(self._credential.headers)
        version = request.headers.get("anthropic-version", "")
        headers["anthropic-version"] = version if _VERSION.fullmatch(version) else _FIRST_VERSION
        if kept := betas(",".join(request.headers.getall("anthropic-beta", [])), self._server_tools):
            headers["anthropic-beta"] = kept
        headers["content-type"] = "application/json"  # as which it was checked
        headers["content-length"] = str(size)
        # A compressed event stream arrives in lumps, and we pass on bytes as they come.
        headers["accept-encoding"] = "identity"
        return headers


def _outcome(response: web.StreamResponse) -> str:
    """Say how a request ended that was relayed, for `metrics.model_requests`."""
    if response.get(_BROKEN):
        return "broken"
    status = response.status
    return "ok" if status < 400 else "limited" if status == 429 else "refused" if status < 500 else "failed"


def _outcome_of(error: Exception) -> str:
    match error:
        case TooLarge() | NotAllowed():
            return "not_allowed"
        case UsedUp():
            return "budget"
        case ConnectionError():
            return "gone"
    return "failed"


def _allowed(
    headers: Mapping[str, str], names: tuple[str, ...], prefixes: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if name.lower() in names or name.lower().startswith(prefixes):
            yield name, value


def _error(status: int, kind: str, sentence: str) -> web.Response:
    """Make an error in Anthropic's form, which the CLI understands and shows."""
    return web.json_response({"type": "error", "error": {"type": kind, "message": sentence}}, status=status)
