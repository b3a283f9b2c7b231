"""In which repository a thread's work is done: as the message says, or as somebody picks if several fit."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from settings_world import brought, changed, channel_of, said_in
from system import System, eventually, full_text

from peerbot.conversation.keys import Conversation
from peerbot.local.slack.faults import Fault
from peerbot.slack.where import PICK

pytestmark = pytest.mark.asyncio(loop_scope="module")

PRODUCT, TOOLS, QUESTION = "team/product", "team/tools", "what is in this repository?"
SETTINGS = {"PEERBOT_REPOSITORIES": "team/*"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("system"), SETTINGS) as system:
        for name in (PRODUCT, TOOLS):
            await brought(system, name)
        system.add_person("U0BOB", "Bob")
        system.add_person("U0GUEST0001", "Gus", kind="guest")
        await system.start()
        await system.start()
        yield system


@pytest.mark.parametrize(
    ("text", "repository"),
    [
        (f"in {TOOLS} {QUESTION}", TOOLS),
        (f"In {PRODUCT}: {QUESTION}", PRODUCT),
        (f"{QUESTION} in {TOOLS}", TOOLS),
        ("what is in src/calc", None),
    ],
)
async def test_a_message_says_where(system: System, text: str, repository: str | None) -> None:
    turn = await system.ask(text)
    assert turn.status == "done"
    assert turn.repository == (repository or "peerbot-community/user-ada-lovelace")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("in else/where: fix it", "does not allow else/where"),
        ("<https://github.com/else/where> says", ""),
        ("fix it in <https://github.com/else/where|else/where>", "does not allow else/where"),
        ("in team/none: fix it", "team/none does not exist"),
    ],
)
async def test_where_nobody_may_work_is_said_in_one_sentence(system: System, text: str, sentence: str) -> None:
    ts = await system.slack.say(system.slack.person, system.slack.general, f"{system.slack.mention()} {text}")
    turn = await system.answer(Conversation(system.slack.team, system.slack.general, ts), f"{ts}-message")
    assert sentence in full_text(turn)
    assert (turn.run is None) == bool(sentence)


def menu(system: System, conversation: Conversation) -> list[dict[str, Any]]:
    """The messages with a menu in a thread."""
    thread = system.slack.thread(conversation.channel, conversation.thread_ts)
    return [message for message in thread if PICK in str(message.get("blocks"))]


async def asked(system: System, name: str) -> tuple[Conversation, str, dict[str, Any]]:
    """Ask for something in a channel with two repositories, and wait for the menu."""
    channel = channel_of(system, name)
    assert not await changed(system, channel, repositories=f"{PRODUCT}\n{TOOLS}")
    conversation, identity = await system.say(QUESTION, channel=channel)
    await eventually(lambda: menu(system, conversation))
    return conversation, identity, menu(system, conversation)[0]


async def test_of_several_somebody_picks_one_and_of_two_at_once_one_holds(system: System) -> None:
    conversation, identity, message = await asked(system, "several")
    assert f"<@{system.slack.person}>" in message["text"]
    press = system.slack.press
    await press("U0GUEST0001", conversation.channel, message["ts"], PICK, value=TOOLS)
    await eventually(lambda: system.told("U0GUEST0001", conversation.channel, "Only people who may"))
    await asyncio.gather(
        press("U0BOB", conversation.channel, message["ts"], PICK, value=TOOLS),
        press(system.slack.person, conversation.channel, message["ts"], PICK, value=PRODUCT),
    )
    turn = await system.answer(conversation, identity)
    assert turn.repository in (PRODUCT, TOOLS)
    first, second = ("U0BOB", system.slack.person) if turn.repository == TOOLS else (system.slack.person, "U0BOB")
    await eventually(lambda: system.told(second, conversation.channel, "had already chosen"))
    assert not system.told(first, conversation.channel, "had already chosen")
    await eventually(lambda: not menu(system, conversation))
    await system.slack.press_shown("U0BOB", conversation.channel, message, PICK, value=TOOLS)  # too late
    again = await system.ask(QUESTION, thread=conversation, mention=False)
    assert again.repository == turn.repository


async def test_each_menu_gives_way_to_the_choice_however_soon_somebody_chooses(system: System) -> None:
    channel = channel_of(system, "soon")
    assert not await changed(system, channel, repositories=f"{PRODUCT}\n{TOOLS}")
    await eventually(lambda: said_in(system, channel))
    faults = (Fault(lost=True), Fault(late_seconds=2))  # so there are two menus, and the journal knows of neither
    for fault in faults:
        system.slack.faults.add("chat.postMessage", fault)
    conversation, identity = await system.say(QUESTION, channel=channel)
    await eventually(lambda: len(menu(system, conversation)) == len(faults))
    first, _ = menu(system, conversation)
    await system.slack.press("U0BOB", channel, first["ts"], PICK, value=TOOLS)
    assert (await system.answer(conversation, identity)).repository == TOOLS
    await eventually(lambda: not menu(system, conversation))


async def test_a_name_in_words_is_as_good_as_the_menu(system: System) -> None:
    conversation, identity, message = await asked(system, "words")
    await system.say(TOOLS, thread=conversation, mention=False)
    turn = await system.answer(conversation, identity)
    assert turn.repository == TOOLS
    await eventually(lambda: not menu(system, conversation))
    await system.slack.press_shown("U0BOB", conversation.channel, message, PICK, value=PRODUCT)
    await eventually(lambda: system.told("U0BOB", conversation.channel, "had already chosen"))


async def test_a_message_that_says_where_is_not_asked_and_keeps_within_the_channels_list(system: System) -> None:
    channel = channel_of(system, "said")
    assert not await changed(system, channel, repositories=f"{PRODUCT}\n{TOOLS}")
    turn = await system.ask(f"in {TOOLS}: {QUESTION}", channel=channel)
    assert turn.repository == TOOLS
    assert not await changed(system, channel, repositories=PRODUCT)
    turn = await system.ask(f"in {TOOLS}: {QUESTION}", channel=channel)
    assert f"I work in {PRODUCT}, and not in {TOOLS}" in full_text(turn)


async def test_a_choice_is_honoured_after_a_restart_and_a_stop_ends_the_question(system: System) -> None:
    conversation, identity, message = await asked(system, "restart")
    for dispatcher in [each for each in system.dispatchers if each.returncode is None]:
        await system.end(dispatcher)
    await system.start()
    await system.slack.press("U0BOB", conversation.channel, message["ts"], PICK, value=TOOLS)
    assert (await system.answer(conversation, identity)).repository == TOOLS

    conversation, identity, message = await asked(system, "stopped")
    await system.slack.say(system.slack.person, conversation.channel, "stop", thread_ts=conversation.thread_ts)
    assert (await system.answer(conversation, identity)).stopped
