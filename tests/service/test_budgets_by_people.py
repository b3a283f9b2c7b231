"""Budgets that people set themselves: they end work as the operator's do, and people allow more with one press."""

import asyncio
import re
from pathlib import Path

import pytest
from settings_world import changed, opened
from system import System, eventually, full_text

from peerbot.conversation.documents import Turn, TurnStatus
from peerbot.conversation.keys import Conversation
from peerbot.journal import choices
from peerbot.local.slack import NotOk
from peerbot.slack.allow_more import ALLOW_MORE
from peerbot.slack.controls import COMMAND

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
QUICKLY = "run `true`"
QUICK = {"WORKER_IDLE_SECONDS": "0"}


async def ended(system: System) -> tuple[Conversation, Turn]:
    """Ask for work that a budget ends."""
    conversation, identity = await system.say(SCRIPT)
    turn = await system.answer(conversation, identity)
    assert turn.status is TurnStatus.FAILED
    await system.settled(conversation)
    await eventually(lambda: system.logged("run_closed"))
    return conversation, turn


def answer_of(system: System, conversation: Conversation) -> str:
    return str(system.answers(conversation)[-1][0]["ts"])


def told(system: System, user: str, words: str) -> bool:
    return any(words in whisper["text"] for whisper in system.slack.whispers(user))


def says(system: System, conversation: Conversation, words: str) -> list[str]:
    return [m["text"] for m in system.slack.thread(conversation.channel, conversation.thread_ts) if words in m["text"]]


async def test_a_channels_budget_ends_work_and_of_two_who_allow_more_one_raises_it(tmp_path: Path) -> None:
    async with System(tmp_path, QUICK) as system:
        bob, guest = system.add_person("U0BOB", "Bob"), system.add_person("U0GUEST0001", "Gus", kind="guest")
        one = await system.start()
        await system.start()
        channel = system.slack.general
        assert not await changed(system, channel, budget_usd="0.02")
        conversation, turn = await ended(system)
        assert "This channel's budget of $0.02 for " in full_text(turn)
        assert "ask a member of this channel" in full_text(turn)
        assert turn.session, "its work is kept"
        answer = answer_of(system, conversation)

        await system.slack.press(guest, channel, answer, ALLOW_MORE)
        await eventually(lambda: told(system, guest, "Only people who may use this bot"))
        await asyncio.gather(
            *(system.slack.press(user, channel, answer, ALLOW_MORE) for user in (bob, system.slack.person))
        )
        await eventually(lambda: says(system, conversation, "allowed $5 more for this channel"))
        await eventually(lambda: any(told(system, user, "had already changed") for user in (bob, system.slack.person)))
        choice = await choices.choice(system.journal, "channel", f"{system.slack.team}-{channel}")
        assert choice
        assert (choice.budget_usd, choice.more_usd) == (0.02, 5.0)

        await system.end(one)  # the other replica, and a restart, know of it
        await system.start()
        await system.slack.press(bob, channel, answer, ALLOW_MORE)
        await eventually(lambda: told(system, bob, "it is $5.02 this month"))
        assert len(says(system, conversation, "allowed $5 more")) == 1
        again = await system.ask("run `ls`", thread=conversation, mention=False)
        assert again.status is TurnStatus.DONE
        assert "primes.py" in again.text


