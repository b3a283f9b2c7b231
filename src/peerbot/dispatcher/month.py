"""`/peerbot cost`: what this month's work has cost, in a channel and for the person who asks, from the ledger."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from peerbot.conversation.documents import now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Purse, Scope, month_of
from peerbot.errors import PeerBotError
from peerbot.journal import ledger
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.month_words import COST_TOO_SLOW, NO_COST, Part, month_said
from peerbot.slack.people import People
from peerbot.thread.admission import Admissions

log = logger(__name__)

SAID_WITHIN = 1.6
"""The answer to a command comes with its ack, within three seconds."""

_NOT_KNOWN = "(not known)"
_NO_THREAD = "0.000000"


@dataclass(slots=True)
class Month:
    """Adds up. `team`: our workspace."""

    journal: Journal
    chosen: ChosenSettings
    admission: Admissions
    people: People
    team: str

    async def said(self, user: str, channel: str) -> str:
        """Say what this month's work cost: in `channel`, unless it is a direct message, and for `user`."""
        try:
            async with asyncio.timeout(SAID_WITHIN):
                if await self.admission.refusal(user, self.team, channel):
                    return NO_COST
                return await self._said(user, channel)
        except (TimeoutError, PeerBotError) as error:
            log.warning("cost_not_said", reason=str(error))
            return COST_TOO_SLOW

    async def _said(self, user: str, channel: str) -> str:
        month = month_of(now())
        limits = await self.chosen.limits(Conversation(self.team, channel, _NO_THREAD), user)
        budgets = {limit.scope: limit.usd for limit in limits}
        own = self._part("You, everywhere", Scope.PERSON, user, month, budgets.get(Scope.PERSON))
        if channel.startswith("D"):
            return month_said(month, [await own])
        here = self._part("This channel", Scope.CHANNEL, channel, month, budgets.get(Scope.CHANNEL))
        return month_said(month, await asyncio.gather(here, own))

    async def _part(self, title: str, scope: Scope, of: str, month: str, of_usd: float | None) -> Part:
        purse = Purse(scope, f"{self.team}-{of}", month)
        whole = await ledger.total(self.journal, purse)
        found = await ledger.entries(self.journal, purse) if whole.turns <= ledger.MOST_READ else []
        people: defaultdict[str, float] = defaultdict(float)
        repositories: defaultdict[str, float] = defaultdict(float)
        for usd, entry in found:
            people[entry.user] += usd
            repositories[entry.repository or _NOT_KNOWN] += usd
        rows: dict[str, Mapping[str, float]] = {}
        if scope is Scope.CHANNEL:
            names = await self.people.names(filter(None, people))
            rows["person"] = {names.get(user, user) or _NOT_KNOWN: usd for user, usd in people.items()}
        rows["repository"] = repositories
        return Part(title, whole.usd, whole.turns, of_usd, rows, complete=len(found) == whole.turns)
