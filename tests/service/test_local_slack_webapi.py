"""The local Slack as an app calls it: Slack's own client against its Web API, and the faults that it can play."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from local_slack_app import client_of, error_of
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.local.slack import Fault, LocalSlack


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


@pytest.fixture
def client(slack: LocalSlack) -> AsyncWebClient:
    return client_of(slack)


# The Web API


async def test_the_channels_that_the_bot_is_in_are_listed_by_kind_and_page(
    slack: LocalSlack, client: AsyncWebClient
) -> None:
    slack.add_channel("C0SECRET001", "secret", kind="private")
    slack.add_channel("C0ELSE00001", "elsewhere", members=(slack.person,))
    slack.add_channel("C0PAST00001", "past")
    slack.archive_channel("C0PAST00001")

    async def listed(**arguments: Any) -> list[str]:
        return [
            channel["id"]
            async for page in await client.users_conversations(**arguments)
            for channel in page["channels"]
        ]

    assert await listed() == [slack.general, "C0PAST00001"]
    assert await listed(types="im") == [slack.direct]
    everything = {slack.general, slack.direct, "C0SECRET001"}
    every_kind = "public_channel,private_channel,mpim,im"
    assert set(await listed(types=every_kind, exclude_archived=True, limit=1)) == everything
    with pytest.raises(SlackApiError) as failure:
        await client.users_conversations(types="planets")
    assert error_of(failure) == "invalid_types"
    with pytest.raises(SlackApiError) as failure:
        await client.users_conversations(cursor="nonsense")
    assert error_of(failure) == "invalid_cursor"


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


OF_ALL_KINDS = "# a\n\nb\n\n- c\n  ~~~\n  d\n  ~~~\n\n> e\n>\n> f\n\n```\ng\n```\n\n| h |\n|---|\n| i |\n\n---\n\n"
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
    "status": ("agents.sessions.setStatus", {"channel_id": "GENERAL", "status": "idle"}, "invalid_arguments"),
    "cursor": ("conversations.history", {"channel": "GENERAL", "cursor": "bm8="}, "invalid_cursor"),
    "oldest": ("conversations.history", {"channel": "GENERAL", "oldest": "yesterday"}, "invalid_ts_oldest"),
    "51 blocks": ("blocks", {"blocks": [DIVIDER] * 51}, "invalid_blocks"),
    "51 paragraphs": ("blocks", {"blocks": [{"type": "markdown", "text": "x\n\n" * 51}]}, "invalid_blocks"),
    "51 of all kinds": (
        "blocks",
        {"blocks": [{"type": "markdown", "text": OF_ALL_KINDS * 5}, DIVIDER]},
        "invalid_blocks",
    ),
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


async def test_a_markdown_block_is_taken_if_slack_makes_50_blocks_of_it_and_a_list_is_one(
    slack: LocalSlack, client: AsyncWebClient
) -> None:
    for text in (OF_ALL_KINDS * 5, "- x\n" * 400, "x\n" * 400):
        posted = await client.chat_postMessage(
            channel=slack.general, text="x", blocks=[{"type": "markdown", "text": text}]
        )
        assert posted["ok"]


async def test_a_workspace_can_lack_a_block(slack: LocalSlack, client: AsyncWebClient) -> None:
    slack.lack_blocks("plan")

    with pytest.raises(SlackApiError) as failure:
        await client.chat_postMessage(channel=slack.general, text="x", blocks=[DIVIDER, PLAN])
    assert failure.value.response["errors"] == ["unsupported type: plan [json-pointer:/blocks/1/type]"]
    await client.chat_postMessage(channel=slack.general, text="x", blocks=[DIVIDER])


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


async def test_an_agent_alone_may_set_its_session_s_status(slack: LocalSlack, client: AsyncWebClient) -> None:
    root = await slack.say(slack.person, slack.general, "go")
    answer = await client.api_call(
        "agents.sessions.setStatus",
        json={"channel_id": slack.general, "thread_ts": root, "status": "processing", "title": "Go"},
    )
    assert answer["status"] == "processing"
    assert slack.agent_status(slack.general, root) == "processing"

    slack.grant(["chat:write"])
    with pytest.raises(SlackApiError, match="not_authorized"):
        await client.agents_sessions_setStatus(channel_id=slack.general, thread_ts=root, status="active")
    assert slack.agent_status(slack.general, root) == "processing"


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
