"""Signs that stop the work: on a card that the journal does not know yet, on an old card, and elsewhere."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from crash_points import JournalWrites, Trap
from gcs_server import gcs_server, make_bucket
from system import System, eventually
from test_early_answers import Late, LateProxy, nobody
from test_stop import at_work, card_of, stopped

from peerbot.conversation.keys import input_ts


@pytest.fixture
async def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[System, Late]]:
    """A system in which the note of where a card is does not get into the journal until it is let go."""
    bucket = f"late-{uuid.uuid4().hex}"
    with gcs_server() as google:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
        make_bucket(google, bucket)
        async with LateProxy("journal", google, JournalWrites(), Trap(nobody)) as proxy:
            proxy.late = Late("create turns/{n}.card")
            settings = {"PEERBOT_STORE": f"gs://{bucket}", "STORAGE_EMULATOR_HOST": proxy.url}
            async with System(tmp_path, settings) as system:
                await system.start()
                yield system, proxy.late


async def test_a_sign_on_a_card_that_is_not_noted_yet_stops_its_turn(late: tuple[System, Late]) -> None:
    system, holds = late
    asked = await at_work(system)
    await asyncio.wait_for(holds.comes.wait(), 60)
    await system.slack.react(system.slack.person, asked[0].channel, card_of(system, asked[0]), "x")
    await eventually(lambda: system.logged("input_recorded")[-1]["input"].endswith("-stop"))
    assert await system.journal.card(asked[0], 1) is None
    holds.let_go.set()
    await eventually(lambda: system.logged("answer_posted"), 60)
    turn = await system.journal.turn(asked[0], 1)
    assert turn
    assert turn.stopped


async def test_a_sign_on_what_has_ended_is_told_so(tmp_path: Path) -> None:
    """On a card of long ago, and on a message that is answered: the work that they mean is over."""
    async with System(tmp_path) as system:
        await system.start()
        conversation, first = await system.say("run `true`")
        await system.answer(conversation, first)
        await eventually(lambda: system.cards(conversation))
        old = card_of(system, conversation)
        for _ in range(2):
            await system.ask("run `true`", thread=conversation, mention=False)
        await system.settled(conversation)
        user, channel = system.slack.person, conversation.channel
        for number, ts in enumerate((old, input_ts(first)), start=1):
            await system.slack.react(user, channel, ts, "x")
            await eventually(lambda: len(system.told(user, channel, "had already ended")) == number)  # noqa: B023
        await system.settled(conversation)
        assert await system.journal.next_turn(conversation) == 4


async def test_a_sign_on_an_old_card_does_not_stop_what_is_at_work(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        conversation, first = await system.say("run `true`")
        await system.answer(conversation, first)
        await eventually(lambda: system.cards(conversation))
        old = card_of(system, conversation)
        _, later = await system.say("run `touch begun.txt; sleep 4`", thread=conversation, mention=False)
        await eventually(lambda: system.work_file("begun.txt"), 60)
        await system.slack.react(system.slack.person, conversation.channel, old, "octagonal_sign")
        assert not (await system.answer(conversation, later)).stopped
        assert system.told(system.slack.person, conversation.channel, "had already ended")


async def test_a_sign_elsewhere_is_peoples_own(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        asked = await at_work(system)
        lunch = await system.slack.say(system.slack.person, asked[0].channel, "lunch?")
        await system.slack.react(system.slack.person, asked[0].channel, lunch, "x")
        await system.delivered()
        await system.slack.react(system.slack.person, asked[0].channel, asked[0].thread_ts, "thumbsup")
        await system.delivered()
        assert not [file for file in system.files(asked[0]) if "-stop" in file]
        await system.slack.react(system.slack.person, asked[0].channel, asked[0].thread_ts, "x")
        await stopped(system, asked)


async def test_slacks_own_stop_where_nothing_ever_was_at_work_is_told_so(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        ts = await system.slack.say(system.slack.person, system.slack.general, "lunch?")
        system.slack.stop_session(system.slack.person, system.slack.general, ts)
        await eventually(lambda: system.told(system.slack.person, system.slack.general, "Nothing is at work"))
