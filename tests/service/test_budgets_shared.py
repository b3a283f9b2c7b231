"""Budgets of a thread, a person, a channel and a month: requests through the relays of several replicas."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from relay_world import CONVERSATION, DEADLINE, World, relay_world, start, stop, stream, text
from system import away, eventually

from peerbot.conversation.documents import Input, now
from peerbot.conversation.limits import Limit, Purse, Scope, purse
from peerbot.conversation.notes import BudgetNear, BudgetUsedUp, Note
from peerbot.errors import Unavailable
from peerbot.gateway.model_relay import ModelRelay
from peerbot.journal import spending
from peerbot.journal.budgets import Chains
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.journal.storage import Storage
from peerbot.thread.afford import Afford
from peerbot.turns.bills import Bills

MOST_TOKENS = 32_000
DEAR = 0.8
"""What an answer of `MOST_TOKENS` costs, in US dollars: the most that the requests of these tests can."""

USER = "U1"
WIDER = [Scope.THREAD, Scope.PERSON, Scope.CHANNEL, Scope.MONTH]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with relay_world(tmp_path) as world:
        item = asked()
        await world.journal.mark(item)
        await world.journal.record(item)
        yield world


def asked(user: str = USER) -> Input:
    where = {"team": CONVERSATION.team, "channel": CONVERSATION.channel, "thread_ts": CONVERSATION.thread_ts}
    return Input(**where, ts=CONVERSATION.thread_ts, user=user, text="do it", event_id="E1")


def dear() -> Any:
    return stream(start(), text("much"), stop(MOST_TOKENS))


def limit(scope: Scope, usd: float) -> Limit:
    return Limit(scope=scope, usd=usd)


async def replica(world: World, *limits: Limit, turn: int = 1, **how: Any) -> ModelRelay:
    """Start a replica (with a budget for each turn that is out of reach)."""
    world.relay = world.make_relay(**{"budget_usd": 1000, "limits": limits} | how)
    assert await world.relay.accounts.begin(CONVERSATION, world.run, "U1") == turn
    return world.relay


async def ask_until_refused(world: World, relays: Sequence[ModelRelay], rounds: int = 30) -> list[int]:
    statuses: list[int] = []
    for _ in range(rounds):
        for relay in relays:
            world.relay = relay
            statuses.append((await world.ask(max_tokens=MOST_TOKENS))[0])
        if set(statuses[-len(relays) :]) == {402}:
            break
    return statuses


def paid_from(scope: Scope, user: str = USER, moment: datetime | None = None) -> Purse:
    return purse(scope, CONVERSATION, user, moment or now())


async def newest(world: World, scope: Scope, **how: Any) -> tuple[float, float]:
    """What the journal says was taken and spent."""
    found = await Chains(world.journal).of(paid_from(scope, **how)).look()
    assert found is not None
    return found.taken_usd, found.spent_usd


async def bill(world: World, *notes: Note, limits: Sequence[Limit], turn: int = 1) -> list[Note]:
    bills = Bills(
        world.journal,
        Chains(world.journal),
        ChosenSettings(world.journal, tuple(limits)).limits,
        world.relay.accounts.told,
        clock=lambda: world.moment or now(),
    )
    return (await bills.of(CONVERSATION, turn, notes)).notes


@pytest.mark.parametrize("scope", WIDER)
async def test_a_budget_is_used_to_its_end_and_exceeded_by_one_request_at_most(world: World, scope: Scope) -> None:
    world.answer = dear()
    relay = await replica(world, limit(scope, 2))
    assert await ask_until_refused(world, [relay]) == [200, 200, 200, 402]
    status, error = await world.ask(max_tokens=MOST_TOKENS)
    assert (status, error["type"]) == (402, "billing_error")
    assert "budget of $2.00 is used up" in error["message"]
    assert len(world.requests) == 3


@pytest.mark.parametrize("scope", WIDER)
async def test_replicas_together_exceed_a_budget_by_one_request_at_most(world: World, scope: Scope) -> None:
    """A turn's own budget gives each replica one; these are for a month, and for many turns at once."""
    world.answer = dear()
    relays = [await replica(world, limit(scope, 5), held_seconds=60, linger_seconds=0) for _ in range(3)]
    async with asyncio.timeout(60):
        for _ in range(4):
            asking: list[asyncio.Task[Any]] = []
            for relay in relays:
                world.relay, due = relay, len(world.asked) + 3
                asking += [asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)) for _ in range(3)]
                await eventually(lambda due=due: len(world.asked) >= due)
            await asyncio.gather(*asking)
    assert 5 - DEAR <= len(world.requests) * DEAR <= 5 + DEAR


