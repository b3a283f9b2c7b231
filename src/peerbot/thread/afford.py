"""Finds inputs that nobody can pay for: a budget of their thread, person, channel or month has nothing left.

They are answered without a run, with the reason. It reads each budget's newest entry alone, and nothing if no budget is
set. What a running turn holds and may give back does not count as spent: then the gateway decides, request by request.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from peerbot.conversation.documents import Entry, Input, now
from peerbot.conversation.limits import LEAST_USD, Limit, Scope, purse
from peerbot.conversation.notes import BudgetUsedUp
from peerbot.journal.budgets import Chains
from peerbot.journal.limits import LimitsOf

_LOST_AFTER = timedelta(minutes=15)
"""Money that was taken this long ago is gone with the dispatcher that took it, if nobody took or gave any since."""


class Afford:
    """Looks at budgets. `clock` says which month it is."""

    def __init__(self, chains: Chains, limits: LimitsOf, *, clock: Callable[[], datetime] = now) -> None:
        self._chains = chains
        self._limits = limits
        self._clock = clock

    async def used_up(self, item: Input) -> BudgetUsedUp | None:
        """Find the budget that has nothing left for `item`, the narrowest first. Raises what the journal raises."""
        moment = self._clock()
        for limit in await self._limits(item.conversation, item.user):
            if limit.scope is not Scope.TURN:
                paid_from = purse(limit.scope, item.conversation, item.user, moment)
                if _nothing_left(limit, await self._chains.of(paid_from).look(), moment):
                    return BudgetUsedUp(
                        budget_usd=limit.usd,
                        scope=limit.scope,
                        set_by=limit.set_by,
                        month=paid_from.month,
                        of_app=limit.of_app,
                    )
        return None


def _nothing_left(limit: Limit, newest: Entry | None, moment: datetime) -> bool:
    if newest is None:
        return limit.usd < LEAST_USD
    gone = newest.taken_usd if newest.at < moment - _LOST_AFTER else newest.spent_usd
    return limit.usd - gone < LEAST_USD
