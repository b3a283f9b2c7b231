"""The Web API: one path for each method. Token, scopes, limits and faults come first; Slack's way of answering last.

A call that was carried out is answered with the token's scopes in the header `x-oauth-scopes`. Slack's own SDK hands
them out as `response_metadata.scopes`
(https://docs.slack.dev/tools/node-slack-sdk/reference/web-api/interfaces/WebAPICallResult).
"""

import asyncio
import hmac
import secrets
from collections import deque
from collections.abc import Callable, Sequence

from aiohttp import web

from peerbot.local.slack import chat, lookups, scopes
from peerbot.local.slack.arguments import Arguments
from peerbot.local.slack.faults import Call, Fault, Faults
from peerbot.local.slack.files import Files
from peerbot.local.slack.limits import RateLimits
from peerbot.local.slack.shapes import Object
from peerbot.local.slack.views import Views
from peerbot.local.slack.world import NotOk, World
from peerbot.slack.manifest import APP_SCOPE, SCOPES

CALLS_KEPT = 5_000
_METHODS = chat.METHODS | lookups.METHODS
_OPEN = "apps.connections.open"


class WebApi:
    """Answers `/api/{method}`."""

    def __init__(
        self,
        world: World,
        files: Files,
        views: Views,
        faults: Faults,
        new_socket_url: Callable[[], str],
        changed: Callable[[], None],
    ) -> None:
        self.bot_token = "xoxb-" + secrets.token_urlsafe(32)
        self.app_token = "xapp-" + secrets.token_urlsafe(32)
        self.scopes = [scope.name for scope in SCOPES]
        self.calls: deque[Call] = deque(maxlen=CALLS_KEPT)
        self._world = world
        self._files = files
        self._views = views
        self._faults = faults
        self._new_socket_url = new_socket_url
        self._changed = changed
        self._limits = RateLimits()

    def may_read_files(self, token: str) -> bool:
        """Whether the bearer of a token may download files."""
        return hmac.compare_digest(token.encode(), self.bot_token.encode()) and "files:read" in self.scopes

    async def handle(self, request: web.Request) -> web.Response:
        """Serve one call."""
        method = request.match_info["method"]
        fault = self._faults.take(method) or Fault()
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        arguments = Arguments({})
        try:
            arguments = await Arguments.of(request)
            token = request.headers.get("Authorization", "").removeprefix("Bearer ") or arguments.take_token()
            response, outcome = self._respond(method, token, arguments, fault)
        except NotOk as refusal:
            response, outcome = _json({"ok": False, "error": refusal.error} | refusal.more), refusal.error
        if fault.lost and request.transport:
            request.transport.abort()
            outcome = "lost"
        self.calls.append(Call(method, arguments.recorded(), outcome))
        self._changed()
        if fault.late_seconds:
            await asyncio.sleep(fault.late_seconds)
        return response

    def _respond(self, method: str, token: str, arguments: Arguments, fault: Fault) -> tuple[web.Response, str]:
        if fault.status != 200:
            return _http(fault.status, fault.retry_after_seconds)
        if fault.error:
            raise NotOk(fault.error)
        if method not in {**_METHODS, **self._files.METHODS, **self._views.METHODS, _OPEN: None}:
            raise NotOk("unknown_method", req_method=method)
        self._check(token, self.app_token if method == _OPEN else self.bot_token)
        for scope in scopes.needed(method, arguments, self._world):
            if scope not in self.scopes:
                raise NotOk("missing_scope", needed=scope, provided=",".join(self.scopes))
        if self._faults.rate_limits:
            seconds = self._limits.wait_seconds(method, arguments.text("channel"))
            if seconds:
                return _http(429, seconds)
        answer = {"url": self._new_socket_url()} if method == _OPEN else self._carry_out(method, arguments)
        return _json({"ok": True} | answer, [APP_SCOPE] if method == _OPEN else self.scopes), "ok"

    def _check(self, token: str, wanted: str) -> None:
        if not token:
            raise NotOk("not_authed")
        if not hmac.compare_digest(token.encode(), wanted.encode()):
            known = any(hmac.compare_digest(token.encode(), own.encode()) for own in (self.bot_token, self.app_token))
            raise NotOk("not_allowed_token_type" if known else "invalid_auth")

    def _carry_out(self, method: str, arguments: Arguments) -> Object:
        if method.startswith("agents.") and "assistant:write" not in self.scopes:  # an app has it if it is an agent
            raise NotOk("not_authorized")
        if method in self._files.METHODS:
            return self._files.METHODS[method](self._files, arguments)
        if method in self._views.METHODS:
            return self._views.METHODS[method](self._views, arguments)
        return _METHODS[method](self._world, arguments)


def _json(body: Object, granted: Sequence[str] = ()) -> web.Response:
    headers = {"x-oauth-scopes": ",".join(granted)} if granted else {}
    return web.json_response(body, headers=headers | {"x-slack-req-id": secrets.token_hex(16)})


def _http(status: int, retry_after_seconds: int | None) -> tuple[web.Response, str]:
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    if status == 429:
        return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers), "http 429"
    return web.Response(status=status, text="upstream connect error", headers=headers), f"http {status}"
