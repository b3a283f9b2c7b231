"""People press Continue and New session below an answer: one effect, and everyone is told."""

import asyncio
import copy
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from after import COMMIT, answer_of, controls, press, told, turn_after
from system import System, eventually, full_text

from peerbot.conversation.choices import Act
from peerbot.conversation.keys import Conversation
from peerbot.slack.controls import CHOICE, STOP


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


async def verified(system: System) -> list[str]:
    """The findings of `peerbot verify`, as an operator runs it."""
    wanted = {name: system.environment[name] for name in ("PATH", "PEERBOT_STORE", "SLACK_BOT_TOKEN", "SLACK_API_URL")}
    verify = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbot", "verify", "--json"), env=wanted, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await verify.communicate()
    return [f"{found['name']}: {found['sentence']}" for found in json.loads(said)["findings"]]


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


async def test_what_people_think_of_an_answer_is_kept_and_the_newest_counts(system: System) -> None:
    bob = system.add_person("U0BOB", "Bob")
    conversation, identity = await system.say("run `true`")
    await system.answer(conversation, identity)
    await system.settled(conversation)
    await press(system, conversation, 1, Act.GOOD)
    await press(system, conversation, 1, Act.BAD)
    await press(system, conversation, 1, Act.BAD, bob)
    thanks = await told(system, system.slack.person, 2)
    assert all(said.startswith("Thank you.") for said in thanks)
    assert "do differently" in (await told(system, bob))[0]
    await system.settled(conversation)
    kept = sorted(file for file in system.files(conversation) if "/feedback/1/" in file)
    found = [
        (feedback["user"], feedback["good"])
        for feedback in (json.loads((system.directory / "journal" / file).read_text()) for file in kept)
    ]
    assert found == [(system.slack.person, True), (system.slack.person, False), (bob, False)]
    assert len(system.answers(conversation)) == 1
    assert await verified(system) == []


async def test_a_workspace_without_the_newer_blocks_has_plain_buttons(system: System) -> None:
    system.slack.lack_blocks("context_actions", "plan", "markdown")
    conversation, identity = await system.say("run `true`")
    await system.answer(conversation, identity)
    shown = controls(system, conversation, 1)
    assert {"retry", "feedback_positive_button", "feedback_negative_button"} <= shown
    message = answer_of(system, conversation, 1)
    button = f"{CHOICE}feedback_positive_button"
    await system.slack.press(system.slack.person, conversation.channel, message["ts"], button)
    await told(system, system.slack.person)
    await press(system, conversation, 1, Act.RETRY)
    assert (await turn_after(system, conversation, 1)).forgets == 1


async def test_a_control_of_another_release_says_so(system: System) -> None:
    conversation, identity = await system.say("run `true`")
    await system.answer(conversation, identity)
    await system.settled(conversation)
    message = copy.deepcopy(answer_of(system, conversation, 1))
    [button] = [e for block in message["blocks"] for e in block.get("elements", ()) if e["type"] == "button"]
    for value in ("of_tomorrow:1", "nonsense", "retry:9"):
        button["value"] = value
        await system.slack.press_shown(system.slack.person, conversation.channel, message, button["action_id"])
    words = await told(system, system.slack.person, 3)
    assert sum("another release" in said for said in words) == 2
    assert sum("has gone on" in said for said in words) == 1
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 1
