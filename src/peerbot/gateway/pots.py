"""The budgets that many turns share: of a thread, and of a person, a channel and everybody in a month (decision 0025).

A pot is the money of one purse that this replica has taken from the purse's chain (`journal/budgets.py`). All requests
that are open must fit into it with the most that they can cost, so replicas together never exceed a budget. One replica
at a time has the right to leave its largest request out, when nothing else is left: otherwise the last dollars of each
budget would be out of reach. So a budget is exceeded by one request at most, whatever dies.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from peerbot.conversation.documents import Entry
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit, Purse, Scope, purse
from peerbot.conversation.notes import BudgetUsedUp
from peerbot.errors import PeerBotError, Unavailable
from peerbot.journal.budgets import Chain, Chains
from peerbot.logs import logger
from peerbot.tasks import Spawn

log = logger(__name__)

SLICES = 20
"""A replica takes this part of a budget more than its open requests need …"""

MOST_SLICE_USD = 0.5
"""… and at most this: a dispatcher that is killed takes it along, and it is gone for the month."""

LINGER_SECONDS = 15.0
"""How long a replica keeps money after its last request: the next request of the turn may come at once."""

_LOOK_AGAIN_SECONDS = 2.0
_TRIES = 20  # each means that another replica took money in this moment
_LEAST_USD = 1e-9  # smaller rests come from rounding
_MOST_POTS = 1_000


class UsedUp(Exception):
    """Nothing is left of a budget, in this month if it is one for months."""

    def __init__(self, limit: Limit, month: str = "") -> None:
        super().__init__(limit.scope.value)
        self.limit = limit
        self.month = month

    @property
    def note(self) -> BudgetUsedUp:
        """What people read about it."""
        limit = self.limit
        return BudgetUsedUp(
            budget_usd=limit.usd, scope=limit.scope, set_by=limit.set_by, month=self.month, of_app=limit.of_app
        )


@dataclass(eq=False, slots=True)
class Reservation:
    """The most that an open request can cost, in US dollars."""

    usd: float


@dataclass(frozen=True, slots=True)
class _Unsure:
    """An entry that the journal may have taken, and how much of what we spent it says."""

    i: int
    entry: Entry
    said_usd: float


class Pot:
    """The money of one purse, as far as this replica has taken it."""

    def __init__(
        self,
        chain: Chain,
        limit: Limit,
        *,
        name: str,
        clock: Callable[[], datetime],
        held_seconds: float,
        linger_seconds: float,
        spawn: Spawn,
    ) -> None:
        self.limit = limit  # the newest that we know
        self._chain = chain
        self._name = name
        self._clock = clock
        self._held_seconds = held_seconds
        self._linger_seconds = linger_seconds
        self._spawn = spawn
        self._taken_usd = 0.0  # by this replica, less what it gave back
        self._spent_usd = 0.0
        self._said_usd = 0.0  # of that, what the chain has
        self._open: set[Reservation] = set()
        self._unsure: _Unsure | None = None
        self._admission = asyncio.Lock()  # first come, first served
        self._changing = asyncio.Lock()  # of our money
        self._freed = asyncio.Event()
        self._refills = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is open, and this replica holds no money."""
        return not self._open and self._is_told and abs(self._left_usd) <= _LEAST_USD

    async def reserve(self, usd: float) -> Reservation:
        """Reserve `usd` for a request; waits while open requests, here or elsewhere, hold what is left.

        The caller sets the deadline. Raises `UsedUp`, and `Unavailable` if the journal is needed, and away.
        """
        async with self._admission:
            while (lacks := self._lacks(usd)) > 0:
                self._freed.clear()
                if await self._take(lacks, may_be_last=True):
                    continue
                if not self._open and not self._others_may_give_back():
                    self._spawn(self._gave_back())  # tells what we spent, so that nobody starts a run for nothing
                    raise UsedUp(self.limit, self._chain.purse.month)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_AGAIN_SECONDS):
                        await self._freed.wait()
            reservation = Reservation(usd)
            self._open.add(reservation)
        return reservation

    def settle(self, reservation: Reservation, usd: float) -> None:
        """Book what a request cost, once: it is over."""
        self._open.discard(reservation)
        self._spent_usd += usd
        self._freed.set()
        if not self._refills and self._lacks_for_next(reservation.usd) > 0:
            self._refills = True
            self._spawn(self._refilled(reservation.usd))
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._linger_seconds, self._lingered)

    async def give_back(self) -> None:
        """Tell the chain what is spent, and if no request is open, give back what is not.

        If we exceeded the budget, we take that, too, so that the chain's sum is right. Raises what the journal raises.
        """
        if self._timer:
            self._timer.cancel()
        async with self._changing:
            for _ in range(_TRIES):
                await self._settled()
                newest = await self._chain.look()
                rest = 0.0 if self._open else self._left_usd  # after the look: a request may have come meanwhile
                if self._is_told and abs(rest) <= _LEAST_USD:
                    return
                mine = newest is not None and newest.last == self._name
                # A replica that has exceeded the budget keeps the right to: nobody else may do it, too.
                last = "" if mine and rest > _LEAST_USD else newest.last if newest else ""
                if await self._append(-rest, last):
                    return
        raise Unavailable("Other dispatchers use this budget at the same time. Try again.")

    @property
    def _is_told(self) -> bool:
        return abs(self._spent_usd - self._said_usd) <= _LEAST_USD and self._unsure is None

    @property
    def _slice_usd(self) -> float:
        return min(self.limit.usd / SLICES, MOST_SLICE_USD)

    @property
    def _left_usd(self) -> float:
        return self._taken_usd - self._spent_usd

    @property
    def _open_usd(self) -> float:
        return sum(reservation.usd for reservation in self._open)

    def _lacks(self, usd: float) -> float:
        """Say how much we lack for one more request, in US dollars; 0 if nothing."""
        lacks = self._open_usd + usd - self._left_usd
        if lacks <= _LEAST_USD:
            return 0.0
        newest = self._chain.newest
        if newest and newest.last == self._name:
            most = max([usd, *(reservation.usd for reservation in self._open)])
            if lacks < most - _LEAST_USD:
                return 0.0
        return lacks

    async def _take(self, lacks: float, *, may_be_last: bool) -> bool:
        """Take what we lack and a slice more, or else all that is left with the right to exceed it by one request."""
        async with self._changing:
            for _ in range(_TRIES):
                if await self._settled():
                    return True
                newest = await self._chain.look()
                rest = max(0.0, self.limit.usd - (newest.taken_usd if newest else 0.0))
                last = newest.last if newest else ""
                if rest >= lacks:
                    usd = min(rest, lacks + self._slice_usd)
                elif may_be_last and last == "" and rest + self._left_usd > _LEAST_USD:
                    usd, last = rest, self._name
                elif may_be_last and last == self._name and rest > _LEAST_USD:
                    usd = rest
                else:
                    return False
                if await self._append(usd, last):
                    return True
        raise Unavailable("Other dispatchers use this budget at the same time. Try again.")

    async def _append(self, usd: float, last: str) -> bool:
        """Append an entry to those that we have read; False if another replica was faster."""
        newest, said = self._chain.newest, self._spent_usd - self._said_usd
        entry = Entry(
            by=self._name,
            usd=usd,
            taken_usd=(newest.taken_usd if newest else 0.0) + usd,
            spent_usd=(newest.spent_usd if newest else 0.0) + said,
            last=last,
            at=self._clock(),
        )
        self._unsure = _Unsure(self._chain.i + 1, entry, said)
        if usd < 0:  # spend nothing of it from here on
            self._taken_usd += usd
        return await self._settled()

    async def _settled(self) -> bool:
        """Make sure whether the entry that we tried last is in the chain; True if it is."""
        if self._unsure is None:
            return False
        unsure = self._unsure
        ours = await self._chain.append(unsure.i, unsure.entry)
        self._unsure = None
        if ours:
            self._said_usd += unsure.said_usd
        if ours == (unsure.entry.usd > 0):  # what we give back is gone already
            self._taken_usd += abs(unsure.entry.usd)
        return ours

    def _lacks_for_next(self, usd: float) -> float:
        """Say how much we lack for one more request of `usd`, and half a slice more."""
        return self._open_usd + usd + self._slice_usd / 2 - self._left_usd

    def _others_may_give_back(self) -> bool:
        """Whether other replicas hold money, and took or gave some back a moment ago."""
        newest = self._chain.newest
        if newest is None:
            return False
        held = newest.taken_usd - newest.spent_usd - (self._taken_usd - self._said_usd)
        return held > _LEAST_USD and newest.at > self._clock() - timedelta(seconds=self._held_seconds)

    async def _refilled(self, usd: float) -> None:
        """Take money for one more request like the last, so that it need not wait for the journal."""
        try:
            if (lacks := self._lacks_for_next(usd)) > 0:
                await self._take(lacks, may_be_last=False)
        except PeerBotError as error:
            log.warning("budget_not_taken", budget=self._chain.purse.path, reason=str(error))
        finally:
            self._refills = False

    def _lingered(self) -> None:
        if not self._open:
            self._spawn(self._gave_back())

    async def _gave_back(self) -> None:
        try:
            await self.give_back()
        except PeerBotError as error:
            log.warning("budget_not_given_back", budget=self._chain.purse.path, reason=str(error))


