"""The accounts of turns: a request reserves the most that it can cost, and settles what it did cost (decision 0024).

The journal has the slices of each turn's budget that replicas took. This module spends the slices of this replica: it
lets a request pass if all others that are open, but for the largest, fit into them. So a turn costs at most its budget
and one request more for each replica, and a single request never waits for the journal while there is money left.
Wider budgets are in `pots.py`; what the turn has used goes to the journal through `reports.py`.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from peerbot.claude.counted import count
from peerbot.conversation.deadlines import OUTAGE_SECONDS
from peerbot.conversation.documents import now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit, Scope
from peerbot.conversation.spent import Spent, summed
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.gateway.pots import LINGER_SECONDS, Pot, Pots, Reservation, UsedUp
from peerbot.gateway.reports import Report
from peerbot.journal import spending
from peerbot.journal.budgets import Chains
from peerbot.journal.journal import Journal
from peerbot.journal.limits import LimitsOf
from peerbot.journal.recent import Recent
from peerbot.logs import logger
from peerbot.tasks import Spawn

log = logger(__name__)

SLICES = 20
"""A slice is this part of the budget, or larger if requests at the same time need it."""

WAIT_SECONDS = 90.0
"""How long a request waits for others of its turn that hold the budget's rest."""

HELD_SECONDS = 60.0
"""How long another replica may hold a slice before we take it for spent."""

_LOOK_AGAIN_SECONDS = 2.0  # as access.py does for reads
_FORGET_SECONDS = 3600.0
_LEAST_USD = 1e-9  # smaller rests come from rounding
_SHOWN = 1_000  # turns
_SHOWN_SECONDS = 10.0  # what is shown of other replicas' spending may be so old


class NoTurn(Refused):
    """This run works on no turn now, so it may not use Claude."""


