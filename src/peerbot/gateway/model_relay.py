"""The relay for Claude: it passes on Anthropic's Messages API, with the key that the worker lacks.

It passes only what the Claude Code CLI needs: messages, and the count of their tokens. Requests and replies stream
through chunk by chunk. On the side the relay reads the usage in each reply and counts it against the run's budget. The
budget is approximate (list prices, this process's memory alone): it bounds what an injected agent can burn, it is no
bill.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from peerbot.claude.credentials import Credential
from peerbot.claude.usage import UsageMeter
from peerbot.gateway.streams import IdleDeadline, RequestBody, cut, relay_body, while_connected
from peerbot.logs import logger

log = logger(__name__)

IDLE_SECONDS = 60.0
"""How long a reply that has begun may be silent: Claude sends a sign of life every few seconds."""

FIRST_BYTE_SECONDS = 120.0
"""How long a stream may take to begin, or another reply to come."""

CLI_WAITS_SECONDS = 60
"""If it is asked to wait longer than this, the CLI gives up at once."""

CONNECT_SECONDS = 15.0
MAX_REQUEST_BYTES = 64 * 1024 * 1024
_MAX_ERROR_BYTES = 256 * 1024

_PATHS = ("v1/messages", "v1/messages/count_tokens")
_REQUEST_HEADERS = ("accept", "anthropic-beta", "anthropic-version", "content-type", "user-agent", "x-app")
_REQUEST_PREFIXES = ("x-stainless-",)
_RESPONSE_HEADERS = ("content-type", "request-id", "retry-after", "x-should-retry")
_RESPONSE_PREFIXES = ("anthropic-ratelimit-",)


@dataclass(slots=True)
class _Account:
    """The money that one run has spent, open requests included, so that requests side by side see each other."""

    settled_usd: float = 0.0
    open: set[UsageMeter] = field(default_factory=set)

    @property
    def usd(self) -> float:
        return self.settled_usd + sum(meter.cost_usd for meter in self.open)

    def settle(self, meter: UsageMeter) -> None:
        """Book the cost of a request that has ended."""
        self.open.discard(meter)
        self.settled_usd += meter.cost_usd


class _Exchange:
    """One request on its way: its body, its deadline and its cost."""

    def __init__(self, request: web.Request, account: _Account, idle_seconds: float) -> None:
        self.request = request
        self.response = web.StreamResponse()
        self.idle = IdleDeadline(idle_seconds)
        self.body = RequestBody(request, self.idle, limit_bytes=MAX_REQUEST_BYTES)
        self.meter = UsageMeter()
        self._account = account
        account.open.add(self.meter)

    async def upload(self) -> AsyncIterator[bytes]:
        """Yield the request's body, and meter it."""
        async for chunk in self.body.chunks():
            self.meter.sent(chunk)
            yield chunk

    def settle(self) -> None:
        """Book the cost on the account: the request is over."""
        self._account.settle(self.meter)


