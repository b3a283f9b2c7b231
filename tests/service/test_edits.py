"""People edit and delete their messages: before they are answered that changes what is done, and nothing is lost."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import System, eventually

from peerbot.conversation.keys import Conversation, input_id, input_ts

LONG = "run `touch begun.txt; sleep 3`"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        yield system


async def edit(system: System, conversation: Conversation, identity: str, text: str, mention: bool = True) -> None:
    text = f"{system.slack.mention()} {text}" if mention else text
    await system.slack.edit(system.slack.person, conversation.channel, input_ts(identity), text)


async def waiting(system: System, text: str) -> tuple[Conversation, str, Conversation]:
    """Have something ask behind a long turn of somebody else's, so that nobody begins it."""
    busy, _ = await system.say(LONG.replace("3", "60"))
    await eventually(lambda: system.work_file("begun.txt"), 60)
    conversation, identity = await system.say(text)
    await eventually(lambda: system.cards(conversation) and "Queued" in str(system.cards(conversation)[0]["blocks"]))
    return conversation, identity, busy


async def let_go(system: System, busy: Conversation) -> None:
    await system.slack.say(system.slack.person, busy.channel, "stop", thread_ts=busy.thread_ts)


async def test_an_edit_before_the_work_begins_changes_it(system: System) -> None:
    await system.start(WORKER_MAX_CONCURRENT="1")
    conversation, identity, busy = await waiting(system, "run `echo one`")
    await edit(system, conversation, identity, "run `echo two`")
    await eventually(lambda: any(file.endswith("-edit") for file in system.files(conversation)))
    await let_go(system, busy)
    turn = await system.answer(conversation, identity)
    await system.settled(conversation)
    assert "two" in turn.text
    assert "echo one" not in system.read_by_model(2)
    assert [i.rpartition("-")[2] for i in turn.inputs] == ["message", "edit"]
    assert len(system.answers(conversation)) == 1


async def test_an_edit_of_what_the_agent_has_read_reaches_it(system: System) -> None:
    await system.start()
    conversation, identity = await system.say(LONG)
    await eventually(lambda: system.work_file("begun.txt"), 60)
    await edit(system, conversation, identity, "run `touch begun.txt; sleep 3; echo three`")
    turn = await system.answer(conversation, identity)
    await system.settled(conversation)
    read = system.read_by_model()
    assert "has edited an earlier one" in str(system.model.seen)
    assert "echo three" in str(system.model.seen), read
    edits = [i for k in await system.journal.turn_numbers(conversation) for i in await named(system, conversation, k)]
    assert len([i for i in edits if i.endswith("-edit")]) == 1, "one turn answers it, this one or the next"
    assert turn.status == "done"


async def named(system: System, conversation: Conversation, k: int) -> list[str]:
    turn = await system.journal.turn(conversation, k)
    return turn.inputs if turn else []


async def test_an_edit_that_adds_the_mention_begins_a_turn_once_also_after_a_restart(system: System) -> None:
    first = await system.start()
    ts = await system.slack.say(system.slack.person, system.slack.general, "run `echo four`")
    await system.delivered()
    conversation = Conversation(system.slack.team, system.slack.general, ts)
    assert not system.files(conversation)
    await edit(system, conversation, input_id(ts, "message"), "run `echo four`")
    turn = await system.answer(conversation, input_id(ts, "message"))
    assert "four" in turn.text
    await system.settled(conversation)
    await system.end(first)
    await system.start()  # it reads the channel's history, where the mention stands too
    await eventually(lambda: len(system.logged("caught_up")) == 2)
    assert len(system.answers(conversation)) == 1
    assert await system.journal.next_turn(conversation) == 2


async def test_an_edit_after_the_answer_changes_nothing(system: System) -> None:
    await system.start()
    conversation, identity = await system.say("run `echo five`")
    await system.answer(conversation, identity)
    await system.settled(conversation)
    before = system.files(conversation)
    await edit(system, conversation, identity, "run `echo six`")
    await system.delivered()
    assert [file for file in system.files(conversation) if "/inputs/" in file] == [f for f in before if "/inputs/" in f]


async def test_what_slack_itself_changes_is_no_edit(system: System) -> None:
    """A preview of a link that comes later is sent as a change of the message, too."""
    await system.start(WORKER_MAX_CONCURRENT="1")
    conversation, identity, _ = await waiting(system, "run `echo one`")
    message = system.slack.message(conversation.channel, input_ts(identity))
    event = {"type": "message", "subtype": "message_changed", "hidden": True, "channel": conversation.channel}
    preview = {"message": message | {"attachments": [{"title": "A page"}]}, "previous_message": message}
    system.slack.send_event(conversation.channel, event | preview | {"ts": "1.000001", "event_ts": "1.000001"})
    await system.delivered()
    assert not [file for file in system.files(conversation) if "edit" in file]


async def test_a_message_that_is_deleted_before_anybody_begins_is_dropped(system: System) -> None:
    await system.start(WORKER_MAX_CONCURRENT="1")
    conversation, identity, busy = await waiting(system, "run `touch never.txt`")
    await system.slack.delete(system.slack.person, conversation.channel, input_ts(identity))
    await system.settled(conversation)
    await let_go(system, busy)
    await system.settled(busy)
    assert system.answers(conversation) == []
    assert not system.work_file("never.txt")
    assert len([file for file in system.files(conversation) if "/settled/" in file]) == 2


async def test_who_deletes_what_the_agent_has_read_is_told_and_the_work_goes_on(system: System) -> None:
    await system.start()
    conversation, _ = await system.say("run `echo begin`")
    await system.settled(conversation)
    _, identity = await system.say(LONG, thread=conversation, mention=False)
    await eventually(lambda: system.work_file("begun.txt"), 60)
    await system.slack.delete(system.slack.person, conversation.channel, input_ts(identity))
    await eventually(lambda: len(system.slack.whispers(system.slack.person)) == 1)
    assert "had already read" in system.slack.whispers(system.slack.person)[0]["text"]
    turn = await system.answer(conversation, identity)
    assert turn.status == "done"
    await system.settled(conversation)
