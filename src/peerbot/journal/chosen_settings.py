"""What people and channels have chosen, read again and again: each answer is kept for a second.

So the parts that decide about one message see the same settings, and a change holds everywhere a second later.
"""

import asyncio
import time
from collections.abc import Mapping

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import now
from peerbot.conversation.held import Kind, limits
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit, Scope, month_of
from peerbot.journal import choices
from peerbot.journal.journal import Journal
from peerbot.journal.recent import Recent

KEPT_SECONDS = 1.0
_MOST_KEPT = 2_000


class ChosenSettings:
    """Reads choices on `journal`. `operators`: the operator's own budgets; `apps`: those of apps that may give work."""

    def __init__(
        self, journal: Journal, operators: tuple[Limit, ...] = (), apps: Mapping[str, float | None] | None = None
    ) -> None:
        self._journal = journal
        self._operators = operators
        self._apps = apps or {}
        self._kept: Recent[tuple[Kind, str], tuple[float, Choice | None]] = Recent(_MOST_KEPT)

    async def channel(self, team: str, channel: str) -> Choice | None:
        """Read what holds for a channel. Raises what the journal raises."""
        return await self._of("channel", f"{team}-{channel}")

    async def person(self, team: str, user: str) -> Choice | None:
        """Read what holds for a person. Raises what the journal raises."""
        return await self._of("user", f"{team}-{user}")

    async def limits(self, conversation: Conversation, user: str) -> tuple[Limit, ...]:
        """Find the budgets that hold in `conversation` for `user`: a `LimitsOf`. Raises what the journal raises."""
        channel, person = await self.both(conversation, user)
        return limits(self._of_operator(user), channel, person, month_of(now()))

    def _of_operator(self, user: str) -> tuple[Limit, ...]:
        """The operator's budgets for somebody: an app may have its own in place of a person's."""
        usd = self._apps.get(user)
        if usd is None:
            return self._operators
        others = tuple(limit for limit in self._operators if limit.scope is not Scope.PERSON)
        return (*others, Limit(scope=Scope.PERSON, usd=usd, of_app=True))

    async def now(self, conversation: Conversation, user: str) -> tuple[Choice | None, Choice | None]:
        """Do the same as `both`, and see what somebody changed a moment ago: for a decision that stays."""
        self.changed("channel", f"{conversation.team}-{conversation.channel}")
        self.changed("user", f"{conversation.team}-{user}")
        return await self.both(conversation, user)

    async def both(self, conversation: Conversation, user: str) -> tuple[Choice | None, Choice | None]:
        """Read what holds for the channel of `conversation`, and for `user`. Raises what the journal raises."""
        team = conversation.team
        channel, person = await asyncio.gather(self.channel(team, conversation.channel), self.person(team, user))
        return channel, person

    def changed(self, kind: Kind, identity: str) -> None:
        """Read this one again next time: somebody has just chosen."""
        self._kept.put((kind, identity), (0.0, None))

    async def _of(self, kind: Kind, identity: str) -> Choice | None:
        until, kept = self._kept.get((kind, identity)) or (0.0, None)
        if time.monotonic() < until:
            return kept
        found = await choices.choice(self._journal, kind, identity)
        self._kept.put((kind, identity), (time.monotonic() + KEPT_SECONDS, found))
        return found
