"""The local Slack as an app sees it: an unmodified Bolt app and Slack's own client against it."""

import asyncio
import json
import re
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.errors import Conflict, Unavailable
from peerbot.local.slack import Fault, LocalSlack, NotOk

SOON = 5.0  # seconds; everything here happens at once, on a slow machine a little later


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


def client_of(slack: LocalSlack, **options: Any) -> AsyncWebClient:
    return AsyncWebClient(token=slack.bot_token, base_url=slack.api_url, **options)


@pytest.fixture
def client(slack: LocalSlack) -> AsyncWebClient:
    return client_of(slack)


@dataclass
class Received:
    """What an app was sent, in order of arrival."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    refuse: int = 0  # so many deliveries more are not acknowledged

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
        await handler.connect_async()
    await slack.wait_for(lambda: slack.connections >= sockets, SOON)
    try:
        yield received
    finally:
        for handler in handlers:
            await handler.close_async()


async def delivered(slack: LocalSlack) -> None:
    await slack.wait_for(lambda: slack.undelivered == 0, SOON)


def error_of(failure: pytest.ExceptionInfo[SlackApiError]) -> str:
    error: str = failure.value.response["error"]
    return error


# Events


async def test_a_mention_arrives_as_app_mention_and_as_message_with_ids_of_their_own(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        ts = await slack.say(slack.person, slack.general, f"{slack.mention()} fix the test")
        await delivered(slack)
    assert received.types == ["app_mention", "message"]
    assert {event["ts"] for event in received.events} == {ts}
    assert len({body["event_id"] for body in received.bodies}) == 2
    for body in received.bodies:
        assert body["team_id"] == slack.team
        assert body["authorizations"][0]["user_id"] == slack.bot_user
        assert body["is_ext_shared_channel"] is False
        assert body["event"]["user"] == slack.person


async def test_a_reply_is_a_message_with_thread_ts_and_no_mention(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        root = await slack.say(slack.person, slack.general, "what next?")
        await slack.say(slack.person, slack.general, "and then?", thread_ts=root)
        await delivered(slack)
    assert received.types == ["message", "message"]
    reply = next(event for event in received.events if event["text"] == "and then?")
    assert reply["thread_ts"] == root
    assert reply["channel_type"] == "channel"
    assert slack.message(slack.general, root)["reply_count"] == 1


async def test_a_mention_in_a_direct_message_is_a_message_alone(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        await slack.say(slack.person, slack.direct, f"{slack.mention()} hello")
        await delivered(slack)
    assert received.types == ["message"]
    assert received.events[0]["channel_type"] == "im"


async def test_the_bot_hears_nothing_of_channels_that_it_is_not_in(slack: LocalSlack) -> None:
    slack.add_channel("C0ELSEWHERE", "elsewhere", members=[slack.person])
    async with bolt(slack) as received:
        await slack.say(slack.person, "C0ELSEWHERE", f"{slack.mention()} psst")
        await slack.say(slack.person, slack.general, "loud")
        await delivered(slack)
    assert [event["text"] for event in received.events] == ["loud"]


async def test_a_channel_shared_with_others_says_so_and_whose_the_speaker_is(slack: LocalSlack) -> None:
    slack.add_user("U0STRANGER1", "Eve Elsewhere", kind="external")
    slack.add_channel("C0SHARED001", "shared", members=["U0STRANGER1", slack.bot_user], shared=True)
    async with bolt(slack) as received:
        await slack.say("U0STRANGER1", "C0SHARED001", "hello")
        await delivered(slack)
    assert received.bodies[0]["is_ext_shared_channel"] is True
    assert received.events[0]["user_team"] != slack.team


async def test_an_edit_and_a_deletion_are_messages_with_a_subtype(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        ts = await slack.say(slack.person, slack.general, "frist")
        await slack.edit(slack.person, slack.general, ts, "first")
        await slack.delete(slack.person, slack.general, ts)
        await delivered(slack)
    by_subtype = {event.get("subtype"): event for event in received.events}
    assert by_subtype["message_changed"]["message"]["text"] == "first"
    assert by_subtype["message_changed"]["previous_message"]["text"] == "frist"
    assert by_subtype["message_deleted"]["deleted_ts"] == ts
    assert len({event["event_ts"] for event in received.events}) == 3


async def test_the_bot_is_told_of_its_own_messages_and_bolt_knows_them_for_its_own(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        await client_of(slack).chat_postMessage(channel=slack.general, text="done")
        await delivered(slack)  # Bolt acknowledges its own messages and calls nobody
    assert received.events == []
    assert slack.calls[-1].method in ("auth.test", "chat.postMessage")


# Delivery


async def test_what_a_middleware_refuses_comes_again_with_attempt_and_reason(slack: LocalSlack) -> None:
    slack.faults.retry_scale = 0.02
    async with bolt(slack) as received:
        received.refuse = 2
        await slack.say(slack.person, slack.general, "again")
        await delivered(slack)
    assert received.retries == [("0", ""), ("1", "timeout"), ("2", "timeout")]
    assert len({body["event_id"] for body in received.bodies}) == 1


async def test_what_is_never_acknowledged_is_given_up_after_three_redeliveries(slack: LocalSlack) -> None:
    slack.faults.retry_scale = 0.001
    async with bolt(slack) as received:
        received.refuse = 100
        await slack.say(slack.person, slack.general, "in vain")
        await delivered(slack)
    assert [attempt for attempt, _ in received.retries] == ["0", "1", "2", "3"]


async def test_an_event_that_found_no_connection_comes_as_a_retry(slack: LocalSlack) -> None:
    slack.faults.retry_scale = 0.3
    await slack.say(slack.person, slack.general, "anybody?")
    async with bolt(slack) as received:
        await delivered(slack)
    assert [event["text"] for event in received.events] == ["anybody?"]
    assert received.retries == [("1", "timeout")]


async def test_duplicates_come_with_one_event_id(slack: LocalSlack) -> None:
    slack.faults.duplicate_events = True
    async with bolt(slack, sockets=2) as received:
        await slack.say(slack.person, slack.general, f"{slack.mention()} once")
        await delivered(slack)
        await slack.wait_for(lambda: len(received.bodies) == 4, SOON)
    assert len({body["event_id"] for body in received.bodies}) == 2


async def test_events_can_overtake_each_other(slack: LocalSlack) -> None:
    slack.faults.reorder_events = True
    async with bolt(slack) as received:
        said = [await slack.say(slack.person, slack.general, str(number)) for number in range(20)]
        await delivered(slack)
    arrived = [event["ts"] for event in received.events]
    assert sorted(arrived) == said
    assert arrived != said


async def test_each_event_goes_to_one_of_two_connections_of_one_app(slack: LocalSlack) -> None:
    async with bolt(slack, sockets=2) as received:
        assert slack.connections == 2
        for number in range(12):
            await slack.say(slack.person, slack.general, str(number))
        await delivered(slack)
    assert sorted(int(event["text"]) for event in received.events) == list(range(12))


async def test_the_eleventh_connection_is_told_that_there_are_too_many(slack: LocalSlack) -> None:
    async with aiohttp.ClientSession() as session:
        opened = [await _open_socket(slack, session) for _ in range(10)]
        hello = await opened[-1].receive_json(timeout=SOON)
        assert (hello["type"], hello["num_connections"]) == ("hello", 10)
        eleventh = await _open_socket(slack, session)
        refusal = await eleventh.receive_json(timeout=SOON)
        assert (refusal["type"], refusal["reason"]) == ("disconnect", "too_many_websockets")
        assert slack.connections == 10


async def _open_socket(slack: LocalSlack, session: aiohttp.ClientSession) -> aiohttp.ClientWebSocketResponse:
    answer = await AsyncWebClient(base_url=slack.api_url).apps_connections_open(app_token=slack.app_token)
    return await session.ws_connect(answer["url"], autoping=False)


async def test_a_handshake_url_opens_one_connection(slack: LocalSlack) -> None:
    answer = await AsyncWebClient(base_url=slack.api_url).apps_connections_open(app_token=slack.app_token)
    async with aiohttp.ClientSession() as session, session.ws_connect(answer["url"]):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(answer["url"])


async def test_a_ping_is_answered_with_its_own_payload(slack: LocalSlack) -> None:
    async with aiohttp.ClientSession() as session:
        socket = await _open_socket(slack, session)
        await socket.receive_json(timeout=SOON)
        await socket.ping(b"sdk-ping-pong:1.5")
        pong = await socket.receive(timeout=SOON)
    assert (pong.type, pong.data) == (aiohttp.WSMsgType.PONG, b"sdk-ping-pong:1.5")


@pytest.mark.parametrize("how", ["asked to", "cut off"])
async def test_a_connection_that_has_to_go_comes_back_and_nothing_is_lost(slack: LocalSlack, how: str) -> None:
    slack.faults.retry_scale = 0.1
    async with bolt(slack) as received:
        opened = _count(slack, "apps.connections.open")
        if how == "asked to":
            await slack.disconnect_sockets()
        else:
            slack.drop_sockets()
        await slack.say(slack.person, slack.general, "in the gap")
        await slack.wait_for(lambda: slack.connections == 1, SOON)
        await delivered(slack)
        assert _count(slack, "apps.connections.open") == opened + 1
    assert [event["text"] for event in received.events] == ["in the gap"]


def _count(slack: LocalSlack, method: str) -> int:
    return sum(call.method == method for call in slack.calls)


# The Web API


async def test_a_thread_is_written_changed_and_read_back(slack: LocalSlack, client: AsyncWebClient) -> None:
    root = await slack.say(slack.person, slack.general, f"{slack.mention()} go")
    card = await client.chat_postMessage(channel=slack.general, thread_ts=root, text="working", blocks=[DIVIDER])
    await client.chat_update(channel=slack.general, ts=card["ts"], blocks=[PLAN], text="still working")
    final = await client.chat_postMessage(
        channel=slack.general,
        thread_ts=root,
        text="done",
        metadata={"event_type": "turn", "event_payload": {"turn": 1}},
    )
    await client.reactions_add(channel=slack.general, timestamp=root, name="eyes")
    await client.reactions_remove(channel=slack.general, timestamp=root, name="eyes")
    await client.reactions_add(channel=slack.general, timestamp=root, name="white_check_mark")

    answer = await client.conversations_replies(channel=slack.general, ts=root, include_all_metadata=True)
    parent, first, last = answer["messages"]
    assert parent["reactions"] == [{"name": "white_check_mark", "users": [slack.bot_user], "count": 1}]
    assert parent["reply_count"] == 2
    assert (first["text"], first["blocks"][0]["type"], "edited" in first) == ("still working", "plan", False)
    assert first["blocks"][0]["block_id"]
    assert (last["ts"], last["metadata"]["event_payload"], last["bot_id"]) == (final["ts"], {"turn": 1}, slack.bot)
    assert answer["messages"] == slack.thread(slack.general, root)
    plain = await client.conversations_replies(channel=slack.general, ts=root)
    assert all("metadata" not in message for message in plain["messages"])


async def test_text_alone_takes_an_updated_message_s_blocks_away(slack: LocalSlack, client: AsyncWebClient) -> None:
    ts = (await client.chat_postMessage(channel=slack.general, text="a", blocks=[DIVIDER]))["ts"]
    await client.chat_update(channel=slack.general, ts=ts, text="b")
    message = slack.message(slack.general, ts)
    assert message["text"] == "b"
    assert "blocks" not in message
    assert "edited" in message


async def test_replies_come_in_pages_with_the_parent_first(slack: LocalSlack, client: AsyncWebClient) -> None:
    root = await slack.say(slack.person, slack.general, "root")
    replies = [await slack.say(slack.person, slack.general, str(n), thread_ts=root) for n in range(5)]
    pages: list[list[str]] = []
    cursor = ""
    while not pages or cursor:
        page = await client.conversations_replies(
            channel=slack.general, ts=root, limit=2, oldest=replies[1], inclusive=False, cursor=cursor
        )
        pages.append([message["ts"] for message in page["messages"]])
        cursor = (page.get("response_metadata") or {}).get("next_cursor", "")
    assert pages == [[root, replies[2]], [replies[3], replies[4]]]


async def test_history_is_newest_first_without_replies(slack: LocalSlack, client: AsyncWebClient) -> None:
    first = await slack.say(slack.person, slack.general, "1")
    await slack.say(slack.person, slack.general, "reply", thread_ts=first)
    second = await slack.say(slack.person, slack.general, "2")
    answer = await client.conversations_history(channel=slack.general)
    assert [message["ts"] for message in answer["messages"]] == [second, first]


async def test_a_deleted_message_with_replies_leaves_a_tombstone(slack: LocalSlack, client: AsyncWebClient) -> None:
    root = await slack.say(slack.person, slack.general, "root")
    reply = await slack.say(slack.person, slack.general, "reply", thread_ts=root)
    await slack.delete(slack.person, slack.general, root)
    messages = (await client.conversations_replies(channel=slack.general, ts=root))["messages"]
    assert [message.get("subtype") for message in messages] == ["tombstone", None]
    await slack.delete(slack.person, slack.general, reply)
    assert [message["ts"] for message in slack.thread(slack.general, root)] == [root]


async def test_users_say_what_they_are(slack: LocalSlack, client: AsyncWebClient) -> None:
    slack.add_user("U0GUEST0001", "Guy Guest", kind="guest")
    slack.add_user("U0STRANGER1", "Eve Elsewhere", kind="external")
    slack.add_user("U0GONE00001", "Gwen Gone", kind="deactivated")
    users = {
        user: (await client.users_info(user=user))["user"]
        for user in (slack.person, slack.bot_user, "U0GUEST0001", "U0STRANGER1", "U0GONE00001")
    }
    assert users[slack.person]["profile"]["display_name"] == "ada"
    assert not users[slack.person]["is_restricted"]
    assert users[slack.bot_user]["is_bot"]
    assert users["U0GUEST0001"]["is_restricted"]
    assert users["U0STRANGER1"]["is_stranger"]
    assert users["U0STRANGER1"]["team_id"] != slack.team
    assert users["U0GONE00001"]["deleted"]


async def test_channels_say_what_they_are(slack: LocalSlack, client: AsyncWebClient) -> None:
    slack.add_channel("C0SHARED001", "shared", shared=True)
    slack.add_channel("C0PRIVATE01", "secret", kind="private")
    infos = {
        channel: (await client.conversations_info(channel=channel))["channel"]
        for channel in (slack.general, slack.direct, "C0SHARED001", "C0PRIVATE01")
    }
    assert infos[slack.general]["is_channel"]
    assert not infos[slack.general]["is_ext_shared"]
    assert infos[slack.direct]["is_im"]
    assert infos["C0SHARED001"]["is_ext_shared"]
    assert infos["C0PRIVATE01"]["is_private"]


async def test_a_permalink_names_the_message_and_its_thread(slack: LocalSlack, client: AsyncWebClient) -> None:
    root = await slack.say(slack.person, slack.general, "root")
    reply = await slack.say(slack.person, slack.general, "reply", thread_ts=root)
    link = (await client.chat_getPermalink(channel=slack.general, message_ts=reply))["permalink"]
    assert link.endswith(f"/archives/{slack.general}/p{reply.replace('.', '')}?thread_ts={root}&cid={slack.general}")


DIVIDER = {"type": "divider"}
PLAN = {
    "type": "plan",
    "title": "Running tests",
    "tasks": [
        {"type": "task_card", "task_id": "t1", "title": "Cloned", "status": "complete"},
        {"type": "task_card", "task_id": "t2", "title": "Running tests", "status": "in_progress"},
    ],
}
MISSING = "1000000000.000001"


def _plan(**changes: Any) -> list[dict[str, Any]]:
    return [PLAN | changes]


def _tasks(count: int) -> list[dict[str, Any]]:
    return [{"type": "task_card", "task_id": f"t{n}", "title": "x", "status": "pending"} for n in range(count)]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


REFUSALS: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown method": ("chat.shout", {}, "unknown_method"),
    "no text": ("chat.postMessage", {"channel": "GENERAL"}, "no_text"),
    "unknown channel": ("chat.postMessage", {"channel": "C0NOWHERE01", "text": "x"}, "channel_not_found"),
    "not a member": ("chat.postMessage", {"channel": "C0ELSEWHERE", "text": "x"}, "not_in_channel"),
    "private": ("chat.postMessage", {"channel": "C0PRIVATE01", "text": "x"}, "channel_not_found"),
    "archived": ("chat.postMessage", {"channel": "C0ARCHIVED1", "text": "x"}, "is_archived"),
    "no thread": ("chat.postMessage", {"channel": "GENERAL", "text": "x", "thread_ts": MISSING}, "thread_not_found"),
    "no thread to read": ("conversations.replies", {"channel": "GENERAL", "ts": MISSING}, "thread_not_found"),
    "metadata": (
        "chat.postMessage",
        {"channel": "GENERAL", "text": "x", "metadata": {"a": 1}},
        "invalid_metadata_format",
    ),
    "update long": ("chat.update", {"channel": "GENERAL", "ts": "MINE", "text": "x" * 4001}, "msg_too_long"),
    "update missing": ("chat.update", {"channel": "GENERAL", "ts": MISSING, "text": "x"}, "message_not_found"),
    "update other's": ("chat.update", {"channel": "GENERAL", "ts": "HERS", "text": "x"}, "cant_update_message"),
    "update nothing": ("chat.update", {"channel": "GENERAL", "ts": "MINE"}, "no_text"),
    "delete other's": ("chat.delete", {"channel": "GENERAL", "ts": "HERS"}, "cant_delete_message"),
    "reaction twice": ("reactions.add", {"channel": "GENERAL", "timestamp": "HERS", "name": "eyes"}, "already_reacted"),
    "no reaction": ("reactions.remove", {"channel": "GENERAL", "timestamp": "HERS", "name": "tada"}, "no_reaction"),
    "reaction name": ("reactions.add", {"channel": "GENERAL", "timestamp": "HERS", "name": "No Such"}, "invalid_name"),
    "reaction missing": (
        "reactions.add",
        {"channel": "GENERAL", "timestamp": MISSING, "name": "eyes"},
        "message_not_found",
    ),
    "user": ("users.info", {"user": "U0NOBODY001"}, "user_not_found"),
    "session": ("agents.sessions.setStatus", {"channel_id": "GENERAL", "status": "active"}, "not_authorized"),
    "cursor": ("conversations.history", {"channel": "GENERAL", "cursor": "bm8="}, "invalid_cursor"),
    "oldest": ("conversations.history", {"channel": "GENERAL", "oldest": "yesterday"}, "invalid_ts_oldest"),
    "51 blocks": ("blocks", {"blocks": [DIVIDER] * 51}, "invalid_blocks"),
    "unknown block": ("blocks", {"blocks": [{"type": "sparkle"}]}, "invalid_blocks"),
    "long section": ("blocks", {"blocks": [_section("x" * 3001)]}, "invalid_blocks"),
    "empty section": ("blocks", {"blocks": [_section("")]}, "invalid_blocks"),
    "text that is a string": ("blocks", {"blocks": [{"type": "section", "text": "x"}]}, "invalid_blocks"),
    "markdown together": ("blocks", {"blocks": [{"type": "markdown", "text": "x" * 6001}] * 2}, "invalid_blocks"),
    "51 tasks": ("blocks", {"blocks": _plan(tasks=_tasks(51))}, "invalid_blocks"),
    "a task twice": ("blocks", {"blocks": _plan(tasks=_tasks(1) * 2)}, "invalid_blocks"),
    "completed": ("blocks", {"blocks": _plan(tasks=[_tasks(1)[0] | {"status": "completed"}])}, "invalid_blocks"),
    "output as text": ("blocks", {"blocks": _plan(tasks=[_tasks(1)[0] | {"output": "212 passed"}])}, "invalid_blocks"),
    "plan beside task": ("blocks", {"blocks": [PLAN, _tasks(1)[0]]}, "invalid_blocks"),
    "too much together": ("blocks", {"blocks": [_section("x" * 2900)] * 5}, "msg_blocks_too_long"),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_slack_s_word_for_what_it_refuses(slack: LocalSlack, client: AsyncWebClient, case: str) -> None:
    method, arguments, error = REFUSALS[case]
    slack.add_channel("C0ELSEWHERE", "elsewhere", members=[slack.person])
    slack.add_channel("C0PRIVATE01", "secret", kind="private", members=[slack.person])
    slack.add_channel("C0ARCHIVED1", "old")
    slack.archive_channel("C0ARCHIVED1")
    hers = await slack.say(slack.person, slack.general, "hers")
    mine = (await client.chat_postMessage(channel=slack.general, text="mine"))["ts"]
    await client.reactions_add(channel=slack.general, timestamp=hers, name="eyes")
    before = slack.thread(slack.general, hers), slack.message(slack.general, mine)
    names = {"GENERAL": slack.general, "HERS": hers, "MINE": mine}
    if method == "blocks":
        method, arguments = "chat.postMessage", arguments | {"channel": "GENERAL", "text": "fallback"}
    filled = {key: names.get(value, value) if isinstance(value, str) else value for key, value in arguments.items()}
    with pytest.raises(SlackApiError) as failure:
        await client.api_call(method, json=filled)
    assert error_of(failure) == error
    if error == "invalid_blocks":
        assert "[json-pointer:/blocks" in failure.value.response["errors"][0]
    assert (slack.thread(slack.general, hers), slack.message(slack.general, mine)) == before


async def test_forms_and_queries_are_read_as_json_bodies_are(slack: LocalSlack) -> None:
    arguments = {"channel": slack.general, "text": "x", "blocks": json.dumps([PLAN])}
    headers = {"Authorization": f"Bearer {slack.bot_token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(slack.api_url + "chat.postMessage", data=arguments) as response:
            posted = await response.json()
        query = {"channel": slack.general, "ts": posted["ts"]}
        async with session.get(slack.api_url + "conversations.replies", params=query) as response:
            answer = await response.json()
    assert answer["messages"][0]["blocks"][0]["type"] == "plan"


async def test_a_text_over_40000_characters_is_cut_and_said_to_be(slack: LocalSlack, client: AsyncWebClient) -> None:
    answer = await client.chat_postMessage(channel=slack.general, text="x" * 40_001)
    assert len(slack.message(slack.general, answer["ts"])["text"]) == 40_000
    assert answer["response_metadata"]["warnings"] == ["message_truncated"]


async def test_tokens_open_what_they_are_for(slack: LocalSlack) -> None:
    async def error(token: str | None, method: str) -> str:
        with pytest.raises(SlackApiError) as failure:
            await AsyncWebClient(token=token, base_url=slack.api_url).api_call(method)
        return error_of(failure)

    assert await error(None, "auth.test") == "not_authed"
    assert await error("xoxb-guessed", "auth.test") == "invalid_auth"
    assert await error(slack.app_token, "auth.test") == "not_allowed_token_type"
    assert await error(slack.bot_token, "apps.connections.open") == "not_allowed_token_type"
    assert slack.bot_token not in repr(slack.calls)


async def test_a_token_among_the_arguments_works_and_is_not_recorded(slack: LocalSlack) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(slack.api_url + "auth.test", data={"token": slack.bot_token}) as response,
    ):
        assert (await response.json())["user_id"] == slack.bot_user
    assert slack.calls[-1].outcome == "ok"
    assert slack.bot_token not in repr(slack.calls)


async def test_an_agent_may_set_its_session_s_status(slack: LocalSlack, client: AsyncWebClient) -> None:
    slack.declare_agent()
    root = await slack.say(slack.person, slack.general, "go")
    answer = await client.api_call(
        "agents.sessions.setStatus",
        json={"channel_id": slack.general, "thread_ts": root, "status": "processing", "title": "Go"},
    )
    assert answer["status"] == "processing"


async def test_concurrent_posts_have_timestamps_of_their_own_in_order(
    slack: LocalSlack, client: AsyncWebClient
) -> None:
    answers = await asyncio.gather(*(client.chat_postMessage(channel=slack.general, text=str(n)) for n in range(20)))
    stamps = [answer["ts"] for answer in answers]
    assert len(set(stamps)) == 20
    assert all(re.fullmatch(r"\d{10}\.\d{6}", ts) for ts in stamps)


# Faults


async def test_a_call_can_be_taken_and_its_answer_lost(slack: LocalSlack) -> None:
    slack.faults.add("chat.postMessage", Fault(lost=True))
    with pytest.raises(aiohttp.ClientError):
        await client_of(slack, retry_handlers=[]).chat_postMessage(channel=slack.general, text="did it arrive?")
    assert [call.outcome for call in slack.calls] == ["lost"]
    history = await client_of(slack).conversations_history(channel=slack.general)
    assert [message["text"] for message in history["messages"]] == ["did it arrive?"]


async def test_a_429_says_when_to_come_back_and_the_sdk_does(slack: LocalSlack) -> None:
    slack.faults.add("chat.postMessage", Fault(status=429, retry_after_seconds=0))
    client = client_of(slack, retry_handlers=[AsyncRateLimitErrorRetryHandler(max_retry_count=1)])
    await client.chat_postMessage(channel=slack.general, text="patience")
    assert [call.outcome for call in slack.calls] == ["http 429", "ok"]


async def test_an_error_an_outage_and_a_delay_happen_as_often_as_asked(slack: LocalSlack) -> None:
    client = client_of(slack, retry_handlers=[])
    slack.faults.add("auth.test", Fault(error="fatal_error"))
    slack.faults.add("*", Fault(status=503), times=2)
    with pytest.raises(SlackApiError, match="fatal_error"):
        await client.auth_test()
    for _ in range(2):
        with pytest.raises(SlackApiError) as failure:
            await client.team_info()
        assert failure.value.response.status_code == 503
    slack.faults.add("team.info", Fault(delay_seconds=0.2))
    started = asyncio.get_running_loop().time()
    assert (await client.team_info())["team"]["id"] == slack.team
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_rate_limits_hold_where_they_are_switched_on(slack: LocalSlack) -> None:
    client = client_of(slack, retry_handlers=[])
    for _ in range(25):
        await client.reactions_add(channel=slack.general, timestamp=await _said(slack), name="eyes")
    slack.faults.rate_limits = True
    for _ in range(5):
        await client.chat_postMessage(channel=slack.general, text="x")
    with pytest.raises(SlackApiError) as failure:
        await client.chat_postMessage(channel=slack.general, text="x")
    assert failure.value.response.status_code == 429
    assert failure.value.response.headers["Retry-After"] == "1"
    await client.chat_postMessage(channel=slack.direct, text="another channel has a budget of its own")


async def _said(slack: LocalSlack) -> str:
    return await slack.say(slack.person, slack.general, "x")


# The person's door, waiting and watching


async def test_the_door_does_nothing_without_its_secret(slack: LocalSlack) -> None:
    door = slack.api_url.replace("/api/", "/door/")
    said = {"user": slack.person, "channel": slack.general, "text": "let me in"}
    before = await client_of(slack).conversations_history(channel=slack.general)
    async with aiohttp.ClientSession() as session:
        for given in ({}, {"Authorization": "Bearer guess"}, {"Authorization": f"Bearer {slack.bot_token}"}):
            for verb, path in (("POST", "say"), ("POST", "edit"), ("POST", "delete"), ("GET", "thread")):
                async with session.request(verb, door + path, json=said, headers=given) as response:
                    assert response.status == 401
    after = await client_of(slack).conversations_history(channel=slack.general)
    assert before["messages"] == after["messages"] == []


async def test_through_the_door_a_person_speaks_edits_deletes_and_reads(slack: LocalSlack) -> None:
    door = slack.api_url.replace("/api/", "/door/")
    who = {"user": slack.person, "channel": slack.general}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {slack.door_secret}"}) as session:

        async def act(path: str, **arguments: str) -> dict[str, Any]:
            async with session.post(door + path, json=who | arguments) as response:
                answer: dict[str, Any] = {"status": response.status, **await response.json()}
            return answer

        root = (await act("say", text="root"))["ts"]
        reply = (await act("say", text="rpely", thread_ts=root))["ts"]
        await act("edit", ts=reply, text="reply")
        query = {"channel": slack.general, "thread_ts": root}
        async with session.get(door + "thread", params=query) as response:
            messages = (await response.json())["messages"]
        assert [message["text"] for message in messages] == ["root", "reply"]
        await act("delete", ts=reply)
        assert [message["ts"] for message in slack.thread(slack.general, root)] == [root]
        assert await act("edit", ts=reply, text="too late") == {"status": 400, "error": "message_not_found"}
        assert (await act("say"))["status"] == 400


async def test_a_person_s_mistakes_are_refused_in_slack_s_words(slack: LocalSlack) -> None:
    with pytest.raises(NotOk, match="user_not_found"):
        await slack.say("U0NOBODY001", slack.general, "boo")
    with pytest.raises(NotOk, match="no_text"):
        await slack.say(slack.person, slack.general, "")
    mine = (await client_of(slack).chat_postMessage(channel=slack.general, text="mine"))["ts"]
    with pytest.raises(NotOk, match="cant_update_message"):
        await slack.edit(slack.person, slack.general, mine, "yours")


async def test_a_watch_sees_every_change_from_its_beginning_to_the_end(slack: LocalSlack) -> None:
    client = client_of(slack)
    await slack.say(slack.person, slack.general, "before")
    watch = slack.watch()
    root = await slack.say(slack.person, slack.general, "go")
    card = (await client.chat_postMessage(channel=slack.general, thread_ts=root, text="working"))["ts"]
    await client.chat_update(channel=slack.general, ts=card, text="worked")
    await client.reactions_add(channel=slack.general, timestamp=root, name="eyes")
    await client.chat_delete(channel=slack.general, ts=card)
    await slack.close()
    seen = [(change.kind, change.ts, change.thread_ts, change.message["text"]) async for change in watch]
    assert seen == [
        ("posted", root, None, "go"),
        ("posted", card, root, "working"),
        ("updated", card, root, "worked"),
        ("reaction", root, None, "go"),
        ("deleted", card, root, "worked"),
    ]


async def test_wait_for_gives_what_its_condition_found_or_times_out(slack: LocalSlack) -> None:
    root = await slack.say(slack.person, slack.general, "go")

    def answer() -> str | None:
        texts = [message["text"] for message in slack.thread(slack.general, root)[1:]]
        return texts[0] if texts else None

    waiting = asyncio.create_task(slack.wait_for(answer, SOON))
    await client_of(slack).chat_postMessage(channel=slack.general, thread_ts=root, text="done")
    assert await waiting == "done"
    with pytest.raises(TimeoutError):
        await slack.wait_for(lambda: None, 0.01)


# Keeping the world


async def test_the_world_and_what_is_on_its_way_outlive_the_process(tmp_path: Path) -> None:
    """A child says something and is killed; its world goes on here, and the event still comes."""
    child = """