class ModelRelay:
    """Relays to `base_url` with `credential`; each run may spend about `budget_usd` US dollars.

    The CLI may wait for a rate limit within `turn_seconds`. A stream may be silent for `idle_seconds`.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        credential: Credential,
        budget_usd: float,
        turn_seconds: float,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._credential = credential
        self._budget_usd = budget_usd
        self._turn_seconds = turn_seconds
        self._idle_seconds = idle_seconds
        self._accounts: dict[str, _Account] = {}

    def spent_usd(self, run: str) -> float:
        """Say about how much the run has spent through this process, in US dollars; open requests count so far."""
        account = self._accounts.get(run)
        return account.usd if account else 0.0

    def forget(self, run: str) -> None:
        """Drop the account of a run that is over."""
        self._accounts.pop(run, None)

    async def handle(self, request: web.Request, run: str, tail: str) -> web.StreamResponse:
        """Serve one request of a worker's CLI; `run` names its budget, `tail` is the path behind the relay's.

        The caller has checked the token. Never raises for anything that the API or the worker does.
        """
        if tail == "api/hello" and request.method in ("GET", "HEAD"):
            return web.json_response({})
        account = self._accounts.setdefault(run, _Account())
        refusal = self._refusal(request, account, tail)
        return refusal or await self._exchange(request, account, tail)

    def _refusal(self, request: web.Request, account: _Account, tail: str) -> web.Response | None:
        if request.method != "POST" or tail not in _PATHS:
            return _error(404, "not_found_error", "PeerBot relays only the Messages API.")
        if account.usd >= self._budget_usd:
            log.warning("budget_used_up", spent_usd=round(account.usd, 4))
            # Of the errors after which the CLI does not try again, it shows this one as it is, in one sentence.
            sentence = f"This run's budget of ${self._budget_usd:.2f} is used up (PEERBOT_RUN_BUDGET_USD)."
            return _error(402, "billing_error", sentence)
        return _too_large() if (request.content_length or 0) > MAX_REQUEST_BYTES else None

    async def _exchange(self, request: web.Request, account: _Account, tail: str) -> web.StreamResponse:
        log.debug("model_request", path=tail)
        exchange = _Exchange(request, account, FIRST_BYTE_SECONDS)
        exchange.meter.free = tail != "v1/messages"
        try:
            return await while_connected(request, self._relay(exchange, tail))
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            begun = exchange.response.prepared
            log.warning("model_broke", begun=begun, cause=type(error).__name__)
            if begun:
                cut(request)
                return exchange.response
            if exchange.body.too_large:
                return _too_large()
            return _error(529, "overloaded_error", "PeerBot got no answer from the Claude API.")
        finally:
            exchange.settle()

    async def _relay(self, exchange: _Exchange, tail: str) -> web.StreamResponse:
        request, response = exchange.request, exchange.response
        async with (
            exchange.idle,
            self._session.post(
                f"{self._base_url}/{tail}",
                params={"beta": request.query["beta"]} if "beta" in request.query else None,
                headers=self._request_headers(request),
                data=exchange.upload(),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            ) as upstream,
        ):
            response.set_status(upstream.status)
            for name, value in _allowed(upstream.headers, _RESPONSE_HEADERS, _RESPONSE_PREFIXES):
                response.headers.add(name, self._credential.redact(value.encode()).decode())
            if upstream.status != 200:
                exchange.meter.free = True
                log.warning("model_refused", status=upstream.status)
                self._shorten_wait(response.headers)
                if upstream.status in (401, 403):  # a second try does not help a bad key: the CLI would try for 20 s
                    response.headers["x-should-retry"] = "false"
                return await self._relay_error(upstream, exchange)
            exchange.meter.begin(upstream.content_type)
            if upstream.content_type == "text/event-stream":
                exchange.idle.within(self._idle_seconds)
            await relay_body(upstream, request, response, exchange.idle, exchange.meter.received)
            exchange.meter.end()
            return response

    async def _relay_error(self, upstream: aiohttp.ClientResponse, exchange: _Exchange) -> web.StreamResponse:
        """Read the whole error, which is small, and remove the key: an error may quote our request."""
        error = b""
        while len(error) < _MAX_ERROR_BYTES and (chunk := await upstream.content.readany()):
            error += chunk
        exchange.response.set_status(upstream.status if upstream.status >= 400 else 502)
        await exchange.response.prepare(exchange.request)
        await exchange.response.write_eof(self._credential.redact(error))
        return exchange.response

    def _shorten_wait(self, headers: CIMultiDict[str]) -> None:
        """Shorten a wait for which the turn has time but which is so long that the CLI would give up at once."""
        asked = headers.get("retry-after", "")
        if asked.isdecimal() and CLI_WAITS_SECONDS < int(asked) < self._turn_seconds:
            headers["retry-after"] = str(CLI_WAITS_SECONDS - 5)

    def _request_headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = CIMultiDict(_allowed(request.headers, _REQUEST_HEADERS, _REQUEST_PREFIXES))
        headers.update(self._credential.headers)
        # A compressed event stream arrives in lumps, and we pass on bytes as they come.
        headers["accept-encoding"] = "identity"
        # aiohttp has unpacked a packed body: its length is no longer the one that the client gave.
        if request.content_length is not None and "content-encoding" not in request.headers:
            headers["content-length"] = str(request.content_length)
        return headers


def _allowed(
    headers: Mapping[str, str], names: tuple[str, ...], prefixes: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if name.lower() in names or name.lower().startswith(prefixes):
            yield name, value


def _error(status: int, kind: str, sentence: str) -> web.Response:
    """Make an error in Anthropic's form, which the CLI understands and shows."""
    return web.json_response({"type": "error", "error": {"type": kind, "message": sentence}}, status=status)


def _too_large() -> web.Response:
    return _error(413, "request_too_large", f"The request is larger than {MAX_REQUEST_BYTES >> 20} MiB.")
