"""Receiving from Slack: recording before the ack, later deliveries, people, and earlier messages of a thread."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from slack_receiver import SOON, Recorder, a_receiver, fail_as_a_bug, fail_as_a_store, receiving
from structlog.testing import capture_logs
from system import eventually

from peerbot.conversation.keys import Conversation
from peerbot.conversation.policy import Channel, Person
from peerbot.errors import Refused, Unavailable
from peerbot.local.slack import Fault, LocalSlack
from peerbot.local.slack.shapes import BOT
from peerbot.slack.api import open_client, web_client
from peerbot.slack.events import Us
from peerbot.slack.history import earlier_messages
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.sockets import Pace
from peerbot.slack.text import as_context
from peerbot.slack.tokens import identify


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


async def test_it_opens_two_sockets(slack: LocalSlack) -> None:
    async with receiving(slack, Recorder()) as receiver:
        assert slack.connections == 2
        assert receiver.connected()
    assert not receiver.connected()
    await slack.wait_for(lambda: slack.connections == 0, SOON)


async def test_what_people_write_is_recorded_and_then_acked(slack: LocalSlack) -> None:
    """A mention comes twice (as `app_mention` and as `message`) and is one input; chatter is acked unrecorded."""
    recorder = Recorder()
    async with receiving(slack, recorder):
        ts = await slack.say(slack.person, slack.general, f"{slack.mention()} fix &amp; push")
        await slack.say(slack.person, slack.general, "lunch?")
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: slack.undelivered == 0 and len(recorder.recorded) == 3, SOON)

    mentions = [candidate for candidate in recorder.recorded if candidate.input.channel == slack.general]
    assert {(str(c.input.conversation), c.input.id, c.sure) for c in mentions} == {
        (f"{slack.team}/{slack.general}/{ts}", f"{ts}-message", True)
    }
    assert mentions[0].input.text == f"{slack.mention()} fix &amp; push"
    assert "lunch?" not in recorder.texts
    assert "hello" in recorder.texts


async def test_our_own_messages_and_edits_and_deletions_are_acked_and_no_input(slack: LocalSlack) -> None:
    recorder = Recorder()
    async with receiving(slack, recorder):
        ts = await slack.say(slack.person, slack.direct, "first")
        await slack.edit(slack.person, slack.direct, ts, "second")
        await slack.delete(slack.person, slack.direct, ts)
        await web_client(slack.api_url, slack.bot_token).chat_postMessage(channel=slack.direct, text="from us")
        await slack.wait_for(lambda: slack.undelivered == 0 and bool(recorder.recorded), SOON)

    assert recorder.texts == ["first"]


async def test_nothing_is_acked_before_it_is_recorded(slack: LocalSlack) -> None:
    recorder = Recorder()
    held, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        held.set()
        await release.wait()

    recorder.trouble.append(hold)
    async with receiving(slack, recorder):
        await slack.say(slack.person, slack.direct, "hello")
        async with asyncio.timeout(SOON):
            await held.wait()
        assert slack.undelivered == 1
        release.set()
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)
    assert recorder.calls == 1


@pytest.mark.parametrize("trouble", [fail_as_a_store, fail_as_a_bug])
async def test_what_could_not_be_recorded_is_sent_again(slack: LocalSlack, trouble: Callable[[], Any]) -> None:
    slack.faults.retry_scale = 0.1
    recorder = Recorder(trouble=[trouble])
    async with receiving(slack, recorder):
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)

    assert recorder.calls == 2
    assert recorder.texts == ["hello"]


async def test_an_event_that_takes_too_long_to_record_is_sent_again_and_recording_goes_on(slack: LocalSlack) -> None:
    """Slack waits for three seconds, so that recording may take two. Its next delivery may be a minute away."""
    recorder = Recorder()
    there_again = asyncio.Event()

    async def hang() -> None:
        await there_again.wait()

    recorder.trouble.append(hang)
    async with receiving(slack, recorder):
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: recorder.calls == 2 and slack.undelivered == 0, SOON)
        assert recorder.texts == ["hello"]
        there_again.set()
        await eventually(lambda: len(recorder.recorded) == 2)

    assert {candidate.input.id for candidate in recorder.recorded} == {recorder.recorded[0].input.id}


async def test_what_is_still_being_recorded_does_not_outlive_the_receiver(slack: LocalSlack) -> None:
    recorder = Recorder()
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    recorder.trouble.append(hang)
    async with receiving(slack, recorder):
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: recorder.calls == 2 and slack.undelivered == 0, SOON)
        assert not ended.is_set()

    assert ended.is_set()


async def test_an_event_delivered_twice_is_recorded_twice_under_one_name(slack: LocalSlack) -> None:
    """Each recorder makes one input of them: the name is the same."""
    slack.faults.duplicate_events = True
    recorder = Recorder()
    async with receiving(slack, recorder):
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: recorder.calls == 2, SOON)

    assert len({candidate.input.id for candidate in recorder.recorded}) == 1


async def test_closing_finishes_what_is_being_recorded(slack: LocalSlack) -> None:
    recorder = Recorder()
    held, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        held.set()
        await release.wait()

    recorder.trouble.append(hold)
    async with receiving(slack, recorder) as receiver:
        await slack.say(slack.person, slack.direct, "hello")
        async with asyncio.timeout(SOON):
            await held.wait()
        closing = asyncio.create_task(receiver.close())
        done, _ = await asyncio.wait([closing], timeout=0.1)
        assert not done
        release.set()
        async with asyncio.timeout(SOON):
            await closing
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)
    assert recorder.texts == ["hello"]


async def test_it_comes_back_when_slack_asks_it_to_connect_again(slack: LocalSlack) -> None:
    recorder = Recorder()
    async with receiving(slack, recorder):
        await slack.disconnect_sockets()
        await slack.wait_for(lambda: slack.connections == 2, SOON)
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: recorder.texts == ["hello"], SOON)


async def test_a_connection_that_stays_down_is_replaced(slack: LocalSlack) -> None:
    """Sooner than the SDK would look again (5 s), so the test sees the replacing itself."""
    recorder = Recorder()
    async with receiving(slack, recorder, pace=Pace(down=0.2)):
        slack.faults.add("apps.connections.open", Fault(error="internal_error"), times=3)
        slack.drop_sockets()
        await slack.wait_for(lambda: slack.connections == 2, 4.0)
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: recorder.texts == ["hello"], SOON)


async def test_a_connection_that_is_open_and_silent_is_replaced_and_the_gap_is_told(slack: LocalSlack) -> None:
    recorder = Recorder()
    gaps: asyncio.Queue[float] = asyncio.Queue()
    async with receiving(slack, recorder, pace=Pace(ping=0.4), on_gap=gaps.put_nowait):
        silent_at = time.time()
        slack.silence_sockets()
        await slack.wait_for(lambda: slack.connections == 2, SOON)
        await slack.say(slack.person, slack.direct, "hello")
        await slack.wait_for(lambda: recorder.texts == ["hello"], SOON)
        async with asyncio.timeout(SOON):
            since = await gaps.get()

    assert since - silent_at < 0.2
    assert slack.connections == 0


def opened(slack: LocalSlack) -> int:
    """Count how often Slack was asked for a socket."""
    return sum(call.method == "apps.connections.open" for call in slack.calls)


async def test_a_replica_that_is_one_too_many_lets_its_sockets_go_and_has_them_when_another_ends(
    slack: LocalSlack,
) -> None:
    """As in a rolling update of five replicas: the sixth starts all the same, and asks Slack no more than it has to."""
    recorder, gaps = Recorder(), list[float]()
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(a_receiver(slack, recorder)) for _ in range(5)]
        spare = await stack.enter_async_context(
            a_receiver(slack, recorder, on_gap=gaps.append, pace=Pace(spare=1.0, ping=0.4))
        )
        for replica in replicas:
            await replica.start()
        assert slack.connections == 10
        before = opened(slack)
        with capture_logs() as logged:
            await spare.start()
            with pytest.raises(TimeoutError):  # for several tries, nothing changes
                await slack.wait_for(lambda: slack.connections != 10, 3.0)
        assert not spare.connected()
        let_go = [entry["event"] for entry in logged].count("slack_socket_let_go")
        assert let_go > 2, "each of its two places is tried again"
        assert let_go <= opened(slack) - before <= let_go + 2, "one question a try; two may be under way"

        await replicas.pop().close()
        await slack.wait_for(lambda: slack.connections == 10, SOON)
        assert spare.connected()
        assert gaps == []  # the others have heard the messages meanwhile
    assert slack.connections == 0


async def test_connections_that_slack_answers_are_left_alone_and_no_gap_is_told(slack: LocalSlack) -> None:
    gaps: list[float] = []
    async with receiving(slack, Recorder(), pace=Pace(ping=0.5), on_gap=gaps.append):
        with pytest.raises(TimeoutError):  # nothing happens, for several pings
            await slack.wait_for(lambda: slack.connections != 2, 2.0)

    assert opened(slack) == 2
    assert gaps == []


async def test_it_is_known_who_we_are(slack: LocalSlack) -> None:
    client = web_client(slack.api_url, slack.bot_token)
    assert await identify(Outbound(client), "@peerbotai") == Us(slack.team, slack.bot_user, "@peerbotai", BOT)


async def test_a_bad_bot_token_is_refused_with_the_name_of_its_setting(slack: LocalSlack) -> None:
    with pytest.raises(Refused, match="SLACK_BOT_TOKEN") as refused:
        await identify(Outbound(web_client(slack.api_url, "xoxb-wrong")), "@peerbotai")
    assert "xoxb-wrong" not in str(refused.value)


async def test_a_bad_app_token_is_refused_with_the_name_of_its_setting(slack: LocalSlack) -> None:
    with pytest.raises(Refused, match="SLACK_APP_TOKEN"):
        async with receiving(slack, Recorder(), app_token="xapp-wrong"):
            pass
    assert slack.connections == 0


async def test_if_one_socket_cannot_be_opened_none_is_left_open(slack: LocalSlack) -> None:
    async with a_receiver(slack, Recorder()) as receiver:
        for fault in (Fault(), Fault(error="internal_error")):
            slack.faults.add("apps.connections.open", fault)
        with pytest.raises(Unavailable, match="a connection"):
            await receiver.start()
        assert opened(slack) == 2
        await slack.wait_for(lambda: slack.connections == 0, SOON)


async def test_slack_that_does_not_answer_is_said_to_be_unavailable() -> None:
    gone = LocalSlack()
    await gone.start()
    url = gone.api_url
    await gone.close()
    with pytest.raises(Unavailable, match="did not answer"):
        await identify(Outbound(web_client(url, "xoxb-1")), "")


async def test_no_message_and_no_token_is_in_the_logs(slack: LocalSlack, caplog: pytest.LogCaptureFixture) -> None:
    """Not even with every library's logger at its loudest."""
    caplog.set_level(logging.DEBUG)
    recorder = Recorder(trouble=[fail_as_a_store])
    slack.faults.retry_scale = 0.1
    with capture_logs() as logged:
        async with receiving(slack, recorder):
            await slack.say(slack.person, slack.direct, "the-secret-words")
            client = web_client(slack.api_url, slack.bot_token)
            await client.chat_postMessage(channel=slack.direct, text="the-secret-words")
            await slack.wait_for(lambda: slack.undelivered == 0, SOON)

    ours = f"{logged} {[record.getMessage() for record in caplog.records]}"
    assert "not_acked" in ours
    assert "the-secret-words" not in ours
    assert slack.bot_token not in ours
    assert slack.app_token not in ours


