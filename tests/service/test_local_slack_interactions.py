"""The local Slack sends pressed buttons, submitted modals and commands to an app, here Slack's own client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from local_slack_app import SOON, client_of
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from peerbot.local.slack import LocalSlack, NotOk

STOP = {"type": "button", "action_id": "stop", "text": {"type": "plain_text", "text": "Stop"}, "value": "r1"}
BLOCKS: list[dict[str, Any]] = [
    {"type": "section", "text": {"type": "mrkdwn", "text": "*working*"}},
    {"type": "actions", "block_id": "run", "elements": [STOP]},
]
MODAL = {"type": "modal", "callback_id": "why", "title": {"type": "plain_text", "text": "Why?"}}


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


@dataclass
class App:
    """The payloads that Slack's own client got, and its answers to them."""

    answer: dict[str, Any] | None = None
    requests: list[SocketModeRequest] = field(default_factory=list)

    async def take(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        if request.type != "events_api":
            self.requests.append(request)
        await client.send_socket_mode_response(SocketModeResponse(request.envelope_id, self.answer))


@asynccontextmanager
async def connected(slack: LocalSlack) -> AsyncIterator[App]:
    app = App()
    client = SocketModeClient(slack.app_token, web_client=client_of(slack))
    client.socket_mode_request_listeners.append(app.take)
    await client.connect()  # type: ignore[no-untyped-call]
    try:
        await slack.wait_for(lambda: slack.connections == 1, SOON)
        yield app
    finally:
        await client.close()  # type: ignore[no-untyped-call]


async def a_card(slack: LocalSlack, thread_ts: str | None = None) -> str:
    posted = await client_of(slack).chat_postMessage(
        channel=slack.general, thread_ts=thread_ts, text="working", blocks=BLOCKS
    )
    return str(posted["ts"])


async def test_a_pressed_button_is_an_interactive_envelope_with_the_button_and_its_message(slack: LocalSlack) -> None:
    async with connected(slack) as app:
        root = await slack.say(slack.person, slack.general, "go")
        card = await a_card(slack, thread_ts=root)
        assert await slack.press(slack.person, slack.general, card, "stop") is None

    [request] = app.requests
    assert (request.type, request.accepts_response_payload) == ("interactive", False)
    body = request.payload
    assert (body["type"], body["user"]["id"], body["channel"]["id"]) == ("block_actions", slack.person, slack.general)
    assert body["container"] == {
        "type": "message",
        "message_ts": card,
        "channel_id": slack.general,
        "thread_ts": root,
        "is_ephemeral": False,
    }
    assert body["message"]["ts"] == card
    [action] = body["actions"]
    assert (action["action_id"], action["block_id"], action["value"]) == ("stop", "run", "r1")


async def test_what_came_back_with_the_ack_of_a_modal_or_a_command_is_shown(slack: LocalSlack) -> None:
    values = {"reason": {"text": {"type": "plain_text_input", "value": "too slow"}}}
    async with connected(slack) as app:
        app.answer = {"response_action": "clear"}
        assert await slack.submit(slack.person, MODAL, values) == {"response_action": "clear"}
        app.answer = {"text": "All is well."}
        assert await slack.command(slack.person, slack.direct, "/peerbot", "status") == {"text": "All is well."}

    modal, command = app.requests
    assert (modal.type, modal.accepts_response_payload) == ("interactive", True)
    assert modal.payload["type"] == "view_submission"
    assert modal.payload["view"]["callback_id"] == "why"
    assert modal.payload["view"]["state"] == {"values": values}
    assert (command.type, command.accepts_response_payload) == ("slash_commands", True)
    assert (command.payload["command"], command.payload["text"]) == ("/peerbot", "status")
    assert (command.payload["user_id"], command.payload["channel_id"]) == (slack.person, slack.direct)


async def test_what_people_do_while_no_app_listens_fails_at_once_and_is_not_sent_later(slack: LocalSlack) -> None:
    card = await a_card(slack)
    with pytest.raises(NotOk, match="dispatch_failed"):
        await slack.press(slack.person, slack.general, card, "stop")
    with pytest.raises(NotOk, match="dispatch_failed"):
        await slack.command(slack.person, slack.general, "/peerbot", "status")
    async with connected(slack) as app:
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)
        assert await slack.submit(slack.person, MODAL, {}) is None
        assert [request.payload["type"] for request in app.requests] == ["view_submission"]


async def test_only_a_button_of_a_message_can_be_pressed_and_only_by_somebody_who_sees_it(
    slack: LocalSlack,
) -> None:
    slack.add_channel("G0PRIVATE01", "secret", kind="private", members=[slack.bot_user])
    card = await a_card(slack)
    with pytest.raises(LookupError, match="no button go"):
        await slack.press(slack.person, slack.general, card, "go")
    with pytest.raises(NotOk, match="message_not_found"):
        await slack.press(slack.person, slack.general, "1.000000", "stop")
    with pytest.raises(NotOk, match="channel_not_found"):
        await slack.press(slack.person, "G0PRIVATE01", card, "stop")
