"""The budgets that hold for a conversation and a person: the operator's, and people's own (`journal/chosen.py`)."""

from collections.abc import Awaitable, Callable

from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit

LimitsOf = Callable[[Conversation, str], Awaitable[tuple[Limit, ...]]]
"""Finds the limits that hold in a conversation for a person (a user id): one for each scope at most, and always one for
the turn. Whatever spends asks it when a turn begins, and again before it says that a budget is used up."""
