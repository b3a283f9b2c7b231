"""The agent's way to Claude: Anthropic's Messages API, relayed, with the key that the worker lacks.

Only what the Claude Code CLI needs passes: messages, and counting their tokens. Requests and replies stream through
chunk by chunk; what a reply says that it used is read on the side, against the run's budget. The budget is
approximate (list prices, this process's memory alone): it bounds what an injected agent can burn, it is no bill.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from peerbot.claude.credentials import Credential
from peerbot.claude.usage import UsageMeter
from peerbot.gateway.streams import IdleDeadline, RequestBody, cut, relay_body, while_connected
from peerbot.logs import logger

log = logger(__name__)

IDLE_SECONDS = 300.0
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
    """What one run has spent."""

    usd: float = 0.0


class _Exchange:
    """One request on its way: its body, its deadline, and what it costs."""

    def __init__(self, request: web.Request, account: _Account, idle_seconds: float) -> None:
        self.request = request
        self.response = web.StreamResponse()
        self.idle = IdleDeadline(idle_seconds)
        self.body = RequestBody(request, self.idle, limit_bytes=MAX_REQUEST_BYTES)
        self.meter = UsageMeter()
        self._account = account
        self._counted_usd = 0.0

    async def upload(self) -> AsyncIterator[bytes]:
        """The request's body, metered."""
        async for chunk in self.body.chunks():
            self.meter.sent(chunk)
            yield chunk
        self.settle()

    def received(self, chunk: bytes) -> None:
        """Meter a part of the reply, which has been passed on already."""
        self.meter.received(chunk)
        self.settle()

    def settle(self) -> None:
        """Bring the account to what this has cost by now, so that requests side by side see each other."""
        cost = self.meter.cost_usd
        self._account.usd += cost - self._counted_usd
        self._counted_usd = cost


class ModelRelay:
    """Relays to `base_url` with `credential`; each run may spend about `budget_usd` US dollars."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        credential: Credential,
        budget_usd: float,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._credential = credential
        self._budget_usd = budget_usd
        self._idle_seconds = idle_seconds
        self._accounts: dict[str, _Account] = {}

    def spent_usd(self, run: str) -> float:
        """About what the run has spent through this process, in US dollars; requests that still run count so far."""
        account = self._accounts.get(run)
        return account.usd if account else 0.0

    def forget(self, run: str) -> None:
        """The run is over."""
        self._accounts.pop(run, None)

    async def handle(self, request: web.Request, run: str, tail: str) -> web.StreamResponse:
        """Serve one request of a worker's CLI; `run` names its budget, `tail` is the path behind the relay's.

        Whoever calls has checked the token. Never raises for what the API or the worker does.
        """
        if tail == "api/hello" and request.method in ("GET", "HEAD"):
            return web.json_response({})
        account = self._accounts.setdefault(run, _Account())
        refusal = self._refusal(request, account, tail)
        return refusal or await self._exchange(request, account, tail)

    def _refusal(self, request: web.Request, account: _Account, tail: str) -> web.Response | None:
        if request.method != "POST" or tail not in _PATHS:
            return _error(404, "not_found_error", "PeerBot relays the Messages API alone.")
        if account.usd >= self._budget_usd:
            log.warning("budget_used_up", spent_usd=round(account.usd, 4))
            # Of the errors that the CLI does not try again, this is the one that it shows as it is, in one sentence.
            sentence = f"This run's budget of ${self._budget_usd:.2f} is used up (PEERBOT_RUN_BUDGET_USD)."
            return _error(402, "billing_error", sentence)
        return _too_large() if (request.content_length or 0) > MAX_REQUEST_BYTES else None

    async def _exchange(self, request: web.Request, account: _Account, tail: str) -> web.StreamResponse:
        log.debug("model_request", path=tail)
        exchange = _Exchange(request, account, self._idle_seconds)
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
                if upstream.status in (401, 403):  # a key gets no better by trying: the CLI would, for 20 s
                    response.headers["x-should-retry"] = "false"
                return await self._relay_error(upstream, exchange)
            exchange.meter.begin(upstream.content_type)
            await relay_body(upstream, request, response, exchange.idle, exchange.received)
            exchange.meter.end()
            return response

    async def _relay_error(self, upstream: aiohttp.ClientResponse, exchange: _Exchange) -> web.StreamResponse:
        """Errors are small, and may quote what we sent: they are read whole and the key is taken out."""
        error = b""
        while len(error) < _MAX_ERROR_BYTES and (chunk := await upstream.content.readany()):
            error += chunk
        exchange.response.set_status(upstream.status if upstream.status >= 400 else 502)
        await exchange.response.prepare(exchange.request)
        await exchange.response.write_eof(self._credential.redact(error))
        return exchange.response

    def _request_headers(self, request: web.Request) -> CIMultiDict[str]:
        headers = CIMultiDict(_allowed(request.headers, _REQUEST_HEADERS, _REQUEST_PREFIXES))
        headers.update(self._credential.headers)
        # Compressed, an event stream arrives in lumps; and what comes is passed on as it is.
        headers["accept-encoding"] = "identity"
        # aiohttp has unpacked a packed body: then its length is no longer what the client said.
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
    """An error in Anthropic's form, which the CLI understands and shows."""
    return web.json_response({"type": "error", "error": {"type": kind, "message": sentence}}, status=status)


def _too_large() -> web.Response:
    return _error(413, "request_too_large", f"The request has more than {MAX_REQUEST_BYTES >> 20} MiB.")