async def test_of_all_requests_under_way_on_all_replicas_one_may_exceed_the_budget(world: World) -> None:
    """The third takes the rest, with the right to exceed it; the others have a little left, and no right."""
    relays = [await replica(world, limit(Scope.MONTH, 2)) for _ in range(3)]
    api = Until(MOST_TOKENS)
    world.answer = api.answer
    asking: list[asyncio.Task[Any]] = []
    for passed, relay in enumerate([*relays, *relays], start=1):
        world.relay, due = relay, len(world.asked) + 1
        asking.append(asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)))
        await eventually(lambda due=due: len(world.asked) == due)
        await eventually(lambda passed=passed: api.asked >= min(passed, 3))
    await asyncio.wait(asking, timeout=0.5)
    assert api.asked == 3
    api.go.set()
    async with asyncio.timeout(DEADLINE):
        statuses = [status for status, _ in await asyncio.gather(*asking)]
    assert statuses == [200, 200, 200, 402, 402, 402]
    assert len(world.requests) * DEAR <= 2 + DEAR


async def test_dispatchers_that_are_killed_again_and_again_exceed_a_budget_by_one_request(world: World) -> None:
    """Each dies with requests under way, of which nobody hears how they ended: they count as if they cost the most."""
    world.answer = dear()
    for _ in range(30):
        await replica(world, limit(Scope.PERSON, 10))  # the one before is gone, with all that it remembered
        if {status for status, _ in await asyncio.gather(*(world.ask(max_tokens=MOST_TOKENS) for _ in range(2)))} == {
            402
        }:
            break
    assert 10 / (2 * DEAR + 2.5) <= len(world.requests) <= 10 / DEAR + 1


async def test_what_is_not_spent_is_there_for_other_replicas_at_once(world: World) -> None:
    """A replica that waits gets what another gives back when it is told that the turn ends."""
    relays = [await replica(world, limit(Scope.PERSON, 2)) for _ in range(2)]
    assert (await world.ask(max_tokens=MOST_TOKENS))[0] == 200
    assert (await newest(world, Scope.PERSON))[0] >= DEAR
    await relays[1].accounts.told(CONVERSATION, 1)
    taken, spent = await newest(world, Scope.PERSON)
    assert 0 < taken < 0.01
    assert spent == pytest.approx(taken)
    world.answer = dear()
    world.relay = relays[0]
    assert await ask_until_refused(world, [relays[0]]) == [200, 200, 200, 402]


async def test_a_replica_waits_for_what_another_holds_and_may_give_back(world: World) -> None:
    relays = [await replica(world, limit(Scope.PERSON, 2), held_seconds=60, linger_seconds=0) for _ in range(2)]
    api = Until(10)
    world.answer = api.answer
    asking = [asyncio.create_task(world.ask(max_tokens=MOST_TOKENS)) for _ in range(3)]
    await eventually(lambda: api.asked == 3)
    world.relay = relays[0]
    waiting = asyncio.create_task(world.ask(max_tokens=MOST_TOKENS))
    await eventually(lambda: len(world.asked) == 4)
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    api.go.set()
    async with asyncio.timeout(30):
        assert [status for status, _ in await asyncio.gather(*asking, waiting)] == [200] * 4


async def test_a_dispatcher_that_ends_gives_everything_back(world: World) -> None:
    relay = await replica(world, limit(Scope.MONTH, 2))
    await world.ask(max_tokens=MOST_TOKENS)
    await relay.accounts.close()
    taken, spent = await newest(world, Scope.MONTH)
    assert taken == pytest.approx(spent)
    assert spent == pytest.approx((await spending.books(world.journal, CONVERSATION, 1)).spent[0].usd)


