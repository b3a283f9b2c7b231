"""The budgets that hold for a conversation and a person: the operator's settings, and later people's own."""

from collections.abc import Awaitable, Callable, Iterable

from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit

LimitsOf = Callable[[Conversation, str], Awaitable[tuple[Limit, ...]]]
"""Finds the limits that hold in a conversation for a person (a user id): one for each scope at most, and always one for
the turn. Whatever spends asks it when a turn begins, and again before it says that a budget is used up."""


class OperatorLimits:
    """The operator's limits: the same for everybody."""

    def __init__(self, limits: Iterable[Limit]) -> None:
        self._limits = tuple(limits)

    async def of(self, conversation: Conversation, user: str) -> tuple[Limit, ...]:  # noqa: ARG002 (a `LimitsOf`)
        """Find the limits that hold in `conversation` for `user`. Raises nothing."""
        return self._limits
