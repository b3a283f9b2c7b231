"""A turn's end at a real gateway: exactly one turn names an input, however late others are (decisions 0001, 0002)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gateway_server import GatewayServer

from peerbot.conversation.documents import Input, Posted, Turn, TurnStatus
from peerbot.errors import Conflict
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import TurnResult


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GatewayServer]:
    async with LocalSlack() as slack, LocalGitHub() as github:
        storage = await open_storage((tmp_path / "journal").as_uri())
        async with GatewayServer(storage, slack, github) as server:
            yield server


async def come_in_late(server: GatewayServer, item: Input) -> None:
    """A turn of a run before, which was on its way in the gateway when that run was closed."""
    late = Turn(k=1, run=1, inputs=[item.id], status=TurnStatus.DONE, text="From the run before.")
    assert await server.journal.write_turn(item.conversation, late)
    assert await server.journal.write_posted(item.conversation, late.k, Posted(ts=["1.000001"]))


def result(*items: Input) -> TurnResult:
    return TurnResult(inputs=[item.id for item in items], status="done", text="From this run.", seconds=1)


async def test_an_input_that_a_late_turn_has_answered_meanwhile_is_not_answered_again(
    server: GatewayServer,
) -> None:
    item = await server.say("What is here?")
    worker = (await server.run(item)).gateway
    assert [found.id for found in await worker.inputs(0)] == [item.id]
    await come_in_late(server, item)
    begun = await worker.begin()
    assert begun.turn == 2

    with pytest.raises(Conflict):
        await worker.finish(begun.turn, result(item))
    assert await server.journal.turn_numbers(item.conversation) == [1]
    assert await worker.inputs(0) == []


async def test_a_turn_names_what_is_left_of_its_inputs(server: GatewayServer) -> None:
    first = await server.say("What is here?")
    second = await server.say("And there?", first.conversation)
    worker = (await server.run(first)).gateway
    assert [found.id for found in await worker.inputs(0)] == [first.id, second.id]
    await come_in_late(server, first)

    await worker.finish((await worker.begin()).turn, result(first, second))
    turn = await server.journal.turn(first.conversation, 2)
    assert turn
    assert turn.inputs == [second.id]


async def test_the_same_finish_again_gets_the_same_reply(server: GatewayServer) -> None:
    item = await server.say("What is here?")
    worker = (await server.run(item)).gateway
    begun, ours = await worker.begin(), result(item)

    assert await worker.finish(begun.turn, ours) == await worker.finish(begun.turn, ours)
    with pytest.raises(Conflict):
        await worker.finish(begun.turn, result(item))
    assert await server.journal.turn_numbers(item.conversation) == [1]
