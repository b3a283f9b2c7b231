"""What a turn has cost, and what people read about its budgets, when it is written: from the journal alone.

The worker's figures do not count: a hostile agent can forge them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from peerbot.conversation.documents import Near, now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import NEAR, Limit, Purse, Scope, purse
from peerbot.conversation.notes import BudgetNear, BudgetUsedUp, Note
from peerbot.conversation.spent import Spent
from peerbot.journal import spending
from peerbot.journal.budgets import Chains, tells_near
from peerbot.journal.journal import Journal
from peerbot.journal.limits import LimitsOf

Tell = Callable[[Conversation, int], Awaitable[None]]
"""Makes sure that the journal has what this replica spent on a turn."""


@dataclass(frozen=True, slots=True)
class Bill:
    """A turn's cost by model, its first request to Claude, and its notes, with those about budgets put right."""

    spent: list[Spent]
    notes: list[Note]
    first_request_at: datetime | None


class Bills:
    """Makes bills. `clock` says which month it is."""

    def __init__(
        self, journal: Journal, chains: Chains, limits: LimitsOf, tell: Tell, *, clock: Callable[[], datetime] = now
    ) -> None:
        self._journal = journal
        self._chains = chains
        self._limits = limits
        self._tell = tell
        self._clock = clock

    async def of(self, conversation: Conversation, turn: int, notes: Sequence[Note]) -> Bill:
        """Make the bill of a turn that ends with these notes. Raises what the journal raises."""
        await self._tell(conversation, turn)
        books = await spending.books(self._journal, conversation, turn)
        moment, user = self._clock(), books.payer
        refused = [usage.used_up for usage in books.reports if usage.used_up]
        refused.sort(key=lambda note: note.scope is Scope.TURN)  # a wider one lasts longer: people must know of it
        told = [refused[0] if refused and isinstance(note, BudgetUsedUp) else note for note in notes]
        over = {note.scope for note in told if isinstance(note, BudgetUsedUp)}
        for limit in await self._limits(conversation, user):
            if limit.scope is not Scope.TURN and limit.scope not in over:
                paid_from = purse(limit.scope, conversation, user, moment)
                told += await self._near(limit, paid_from, Near(conversation=str(conversation), turn=turn))
        return Bill(books.spent, told, books.first_request_at)

    async def _near(self, limit: Limit, paid_from: Purse, claim: Near) -> list[Note]:
        newest = await self._chains.of(paid_from).look()
        if newest is None or newest.spent_usd < NEAR * limit.usd:
            return []
        if not await tells_near(self._journal, paid_from, limit, claim):
            return []
        return [
            BudgetNear(
                budget_usd=limit.usd,
                spent_usd=newest.spent_usd,
                scope=limit.scope,
                set_by=limit.set_by,
                month=paid_from.month,
                of_app=limit.of_app,
            )
        ]
