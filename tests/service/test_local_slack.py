"""The local Slack as an app hears from it: events, their delivery, and the things that people do in it."""

import asyncio
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from local_slack_app import SOON, bolt, client_of, delivered
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.errors import Conflict, Unavailable
from peerbot.local.slack import LocalSlack, NotOk
from peerbot.local.slack.store import Store


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


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


async def test_a_message_about_oneself_has_a_subtype_and_less_beside(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        await slack.say(slack.person, slack.general, f"asks {slack.mention()} to go on", me=True)
        await delivered(slack)
    [event] = received.events
    assert (event["type"], event["subtype"]) == ("message", "me_message")
    assert not {"client_msg_id", "team"} & event.keys()


async def test_a_forwarded_message_is_an_attachment_with_its_author_and_its_words(slack: LocalSlack) -> None:
    alert = await slack.app_says(slack.general, "CPU at 99 %", name="Monitor")
    mine = await slack.say(slack.person, slack.direct, "a &lt; b")
    async with bolt(slack) as received:
        stamps = [
            await slack.forward(slack.person, slack.general, alert, slack.direct),
            await slack.forward(slack.person, slack.direct, mine, slack.general, "look"),
        ]
        await delivered(slack)
    first, second = (next(event for event in received.events if event["ts"] == ts) for ts in stamps)
    assert (first["text"], second["text"]) == ("", "look")
    assert [(a["author_name"], a["text"]) for a in first["attachments"]] == [("Monitor", "CPU at 99 %")]
    assert [(a["author_id"], a["text"]) for a in second["attachments"]] == [(slack.person, "a &lt; b")]


async def test_another_app_s_message_has_no_user(slack: LocalSlack) -> None:
    root = await slack.app_says(slack.general, name="Monitor", attachments=[{"text": "CPU at 99 %"}])
    async with bolt(slack) as received:
        ts = await slack.app_says(slack.general, "still", thread_ts=root)
        await delivered(slack)
    [event] = [event for event in received.events if event["ts"] == ts]
    assert event["subtype"] == "bot_message"
    assert "user" not in event
    assert slack.message(slack.general, root)["reply_users"] == [event["bot_id"]]


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
        ts = await slack.say(slack.person, slack.general, "almost first")
        await slack.edit(slack.person, slack.general, ts, "first")
        await slack.delete(slack.person, slack.general, ts)
        await delivered(slack)
    by_subtype = {event.get("subtype"): event for event in received.events}
    assert by_subtype["message_changed"]["message"]["text"] == "first"
    assert by_subtype["message_changed"]["previous_message"]["text"] == "almost first"
    assert by_subtype["message_deleted"]["deleted_ts"] == ts
    assert len({event["event_ts"] for event in received.events}) == 3


async def test_the_bot_is_told_of_its_own_messages_and_never_mentioned_by_them(slack: LocalSlack) -> None:
    async with aiohttp.ClientSession() as session:
        socket = await _open_socket(slack, session)
        await socket.receive_json(timeout=SOON)
        await client_of(slack).chat_postMessage(channel=slack.general, text=f"{slack.mention()} is me")
        event = (await socket.receive_json(timeout=SOON))["payload"]["event"]
        assert (event["type"], event["user"], event["bot_id"]) == ("message", slack.bot_user, slack.bot)
        assert slack.undelivered == 1


async def test_bolt_acknowledges_the_bot_s_own_messages_and_passes_them_to_nobody(slack: LocalSlack) -> None:
    async with bolt(slack) as received:
        await client_of(slack).chat_postMessage(channel=slack.general, text="done")
        await slack.say(slack.person, slack.general, "thanks")
        await delivered(slack)
    assert [event["text"] for event in received.events] == ["thanks"]


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
    slack.faults.retry_scale = 0.02
    await slack.say(slack.person, slack.general, "anybody?")
    async with bolt(slack) as received:
        await delivered(slack)
    assert [event["text"] for event in received.events] == ["anybody?"]
    assert [(attempt != "0", reason) for attempt, reason in received.retries] == [(True, "timeout")]


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


async def test_a_connection_outlives_whatever_an_app_sends(slack: LocalSlack) -> None:
    async with aiohttp.ClientSession() as session:
        socket = await _open_socket(slack, session)
        await socket.receive_json(timeout=SOON)
        for sent in ("no json", "[]", '{"envelope_id": []}', '{"envelope_id": "unknown"}'):
            await socket.send_str(sent)
        await slack.say(slack.person, slack.general, "still there?")
        await socket.send_json({"envelope_id": (await socket.receive_json(timeout=SOON))["envelope_id"]})
        await delivered(slack)


@pytest.mark.parametrize("how", ["asked to", "cut off"])
async def test_a_connection_that_has_to_go_comes_back_and_nothing_is_lost(slack: LocalSlack, how: str) -> None:
    slack.faults.retry_scale = 0.02
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


async def test_a_connection_that_was_asked_to_go_gets_no_event_any_more(slack: LocalSlack) -> None:
    async with aiohttp.ClientSession() as session:
        socket = await _open_socket(slack, session)
        await socket.receive_json(timeout=SOON)
        await slack.disconnect_sockets("warning")
        assert (await socket.receive_json(timeout=SOON))["reason"] == "warning"
        another = await _open_socket(slack, session)
        await another.receive_json(timeout=SOON)
        said = [await slack.say(slack.person, slack.general, str(number)) for number in range(12)]
        arrived = [(await another.receive_json(timeout=SOON))["payload"]["event"]["ts"] for _ in said]
        assert arrived == said


def _count(slack: LocalSlack, method: str) -> int:
    return sum(call.method == method for call in slack.calls)


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
    slack.faults.retry_scale = 0.02
    async with slack, bolt(slack) as received:
        assert [message["text"] for message in slack.thread("C0NAVY00001", root)] == [
            f"{slack.mention()} find the moth",
            "please",
        ]
        await delivered(slack)
        assert (await client_of(slack).users_info(user="U0GRACE0001"))["user"]["real_name"] == "Grace Hopper"
        assert await slack.say(slack.person, slack.general, "on") > root
    assert received.types == ["app_mention", "message", "message"]


async def test_timestamps_rise_though_the_clock_went_back(tmp_path: Path) -> None:
    future = "9999999999.000001"
    async with LocalSlack(tmp_path) as slack:
        ts = await slack.say(slack.person, slack.general, "from the future")
        message = slack.message(slack.general, ts)
        await slack.say(slack.person, slack.direct, "from today")
    store = Store(tmp_path)
    store.put("message", f"{slack.general}/{future}", message | {"ts": future})
    store.close()
    async with LocalSlack(tmp_path) as slack:
        assert await slack.say(slack.person, slack.general, "now") == "9999999999.000002"


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
