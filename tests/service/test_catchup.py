"""Messages that people wrote while nobody listened are found, and answered once. Old ones are offered, not begun."""

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from system import System, away, eventually, full_text

from peerbot.conversation.documents import Input, Marker, now
from peerbot.conversation.keys import Conversation, input_id, input_ts
from peerbot.local.slack import Fault, LocalSlack
from peerbot.local.slack.store import Store

pytestmark = pytest.mark.slow  # real faults take real time: `make slow`

QUESTION = "what is in this repository?"
HISTORY = ("users.conversations", "conversations.history", "conversations.replies")


def _history_calls(system: System) -> list[str]:
    return [call.method for call in system.slack.calls if call.method in HISTORY]


async def _caught_up(system: System, times: int = 1) -> None:
    await eventually(lambda: len(system.logged("caught_up")) >= times, 20)


async def _given_up_by_slack(system: System) -> None:
    await system.slack.wait_for(lambda: system.slack.undelivered == 0, 15)


async def test_what_was_written_while_no_dispatcher_ran_is_answered_once_when_one_does(tmp_path: Path) -> None:
    """A new mention, and a reply in a conversation that was there; long after Slack gave their events up."""
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.001
        first = await system.start()
        conversation, identity = await system.say(QUESTION)
        await system.answer(conversation, identity)
        await system.end(first)

        mentioned, mention = await system.say(QUESTION)
        _, reply = await system.say("and who wrote it?", thread=conversation, mention=False)
        await _given_up_by_slack(system)
        await system.start()
        await asyncio.gather(system.answer(mentioned, mention), system.answer(conversation, reply))
        await system.settled(conversation)

        assert len(system.answers(mentioned)) == 1
        assert len(system.answers(conversation)) == 2


async def test_what_was_answered_or_ignored_stays_so_when_a_dispatcher_starts(tmp_path: Path) -> None:
    """Chatter, chatter in a thread before the bot was called into it, and a mention that has its answer."""
    async with System(tmp_path) as system:
        first = await system.start()
        root = await system.slack.say(system.slack.person, system.slack.general, "the build is red")
        chatter = await system.slack.say(system.slack.person, system.slack.general, "since noon", thread_ts=root)
        thread = Conversation(system.slack.team, system.slack.general, root)
        _, identity = await system.say(QUESTION, thread=thread)
        await system.answer(thread, identity)
        await system.settled(thread)
        await system.end(first)

        await system.start()
        await _caught_up(system, 2)

        assert [line["recorded"] for line in system.logged("caught_up")] == [0, 0]
        assert await system.journal.input(thread, input_id(chatter, "message")) is None
        assert await system.journal.pending() == {}
        assert len(system.answers(thread)) == 1


