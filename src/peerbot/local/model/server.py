"""The demo model's wire: Anthropic's Messages API over HTTP, with streaming, errors and a key."""

import asyncio
import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from itertools import islice
from types import TracebackType
from typing import Self

from aiohttp import web

from peerbot.errors import SettingsError
from peerbot.local.model import replies
from peerbot.local.model.faults import ERROR_TYPES, CutInside, Fault, Faults
from peerbot.local.model.performance import respond
from peerbot.local.model.requests import Document, MalformedRequest, check
from peerbot.logs import logger

log = logger(__name__)

_LARGEST_BODY_BYTES = 32 * 1024 * 1024  # Anthropic's own limit
_PAUSE_SECONDS = 0.002  # between the chunks of a stream: it looks live, and tests stay fast
_KEPT_REQUESTS = 50
_SILENT_SECONDS = 600.0  # longer than any caller waits; cancelled with the server
_DRAIN_SECONDS = 1.0  # the time that answers under way have when the server closes


class DemoModel:
    """A model server of our own: `async with DemoModel() as model:`, then point Claude Code at `model.url`.

    It listens on `host` alone, and takes a free port if `port` is 0. It refuses callers without `api_key`, which it
    makes up if none is given. Between requests it keeps only what tests look at: `requests`, `first_request_at` (of
    `time.monotonic()`) and the last bodies in `seen`.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, api_key: str | None = None) -> None:
        self._host = host
        self.api_key = api_key or f"demo-{secrets.token_urlsafe(24)}"
        self.faults = Faults()
        self.requests = 0
        self.first_request_at: float | None = None
        self._seen: deque[Document] = deque(maxlen=_KEPT_REQUESTS)
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address for `ANTHROPIC_BASE_URL`. Known once the server has started."""
        return f"http://{self._host}:{self._port}"

    @property
    def seen(self) -> list[Document]:
        """The bodies of the last 50 requests for messages, oldest first."""
        return list(self._seen)

    async def start(self) -> None:
        """Listen. Raises `SettingsError` if the port is taken."""
        app = web.Application(middlewares=[self._guard], client_max_size=_LARGEST_BODY_BYTES)
        app.router.add_get("/api/hello", _hello)  # HEAD too
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", self._count_tokens)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_DRAIN_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.close()
            raise SettingsError(f"The demo model can't listen on port {self._port}: another program does.") from error
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening. Answers under way get a second. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Check the key, and turn every failure into one of Anthropic's error documents."""
        if request.path != "/api/hello" and not self._knows(request):
            return _error(401, "invalid x-api-key")
        try:
            return await handler(request)
        except MalformedRequest as error:
            return _error(400, str(error))
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "Request exceeds the maximum size")
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _error(404, f"{request.method} {request.path} is not something that the demo model has.")

    def _knows(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        return hmac.compare_digest(given.encode(), self.api_key.encode())

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        self.first_request_at = self.first_request_at or time.monotonic()
        body = check(await _json(request))
        self._seen.append(body)
        reply = respond(body)
        fault = self.faults.take(has_tool_call=bool(reply.calls))
        log.debug("demo_model_answers", calls=[call.name for call in reply.calls], fault=fault != Fault())
        await asyncio.sleep(fault.delay_seconds)
        if fault.status is not None:
            return _error(fault.status, fault.message, fault.retry_after_seconds)
        if fault.refusal:
            document = replies.refusal(body, reply)
        elif fault.out_of_tokens:
            document = replies.cut_short(body, reply)
        else:
            document = replies.message(body, reply)
        if not body.get("stream"):
            return _hang_up(request, web.Response()) if fault.cut_inside else web.json_response(document)
        return await _stream(request, document, fault)

    async def _count_tokens(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"input_tokens": replies.input_tokens(check(await _json(request)))})


async def _hello(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"message": "hello"})


async def _json(request: web.Request) -> object:
    try:
        body: object = json.loads(await request.read())
    except ValueError as error:
        raise MalformedRequest(f"The request body is not valid JSON: {error}") from error
    return body


async def _stream(request: web.Request, document: Document, fault: Fault) -> web.StreamResponse:
    cut: CutInside | None = "text" if fault.stalls else fault.cut_inside
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    events = list(replies.events(document))
    for event in islice(events, _length_until_cut(events, cut)):
        await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        if event["type"] == "content_block_delta":
            await asyncio.sleep(_PAUSE_SECONDS)
    if fault.stalls:
        await asyncio.sleep(_SILENT_SECONDS)
    if fault.cut_after:
        await fault.cut_after.wait()
    if cut:
        return _hang_up(request, response)
    await response.write_eof()
    return response


def _length_until_cut(events: list[Document], cut: CutInside | None) -> int:
    """Count the events that still arrive: half of the deltas of the first block of the kind that is cut."""
    if cut is None:
        return len(events)
    kind = "text_delta" if cut == "text" else "input_json_delta"
    inside = [at for at, event in enumerate(events) if event.get("delta", {}).get("type") == kind]
    return inside[len(inside) // 2] if inside else 1


def _hang_up(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection in the middle of the answer. All that was written before still arrives."""
    if request.transport is not None:
        request.transport.close()
    return response


def _error(status: int, text: str, retry_after_seconds: int | None = None) -> web.Response:
    document = replies.error(ERROR_TYPES[status], text)
    headers = {"request-id": document["request_id"]}
    if retry_after_seconds is not None:
        headers["retry-after"] = str(retry_after_seconds)
    reason = HTTPStatus(status).phrase if status != 529 else "Overloaded"
    return web.json_response(document, status=status, reason=reason, headers=headers)
