"""What a turn costs: the gateway's own figures, in the journal, in the answer and on the card, on all replicas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from gateway_server import GatewayServer
from relay_world import ASK, CONVERSATION, RUN, World, relay_world, serve, start, stop, stream, text
from system import System, eventually, full_text

from peerbot.conversation.documents import Turn, TurnStatus
from peerbot.conversation.limits import Scope, month_of
from peerbot.conversation.notes import BudgetNear, BudgetUsedUp
from peerbot.conversation.spent import Spent, dollars
from peerbot.journal import ledger, spending
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.slack import LocalSlack
from peerbot.protocol.documents import TurnResult

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
QUESTION = "what is in this repository?"


# At the relay


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with relay_world(tmp_path) as world:
        yield world


async def told(world: World) -> list[Spent]:
    await world.relay.accounts.told(CONVERSATION, 1)
    return (await spending.books(world.journal, CONVERSATION, 1)).spent


async def test_what_a_turn_used_is_kept_by_model_and_kind_of_token(world: World) -> None:
    usage = {"input_tokens": 1000, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 30_000}
    world.answer = stream(start("claude-sonnet-5-5", **usage), text("hello"), stop(500))
    await world.ask(model="claude-sonnet-5-5")
    world.answer = stream(start("claude-haiku-5-5", input_tokens=7), text("hello"), stop(3))
    await world.ask(model="claude-haiku-5-5")
    await world.ask(model="claude-haiku-5-5")

    dear, cheap = await told(world)
    assert dear.model_dump() == {
        "model": "claude-sonnet-5-5", "requests": 1, "input": 1000, "output": 500, "cache_read": 100_000,
        "cache_write": 30_000, "searches": 0, "usd": pytest.approx(0.003 + 0.03 + 0.1125 + 0.0075),
    }  # fmt: skip
    assert (cheap.model, cheap.requests, cheap.input, cheap.output) == ("claude-haiku-5-5", 2, 14, 6)
    assert dollars([dear, cheap]) == pytest.approx(await world.spent_usd())


async def test_the_sum_of_many_replicas_is_right_after_each_has_died(world: World) -> None:
    """A killed replica takes with it what it did not report: at most its last request, and those that were open."""
    world.answer = stream(start(input_tokens=1000), text("hello"), stop(100))
    for requests in (3, 1, 2):
        world.relay = world.make_relay(budget_usd=100)  # the one before is gone, with all that it remembered
        for _ in range(requests):
            await world.ask()
        account = await world.account()
        await eventually(lambda account=account: not account.report._tells)
    [spent] = (await spending.books(world.journal, CONVERSATION, 1)).spent
    assert (spent.requests, spent.input, spent.output) == (6, 6000, 600)


async def test_a_card_knows_what_other_replicas_have_spent_so_far(world: World) -> None:
    first, second = world.relay, world.make_relay(budget_usd=100)
    for relay in (first, second):
        world.relay = relay
        await world.ask()
        await relay.accounts.told(CONVERSATION, 1)
    for relay in (first, second, world.make_relay()):
        assert [each.requests for each in await relay.accounts.spent(CONVERSATION, 1)] == [2]


async def test_requests_at_once_are_counted_once_each_and_reported_in_few_writes(world: World) -> None:
    world.relay = world.make_relay(budget_usd=1000)
    await asyncio.gather(*(world.ask() for _ in range(40)))
    [spent] = await told(world)
    assert spent.requests == 40
    assert await told(world) == [spent]


async def test_what_costs_nothing_is_not_counted(world: World) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({"type": "error", "error": {"type": "api_error"}}, status=500)

    world.answer = answer
    await world.ask()
    assert await told(world) == []


# At the gateway, with a worker that lies


async def test_a_turn_costs_what_two_replicas_counted_whatever_its_worker_says(tmp_path: Path) -> None:
    url = (tmp_path / "journal").as_uri()
    async with AsyncExitStack() as stack:
        slack, github = await stack.enter_async_context(LocalSlack()), await stack.enter_async_context(LocalGitHub())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        api = World(answer=stream(start(input_tokens=1000), text("hello"), stop(2000)))
        model_url = await serve(stack, api.api)
        servers = [
            await stack.enter_async_context(GatewayServer(await open_storage(url), slack, github, model_url=model_url))
            for _ in range(2)
        ]
        first, second = servers
        item = await first.say("What is here?")
        worker = (await first.run(item)).gateway
        begun = await worker.begin()
        headers = {"Authorization": f"Bearer {worker.agent_token}"}
        for server in (first, second, second):
            address = worker.url.replace(first.url, server.url)
            async with session.post(f"{address}/model/v1/messages", json=ASK, headers=headers) as reply:
                assert reply.status == 200
                await reply.read()
        await second.settled()
        forged = TurnResult(inputs=[item.id], status="done", text="Done.", seconds=1, cost_usd=999.0)
        await worker.finish(begun.turn, forged)
        turn = await first.journal.turn(item.conversation, begun.turn)
        await first.settled()

        assert turn is not None
        assert turn.cost_usd == pytest.approx(3 * (1000 * 5 + 2000 * 25) / 1e6)
        assert [(each.requests, each.input, each.output) for each in turn.spent] == [(3, 3000, 6000)]
        shown = str(slack.thread(item.channel, item.thread_ts))
        assert "$0.17 · 3.0k tokens read, 6.0k written" in shown
        assert "999" not in shown


async def test_the_person_who_pays_is_the_first_whose_message_the_agent_answers(tmp_path: Path) -> None:
    """Somebody who may not use the bot wrote first: their budget has nothing to do with it."""
    async with LocalSlack() as slack, LocalGitHub() as github:
        slack.add_user("UGUEST", "Gus", kind="guest")
        storage = await open_storage((tmp_path / "journal").as_uri())
        async with GatewayServer(storage, slack, github) as server:
            item = await server.say("What is here?")
            earlier = f"{int(item.ts[:10]) - 1}{item.ts[10:]}"
            guests = item.model_copy(update={"user": "UGUEST", "ts": earlier, "nonce": "n"})
            await server.journal.mark(guests)
            await server.journal.record(guests)
            worker = (await server.run(item)).gateway
            begun = await worker.begin()
            assert (await spending.books(server.journal, item.conversation, begun.turn)).payer == slack.person


# Through Slack, with a real dispatcher and the real CLI


def footer(system: System, conversation: Any) -> str:
    message, _ = system.answers(conversation)[-1]
    return str([block for block in message["blocks"] if block["type"] == "context"][-1]["elements"][0]["text"])


async def test_an_answer_and_its_card_say_what_the_turn_cost(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        conversation, identity = await system.say(SCRIPT)
        turn = await system.answer(conversation, identity)
        assert turn.cost_usd == pytest.approx(dollars(turn.spent))
        assert sum(each.requests for each in turn.spent) >= 3
        said = f"${turn.cost_usd:.2f} · "
        assert said in footer(system, conversation)
        assert "tokens read, " in footer(system, conversation)
        await eventually(lambda: said in str(system.cards(conversation)))


async def test_a_card_says_what_its_turn_has_cost_so_far(tmp_path: Path) -> None:
    async with System(tmp_path, {"SESSION_TIMEOUT_MINUTES": "1"}) as system:
        await system.start()
        conversation, identity = await system.say("take 15 seconds")
        await eventually(lambda: "tokens read, " in str(system.cards(conversation)))
        assert system.answers(conversation) == []
        await system.answer(conversation, identity)


async def test_people_whose_budget_is_used_up_are_told_why_and_until_when_and_no_run_starts(tmp_path: Path) -> None:
    settings = {"PEERBOT_PERSON_MONTH_BUDGET_USD": "0.02", "WORKER_IDLE_SECONDS": "0"}
    async with System(tmp_path, settings) as system:
        dispatcher = await system.start()
        conversation, identity = await system.say(SCRIPT)
        stopped = await system.answer(conversation, identity)
        assert stopped.status is TurnStatus.FAILED
        assert full_text(stopped).startswith("Your budget of $0.02 for ")
        assert "It begins again on 1 " in full_text(stopped)
        assert "`PEERBOT_PERSON_MONTH_BUDGET_USD`" in full_text(stopped)
        assert stopped.session, "its work and its session are kept"

        await eventually(lambda: system.logged("run_closed"))
        assert await system.end(dispatcher) == 0
        await system.start()
        asked = system.model.requests
        for again in (await system.ask(QUESTION, thread=conversation), await system.ask(QUESTION)):
            assert again.run is None
            [note] = again.notes
            assert isinstance(note, BudgetUsedUp)
            assert note.scope is Scope.PERSON
            assert not again.turned_away, "their words are no secret to later turns"
        assert system.model.requests == asked
        month = month_of(stopped.ended_at)
        person, channel = system.slack.person, await ledger.month_of_channel(system.journal, conversation, month)
        for found in (channel, await ledger.month_of_person(system.journal, conversation, person, month)):
            assert found.turns == 1
            assert found.usd == pytest.approx(stopped.cost_usd, abs=1e-6)
            assert found.tokens_read > found.tokens_written > 0
        assert (await ledger.thread(system.journal, conversation)).usd == pytest.approx(stopped.cost_usd)
        assert await ledger.month_of_channel(system.journal, conversation, "2020-01") == ledger.Spending()
        other = await system.ask(QUESTION, user=system.add_person("UOTHER", "Grace"))
        assert other.run


async def test_a_thread_is_told_once_that_its_channels_budget_is_nearly_spent(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        before = await system.ask(SCRIPT)
        assert before.cost_usd
        budget = f"{before.cost_usd * 1.2:.4f}"
    async with System(tmp_path / "again", {"PEERBOT_CHANNEL_MONTH_BUDGET_USD": budget}) as system:
        await system.start()
        turn = await system.ask(SCRIPT)
        assert turn.status is TurnStatus.DONE
        [near] = [note for note in turn.notes if isinstance(note, BudgetNear)]
        assert near.scope is Scope.CHANNEL
        assert "is nearly spent: $" in full_text(turn)


async def test_a_turn_that_is_given_up_has_what_its_runs_cost(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        conversation, identity = await system.say("take 60 seconds")
        for deaths in (1, 2, 3):
            await eventually(lambda deaths=deaths: len(system.logged("model_request")) >= deaths, 60)
            await eventually(lambda: bool(system.supervisors()), 60)
            system.kill_workers()
            await eventually(lambda deaths=deaths: len(system.logged("run_died")) >= deaths, 60)
        turn = await system.answer(conversation, identity)
        assert turn.run is None
        assert turn.spent
        month = month_of(turn.ended_at)
        await eventually(lambda: any((tmp_path / "journal" / "spent-by" / "channel").rglob(f"{conversation.id}-*")))
        found = await ledger.month_of_channel(system.journal, conversation, month)
        assert found.usd == pytest.approx(turn.cost_usd, abs=1e-6)


# Documents of other releases


async def test_a_turn_of_the_release_before_is_read_and_it_reads_ours(tmp_path: Path) -> None:
    journal = Journal(await open_storage((tmp_path / "journal").as_uri()))
    try:
        spent = [Spent(model="claude-opus-5-5", usd=1.5, output=10)]
        turn = Turn(k=1, run=RUN, inputs=[], status=TurnStatus.DONE, text="", cost_usd=1.5, spent=spent)
        await journal.write_turn(CONVERSATION, turn)
        written = turn.model_dump(mode="json", exclude={"spent"})
        assert Turn.model_validate(written).spent == []
        assert Turn.model_validate(turn.model_dump(mode="json") | {"from a newer release": 1}) == turn
    finally:
        await journal.close()