@dataclass(eq=False, slots=True)
class Open:
    """An open request: the most that it can cost, in US dollars, and what it holds of wider budgets."""

    usd: float
    wider: list[tuple[Pot, Reservation]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Till:
    """What all accounts of a replica share."""

    journal: Journal
    pots: Pots
    limits: LimitsOf
    held_seconds: float
    spawn: Spawn
    paid: bool


class Account:
    """One turn's budget, as far as this replica has taken it."""

    def __init__(
        self, till: Till, conversation: Conversation, turn: int, *, user: str, limits: Collection[Limit]
    ) -> None:
        self.turn = turn
        self.user = user  # who pays
        self.report = Report(till.journal, conversation, turn, till.spawn)
        self.spent_usd = 0.0  # through this replica
        self._journal = till.journal
        self._conversation = conversation
        self._limits = limits
        self._till = till
        self._slices: dict[int, float] = {}  # ours, but for those that we gave back
        self._ours: set[int] = set()
        self._taken_usd = 0.0  # by this replica, less what it gave back
        self._open: set[Open] = set()
        self._admission = asyncio.Lock()  # first come, first served
        self._changing = asyncio.Lock()  # of our slices
        self._freed = asyncio.Event()
        self._refills = False

    @property
    def idle(self) -> bool:
        """Whether no request is open."""
        return not self._open

    async def reserve(self, usd: float, run: int) -> Open:
        """Reserve `usd` for a request of `run`; it waits while open requests hold what is left.

        Raises `UsedUp`, `TimeoutError` if it waited too long, and `Unavailable` if the journal is needed, and away.
        """
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                return await self._reserve(usd, run)
            except UsedUp as error:
                self._limits = await self._till.limits(self._conversation, self.user)
                if not any(each.scope is error.limit.scope and each.usd > error.limit.usd for each in self._limits):
                    self._used_up(error)
                    raise
            try:
                return await self._reserve(usd, run)  # somebody has raised it
            except UsedUp as error:
                self._used_up(error)
                raise

    def _used_up(self, error: UsedUp) -> None:
        if self._ours:
            self.report.used_up(error.note, min(self._ours))

    async def _reserve(self, usd: float, run: int) -> Open:
        request = await self._reserve_in_turn(usd, run)
        try:
            if usd > 0:
                self.report.first_request_at = self.report.first_request_at or now()
                request.wider = await self._till.pots.reserve(self._conversation, self.user, self._limits, usd)
        except BaseException:
            self._open.discard(request)
            self._freed.set()
            raise
        return request

    async def _reserve_in_turn(self, usd: float, run: int) -> Open:
        async with self._admission:
            while (lacks := self._lacks(usd)) >= 0:
                self._freed.clear()
                if await self._take(lacks, run):
                    continue
                if not self._open and not await self._others_may_give_back():
                    raise UsedUp(self._limit)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                        await self._freed.wait()
            request = Open(usd)
            self._open.add(request)
        self._refill(run)
        return request

    def settle(self, request: Open, spent: Spent | None, run: int) -> None:
        """Book what a request used, once: it is over. None: it cost nothing."""
        usd = spent.usd if spent else 0.0
        self._open.discard(request)
        self.spent_usd += usd
        if spent:
            place = min(self._ours)
            if self._till.paid:
                self.report.add(spent, place)
                count(spent)
            else:
                self.report.began(place)
        for pot, reservation in request.wider:
            pot.settle(reservation, usd)
        self._freed.set()
        self._refill(run)
        if self.idle and self._left_usd > 2 * self._slice_usd:
            self._till.spawn(self._gave_back())

    async def begin(self, run: int) -> None:
        """Note in the journal that `run` works on the turn, and take the first slice for it."""
        async with self._changing:
            self._note(await self._taken(max(0.0, self._slice_usd - self._left_usd), run, begins=True))

    async def give_back(self, keep_usd: float = 0.0) -> None:
        """Give the slices back that are not spent, but for about `keep_usd`."""
        async with self._changing:
            for i in sorted(self._slices, reverse=True):
                rest = min(self._slices[i], self._left_usd - keep_usd)
                if self._open or rest <= _LEAST_USD:
                    return
                del self._slices[i]
                self._taken_usd -= rest
                await spending.give_back(self._journal, self._conversation, self.turn, i, rest)

    async def _others_may_give_back(self) -> bool:
        """Whether another replica took a slice a moment ago, perhaps for requests that will cost less."""
        there = await spending.slices(self._journal, self._conversation, self.turn)
        since = now() - timedelta(seconds=self._till.held_seconds)
        return any(
            i not in self._ours and counts == taken.usd > 0 and taken.taken_at > since
            for i, (taken, counts) in there.items()
        )

    @property
    def _limit(self) -> Limit:
        return next(limit for limit in self._limits if limit.scope is Scope.TURN)

    @property
    def _slice_usd(self) -> float:
        return self._limit.usd / SLICES

    @property
    def _left_usd(self) -> float:
        return self._taken_usd - self.spent_usd

    def _lacks(self, usd: float) -> float:
        """Say how much we lack for one more request, in US dollars; below 0 if nothing."""
        most = [usd, *(reservation.usd for reservation in self._open)]
        lacks = sum(most) - max(most) - self._left_usd
        return lacks if lacks > -_LEAST_USD else -1.0

    async def _take(self, lacks: float, run: int) -> bool:
        """Take a slice that covers `lacks` and the next small things; False if the budget is used up."""
        async with self._changing:
            return self._note(await self._taken(max(lacks, 0.0) + self._slice_usd, run))

    async def _taken(self, usd: float, run: int, *, begins: bool = False) -> tuple[int, float] | None:
        taken = await spending.take(
            self._journal,
            self._conversation,
            self.turn,
            run=run,
            usd=usd,
            budget_usd=self._limit.usd,
            begins=begins,
            user=self.user,
        )
        return (taken[0], taken[1].usd) if taken else None

    def _note(self, taken: tuple[int, float] | None) -> bool:
        if taken is None:
            return False
        self._slices[taken[0]] = taken[1]
        self._ours.add(taken[0])
        self._taken_usd += taken[1]
        return True

    def _refill(self, run: int) -> None:
        """Take the next slice in the background if half of one is spent, so that requests need not wait for it."""
        if self._left_usd < self._slice_usd / 2 and not self._refills:
            self._refills = True
            self._till.spawn(self._refilled(run))

    async def _refilled(self, run: int) -> None:
        try:
            await self._take(-self._left_usd, run)
        except PeerBotError as error:
            log.warning("budget_not_taken", turn=self.turn, reason=str(error))
        finally:
            self._refills = False

    async def _gave_back(self) -> None:
        try:
            await self.give_back(self._slice_usd)
        except PeerBotError as error:
            log.warning("budget_not_given_back", turn=self.turn, reason=str(error))


@dataclass(slots=True)
class _Known:
    """The turn that a run works on, and when the journal last said so."""

    account: Account
    looked_at: float = field(default_factory=time.monotonic)


class Accounts:
    """The accounts of the turns that this replica serves.

    `spawn` runs what the journal is told afterwards. `clock` says in which month a request is made. `paid`: whether the
    model costs money; the demo model keeps to the budgets, and what it uses is not told.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        chains: Chains,
        limits: LimitsOf,
        spawn: Spawn,
        held_seconds: float = HELD_SECONDS,
        linger_seconds: float = LINGER_SECONDS,
        clock: Callable[[], datetime] = now,
        paid: bool = True,
    ) -> None:
        self._journal = journal
        self._limits = limits
        self._pots = Pots(
            chains,
            name=secrets.token_hex(8),
            spawn=spawn,
            held_seconds=held_seconds,
            linger_seconds=linger_seconds,
            clock=clock,
        )
        self._till = Till(journal, self._pots, limits, held_seconds, spawn, paid)
        self._known: dict[tuple[Conversation, int], _Known] = {}
        self._others: Recent[tuple[Conversation, int], tuple[float, list[Spent]]] = Recent(_SHOWN)

    async def begin(self, conversation: Conversation, run: int, user: str) -> int:
        """Begin the conversation's next turn in `run`, for which `user` pays; returns its number. May be repeated."""
        turn = await self._journal.next_turn(conversation)
        known = self._known.get((conversation, run))
        if known is None or known.account.turn != turn:
            account = await self._account(conversation, turn, user)
            await account.begin(run)
            self._remember(conversation, run, account)
        return turn

    async def of(self, conversation: Conversation, run: int) -> Account:
        """Find the account of the turn that `run` works on. Raises `NoTurn` if there is none, and `Unavailable`."""
        known = self._known.get((conversation, run))
        age = time.monotonic() - known.looked_at if known else 0.0
        if known and age < _LOOK_AGAIN_SECONDS:
            return known.account
        try:
            if known and await self._journal.turn(conversation, known.account.turn) is None:
                known.looked_at = time.monotonic()
                return known.account
            turn = await self._journal.next_turn(conversation)
            there = await spending.slices(self._journal, conversation, turn)
            # A gateway of the release before takes no slice, but shows the card.
            begun_before = not there and await self._journal.card(conversation, turn)
        except Unavailable:
            if known and age < OUTAGE_SECONDS:
                return known.account
            raise
        if not begun_before and all(taken.run != run for taken, _ in there.values()):
            self.forget(conversation, run)
            raise NoTurn
        user = next((taken.user for _, (taken, _) in sorted(there.items()) if taken.user), "")
        account = await self._account(conversation, turn, user or await self._asker(conversation, run))
        if begun_before:
            await account.begin(run)
        return self._remember(conversation, run, account)

    def forget(self, conversation: Conversation, run: int) -> None:
        """Forget a run that is over."""
        self._known.pop((conversation, run), None)

    async def close(self) -> None:
        """Give back what nobody will spend here: this replica ends. Raises nothing."""
        accounts = list({id(known.account): known.account for known in self._known.values()}.values())
        closings = [each.give_back() for each in accounts] + [each.report.told() for each in accounts]
        for found in await asyncio.gather(*closings, return_exceptions=True):
            if isinstance(found, PeerBotError):
                log.warning("budget_not_given_back", reason=str(found))
        await self._pots.close()

    async def told(self, conversation: Conversation, turn: int) -> None:
        """Make sure that the journal has what this replica spent on a turn. Raises `Unavailable`."""
        for account in self._of_turn(conversation, turn):
            await account.report.told()
            await self._pots.tell(conversation, account.user)

    async def spent(self, conversation: Conversation, turn: int) -> list[Spent]:
        """Say what a turn has used up to now, for people to see. Other replicas' part may be some seconds old.

        If the journal is away, it leaves out what it does not know. Raises nothing.
        """
        moment = time.monotonic()
        looked_at, others = self._others.get((conversation, turn)) or (-_SHOWN_SECONDS, [])
        ours = self._of_turn(conversation, turn)
        if moment - looked_at >= _SHOWN_SECONDS:
            with suppress(PeerBotError):
                mine = [account.report.place for account in ours]
                others = (await spending.books(self._journal, conversation, turn, but=mine)).spent
                self._others.put((conversation, turn), (moment, others))
        return summed([*others, *(each for account in ours for each in account.report.spent)])

    async def _asker(self, conversation: Conversation, run: int) -> str:
        """Find the person for whom a run was started: the turn began at a gateway that noted nobody who pays."""
        record = await self._journal.run(conversation, run)
        first = await self._journal.input(conversation, record.run.serves[0]) if record else None
        return first.user if first else ""

    def _of_turn(self, conversation: Conversation, turn: int) -> list[Account]:
        found = (known.account for (each, _), known in self._known.items() if each == conversation)
        return list({id(account): account for account in found if account.turn == turn}.values())

    async def _account(self, conversation: Conversation, turn: int, user: str) -> Account:
        limits = await self._limits(conversation, user)
        for account in self._of_turn(conversation, turn):
            return account
        return Account(self._till, conversation, turn, user=user, limits=limits)

    def _remember(self, conversation: Conversation, run: int, account: Account) -> Account:
        moment = time.monotonic()
        self._known = {
            key: known
            for key, known in self._known.items()
            if moment - known.looked_at < _FORGET_SECONDS or not known.account.idle
        }
        self._known[conversation, run] = _Known(account)
        return account
