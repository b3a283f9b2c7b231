"""Slack's events overtake each other: a deletion or an edit may come before the message that it is about."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually
from test_stop import verified

from peerbot.conversation.keys import Conversation, input_id, input_ts


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    """Two replicas: Slack gives each event to one of them, at random."""
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "20"}) as system:
        await system.start()
        await system.start()
        yield system


async def unheard(
    system: System, text: str, thread: Conversation | None = None, *, mention: bool = True
) -> tuple[Conversation, str, dict[str, Any]]:
    """Write a message whose event is late; returns its conversation, its id, and the message as it was."""
    system.slack.remove_bot(system.slack.general)
    conversation, identity = await system.say(text, thread=thread, mention=mention)
    system.slack.invite_bot(system.slack.general)
    return conversation, identity, dict(system.slack.message(conversation.channel, input_ts(identity)))


async def comes_late(system: System, identity: str, message: dict[str, Any]) -> None:
    """Deliver the events of a message, as it was when somebody wrote it."""
    event = message | {"channel": system.slack.general, "channel_type": "channel", "event_ts": message["ts"]}
    before = len(heard(system, identity))
    system.slack.send_event(system.slack.general, event)
    await eventually(lambda: len(heard(system, identity)) > before)
    await system.delivered()


def heard(system: System, identity: str) -> list[dict[str, Any]]:
    return [line for line in system.logged("received") if line["input"] == identity]


async def quiet(system: System, conversation: Conversation) -> None:
    """Nothing waits, nothing was begun, and `peerbot verify` has nothing to say."""
    await eventually(lambda: not [file for file in system.files(conversation) if file.startswith("pending/")])
    assert system.answers(conversation) == []
    assert system.logged("run_placed") == []
    assert await verified(system) == []


async def test_a_message_whose_deletion_came_first_does_not_begin_also_if_its_event_comes_twice(system: System) -> None:
    conversation, identity, message = await unheard(system, "run `touch never.txt`")
    await system.slack.delete(system.slack.person, conversation.channel, input_ts(identity))
    await eventually(lambda: any("/settled/" in file for file in system.files(conversation)))
    for _ in range(2):
        await comes_late(system, identity, message)
        await quiet(system, conversation)
    assert system.slack.whispers(system.slack.person) == [], "they see that it is gone"


async def test_a_message_that_was_dropped_does_not_begin_if_its_event_comes_again(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "1"}) as system:
        await system.start()
        busy, _ = await system.say("run `touch begun.txt; sleep 60`")
        await eventually(lambda: system.work_file("begun.txt"), 60)
        conversation, identity = await system.say("run `touch never.txt`")
        message = dict(system.slack.message(conversation.channel, input_ts(identity)))
        await eventually(lambda: system.cards(conversation))
        await system.slack.delete(system.slack.person, conversation.channel, input_ts(identity))
        await system.settled(conversation)
        await system.slack.say(system.slack.person, busy.channel, "stop", thread_ts=busy.thread_ts)
        await system.settled(busy)
        await comes_late(system, identity, message)
        await system.settled(conversation)
        assert system.answers(conversation) == []
        assert len(system.logged("run_placed")) == 1


async def test_a_reply_whose_deletion_came_first_does_not_reach_a_worker_that_waits(system: System) -> None:
    conversation, first = await system.say("run `echo one`")
    await system.answer(conversation, first)
    await system.settled(conversation)
    _, identity, message = await unheard(system, "run `echo secret-words`", conversation, mention=False)
    await system.slack.delete(system.slack.person, conversation.channel, input_ts(identity))
    await eventually(lambda: any("/settled/" in file for file in system.files(conversation)))
    await comes_late(system, identity, message)
    _, later = await system.say("run `echo two`", thread=conversation, mention=False)
    turn = await system.answer(conversation, later)
    assert turn.inputs == [later]
    assert "two" in turn.text
    assert "secret-words" not in str(system.model.seen)


async def test_a_deletion_of_what_was_never_for_us_leaves_nothing(system: System) -> None:
    ts = await system.slack.say(system.slack.person, system.slack.general, "lunch?")
    await system.slack.delete(system.slack.person, system.slack.general, ts)
    await system.delivered()
    assert not system.files(Conversation(system.slack.team, system.slack.general, ts))


@pytest.mark.parametrize("mentions", [True, False], ids=["as before", "without the mention"])
async def test_a_message_whose_edit_came_first_is_read_as_it_is_now(system: System, mentions: bool) -> None:
    conversation, identity, message = await unheard(system, "run `echo one`")
    text = f"{system.slack.mention()} run `echo two`" if mentions else "run `echo two`"
    await system.slack.edit(system.slack.person, conversation.channel, input_ts(identity), text)
    turn = await system.answer(conversation, identity)
    await comes_late(system, identity, message)
    await system.settled(conversation)
    assert "two" in turn.text
    assert "echo one" not in str(system.model.seen)
    assert len(system.answers(conversation)) == 1


async def test_of_two_edits_the_later_one_counts_though_the_earlier_one_comes_last(system: System) -> None:
    busy, _ = await system.say("run `touch begun.txt; sleep 5`")
    await eventually(lambda: system.work_file("begun.txt"), 60)
    conversation, identity, message = await unheard(system, "run `echo one`", busy, mention=False)
    await system.slack.edit(system.slack.person, conversation.channel, input_ts(identity), "run `echo three`")
    await eventually(lambda: any(identity in file for file in system.files(conversation)))
    ts = f"{input_ts(identity)[:-1]}9"  # between the message and its newest edit
    edited = message | {"text": "run `echo two`", "blocks": [], "edited": {"user": message["user"], "ts": ts}}
    event = {"type": "message", "subtype": "message_changed", "hidden": True, "channel_type": "channel"}
    event |= {"channel": conversation.channel, "message": edited, "previous_message": message}
    system.slack.send_event(conversation.channel, event | {"ts": ts, "event_ts": ts})
    await comes_late(system, identity, message)
    turn = await system.answer(conversation, input_id(input_ts(identity), "message"))
    await system.settled(conversation)
    assert "three" in turn.text
    assert "echo two" not in str(system.model.seen)
    assert "echo one" not in str(system.model.seen)
