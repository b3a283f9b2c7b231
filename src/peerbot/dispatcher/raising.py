"""“Allow $5 more”: somebody raises a budget that people set themselves, for the rest of the month.

The raise is the next document of the settings (`settings/…/{seq}.json`), created before Slack's ack. A button knows how
high the budget was when it was shown. So of two people who press at once, or one who presses twice, one raises it, and
the other is told. Nobody exceeds the operator's budget.
"""

import secrets
from dataclasses import dataclass

from peerbot.conversation.documents import now
from peerbot.conversation.held import Kind, most
from peerbot.conversation.limits import Limit, Scope, month_of
from peerbot.errors import PeerBotError, Unavailable
from peerbot.journal import choices
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack import allow_more as words
from peerbot.slack.allow_more import MORE_USD, More, read_more
from peerbot.slack.control_words import UNKNOWN_CONTROL
from peerbot.slack.interactions import BlockAction
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.tasks import Spawn
from peerbot.thread.admission import Admissions

log = logger(__name__)

_TRIES = 20


@dataclass(slots=True)
class Raising:
    """Raises budgets. `operators`: the operator's own; `team`: our workspace."""

    journal: Journal
    chosen: ChosenSettings
    admission: Admissions
    people: People
    poster: Poster
    operators: tuple[Limit, ...]
    team: str
    spawn: Spawn

    async def pressed(self, pressed: BlockAction) -> None:
        """Raise the budget that the button is for, or tell why not. Raises what the journal raises: then no ack."""
        more = read_more(pressed.value)
        if more is None:
            return self._tell(pressed, UNKNOWN_CONTROL)
        if more.scope is Scope.PERSON and more.of != pressed.user:
            return self._tell(pressed, words.NOT_YOURS)
        channel = pressed.channel if more.scope is Scope.CHANNEL else None
        if more.scope is Scope.CHANNEL and more.of != channel:
            return self._tell(pressed, UNKNOWN_CONTROL)
        if refusal := await self.admission.refusal(pressed.user, self.team, channel):
            return self._tell(pressed, words.may_not_raise(refusal))
        if more.month != month_of(now()):
            return self._tell(pressed, words.MONTH_OVER)
        await self._raise(pressed, more)

    async def _raise(self, pressed: BlockAction, more: More) -> None:
        kind: Kind = "channel" if more.scope is Scope.CHANNEL else "user"
        identity = f"{self.team}-{more.of}"
        highest = most(self.operators, more.scope)
        for _ in range(_TRIES):
            seq, there = await choices.newest(self.journal, kind, identity)
            usd = there.budget_in(more.month) if there else None
            if there is None or there.budget_usd is None or usd is None:
                return self._tell(pressed, words.BUDGET_GONE)
            if round(usd * 100) != round(more.usd * 100):
                name = await self.people.name(there.chosen_by)
                return self._tell(pressed, words.already_allowed(name, usd))
            raised = round(min(usd + MORE_USD, highest if highest is not None else usd + MORE_USD), 2)
            if raised <= usd:
                return self._tell(pressed, words.at_the_operators(usd))
            change = {"more_usd": round(raised - there.budget_usd, 2), "more_in": more.month}
            who = {"chosen_by": pressed.user, "chosen_at": now(), "nonce": secrets.token_hex(8)}
            if await choices.choose_after(self.journal, kind, identity, seq, there.model_copy(update=change | who)):
                self.chosen.changed(kind, identity)
                log.info("budget_raised", kind=kind, of=more.of, usd=raised)
                self.spawn(self._announce(pressed, more, raised))
                return None
        raise Unavailable("Many people change this budget at once. Try again.")

    async def _announce(self, pressed: BlockAction, more: More, usd: float) -> None:
        try:
            said = words.allowed_more(await self.people.name(pressed.user), more, usd)
            await self.poster.announce(pressed.channel, said, thread_ts=pressed.thread_ts)
        except PeerBotError as error:
            log.warning("raise_not_told", channel=pressed.channel, reason=str(error))

    def _tell(self, pressed: BlockAction, sentence: str) -> None:
        self.spawn(self._whisper(pressed, sentence))

    async def _whisper(self, pressed: BlockAction, sentence: str) -> None:
        try:
            await self.poster.whisper(pressed.channel, pressed.user, sentence, thread_ts=pressed.thread_ts)
        except PeerBotError as error:
            log.warning("raise_not_told", channel=pressed.channel, reason=str(error))
