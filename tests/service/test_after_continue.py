"""People press Continue and New session below an answer: one effect, and everyone is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from after import COMMIT, controls, press, told, turn_after
from system import System, eventually, full_text

from peerbot.conversation.choices import Act
from peerbot.conversation.keys import Conversation
from peerbot.slack.controls import STOP


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


async def stopped(system: System) -> Conversation:
    """Have a turn that somebody stopped."""
    conversation, identity = await system.say("run `touch begun.txt; sleep 120`")
    await eventually(lambda: system.work_file("begun.txt"), 60)
    card = system.cards(conversation)[0]["ts"]
    await system.slack.press(system.slack.person, conversation.channel, card, STOP)
    turn = await system.answer(conversation, identity)
    assert turn.stopped
    await system.settled(conversation)
    system.forget_work()
    return conversation


async def test_continue_after_a_stop_goes_on_with_the_same_session(system: System) -> None:
    conversation = await stopped(system)
    assert "continue" in controls(system, conversation, 1)
    await press(system, conversation, 1, Act.CONTINUE)
    turn = await turn_after(system, conversation, 1)
    before = await system.journal.turn(conversation, 1)
    assert before
    assert turn.session
    assert before.session
    assert turn.session.id == before.session.id
    assert "Go on." in system.read_by_model()
    assert "Ada Lovelace" in system.read_by_model()


async def test_a_new_session_forgets_and_reads_the_thread_again(system: System) -> None:
    conversation, identity = await system.say(COMMIT.format("one"))
    first = await system.answer(conversation, identity)
    await system.settled(conversation)
    assert controls(system, conversation, 1) == {"retry", "undo", "new_session", "terminal", "good", "bad"}
    await press(system, conversation, 1, Act.NEW_SESSION)
    said = await turn_after(system, conversation, 1)
    assert "Ada Lovelace asked for a new session" in full_text(said)
    assert controls(system, conversation, 2) == set()
    system.model.seen.clear()
    turn = await system.ask("run `ls`", thread=conversation, mention=False)
    assert "one.txt" in turn.text, "the branch stays"
    assert turn.branch == first.branch
    assert turn.session
    assert first.session
    assert turn.session.id != first.session.id
    read = system.read_by_model()
    assert "People asked for a new session" in read
    assert "git commit -qm one" in read, "it reads what was said before"
    later = await system.ask("run `true`", thread=conversation, mention=False)
    assert later.session
    assert later.session.id == turn.session.id, "and remembers from there on"


async def test_two_people_at_once_and_twice_have_one_effect_and_all_are_told(system: System) -> None:
    await system.start()  # another replica
    bob = system.add_person("U0BOB", "Bob")
    conversation = await stopped(system)
    ada = system.slack.person
    await asyncio.gather(
        *(press(system, conversation, 1, Act.CONTINUE, user) for user in (ada, bob, ada)),
        press(system, conversation, 1, Act.NEW_SESSION, bob),
    )
    turn = await turn_after(system, conversation, 1)
    await eventually(lambda: len(system.slack.whispers(ada)) + len(system.slack.whispers(bob)) == 3)
    words = [message["text"] for user in (ada, bob) for message in system.slack.whispers(user)]
    assert all("had already pressed" in said for said in words), words
    assert len(turn.inputs) == 1
    assert len(system.answers(conversation)) == 2


async def test_an_old_button_says_that_work_has_gone_on(system: System) -> None:
    conversation = await stopped(system)
    await system.ask("run `true`", thread=conversation, mention=False)
    await system.settled(conversation)
    for act in (Act.CONTINUE, Act.RETRY, Act.NEW_SESSION):
        await press(system, conversation, 1, act)
    words = await told(system, system.slack.person, 3)
    assert all("has gone on since this answer" in said for said in words)
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 2


async def test_a_guest_chooses_nothing_and_is_told(system: System) -> None:
    guest = system.add_person("U0GUEST", "Gus", kind="guest")
    conversation = await stopped(system)
    for act in (Act.CONTINUE, Act.RETRY, Act.UNDO, Act.NEW_SESSION, Act.TERMINAL, Act.GOOD):
        await press(system, conversation, 1, act, guest)
    words = await told(system, guest, 6)
    assert all("Only people who may use this bot" in said for said in words)
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 1
    assert not [file for file in system.files(conversation) if "/feedback/" in file or "/chosen/" in file]


async def test_while_something_is_at_work_it_changes_nothing(system: System) -> None:
    conversation = await stopped(system)
    _, identity = await system.say("run `touch more.txt; sleep 3`", thread=conversation, mention=False)
    await eventually(lambda: system.work_file("more.txt"), 60)
    for act in (Act.CONTINUE, Act.NEW_SESSION, Act.UNDO):
        await press(system, conversation, 1, act)
    words = await told(system, system.slack.person, 3)
    assert all("I am at work in this thread" in said for said in words)
    turn = await system.answer(conversation, identity)
    assert not turn.stopped


async def test_a_choice_whose_dispatcher_dies_is_honoured_when_one_is_back(system: System) -> None:
    conversation = await stopped(system)
    shown = system.dispatchers[0]
    await press(system, conversation, 1, Act.CONTINUE)
    shown.kill()
    await shown.wait()
    system.kill_workers()
    await system.start()
    turn = await turn_after(system, conversation, 1)
    assert turn.inputs[0].endswith("-choice")
    assert not system.slack.whispers(system.slack.person)