# People


@pytest.fixture
async def people(slack: LocalSlack) -> AsyncIterator[People]:
    async with open_client(slack.api_url, slack.bot_token) as client:
        yield People(Outbound(client))


async def test_people_are_found_out(slack: LocalSlack, people: People) -> None:
    slack.add_user("U0GUEST0001", "Guest", kind="guest")
    slack.add_user("U0EVE000001", "Eve", kind="external")
    slack.add_user("U0GONE00001", "Gone", kind="deactivated")

    assert await people.person(slack.person, slack.team) == Person(slack.person, "Ada Lovelace")
    assert await people.person("U0GUEST0001", slack.team) == Person("U0GUEST0001", "Guest", is_guest=True)
    assert await people.person("U0EVE000001", slack.team) == Person("U0EVE000001", "Eve", is_outsider=True)
    assert await people.person("U0GONE00001", slack.team) == Person("U0GONE00001", "Gone", is_deactivated=True)
    seen_from_elsewhere = await people.person(slack.person, "T0ELSEWHERE")
    assert seen_from_elsewhere is not None
    assert seen_from_elsewhere.is_outsider
    found = await people.person(slack.bot_user, slack.team)
    assert found is not None
    assert found.is_bot


async def test_channels_are_found_out(slack: LocalSlack, people: People) -> None:
    slack.add_channel("G0PRIVATE01", "secret", kind="private")
    slack.add_channel("C0SHARED001", "with-others", shared=True)

    assert await people.channel(slack.general) == Channel(slack.general, "public")
    assert await people.channel("G0PRIVATE01") == Channel("G0PRIVATE01", "private")
    assert await people.channel(slack.direct) == Channel(slack.direct, "direct")
    assert await people.channel("C0SHARED001") == Channel("C0SHARED001", "public", is_shared_outside=True)


