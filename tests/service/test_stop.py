"""People stop the work, through every door that Slack has: one effect, and everyone is told."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.slack.controls import COMMAND, STOP

LONG = "run `touch begun.txt; sleep 120`"
STOPPED_WITHIN = 30.0  # a busy machine; the time itself is measured in bench/

Asked = tuple[Conversation, str]


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


def shows(system: System, conversation: Conversation, words: str) -> bool:
    return any(words in str(card["blocks"]) for card in system.cards(conversation))


async def at_work(system: System, text: str = LONG) -> Asked:
    """Ask for something long, and wait until the agent's command runs."""
    conversation, identity = await system.say(text)
    await eventually(lambda: system.work_file("begun.txt"), 60)
    return conversation, identity


def card_of(system: System, conversation: Conversation) -> str:
    return str(system.cards(conversation)[0]["ts"])


async def button(system: System, asked: Asked, user: str) -> None:
    conversation, _ = asked
    await system.slack.press(user, conversation.channel, card_of(system, conversation), STOP)


async def word(system: System, asked: Asked, user: str) -> None:
    await system.slack.say(user, asked[0].channel, "Stop!", thread_ts=asked[0].thread_ts)


async def mention_and_word(system: System, asked: Asked, user: str) -> None:
    text = f"{system.slack.mention()} cancel"
    await system.slack.say(user, asked[0].channel, text, thread_ts=asked[0].thread_ts)


async def sign_on_the_card(system: System, asked: Asked, user: str) -> None:
    await system.slack.react(user, asked[0].channel, card_of(system, asked[0]), "x")


async def sign_on_the_message(system: System, asked: Asked, user: str) -> None:
    await system.slack.react(user, asked[0].channel, asked[0].thread_ts, "octagonal_sign")


async def slacks_own(system: System, asked: Asked, user: str) -> None:
    system.slack.stop_session(user, asked[0].channel, asked[0].thread_ts)


async def command(system: System, asked: Asked, user: str) -> None:
    said = await system.slack.command(user, asked[0].channel, COMMAND, "stop")
    assert said
    assert "stopping" in said["text"] or "nothing to stop" in said["text"]


Door = Callable[[System, Asked, str], Awaitable[None]]
DOORS = [button, word, mention_and_word, sign_on_the_card, sign_on_the_message, slacks_own, command]


async def stopped(system: System, asked: Asked) -> Turn:
    """Wait for the answer; check that there is one, and that nothing is left over."""
    conversation, identity = asked
    turn = await system.answer(conversation, identity, STOPPED_WITHIN)
    await system.settled(conversation)
    assert turn.stopped, turn
    assert len(system.answers(conversation)) == 1
    return turn


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
async def test_each_door_stops_the_work_and_keeps_it(system: System, door: Door) -> None:
    asked = await at_work(system)
    await door(system, asked, system.slack.person)
    turn = await stopped(system, asked)

    words = full_text(turn)
    assert "Stopped by Ada Lovelace." in words
    assert turn.files, "the file that the command made is on the branch"
    assert turn.commit
    assert turn.session
    await eventually(lambda: system.reactions(*asked) == {"octagonal_sign"})
    card = system.cards(asked[0])[0]
    await eventually(lambda: "Stopped" in str(system.cards(asked[0])[0]["blocks"][0]["title"]))
    assert not any(block["type"] == "actions" for block in system.slack.message(asked[0].channel, card["ts"])["blocks"])
    assert [file for file in system.files(asked[0]) if file.endswith("-stop.json")]


async def test_the_next_message_goes_on_from_the_stopped_work(system: System) -> None:
    asked = await at_work(system)
    await button(system, asked, system.slack.person)
    before = await stopped(system, asked)
    turn = await system.ask("run `ls`", thread=asked[0], mention=False)
    assert "begun.txt" in turn.text
    assert turn.session
    assert before.session
    assert turn.session.id == before.session.id


@pytest.mark.parametrize("door", [button, word, slacks_own, command], ids=lambda door: door.__name__)
async def test_each_door_used_twice_at_once_on_two_replicas_has_one_effect(system: System, door: Door) -> None:
    await system.start()
    asked = await at_work(system)
    await asyncio.gather(door(system, asked, system.slack.person), door(system, asked, system.slack.person))
    turn = await stopped(system, asked)
    recorded = [file for file in system.files(asked[0]) if file.endswith("-stop.json") and "/inputs/" in file]
    named = [identity for identity in turn.inputs if identity.endswith("-stop")]
    told = system.told(system.slack.person, asked[0].channel, "already")
    assert len(named) + len(told) == len(recorded), "each is in the answer, or was told, once"
    assert named


async def test_two_people_and_two_doors_at_once_have_one_effect_and_both_are_told(system: System) -> None:
    await system.start()  # another replica
    bob = system.add_person("U0BOB", "Bob")
    asked = await at_work(system)
    await asyncio.gather(
        button(system, asked, system.slack.person),
        button(system, asked, bob),
        word(system, asked, bob),
        sign_on_the_card(system, asked, system.slack.person),
    )
    turn = await stopped(system, asked)
    told = [*system.slack.whispers(bob), *system.slack.whispers(system.slack.person)]
    named = [identity for identity in turn.inputs if identity.endswith("-stop")]
    assert len(named) + len(told) == 4, "each is in the answer, or was told"
    assert all("had already stopped this" in message["text"] for message in told)


