"""The money of a thread, or of a person, channel or everybody in a month, as numbered entries (decision 0025).

Entry `i` is created knowing the one before, and has the totals up to itself. So only one replica can take the next
money, and the newest entry says all: nobody reads history. The entries have no gap, so a replica that knows none finds
the newest of a thousand with some twenty reads. A replica that knows the newest sees with one read that it is.
"""

from peerbot.conversation.documents import Entry, Near
from peerbot.conversation.limits import Limit, Purse
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.journal.recent import Recent

_KNOWN_CHAINS = 10_000


class Chain:
    """One purse's entries, as far as this process has read them."""

    def __init__(self, journal: Journal, purse: Purse) -> None:
        self.purse = purse
        self.i = 0
        self.newest: Entry | None = None
        self._journal = journal

    async def look(self) -> Entry | None:
        """Read the newest entry; None if there is none. Raises what the journal raises."""
        step = 1
        while await self._reached(self.i + step):
            step *= 2
        while (step := step // 2) >= 1:
            await self._reached(self.i + step)
        return self.newest

    async def append(self, i: int, entry: Entry) -> bool:
        """Append entry `i`; False if another one has this number. Raises `Unavailable`: the same call settles it."""
        if not await self._journal.create(paths.budget_entry(self.purse, i), entry):
            return False
        self._take_over(i, entry)
        return True

    async def _reached(self, i: int) -> bool:
        found = await self._journal.read(paths.budget_entry(self.purse, i), Entry)
        if found:
            self._take_over(i, found)
        return found is not None

    def _take_over(self, i: int, entry: Entry) -> None:
        if i > self.i:
            self.i, self.newest = i, entry


class Chains:
    """The chains that this process knows."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: Recent[Purse, Chain] = Recent(_KNOWN_CHAINS)

    def of(self, purse: Purse) -> Chain:
        """Find a purse's chain."""
        chain = self._known.get(purse)
        if chain is None:
            chain = Chain(self._journal, purse)
            self._known.put(purse, chain)
        return chain


async def tells_near(journal: Journal, purse: Purse, limit: Limit, claim: Near) -> bool:
    """Whether the turn of `claim` tells people that a budget is nearly spent: the first turn that claims it does."""
    key = paths.budget_told(purse, round(limit.usd * 100))
    if await journal.create(key, claim):
        return True
    there = await journal.read_existing(key, Near)
    return (there.conversation, there.turn) == (claim.conversation, claim.turn)