async def test_a_new_month_has_a_new_budget_and_a_request_is_paid_from_the_month_in_which_it_was_sent(
    world: World,
) -> None:
    november, december = datetime(2026, 11, 30, 23, 59, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    world.moment = november
    limits = [limit(Scope.CHANNEL, 1.5)]
    relay = await replica(world, *limits)
    api = Until(MOST_TOKENS)
    world.answer = api.answer
    asking = asyncio.create_task(world.ask(max_tokens=MOST_TOKENS))
    await eventually(lambda: api.asked == 1)
    world.moment = december
    api.go.set()
    assert (await asking)[0] == 200
    await relay.accounts.close()
    assert (await newest(world, Scope.CHANNEL, moment=november))[1] == pytest.approx(DEAR)
    assert await Chains(world.journal).of(paid_from(Scope.CHANNEL, moment=december)).look() is None

    world.moment = november
    relay = await replica(world, *limits)
    assert await ask_until_refused(world, [relay]) == [200, 402]
    assert await nothing_left(world, *limits)
    world.moment = december
    assert not await nothing_left(world, *limits)
    assert await ask_until_refused(world, [relay]) == [200, 200, 402]


class Until:
    """An API whose answers wait for `go`; `asked` counts the requests that have come."""

    def __init__(self, output_tokens: int) -> None:
        self.asked = 0
        self.go = asyncio.Event()
        self._answer = stream(start(), text("much"), stop(output_tokens))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        await self.go.wait()
        return await self._answer(request)


async def nothing_left(world: World, *limits: Limit, user: str = USER) -> BudgetUsedUp | None:
    afford = Afford(
        Chains(world.journal), ChosenSettings(world.journal, tuple(limits)).limits, clock=lambda: world.moment or now()
    )
    return await afford.used_up(asked(user))


@pytest.mark.parametrize("scope", WIDER)
async def test_a_person_for_whom_nothing_is_left_is_told_and_others_are_not(world: World, scope: Scope) -> None:
    world.answer = dear()
    limits = [limit(scope, 1)]
    relay = await replica(world, *limits)
    assert await nothing_left(world, *limits) is None
    await ask_until_refused(world, [relay])
    await relay.accounts.told(CONVERSATION, 1)
    note = await nothing_left(world, *limits)
    assert note is not None
    assert (note.scope, note.budget_usd) == (scope, 1)
    assert (await nothing_left(world, *limits, user="U2") is None) == (scope is Scope.PERSON)
    assert await nothing_left(world, limit(scope, 10)) is None, "somebody raised it"


async def test_what_a_running_turn_holds_does_not_count_as_spent(world: World) -> None:
    limits = [limit(Scope.PERSON, DEAR)]
    await replica(world, *limits)
    api = Until(1)
    world.answer = api.answer
    asking = asyncio.create_task(world.ask(max_tokens=MOST_TOKENS))
    await eventually(lambda: api.asked == 1)
    assert await nothing_left(world, *limits) is None
    api.go.set()
    await asking


async def test_at_80_percent_one_turn_of_the_month_says_so_once(world: World) -> None:
    world.answer = dear()
    limits = [limit(Scope.CHANNEL, 4), limit(Scope.MONTH, 100)]
    await replica(world, *limits)
    for _ in range(3):
        await world.ask(max_tokens=MOST_TOKENS)
    assert await bill(world, limits=limits) == [], "60 %"
    await world.ask(max_tokens=MOST_TOKENS)
    [near] = await bill(world, limits=limits)
    assert isinstance(near, BudgetNear)
    assert (near.scope, near.budget_usd) == (Scope.CHANNEL, 4)
    assert near.spent_usd == pytest.approx(3.2)
    assert await bill(world, limits=limits) == [near], "the same turn, written again"
    assert await bill(world, limits=limits, turn=2) == []
    raised = [limit(Scope.CHANNEL, 3.9)]
    assert len(await bill(world, limits=raised, turn=3)) == 1, "another budget"


async def test_a_turn_that_met_a_wider_budget_says_which_whatever_its_worker_says(world: World) -> None:
    world.answer = dear()
    limits = [limit(Scope.TURN, 1000), limit(Scope.PERSON, 1)]
    relay = await replica(world, *limits[1:])
    await ask_until_refused(world, [relay])
    forged = BudgetUsedUp(budget_usd=0.5)
    [told] = await bill(world, forged, limits=limits)
    assert told == BudgetUsedUp(budget_usd=1, scope=Scope.PERSON, month=paid_from(Scope.PERSON).month)


async def test_a_budget_that_somebody_raises_holds_from_the_next_request_on(world: World) -> None:
    world.answer = dear()
    limits = [limit(Scope.PERSON, 1)]
    relay = await replica(world, limits=limits)
    assert await ask_until_refused(world, [relay]) == [200, 200, 402]
    await relay.accounts.told(CONVERSATION, 1)
    taken, spent = await newest(world, Scope.PERSON)
    assert taken == pytest.approx(spent) == pytest.approx(2 * DEAR), "what exceeded it counts for all replicas"
    limits[0] = limit(Scope.PERSON, 3)
    assert await ask_until_refused(world, [relay]) == [200, 200, 402], "what exceeded it before is paid from it, too"


async def test_requests_do_not_wait_for_the_journal_while_there_is_money_left(world: World, tmp_path: Path) -> None:
    relay = await replica(world, *(limit(scope, 100) for scope in WIDER))
    assert await world.status() == 200
    await settled(relay)
    with away(tmp_path / "journal"):
        assert await world.status() == 200


async def settled(relay: ModelRelay) -> None:
    """Wait until the last request is booked, and the money for the next one is there."""
    [account] = relay.accounts._of_turn(CONVERSATION, 1)
    await eventually(lambda: account.idle and not account._refills and not account.report._tells)
    await eventually(lambda: not any(pot._open or pot._refills for pot in relay.accounts._pots._pots.values()))


@pytest.mark.parametrize("landed", [True, False])
async def test_an_entry_that_the_store_may_have_taken_is_settled_and_counted_once(
    world: World, tmp_path: Path, landed: bool
) -> None:
    """The store fails in the middle of a create: nobody knows whether it took it."""
    storage = FailsOnce(await open_storage((tmp_path / "journal").as_uri()), "budgets/", landed=landed)
    before, world.journal = world.journal, Journal(storage)
    try:
        relay = await replica(world, limit(Scope.PERSON, 4))
        world.answer = dear()
        storage.armed = True
        with pytest.raises(Unavailable):
            await relay.accounts._pots.reserve(CONVERSATION, USER, [limit(Scope.PERSON, 4)], DEAR)
        statuses = await ask_until_refused(world, [relay])
        assert statuses == [200] * 5 + [402]
        await relay.accounts.close()
        taken, spent = await newest(world, Scope.PERSON)
        assert taken == pytest.approx(spent) == pytest.approx(4.0)
    finally:
        world.journal, journal = before, world.journal
        await journal.close()


async def test_money_for_a_request_that_comes_meanwhile_is_not_given_back(world: World, tmp_path: Path) -> None:
    storage = Held(await open_storage((tmp_path / "journal").as_uri()), "budgets/")
    before, world.journal = world.journal, Journal(storage)
    try:
        relay = await replica(world, limit(Scope.PERSON, 4))
        assert await world.status() == 200
        await settled(relay)
        storage.go.clear()
        telling = asyncio.create_task(relay.accounts.told(CONVERSATION, 1))
        await eventually(lambda: storage.waits)
        api = Until(MOST_TOKENS)
        world.answer = api.answer
        asking = asyncio.create_task(world.ask())
        await eventually(lambda: api.asked == 1)
        storage.go.set()
        await telling
        taken, spent = await newest(world, Scope.PERSON)
        assert taken - spent >= 1000 * 25e-6, "what the request reserved, at least"
        api.go.set()
        assert (await asking)[0] == 200
    finally:
        world.journal, journal = before, world.journal
        await journal.close()


class Held:
    """A storage whose reads below `prefix` wait for `go`."""

    def __init__(self, storage: Storage, prefix: str) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.waits = False
        self._storage = storage
        self._prefix = prefix
        self.put_if_absent, self.list = storage.put_if_absent, storage.list
        self.delete, self.close = storage.delete, storage.close

    async def get(self, key: str) -> bytes | None:
        if key.startswith(self._prefix):
            self.waits = not self.go.is_set()
            await self.go.wait()
        return await self._storage.get(key)


class FailsOnce:
    """A storage that fails once, when `armed`, in a create below `prefix`: after it if it `landed`, or before."""

    def __init__(self, storage: Storage, prefix: str, *, landed: bool) -> None:
        self.armed = False
        self._storage = storage
        self._prefix = prefix
        self._landed = landed
        self.get, self.list, self.delete, self.close = storage.get, storage.list, storage.delete, storage.close

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        fails = self.armed and key.startswith(self._prefix)
        if fails:
            self.armed = False
        ours = await self._storage.put_if_absent(key, data, new=new) if self._landed or not fails else False
        if fails:
            raise Unavailable("The store did not answer in time.")
        return ours
