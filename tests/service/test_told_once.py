"""Somebody whose click had no effect reads why: once, though two replicas could tell them, and after an outage too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from peerbot.conversation.documents import Input, Settled, now
from peerbot.conversation.steps import NoEffect
from peerbot.journal.answers import settle
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.slack import Fault, LocalSlack
from peerbot.slack.api import open_client
from peerbot.slack.events import Us
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.thread import controls
from peerbot.thread.controls import Controls

LONG_AGO = now() - 2 * controls.TELLING


@dataclass
class Replicas:
    """Two replicas on one journal and one Slack."""

    slack: LocalSlack
    journals: list[Journal]
    controls: list[Controls]

    async def late_stop(self) -> Input:
        """Record a stop that comes too late."""
        slack, journal = self.slack, self.journals[0]
        ts = await slack.say(slack.person, slack.general, "hello")
        stop = Input(
            kind="stop", door="button", team=slack.team, channel=slack.general, thread_ts=ts, ts=ts,
            user=slack.person, text="", event_id="",
        )  # fmt: skip
        await journal.mark(stop)
        await journal.record(stop)
        return stop

    def told(self) -> int:
        return len(self.slack.whispers(self.slack.person))


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack(tmp_path / "slack"))
        outbound = Outbound(await stack.enter_async_context(open_client(slack.api_url, slack.bot_token)))
        journals = [Journal(await open_storage((tmp_path / "journal").as_uri())) for _ in range(2)]
        for journal in journals:
            stack.push_async_callback(journal.close)
        poster = Poster(outbound, Us(slack.team, slack.bot_user))
        people = People(outbound)
        made = [Controls(journal=journal, poster=poster, people=people) for journal in journals]
        yield Replicas(slack, journals, made)


async def test_two_replicas_at_once_tell_once(replicas: Replicas) -> None:
    stop = await replicas.late_stop()
    told = await asyncio.gather(*(each.no_effect(stop, NoEffect.TURN_ENDED) for each in replicas.controls))
    assert sorted(told) == [False, True]
    assert replicas.told() == 1
    assert await replicas.journals[0].pending_in(stop.conversation) == []


async def test_of_two_replicas_one_tells_what_a_dead_one_had_settled(replicas: Replicas) -> None:
    stop = await replicas.late_stop()
    await settle(replicas.journals[0], stop.conversation, stop.id, Settled(why="turn_ended", settled_at=LONG_AGO))
    replicas.slack.faults.add("chat.postEphemeral", Fault(late_seconds=0.5))  # so that both look before it is told
    await asyncio.gather(*(each.no_effect(stop, NoEffect.TURN_ENDED) for each in replicas.controls))
    assert replicas.told() == 1


async def test_what_was_told_is_not_told_again_by_a_replica_that_looked_before(replicas: Replicas) -> None:
    stop = await replicas.late_stop()
    first, second = replicas.controls
    holds = Settled(why="turn_ended", settled_at=now() - controls.TELLING - timedelta(seconds=1))
    await settle(replicas.journals[0], stop.conversation, stop.id, holds)
    assert await first.no_effect(stop, NoEffect.TURN_ENDED)
    assert not await second.no_effect(stop, NoEffect.TURN_ENDED)
    assert replicas.told() == 1


async def test_who_could_not_be_told_while_slack_is_away_is_told_later(replicas: Replicas) -> None:
    """It gives up in time for another to claim it, and leaves the marker by which the other finds it."""
    stop = await replicas.late_stop()
    replicas.slack.faults.add("chat.postEphemeral", Fault(status=503), times=100)
    assert not await replicas.controls[0].no_effect(stop, NoEffect.TURN_ENDED)
    assert await replicas.journals[0].pending_in(stop.conversation) == [stop.id]
    assert not await replicas.controls[1].no_effect(stop, NoEffect.TURN_ENDED), "the first one's time is not over"
    assert replicas.told() == 0
