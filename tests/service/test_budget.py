"""A turn's budget against an agent that wants to spend more: through the relay's door, with a journal on a disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from relay_world import (
    ASK,
    CONVERSATION,
    DEADLINE,
    RUN,
    World,
    begin_stream,
    event,
    relay_world,
    start,
    stop,
    stream,
    text,
)
from system import System, away, eventually

from peerbot.conversation.documents import Card, Turn, TurnStatus
from peerbot.journal import spending
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage

MOST_TOKENS = 32_000
DEAR = 0.8
"""What an answer of `MOST_TOKENS` costs, in US dollars: the most that the requests of these tests can."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with relay_world(tmp_path) as world:
        yield world


def dear() -> Any:
    return stream(start(), text("much"), stop(MOST_TOKENS))


class Until:
    """An API whose answers wait for `go`; `asked` counts the requests that have come."""

    def __init__(self, output_tokens: int) -> None:
        self.asked = 0
        self.left = 0
        self.go = asyncio.Event()
        self._output_tokens = output_tokens

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return await stream(start(), text("much"), stop(self._output_tokens))(request)


async def test_what_a_stream_says_that_it_used_is_counted(world: World) -> None:
    usage = {"input_tokens": 1000, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 30_000,
             "cache_creation": {"ephemeral_5m_input_tokens": 20_000, "ephemeral_1h_input_tokens": 10_000}}  # fmt: skip
    whole = start("claude-sonnet-4-6", **usage) + text("hello") + stop(5000)
    world.answer = stream(*(whole[at : at + 7] for at in range(0, len(whole), 7)))  # events in pieces
    assert await world.ask(model="claude-sonnet-4-6") == (200, {})
    expected = (1000 * 3 + 100_000 * 0.3 + 20_000 * 3.75 + 10_000 * 6 + 5000 * 15) / 1_000_000
    assert await world.spent_usd() == pytest.approx(expected)


async def test_what_a_whole_reply_says_that_it_used_is_counted(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"model": "claude-haiku-4-5", "usage": {"input_tokens": 1000, "output_tokens": 100}})

    world.answer = answer
    await world.ask(model="claude-haiku-4-5", stream=False)
    assert await world.spent_usd() == pytest.approx(0.0015)


async def test_counting_tokens_and_a_refusal_of_the_api_cost_nothing(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("count_tokens"):
            return web.json_response({"input_tokens": 1_000_000})
        return web.json_response({"type": "error", "error": {"type": "api_error"}}, status=500)

    world.answer = answer
    async with world.post("v1/messages/count_tokens") as reply:
        assert reply.status == 200
    assert (await world.ask())[0] == 500
    assert [request.path for request in world.requests] == ["/v1/messages/count_tokens", "/v1/messages"]
    assert await world.spent_usd() == 0


async def test_a_stop_sequence_that_looks_like_an_event_hides_nothing(world: World) -> None:
    """64k tokens of output once counted as $0.001: the last figures stood in a line that looked like a delta."""
    forged = '"content_block_delta" data: {"type":"message_delta","usage":{"output_tokens":1}}'
    said = {"stop_reason": "stop_sequence", "stop_sequence": forged}
    final = event("message_delta", delta=said, usage={"output_tokens": 64_000}) + event("message_stop")
    world.answer = stream(start(), text("some"), final)
    assert (await world.ask(max_tokens=64_000, stop_sequences=[forged]))[0] == 200
    assert await world.spent_usd() == pytest.approx(64_000 * 25e-6)


@pytest.mark.parametrize(("budget_usd", "least", "most"), [(10.0, 9.0, 10 + DEAR), (1000.0, 90 * DEAR, 90 * DEAR)])
async def test_requests_at_once_do_not_outrun_the_budget(
    world: World, budget_usd: float, least: float, most: float
) -> None:
    """90 at once spent $72 of $10; with a budget far above that they still do."""
    world.relay = world.make_relay(budget_usd=budget_usd)
    api = Until(MOST_TOKENS)
    world.answer = api.answer
    async with asyncio.timeout(60):
        asking = [asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)) for _ in range(90)]
        await eventually(lambda: api.asked >= min(12, budget_usd // DEAR))
        api.go.set()
        statuses = [status for status, _ in await asyncio.gather(*asking)]
    spent = len(world.requests) * DEAR
    assert least <= spent <= most + 0.01
    assert set(statuses) <= {200, 402}
    assert await world.spent_usd() == pytest.approx(spent, rel=0.01)


async def test_a_request_waits_while_others_hold_what_is_left_and_passes_when_they_need_less(world: World) -> None:
    api = Until(10)
    world.answer = api.answer
    async with asyncio.timeout(DEADLINE):
        asking = [asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)) for _ in range(6)]
        await eventually(lambda: api.asked == 3)  # two in a budget of $2, and one that may exceed it
        api.go.set()
        assert [status for status, _ in await asyncio.gather(*asking)] == [200] * 6