class Pots:
    """The pots of this replica. `clock` says in which month a request is made."""

    def __init__(
        self,
        chains: Chains,
        *,
        name: str,
        spawn: Spawn,
        held_seconds: float,
        linger_seconds: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._chains = chains
        self._name = name
        self._spawn = spawn
        self._held_seconds = held_seconds
        self._linger_seconds = linger_seconds
        self._clock = clock
        self._pots: dict[Purse, Pot] = {}

    async def reserve(
        self, conversation: Conversation, user: str, limits: Iterable[Limit], usd: float
    ) -> list[tuple[Pot, Reservation]]:
        """Reserve `usd` in every pot from which a request of `user` in `conversation` is paid now.

        From the narrowest to the widest, so that requests never wait for each other in a circle. Raises as
        `Pot.reserve`; then nothing is reserved.
        """
        made: list[tuple[Pot, Reservation]] = []
        try:
            for limit in sorted(limits, key=lambda limit: list(Scope).index(limit.scope)):
                if limit.scope is not Scope.TURN:
                    pot = self._pot(purse(limit.scope, conversation, user, self._clock()), limit)
                    made.append((pot, await pot.reserve(usd)))
        except BaseException:
            for pot, reservation in made:
                pot.settle(reservation, 0.0)
            raise
        return made

    async def tell(self, conversation: Conversation, user: str) -> None:
        """Tell the chains what this replica spent of these purses, and give back what it does not need now."""
        moment = self._clock()
        mine = {purse(scope, conversation, user, moment) for scope in Scope if scope is not Scope.TURN}
        await asyncio.gather(*(pot.give_back() for key, pot in self._pots.items() if key in mine))

    async def close(self) -> None:
        """Give everything back: this replica ends. Raises nothing."""
        for found in await asyncio.gather(*(pot.give_back() for pot in self._pots.values()), return_exceptions=True):
            if isinstance(found, PeerBotError):
                log.warning("budget_not_given_back", reason=str(found))

    def _pot(self, key: Purse, limit: Limit) -> Pot:
        pot = self._pots.get(key)
        if pot is None:
            if len(self._pots) >= _MOST_POTS:
                self._pots = {each: other for each, other in self._pots.items() if not other.idle}
            pot = self._pots[key] = Pot(
                self._chains.of(key),
                limit,
                name=self._name,
                clock=self._clock,
                held_seconds=self._held_seconds,
                linger_seconds=self._linger_seconds,
                spawn=self._spawn,
            )
        pot.limit = limit
        return pot