async def test_one_s_own_budget_is_raised_by_oneself_alone_and_never_above_the_operators(tmp_path: Path) -> None:
    async with System(tmp_path, QUICK | {"PEERBOT_PERSON_MONTH_BUDGET_USD": "3"}) as system:
        bob = system.add_person("U0BOB", "Bob")
        await system.start()
        await opened(system, system.slack.direct)
        reply = await system.slack.client.fill_in(system.slack.person, {"budget_usd": "4"})
        assert reply
        assert "at most $3" in reply["errors"]["budget_usd"]
        assert not await system.slack.client.fill_in(system.slack.person, {"budget_usd": "0.02"})
        conversation, turn = await ended(system)
        assert "Your budget of $0.02" in full_text(turn)
        answer = answer_of(system, conversation)
        await system.slack.press(bob, conversation.channel, answer, ALLOW_MORE)
        await eventually(lambda: told(system, bob, "Only the person whose budget this is"))
        await system.slack.press(system.slack.person, conversation.channel, answer, ALLOW_MORE)
        await eventually(lambda: says(system, conversation, "allowed $2.98 more"))
        assert (await system.ask("run `ls`", thread=conversation)).status is TurnStatus.DONE

        shown = system.slack.message(conversation.channel, answer)
        for old, new in ((r"/\d+$", "/300"), (r"\d{4}-\d{2}", "2020-01")):
            forged = {**shown, "blocks": [_with_value(block, old, new) for block in shown["blocks"]]}
            await system.slack.press_shown(system.slack.person, conversation.channel, forged, ALLOW_MORE)
        await eventually(lambda: told(system, system.slack.person, "allows at most $3"))
        await eventually(lambda: told(system, system.slack.person, "a month that is over"))


def _with_value(block: dict, old: str, new: str) -> dict:  # type: ignore[type-arg]
    if block["type"] != "actions":
        return block
    elements = [{**e, "value": re.sub(old, new, e["value"])} if "value" in e else e for e in block["elements"]]
    return {**block, "elements": elements}


async def test_the_operators_budgets_have_no_button(tmp_path: Path) -> None:
    async with System(tmp_path, QUICK | {"PEERBOT_CHANNEL_MONTH_BUDGET_USD": "0.02"}) as system:
        await system.start()
        conversation, turn = await ended(system)
        assert "your PeerBot operator" in full_text(turn)
        with pytest.raises(LookupError):
            await system.slack.press(
                system.slack.person, conversation.channel, answer_of(system, conversation), ALLOW_MORE
            )


async def test_a_press_that_the_journal_does_not_take_gets_an_error_and_counts_once_later(tmp_path: Path) -> None:
    async with System(tmp_path, QUICK) as system:
        await system.start()
        assert not await changed(system, system.slack.general, budget_usd="0.02")
        conversation, _ = await ended(system)
        answer, journal = answer_of(system, conversation), tmp_path / "journal"
        journal.rename(tmp_path / "away")
        try:
            with pytest.raises(NotOk, match="operation_timeout"):
                await system.slack.press(system.slack.person, system.slack.general, answer, ALLOW_MORE)
        finally:
            (tmp_path / "away").rename(journal)
        await system.slack.press(system.slack.person, system.slack.general, answer, ALLOW_MORE)
        choice = await choices.choice(system.journal, "channel", f"{system.slack.team}-{system.slack.general}")
        assert choice
        assert choice.more_usd == 5.0


async def test_cost_says_what_the_month_has_cost_by_person_and_repository(tmp_path: Path) -> None:
    async with System(tmp_path, QUICK | {"PEERBOT_PERSON_MONTH_BUDGET_USD": "20"}) as system:
        bob, guest = system.add_person("U0BOB", "Bob"), system.add_person("U0GUEST0001", "Gus", kind="guest")
        await system.start()
        turns = [
            await system.ask(QUICKLY),
            await system.ask(QUICKLY, user=bob),
            await system.ask(QUICKLY, channel=system.slack.direct),
        ]
        booked = tmp_path / "journal" / "spent-by" / "channel"
        await eventually(lambda: len([path for path in booked.rglob("*") if path.is_file()]) == 3)

        async def cost(user: str, channel: str) -> str:
            said = await system.slack.command(user, channel, COMMAND, "cost")
            assert said
            assert said["response_type"] == "ephemeral"
            return str(said["text"])

        here = await cost(system.slack.person, system.slack.general)
        assert re.search(r"\*This channel:\* \$0\.\d\d in 2 turns", here)
        assert re.search(r"by person: .*Ada Lovelace \$0", here)
        assert re.search(r"by person: .*Bob \$0", here)
        assert re.search(r"\*You, everywhere:\* \$0\.\d\d of \$20\.00 in 2 turns", here)
        assert all(str(turn.repository) in here for turn in turns)
        own = await cost(system.slack.person, system.slack.direct)
        assert "This channel" not in own
        assert "in 2 turns" in own
        assert "Only people who may use this bot" in await cost(guest, system.slack.general)