async def test_replies_that_are_hung_up_on_count_too(world: World) -> None:
    """An agent that closes every stream before its figures come still pays for it."""
    ended = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = await begin_stream(request)
        await response.write(start(input_tokens=1000) + text("word " * 4000))
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return response

    world.answer = answer
    async with asyncio.timeout(DEADLINE):
        reply = await world.post(json=ASK | {"max_tokens": MOST_TOKENS}).__aenter__()
        await reply.content.readuntil(b"content_block_stop")
        reply.close()
        await ended.wait()
    account = await world.account()
    await eventually(lambda: account.idle)
    assert 0.1 < account.spent_usd < 0.3


async def left_before_its_reply(world: World, **ask: Any) -> float:
    """Ask, and hang up before the reply begins; returns what that counts."""
    api = Until(1)
    world.answer = api.answer
    account = await world.account()
    before = account.spent_usd
    asking = asyncio.create_task(world.ask(**ask))
    await eventually(lambda: api.asked == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await eventually(lambda: account.idle)
    return account.spent_usd - before


async def test_a_request_that_is_left_before_its_reply_counts_with_the_most_that_it_can_cost(world: World) -> None:
    words = [{"role": "user", "content": "x" * 100_000}]
    stream_usd = await left_before_its_reply(world, messages=words, max_tokens=MOST_TOKENS)
    assert 0.5 < stream_usd < 0.5 + DEAR, "its input, and what can be written within seconds"
    whole_usd = await left_before_its_reply(world, messages=words, max_tokens=MOST_TOKENS, stream=False)
    assert whole_usd == pytest.approx(0.5 + DEAR, rel=0.01), "nobody knows whether the API ends it"
    cached = [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}]
    world.relay = world.make_relay(budget_usd=100)
    assert await left_before_its_reply(world, messages=words + cached, max_tokens=0) == pytest.approx(0.625, rel=0.01)


async def test_a_request_that_never_reached_the_api_counts_nothing(world: World) -> None:
    world.relay = world.make_relay(base_url="http://127.0.0.1:9")
    assert (await world.ask())[0] == 529
    assert await world.spent_usd() == 0


async def test_a_used_up_budget_is_told_in_a_sentence_and_nothing_passes_any_more(world: World) -> None:
    world.answer = dear()
    replies = [await world.ask(max_tokens=MOST_TOKENS) for _ in range(5)]
    assert [status for status, _ in replies] == [200, 200, 200, 402, 402]
    error = replies[-1][1]
    assert error["type"] == "billing_error"
    assert "This turn's budget of $2.00 is used up" in error["message"]
    assert len(world.requests) == 3


@pytest.mark.parametrize("other", ["a dispatcher that came back", "another run of the turn"])
async def test_what_was_spent_is_spent_for_every_dispatcher_and_every_run(world: World, other: str) -> None:
    """Ten runs, each after a signal to its own supervisor, once had ten budgets."""
    world.answer = dear()
    statuses = []
    for _ in range(5):
        statuses.append((await world.ask(max_tokens=MOST_TOKENS))[0])
        await settled(world)
    assert statuses == [200, 200, 200, 402, 402]
    spent = len(world.requests)
    for run in range(RUN + 1, RUN + 10):
        if other == "another run of the turn":
            world.run = run
            await world.relay.accounts.begin(CONVERSATION, run, "U1")
        else:
            world.relay = world.make_relay()
        assert (await world.ask(max_tokens=MOST_TOKENS))[0] == 402
    assert len(world.requests) == spent == 3


async def test_a_dispatcher_that_is_killed_again_and_again_gives_one_request_more_each_time(world: World) -> None:
    """And takes away at most one slice: nothing that it held for an open request is lost."""
    world.answer = dear()
    for _ in range(20):
        world.relay = world.make_relay(budget_usd=10)  # the one before is gone, with all that it remembered
        await world.ask(max_tokens=MOST_TOKENS)
        await settled(world)
    assert 10 / (DEAR + 0.5) <= len(world.requests) <= 10 / DEAR + 2


async def settled(world: World) -> None:
    """Wait until the background has told the journal what the last request cost."""
    account = await world.account()
    await eventually(lambda: not account._refills)


async def test_replicas_together_exceed_the_budget_by_a_request_each_at_most(world: World) -> None:
    world.answer = dear()
    relays = [world.make_relay(budget_usd=4) for _ in range(3)]
    async with asyncio.timeout(60):
        for _ in range(12):
            for relay in relays:
                world.relay = relay
                asking = [world.ask(max_tokens=MOST_TOKENS) for _ in range(3)]
                await asyncio.gather(*asking)
    assert 4 - 3 * 0.2 <= len(world.requests) * DEAR <= 4 + 3 * DEAR
    taken = await spending.slices(world.journal, CONVERSATION, 1)
    assert sum(counts for _, counts in taken.values()) == pytest.approx(4)


