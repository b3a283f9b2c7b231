"""An unmodified Bolt app and Slack's own client, on the local Slack."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.local.slack import LocalSlack

SOON = 30.0  # seconds; everything here happens at once, or a little later on a busy machine


def client_of(slack: LocalSlack, **options: Any) -> AsyncWebClient:
    return AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, **options)


@dataclass
class Received:
    """Everything that Slack sent to an app, in order of arrival."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    refuse: int = 0  # the app leaves this many more deliveries unacknowledged

    @property
    def events(self) -> list[dict[str, Any]]:
        return [body["event"] for body in self.bodies]

    @property
    def types(self) -> list[str]:
        return sorted(event["type"] for event in self.events)


@asynccontextmanager
async def bolt(slack: LocalSlack, *, sockets: int = 1) -> AsyncIterator[Received]:
    """A Bolt app that takes everything, from a global middleware, as the dispatcher does."""
    received = Received()
    app = AsyncApp(client=client_of(slack))

    @app.middleware
    async def receive(req: Any, body: dict[str, Any], next: Callable[[], Awaitable[None]]) -> BoltResponse | None:
        received.bodies.append(body)
        number = req.headers.get("x-slack-retry-num", ["0"])[0]
        received.retries.append((number, req.headers.get("x-slack-retry-reason", [""])[0]))
        if received.refuse > 0:
            received.refuse -= 1
            return BoltResponse(status=503)
        await next()
        return None

    @app.event(re.compile(".*"))
    async def taken() -> None: ...

    handlers = [AsyncSocketModeHandler(app, slack.app_token, ping_interval=0.2) for _ in range(sockets)]
    for handler in handlers:
        await handler.connect_async()  # type: ignore[no-untyped-call]
    await slack.wait_for(lambda: slack.connections >= sockets, SOON)
    try:
        yield received
    finally:
        for handler in handlers:
            await handler.close_async()  # type: ignore[no-untyped-call]


async def delivered(slack: LocalSlack) -> None:
    await slack.wait_for(lambda: slack.undelivered == 0, SOON)


def error_of(failure: pytest.ExceptionInfo[SlackApiError]) -> str:
    error: str = failure.value.response["error"]
    return error