import asyncio, os, pathlib, sys
from peerbot.local.slack import LocalSlack
async def main():
    slack = LocalSlack(pathlib.Path(sys.argv[1]))
    await slack.start()
    slack.add_user("U0GRACE0001", "Grace Hopper")
    slack.add_channel("C0NAVY00001", "navy", members=["U0GRACE0001", slack.bot_user])
    root = await slack.say("U0GRACE0001", "C0NAVY00001", slack.mention() + " find the moth")
    await slack.say("U0GRACE0001", "C0NAVY00001", "please", thread_ts=root)
    print(root, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", child, str(tmp_path), stdout=PIPE)
    assert process.stdout
    root = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
    process.kill()  # SIGKILL
    await process.wait()
    slack = LocalSlack(tmp_path)
    slack.faults.retry_scale = 0.1
    async with slack, bolt(slack) as received:
        assert [message["text"] for message in slack.thread("C0NAVY00001", root)] == [
            f"{slack.mention()} find the moth",
            "please",
        ]
        await delivered(slack)
        assert (await client_of(slack).users_info(user="U0GRACE0001"))["user"]["real_name"] == "Grace Hopper"
        assert await slack.say(slack.person, slack.general, "on") > root
    assert received.types == ["app_mention", "message", "message"]


async def test_a_taken_port_is_said(slack: LocalSlack) -> None:
    port = int(slack.api_url.split(":")[2].split("/")[0])
    with pytest.raises(Unavailable, match=str(port)):
        await LocalSlack(port=port).start()


async def test_the_world_s_files_are_its_owner_s_alone_and_open_once(tmp_path: Path) -> None:
    async with LocalSlack(tmp_path / "world") as slack:
        await slack.say(slack.person, slack.general, "hush")
        files = list((tmp_path / "world").iterdir())
        assert files
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        with pytest.raises(Conflict, match="in use"):
            LocalSlack(tmp_path / "world")
    async with LocalSlack(tmp_path / "world") as again:
        assert again.bot_token != slack.bot_token