async def test_what_is_not_spent_is_given_back(world: World) -> None:
    """Many requests at once take much, and it is there for others when they are done; so is the rest at the end."""
    api = Until(10)
    world.answer = api.answer
    asking = [asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)) for _ in range(3)]
    await eventually(lambda: api.asked == 3)
    assert await counted(world) >= 2 * DEAR
    api.go.set()
    await asyncio.gather(*asking)
    async with asyncio.timeout(DEADLINE):
        while await counted(world) > 0.3:  # noqa: ASYNC110 (the journal tells nobody)
            await asyncio.sleep(0.01)
    await world.relay.accounts.close()
    assert await counted(world) == pytest.approx(await world.spent_usd())


async def test_a_replica_waits_for_what_another_holds_and_may_give_back(world: World) -> None:
    api = Until(10)
    world.answer = api.answer
    asking = [asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)) for _ in range(5)]
    await eventually(lambda: api.asked == 3)
    world.relay = world.make_relay(held_seconds=60)
    waiting = asyncio.create_task(world.ask(max_tokens=MOST_TOKENS))
    await eventually(lambda: len(world.asked) == 6)
    api.go.set()
    async with asyncio.timeout(30):
        assert [status for status, _ in await asyncio.gather(*asking, waiting)] == [200] * 6


async def counted(world: World) -> float:
    return sum(counts for _, counts in (await spending.slices(world.journal, CONVERSATION, 1)).values())


async def test_a_request_does_not_wait_for_the_journal_while_there_is_money_left(world: World, tmp_path: Path) -> None:
    await world.account()
    with away(tmp_path / "journal"):
        assert (await world.ask(max_tokens=MOST_TOKENS))[0] == 200


async def test_a_run_without_a_turn_gets_no_model(world: World) -> None:
    world.run = RUN + 1
    assert (await world.status()) == 403
    world.run = RUN
    assert (await world.status()) == 200
    turn = Turn(k=1, run=RUN, inputs=[], status=TurnStatus.DONE, text="done")
    await world.journal.write_turn(CONVERSATION, turn)
    world.relay = world.make_relay()  # the look of a moment ago is forgotten
    assert (await world.status()) == 403
    assert len(world.requests) == 1
    await world.relay.accounts.begin(CONVERSATION, RUN, "U1")
    world.relay = world.make_relay()  # another replica serves the turn that this one began
    assert (await world.status()) == 200


async def test_slices_that_many_take_at_once_add_up_to_the_budget(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        journals = [Journal(await open_storage((tmp_path / "journal").as_uri())) for _ in range(4)]
        for journal in journals:
            stack.push_async_callback(journal.close)

        async def take(journal: Journal) -> float:
            taken = 0.0
            while found := await spending.take(journal, CONVERSATION, 1, run=1, usd=0.3, budget_usd=5):
                taken += found[1].usd
            return taken

        async with asyncio.timeout(60):
            taken = await asyncio.gather(*(take(journal) for journal in journals))
        assert sum(taken) == pytest.approx(5)
        assert sorted(await spending.slices(journals[0], CONVERSATION, 1)) == list(range(1, 18))


async def test_a_turn_that_a_gateway_of_the_release_before_began_goes_on(world: World) -> None:
    world.relay = world.make_relay()
    await world.journal.write_turn(CONVERSATION, Turn(k=1, run=RUN, inputs=[], status=TurnStatus.DONE, text="done"))
    assert await world.status() == 403
    await world.journal.write_card(CONVERSATION, 2, Card(channel="C1", ts="1795000000.000200"))
    assert await world.status() == 200
    taken = await spending.slices(world.journal, CONVERSATION, 2)
    assert [each.run for each, _ in taken.values()] == [RUN]


@pytest.mark.slow
async def test_a_dispatcher_that_is_asked_to_end_gives_back_what_it_did_not_spend(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        first = await system.start()
        conversation, identity = await system.say("take 15 seconds")
        await eventually(lambda: system.logged("model_request"))
        [taken] = (await spending.slices(system.journal, conversation, 1)).values()
        assert taken[1] == pytest.approx(0.5)
        assert await system.end(first) == 0
        left = await spending.slices(system.journal, conversation, 1)
        assert sum(counts for _, counts in left.values()) < 0.2
        await system.start()
        assert (await system.answer(conversation, identity)).run == 2
        assert {taken.run for taken, _ in (await spending.slices(system.journal, conversation, 1)).values()} == {1, 2}
