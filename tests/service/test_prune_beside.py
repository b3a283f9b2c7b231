"""A prune beside a running dispatcher: people who write at any moment of it are answered, and `verify` is content."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from after import press, told
from old_journal import Killed, Mortal
from pydantic import SecretStr
from system import System, eventually, full_text

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Turn, now
from peerbot.conversation.keys import Conversation
from peerbot.journal.open import open_storage
from peerbot.outside import OutsideSettings
from peerbot.retention.look import Looker
from peerbot.retention.prune import prune
from peerbot.retention.removal import Deletes, remove
from peerbot.retention.report import Pruned
from peerbot.slack.choice_words import REMOVED
from peerbot.verify.app import verify
from peerbot.verify.report import Report

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
QUESTION = "what is in this repository?"
FORGOT = "removed the record of our earlier work"
SETTINGS = {"PEERBOT_PULL_REQUEST_SECONDS": "0"}  # a conversation whose pull request is watched stays


def outside(system: System) -> OutsideSettings:
    token = SecretStr(system.slack.bot_token)
    store = system.environment["PEERBOT_STORE"]
    return OutsideSettings(peerbot_store=store, slack_bot_token=token, slack_api_url=system.slack.api_url)


async def prune_all(system: System) -> Pruned:
    """Prune as the command does, as if everything were old."""
    return await prune(outside(system), lambda _: None, older_than=timedelta(0), yes=True)


async def verified(system: System) -> Report:
    report = await verify(outside(system), lambda _: None)
    assert report.good, report.text()
    return report


async def at_rest(system: System, conversation: Conversation) -> None:
    """Wait until nothing waits and the newest run is closed."""
    await system.settled(conversation)
    files = system.directory / "journal" / "conversations" / str(conversation) / "runs"
    await eventually(lambda: len([*files.glob("*.json")]) == len([*files.glob("*.closed")]) > 0, 60)


async def test_a_conversation_that_was_removed_goes_on_and_both_sides_are_told(tmp_path: Path) -> None:
    async with System(tmp_path, settings=SETTINGS) as system:
        await system.start()
        conversation, identity = await system.say(SCRIPT)
        first = await system.answer(conversation, identity)
        await at_rest(system, conversation)

        report = await prune_all(system)
        assert (report.removed.conversations, report.stays) == (1, {})
        assert not any("/sessions/" in file or "/inputs/" in file for file in system.files(conversation))
        await verified(system)

        await press(system, conversation, 1, Act.UNDO)
        assert "had no effect" in (await told(system, system.slack.person))[0]
        await system.settled(conversation)
        await verified(system)

        again = await system.ask(QUESTION, thread=conversation, mention=False)
        assert again.k == 2
        assert FORGOT in full_text(again)
        assert REMOVED in system.read_by_model()
        assert (again.repository, again.branch) == (first.repository, first.branch)
        third = await system.ask(QUESTION, thread=conversation, mention=False)
        assert third.k == 3
        assert FORGOT not in full_text(third)
        await verified(system)

        code = await system.end(system.dispatchers[0])
        assert code == 0
        await system.start()  # another dispatcher, which has nothing in memory
        fourth = await system.ask(QUESTION, thread=conversation, mention=False)
        assert fourth.k == 4
        await verified(system)


async def test_nothing_goes_while_an_agent_is_at_work(tmp_path: Path) -> None:
    async with System(tmp_path, settings=SETTINGS) as system:
        await system.start()
        conversation, identity = await system.say(SCRIPT)
        await eventually(lambda: any("/runs/1.started" in file for file in system.files(conversation)), 60)
        there = set(system.files(conversation))

        report = await prune_all(system)

        assert report.removed.objects == 0
        assert report.stays == {"somebody waits for an answer": 1}
        assert there - set(system.files(conversation)) == set()
        assert (await system.answer(conversation, identity)).k == 1


@pytest.mark.parametrize("dies_before", [2, 3, 6, 12])
async def test_a_prune_that_is_killed_between_two_changes_leaves_a_conversation_that_goes_on(
    tmp_path: Path, dies_before: int
) -> None:
    async with System(tmp_path, settings=SETTINGS) as system:
        await system.start()
        conversation, identity = await system.say(QUESTION)
        await system.answer(conversation, identity)
        await at_rest(system, conversation)
        storage = await open_storage(system.environment["PEERBOT_STORE"])
        looked = await Looker(storage).at(conversation, now())

        with pytest.raises(Killed):
            await remove(Deletes(Mortal(storage, dies_before)), looked, "prune")

        await verified(system)
        again = await system.ask(QUESTION, thread=conversation, mention=False)
        assert again.k == 2
        assert (FORGOT in full_text(again)) is (dies_before > 2)
        await at_rest(system, conversation)
        await prune_all(system)
        await verified(system)
        assert not any("/sessions/" in file or "/inputs/" in file for file in system.files(conversation))
        await storage.close()


async def test_replies_at_the_same_moment_as_two_prunes_are_answered(tmp_path: Path) -> None:
    async with System(tmp_path, settings=SETTINGS) as system:
        await system.start()
        conversation, identity = await system.say(QUESTION)
        await system.answer(conversation, identity)
        for _ in range(3):
            await at_rest(system, conversation)

            async def reply() -> Turn:
                return await system.ask(QUESTION, thread=conversation, mention=False)

            turn, *_ = await asyncio.gather(reply(), prune_all(system), prune_all(system))
            assert turn.text
        await at_rest(system, conversation)
        assert [k for _, k in system.answers(conversation)] == [1, 2, 3, 4]
        await verified(system)