async def test_a_stop_that_comes_too_late_is_told_to_its_author_alone(system: System) -> None:
    conversation, identity = await system.say("run `true`")
    await eventually(lambda: system.cards(conversation) and system.cards(conversation)[0]["blocks"], 60)
    button_of_old = system.slack.message(conversation.channel, card_of(system, conversation))
    turn = await system.answer(conversation, identity)
    await system.settled(conversation)
    # A client that was offline still shows the old card, and so its button.
    await system.slack.press_shown(system.slack.person, conversation.channel, button_of_old, STOP)
    await eventually(lambda: len(system.slack.whispers(system.slack.person)) == 1)
    [whisper] = system.slack.whispers(system.slack.person)
    assert "had already ended" in whisper["text"]
    assert whisper["thread_ts"] == conversation.thread_ts
    await system.settled(conversation)
    assert (await system.journal.newest_turn(conversation)) == turn
    assert [file for file in system.files(conversation) if "/settled/" in file]


async def test_an_old_button_does_not_stop_the_next_turn(system: System) -> None:
    conversation, identity = await system.say("run `true`")
    await eventually(lambda: system.cards(conversation) and system.cards(conversation)[0]["blocks"], 60)
    old = system.slack.message(conversation.channel, card_of(system, conversation))
    await system.answer(conversation, identity)
    _, later = await system.say(LONG.replace("120", "3"), thread=conversation, mention=False)
    await eventually(lambda: system.work_file("begun.txt"), 60)
    await system.slack.press_shown(system.slack.person, conversation.channel, old, STOP)
    turn = await system.answer(conversation, later)
    assert turn.k == 2
    assert not turn.stopped
    assert "had already ended" in system.slack.whispers(system.slack.person)[0]["text"]


async def test_nothing_at_work_is_said(system: System) -> None:
    conversation, identity = await system.say("run `true`")
    await system.answer(conversation, identity)
    await system.settled(conversation)
    await word(system, (conversation, identity), system.slack.person)
    await eventually(lambda: len(system.slack.whispers(system.slack.person)) == 1)
    assert "Nothing is at work" in system.slack.whispers(system.slack.person)[0]["text"]
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 1


async def test_a_guest_stops_nothing_and_is_told(system: System) -> None:
    guest = system.add_person("U0GUEST", "Gus", kind="guest")
    asked = await at_work(system, LONG.replace("120", "5"))
    for door in (button, sign_on_the_card, slacks_own):
        await door(system, asked, guest)
    turn = await system.answer(*asked)
    assert not turn.stopped
    await eventually(lambda: len(system.slack.whispers(guest)) == 3)
    assert all("only people who may use this bot" in message["text"] for message in system.slack.whispers(guest))
    await system.settled(asked[0])


async def test_what_waits_in_line_is_stopped_before_it_begins(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "1"}) as system:
        await system.start()
        first = await at_work(system)
        second = await system.say("run `touch second.txt`")
        await eventually(lambda: shows(system, second[0], "Queued"), 60)
        await button(system, second, system.slack.person)
        turn = await stopped(system, second)
        assert turn.run is None
        assert "before I began" in full_text(turn)
        await button(system, first, system.slack.person)
        await stopped(system, first)
        assert not system.work_file("second.txt")


async def test_a_stop_counts_whichever_replica_hears_it(system: System) -> None:
    """The work goes on with the replica that placed it; the stop may reach the other one."""
    await system.start()
    for _ in range(3):  # Slack chooses a socket at random
        system.forget_work()
        asked = await at_work(system)
        await button(system, asked, system.slack.person)
        assert (await stopped(system, asked)).files


async def test_a_stop_while_its_dispatcher_is_dead_is_honoured_when_one_is_back(system: System) -> None:
    asked = await at_work(system)
    system.dispatchers[0].kill()
    await system.dispatchers[0].wait()
    word_ts = await system.slack.say(system.slack.person, asked[0].channel, "stop", thread_ts=asked[0].thread_ts)
    await system.start()
    turn = await stopped(system, asked)
    assert f"{word_ts}-stop" in turn.inputs
    assert turn.run is None or turn.stopped


async def test_a_stop_of_work_whose_worker_dies_is_answered_and_nothing_begins_again(system: System) -> None:
    asked = await at_work(system)
    gateway: Any = system.dispatchers[0]
    assert gateway.returncode is None
    system.freeze_workers()
    await button(system, asked, system.slack.person)
    await eventually(lambda: system.logged("input_recorded")[-1]["input"].endswith("-stop"))
    system.kill_workers()
    turn = await stopped(system, asked)
    assert turn.run is None
    assert len(system.logged("run_placed")) == 1


async def verified(system: System) -> list[str]:
    """The findings of `peerbot verify`, as an operator runs it."""
    wanted = {name: system.environment[name] for name in ("PATH", "PEERBOT_STORE", "SLACK_BOT_TOKEN", "SLACK_API_URL")}
    verify = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "peerbot", "verify", "--json"), env=wanted, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await verify.communicate()
    return [f"{found['name']}: {found['sentence']}" for found in json.loads(said)["findings"]]


async def test_verify_finds_nothing_after_stops_with_and_without_an_effect(system: System) -> None:
    asked = await at_work(system)
    await button(system, asked, system.slack.person)
    await stopped(system, asked)
    await word(system, asked, system.slack.person)
    await eventually(lambda: len(system.slack.whispers(system.slack.person)) == 1)
    await system.settled(asked[0])
    assert await verified(system) == []