async def test_a_hundred_missed_messages_of_chatter_cost_few_calls_and_no_write(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.001
        for number in range(100):
            await system.slack.say(system.slack.person, system.slack.general, f"number {number}")
        await _given_up_by_slack(system)
        await system.start()
        await _caught_up(system)

        calls = _history_calls(system)
        assert calls.count("conversations.history") == 2  # one for each channel
        assert len(calls) == 2 + 4  # and one for each kind of channel
        assert not (tmp_path / "journal" / "pending").exists()


async def test_threads_are_read_from_the_newest_on(tmp_path: Path) -> None:
    """If there is more than a look back may read, the oldest messages are left out."""
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.001
        slack, other = system.slack, "C0000000077"
        slack.add_channel(other, "other", members=[slack.person, slack.bot_user])
        roots = [await slack.say(slack.person, channel, "?") for channel in (slack.general, other, slack.general)]
        for root, channel in ((roots[2], slack.general), (roots[0], slack.general), (roots[1], other)):
            await slack.say(slack.person, channel, "!", thread_ts=root)
        await _given_up_by_slack(system)
        await system.start()
        await _caught_up(system)

        read = [call.arguments["ts"] for call in slack.calls if call.method == "conversations.replies"]
        assert read == [roots[1], roots[0], roots[2]]


async def test_a_rate_limit_on_history_is_waited_out(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.001
        conversation, identity = await system.say(QUESTION)
        await _given_up_by_slack(system)
        system.slack.faults.add("conversations.history", Fault(status=429, retry_after_seconds=1), times=2)
        system.slack.faults.add("users.conversations", Fault(status=503))
        await system.start()
        await system.answer(conversation, identity)

        assert len(system.answers(conversation)) == 1


async def test_kinds_of_channels_that_the_bot_may_not_list_do_not_hide_the_others(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.001
        ts = await system.slack.say(system.slack.person, system.slack.direct, QUESTION)
        await _given_up_by_slack(system)
        system.slack.faults.add("users.conversations", Fault(error="missing_scope"), times=3)  # all but direct messages
        await system.start()
        await system.answer(Conversation(system.slack.team, system.slack.direct, ts), input_id(ts, "message"))

        assert len(system.logged("channels_not_listed")) == 3


async def test_what_was_written_while_no_socket_was_open_is_answered_once(tmp_path: Path) -> None:
    """Slack refuses new connections for some seconds, and has given the event up when it takes them again."""
    async with System(tmp_path) as system:
        await system.start()
        await _caught_up(system)
        system.slack.faults.retry_scale = 0.001
        system.slack.faults.add("apps.connections.open", Fault(error="internal_error"), times=4)
        system.slack.drop_sockets()
        conversation, identity = await system.say(QUESTION)
        await _given_up_by_slack(system)
        turn = await system.answer(conversation, identity)

        assert turn.inputs == [identity]
        assert len(system.answers(conversation)) == 1
        assert len(system.logged("input_missed")) == 1


async def test_dispatchers_that_look_back_at_once_answer_once(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.001
        said = [await system.say(QUESTION) for _ in range(2)]
        await _given_up_by_slack(system)
        await asyncio.gather(system.start(), system.start())
        await asyncio.gather(*(system.answer(*one) for one in said))
        await _caught_up(system, 2)

        assert [len(system.answers(conversation)) for conversation, _ in said] == [1, 1]


# Markers


def _hours_ago(hours: float) -> str:
    return f"{time.time() - hours * 3600:.6f}"


async def _seed(directory: Path, ts: str, text: str, *, recorded: bool) -> tuple[Conversation, str]:
    """Write a message in the past, with its marker, and with or without its input."""
    async with LocalSlack(directory / "slack") as slack:
        conversation = Conversation(slack.team, slack.general, ts)
        message = {"type": "message", "user": slack.person, "text": f"{slack.mention()} {text}", "team": slack.team}
    store = Store(directory / "slack")
    store.put("message", f"{conversation.channel}/{ts}", message | {"ts": ts})
    store.close()
    item = Input(
        team=conversation.team,
        channel=conversation.channel,
        thread_ts=ts,
        ts=ts,
        user=message["user"],
        text=message["text"],
        event_id="Ev1",
    )
    async with System(directory) as system:
        if recorded:
            await system.journal.mark(item)
            await system.journal.record(item)
        else:
            marker = Marker(recorded_at=now() - timedelta(minutes=11))
            file = directory / "journal" / "pending" / str(conversation) / item.id
            file.parent.mkdir(parents=True)
            file.write_text(marker.model_dump_json())
    return conversation, item.id


async def test_what_waited_through_a_long_outage_is_offered_once_and_begun_when_somebody_asks(tmp_path: Path) -> None:
    conversation, identity = await _seed(tmp_path, _hours_ago(3), "describe the marmalade plan", recorded=True)
    async with System(tmp_path) as system:
        await system.start()
        offer = await system.answer(conversation, identity)
        await system.settled(conversation)

        assert offer.run is None
        assert "waited for more than 2 hours" in full_text(offer)
        assert system.model.requests == 0
        after = await system.ask("go on", thread=conversation, mention=False)

        assert after.run == 1
        assert "marmalade plan" in system.read_by_model()
        assert len(system.answers(conversation)) == 2


async def test_what_waited_for_less_than_two_hours_is_answered(tmp_path: Path) -> None:
    conversation, identity = await _seed(tmp_path, _hours_ago(1.9), QUESTION, recorded=True)
    async with System(tmp_path) as system:
        await system.start()
        turn = await system.answer(conversation, identity)

        assert turn.run == 1


async def test_a_marker_without_its_input_gets_it_from_slack(tmp_path: Path) -> None:
    """The message is too old for the look back at start, so the marker finds it."""
    conversation, identity = await _seed(tmp_path, _hours_ago(2.5), QUESTION, recorded=False)
    async with System(tmp_path) as system:
        await system.start()
        offer = await system.answer(conversation, identity)

        assert system.logged("input_recovered")
        assert "waited for more than 2 hours" in full_text(offer)


async def test_a_marker_whose_message_is_gone_is_dropped(tmp_path: Path) -> None:
    conversation, identity = await _seed(tmp_path, _hours_ago(0.5), QUESTION, recorded=False)
    async with System(tmp_path) as system:
        await system.slack.delete(system.slack.person, conversation.channel, conversation.thread_ts)
        await system.start()
        await system.settled(conversation)

        assert [line["input"] for line in system.logged("marker_dropped")] == [identity]
        assert await system.journal.input(conversation, identity) is None


async def test_a_marker_stays_if_slack_can_not_give_its_input_again(tmp_path: Path) -> None:
    """The marker is for example that of a pressed button, made by a dispatcher of a newer release."""
    conversation, identity = await _seed(tmp_path, _hours_ago(0.5), QUESTION, recorded=True)
    markers = tmp_path / "journal" / "pending" / str(conversation)
    pressed = markers / identity.replace("message", "choice")
    pressed.write_text(Marker(recorded_at=now() - timedelta(minutes=11)).model_dump_json())
    async with System(tmp_path) as system:
        await system.start()
        await system.answer(conversation, identity)
        await eventually(lambda: [marker.name for marker in markers.iterdir()] == [pressed.name])

        assert not system.logged("marker_dropped")


async def test_a_marker_stays_while_slack_does_not_answer(tmp_path: Path) -> None:
    conversation, identity = await _seed(tmp_path, _hours_ago(0.5), QUESTION, recorded=False)
    async with System(tmp_path) as system:
        system.slack.faults.add("conversations.replies", Fault(error="internal_error"), times=2)
        system.slack.faults.add("conversations.history", Fault(error="fatal_error"), times=2)
        await system.start()
        turn = await system.answer(conversation, identity)

        assert turn.inputs == [identity]
        assert datetime.now(UTC) > turn.ended_at


async def _overtaken(system: System) -> tuple[Conversation, str, str]:
    """Make a thread whose reply overtook its first message; returns the thread, that message, the reply."""
    system.slack.remove_bot(system.slack.general)
    conversation, first = await system.say(QUESTION)
    system.slack.invite_bot(system.slack.general)
    _, reply = await system.say("what does the README say?", thread=conversation, mention=False)
    await eventually(lambda: [line for line in system.logged("received") if not line["for_us"]])
    return conversation, first, reply


async def test_a_reply_that_came_before_the_message_that_began_its_thread_is_answered_too(tmp_path: Path) -> None:
    """Events overtake each other if Slack sends one again after seconds, or two replicas get one each."""
    async with System(tmp_path) as system:
        await system.start()
        await _caught_up(system)
        conversation, first, reply = await _overtaken(system)
        assert system.answers(conversation) == []

        system.slack.redeliver(conversation.channel, conversation.thread_ts)
        turn = await system.answer(conversation, first)
        later = await system.answer(conversation, reply)

        assert turn.k <= later.k
        assert len(system.answers(conversation)) == later.k


async def test_an_early_reply_is_answered_though_the_dispatcher_that_would_look_for_it_died(tmp_path: Path) -> None:
    """As above, but the dispatcher dies when it has recorded the first message, and no look back finds a thread."""
    async with System(tmp_path) as system:
        system.slack.faults.add("users.conversations", Fault(error="internal_error"), times=1000)
        dispatcher = await system.start()
        conversation, first, reply = await _overtaken(system)
        system.slack.faults.add("conversations.replies", Fault(delay_seconds=2))
        system.slack.redeliver(conversation.channel, conversation.thread_ts)
        await eventually(lambda: system.logged("input_recorded"))
        await system.end(dispatcher, signal.SIGKILL)
        await system.start()

        turn = await system.answer(conversation, first)
        later = await system.answer(conversation, reply)
        assert turn.k <= later.k


async def test_messages_are_answered_in_their_order_though_an_events_replica_hangs(tmp_path: Path) -> None:
    """The event of a follow-up does not arrive, the one after it does. The first event comes when both are answered."""
    async with System(tmp_path) as system:
        await system.start()
        await _caught_up(system)
        conversation, first = await system.say(QUESTION)
        assert (await system.answer(conversation, first)).k == 1
        system.slack.remove_bot(system.slack.general)
        _, hanging = await system.say("what does the README say?", thread=conversation, mention=False)
        system.slack.invite_bot(system.slack.general)
        _, newest = await system.say(QUESTION, thread=conversation, mention=False)
        turn = await system.answer(conversation, newest)

        assert (turn.k, turn.inputs) == (2, [hanging, newest])
        system.slack.redeliver(conversation.channel, input_ts(hanging))
        await eventually(lambda: [line for line in system.logged("received") if line["input"] == hanging])
        await system.settled(conversation)
        assert len(system.answers(conversation)) == 2


async def test_an_answer_does_not_wait_for_slack_to_tell_what_was_said_before(tmp_path: Path) -> None:
    """Slack can't be read for longer than a turn waits: the messages that arrived are answered."""
    async with System(tmp_path) as system:
        await system.start()
        await _caught_up(system)
        conversation, first = await system.say(QUESTION)
        await system.answer(conversation, first)
        system.slack.faults.add("conversations.replies", Fault(error="internal_error"), times=20)
        _, second = await system.say(QUESTION, thread=conversation, mention=False)

        assert (await system.answer(conversation, second)).inputs == [second]
        assert system.logged("order_not_known")


async def test_a_reply_that_came_before_and_could_not_be_recorded_is_answered_when_the_journal_is_back(
    tmp_path: Path,
) -> None:
    """As above, but the journal goes away while the thread is read, for longer than the first tries."""
    async with System(tmp_path) as system:
        await system.start()
        await _caught_up(system)
        conversation, _, reply = await _overtaken(system)
        system.slack.faults.add("conversations.replies", Fault(delay_seconds=4))
        system.slack.redeliver(conversation.channel, conversation.thread_ts)
        await eventually(lambda: system.logged("input_recorded"))
        with away(tmp_path / "journal"):
            await eventually(lambda: system.logged("replies_not_read"), 150)
        await system.answer(conversation, reply)
