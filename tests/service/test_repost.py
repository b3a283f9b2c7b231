"""An answer whose poster died: found again or posted by another, and never twice (decision 0003)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from slack_sdk.web.async_client import AsyncWebClient
from system import System, eventually

from peerbot.conversation.documents import Input, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation
from peerbot.local.slack import Fault
from peerbot.thread.answers import turn_metadata


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        yield system


async def unposted_turn(system: System, *, seconds_ago: float) -> Conversation:
    """A message that was answered in the journal, by a dispatcher that died before it left a receipt."""
    conversation, _ = await system.say("hello")
    item = Input(
        team=conversation.team,
        channel=conversation.channel,
        thread_ts=conversation.thread_ts,
        ts=conversation.thread_ts,
        user=system.slack.person,
        text="hello",
        event_id="Ev1",
    )
    await system.journal.mark(item)
    await system.journal.record(item)
    ended = now() - timedelta(seconds=seconds_ago)
    turn = Turn(k=1, run=None, inputs=[item.id], status=TurnStatus.DONE, text="The answer.", ended_at=ended)
    assert await system.journal.write_turn(conversation, turn)
    return conversation


async def test_an_answer_without_receipt_is_posted_by_the_first_that_claims_it(system: System) -> None:
    conversation = await unposted_turn(system, seconds_ago=61)

    await asyncio.gather(system.start(), system.start(GATEWAY_PORT="0"))
    await eventually(lambda: system.posted_file(conversation, 1).exists(), 15)
    await system.settled(conversation)

    [(message, _)] = system.answers(conversation)
    assert "The answer." in str(message["blocks"])
    [files] = await system.journal.turn_files(conversation)
    assert files.claims == 1


@pytest.mark.slow
async def test_an_answer_waits_for_the_one_before_it_whose_poster_died(system: System) -> None:
    conversation = await unposted_turn(system, seconds_ago=45)
    await system.start()

    turn = await system.ask("and again", thread=conversation)
    await system.settled(conversation)

    assert turn.k == 2
    assert [k for _, k in system.answers(conversation)] == [1, 2]
    first, second = [await system.journal.posted(conversation, k) for k in (1, 2)]
    assert first
    assert second
    assert turn.ended_at < first.posted_at < second.posted_at


async def test_an_answer_that_is_in_the_thread_already_is_found_and_not_posted_again(system: System) -> None:
    conversation = await unposted_turn(system, seconds_ago=61)
    client = AsyncWebClient(system.slack.bot_token, base_url=system.slack.api_url)
    posted = await client.chat_postMessage(
        channel=conversation.channel,
        thread_ts=conversation.thread_ts,
        text="The answer.",
        metadata=turn_metadata(conversation, 1).as_metadata(),
    )

    await system.start()
    await eventually(lambda: system.posted_file(conversation, 1).exists(), 15)
    await system.settled(conversation)

    receipt = await system.journal.posted(conversation, 1)
    assert receipt
    assert receipt.ts == [posted["ts"]]
    assert len(system.answers(conversation)) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_an_answer_that_slack_took_but_did_not_confirm_is_there_once(system: System) -> None:
    conversation = await unposted_turn(system, seconds_ago=61)
    system.slack.faults.add("chat.postMessage", Fault(lost=True))

    await system.start()
    await eventually(lambda: system.answers(conversation), 15)
    # The claim holds for a minute; then somebody looks again, and finds it.
    await eventually(lambda: system.posted_file(conversation, 1).exists(), 80)

    assert len(system.answers(conversation)) == 1


async def test_while_its_writer_may_still_post_nobody_else_does(system: System) -> None:
    conversation = await unposted_turn(system, seconds_ago=0)

    await system.start()
    await system.say("what is in this repository?", thread=conversation, mention=False)
    await eventually(lambda: system.logged("turn_written"), 45)

    assert system.answers(conversation) == []