async def test_what_was_found_out_is_asked_once_and_a_failure_again(slack: LocalSlack, people: People) -> None:
    slack.faults.add("users.info", Fault(error="internal_error"))
    slack.faults.add("conversations.info", Fault(status=503))

    assert await people.person(slack.person, slack.team) is None
    assert await people.channel(slack.general) is None
    for _ in range(3):
        assert await people.person(slack.person, slack.team)
        assert await people.channel(slack.general)

    methods = [call.method for call in slack.calls]
    assert methods.count("users.info") == 2
    assert methods.count("conversations.info") == 2


async def test_names_are_those_that_could_be_found_out(slack: LocalSlack, people: People) -> None:
    names = await people.names([slack.person, "U0NOBODY001", slack.person])

    assert names == {slack.person: "Ada Lovelace"}


# Earlier messages


async def test_the_earlier_messages_of_a_thread_are_those_of_others_before_the_mention(slack: LocalSlack) -> None:
    client = web_client(slack.api_url, slack.bot_token)
    slack.add_user("U0BOB000001", "Bob")
    slack.add_channel("C0DEV000001", "dev", members=(slack.person, "U0BOB000001", slack.bot_user))
    root = await slack.say(slack.person, "C0DEV000001", "The build is red &amp; slow")
    await slack.say("U0BOB000001", "C0DEV000001", f"since noon, <@{slack.person}>", thread_ts=root)
    await client.chat_postMessage(channel="C0DEV000001", thread_ts=root, text="our own words")
    mention = await slack.say(slack.person, "C0DEV000001", f"{slack.mention()} help", thread_ts=root)
    await slack.say(slack.person, "C0DEV000001", "said later", thread_ts=root)

    conversation = Conversation(slack.team, "C0DEV000001", root)
    earlier = await earlier_messages(Outbound(client), conversation, mention, bot_user=slack.bot_user)

    assert [message.author for message in earlier] == [slack.person, "U0BOB000001"]
    context = as_context(earlier, names=await People(Outbound(client)).names([slack.person, "U0BOB000001"]))
    said = f"Ada Lovelace ({slack.person}): The build is red & slow\nBob (U0BOB000001): since noon, @Ada Lovelace\n"
    assert said in context


async def test_nothing_was_said_before_the_message_that_begins_a_thread(slack: LocalSlack) -> None:
    """Slack shows a thread's first message, whatever range a call asks for."""
    client = web_client(slack.api_url, slack.bot_token)
    root = await slack.say(slack.person, slack.general, f"{slack.mention()} help")

    conversation = Conversation(slack.team, slack.general, root)
    assert await earlier_messages(Outbound(client), conversation, root, bot_user=slack.bot_user) == []


async def test_a_long_thread_is_read_page_by_page(slack: LocalSlack) -> None:
    client = web_client(slack.api_url, slack.bot_token)
    root = await slack.say(slack.person, slack.general, "number 0")
    for number in range(1, 250):
        await slack.say(slack.person, slack.general, f"number {number}", thread_ts=root)

    conversation = Conversation(slack.team, slack.general, root)
    earlier = await earlier_messages(Outbound(client), conversation, "9999999999.000000", bot_user=slack.bot_user)

    assert [message.text for message in earlier] == [f"number {number}" for number in range(250)]
    assert [call.method for call in slack.calls].count("conversations.replies") == 2
