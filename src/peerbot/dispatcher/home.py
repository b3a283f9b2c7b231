"""Publishes people's Home tabs: made whole from the journal when somebody opens theirs or changes something."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from peerbot.conversation.documents import Input, now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Limit, Scope, purse
from peerbot.conversation.notes import Refused
from peerbot.errors import PeerBotError
from peerbot.journal.answers import unanswered
from peerbot.journal.budgets import Chains
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.home_view import MOST_WORK, Budget, Facts, Work, help_view, home
from peerbot.slack.post import Poster
from peerbot.slack.screens import Screens
from peerbot.slack.words import note_words
from peerbot.thread.admission import Admissions
from peerbot.turns.choosable import Choosable

log = logger(__name__)

_MOST_LOOKED_AT = 200
_AT_ONCE = 16
_NO_CHANNEL = "D0"

Text = Callable[[Input], Awaitable[str]]
Busy = Callable[[], Awaitable[int]]


@dataclass(slots=True)
class Home:
    """Makes and publishes. `text` makes an input readable; `busy` counts the runs there are, `most` bounds them."""

    journal: Journal
    chosen: ChosenSettings
    places: Choosable
    admission: Admissions
    chains: Chains
    poster: Poster
    screens: Screens
    text: Text
    busy: Busy
    most: int
    model_kind: str
    team: str
    _publishing: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def show(self, user: str) -> None:
        """Publish the Home tab of `user`. A failure is only logged: they open it again."""
        lock = self._publishing.setdefault(user, asyncio.Lock())
        async with lock:  # the newest comes last
            try:
                await self.screens.home(user, home(await self._facts(user)))
            except PeerBotError as error:
                log.warning("home_not_shown", user=user, reason=str(error))

    async def help(self, trigger: str) -> None:
        """Show the help in a modal. A failure is only logged."""
        try:
            await self.screens.open(trigger, help_view())
        except PeerBotError as error:
            log.warning("help_not_shown", reason=str(error))

    async def _facts(self, user: str) -> Facts:
        if refusal := await self.admission.refusal(user, self.team, None):
            return Facts(refused=note_words(Refused(why=refusal)))
        work, choice, busy = await asyncio.gather(self._work(user), self.chosen.person(self.team, user), self.busy())
        limits = await self.chosen.limits(Conversation(self.team, _NO_CHANNEL, "0.000000"), user)
        return Facts(
            work=work,
            choice=choice,
            bounds=self.places.bounds,
            budgets=[await self._budget(limit, user) for limit in limits],
            busy=busy,
            most=self.most,
            model_kind=self.model_kind,
        )

    async def _work(self, user: str) -> list[Work]:
        """Find the threads that have something of this person's without an answer, the newest first."""
        few = asyncio.Semaphore(_AT_ONCE)

        async def theirs(conversation: Conversation) -> Input | None:
            async with few:
                return next((i for i in await unanswered(self.journal, conversation) if i.user == user), None)

        waiting = sorted(await self.journal.pending(), key=lambda one: float(one.thread_ts), reverse=True)
        found = await asyncio.gather(*map(theirs, waiting[:_MOST_LOOKED_AT]))
        return list(await asyncio.gather(*(self._shown(item) for item in [i for i in found if i][: MOST_WORK + 1])))

    async def _shown(self, item: Input) -> Work:
        address, asked, stops = await asyncio.gather(
            self.poster.permalink(item.channel, item.thread_ts),
            self.text(item),
            unanswered(self.journal, item.conversation, ["stop"]),
        )
        return Work(f"{item.channel}/{item.thread_ts}", address or "", asked, stopping=bool(stops))

    async def _budget(self, limit: Limit, user: str) -> Budget:
        if limit.scope not in (Scope.PERSON, Scope.MONTH):
            return Budget(limit.scope, limit.usd)
        paid_from = purse(limit.scope, Conversation(self.team, _NO_CHANNEL, "0.000000"), user, now())
        newest = await self.chains.of(paid_from).look()
        return Budget(limit.scope, limit.usd, newest.spent_usd if newest else 0.0)
