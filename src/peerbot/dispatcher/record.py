"""Record a received message: the marker, then the input, before Slack gets its ack (step 2 of docs/architecture.md)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from peerbot import metrics
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.errors import PeerBotError
from peerbot.journal import apps
from peerbot.journal.answers import unanswered
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.events import Candidate

log = logger(__name__)

LATE_SECONDS = 2.0
"""A message that is older than this is a repeat of Slack's: its thread may have become a conversation meanwhile."""


class Next(Protocol):
    """The part that takes over a message from here. Both methods return at once."""

    def recorded(self, item: Input, new: bool) -> None:
        """Take over an input that is in the journal. `new` is false if it was there already."""

    def not_recorded(self, candidate: Candidate) -> None:
        """Take over a message that the journal did not take."""


class Recorder:
    """Writes the messages for us into the journal, and hands them over to `following`.

    `admits` says whether the author of an input may use the bot; it raises `Unavailable` if that can't be known now.
    """

    def __init__(self, journal: Journal, following: Next, admits: Callable[[Input], Awaitable[bool]]) -> None:
        self._journal = journal
        self._admits = admits
        self._following = following
        self._under_way: dict[tuple[Conversation, str], asyncio.Future[bool]] = {}

    async def __call__(self, candidate: Candidate, *, late: bool = False) -> bool:
        """Record `candidate` if it is for us; returns whether it is.

        This takes two creates, and a look-up (often cached) for a reply without a mention. When it returns True, the
        input is in the journal; if it raises, Slack gets no ack and sends the event again. A repeat makes no second
        input: it makes sure of the marker (its writer may have died before the input) and has the conversation
        reconciled. `late`: check whether it was written before its thread became a conversation, however new it is.
        """
        try:
            return await self.once(candidate, late=late)
        except (PeerBotError, asyncio.CancelledError):  # CancelledError: this dispatcher ends
            self._following.not_recorded(candidate)
            raise

    async def once(self, candidate: Candidate, *, late: bool = True) -> bool:
        """Do the same without calling `not_recorded`, for a caller that tries again."""
        if not candidate.sure and not await self._takes_part(candidate.input, late=late):
            return False
        if candidate.input.is_of_an_app and await apps.place(self._journal, candidate.input) > apps.MOST_A_DAY + 1:
            log.warning("app_asks_too_often", app=candidate.input.user, most_a_day=apps.MOST_A_DAY)
            return False
        await self.record(candidate.input)
        return True

    async def record(self, item: Input) -> None:
        """Record an input that is surely for us: the marker, then the input."""
        name = (item.conversation, item.id)
        new = recorded = False
        while not recorded and (other := self._under_way.get(name)):
            await asyncio.wait([other])  # Slack sends a mention as two events, mostly in the same moment
            recorded = other.result()
        if not recorded:
            new = await self._write(item)
        log.info("input_recorded", conversation=str(item.conversation), input=item.id, new=new)
        self._following.recorded(item, new)

    async def _write(self, item: Input) -> bool:
        """Write the marker, then the input; False if it was there. A second caller can wait for the first."""
        name, recorded = (item.conversation, item.id), False
        self._under_way[name] = done = asyncio.get_running_loop().create_future()
        try:
            with metrics.timed(metrics.record_seconds):
                await self._journal.mark(item)
                new = await self._journal.record(item, new=True)
            recorded = True
            return new
        finally:
            del self._under_way[name]
            done.set_result(recorded)

    async def _takes_part(self, item: Input, *, late: bool) -> bool:
        """Whether a reply that does not mention us is for us.

        It is for us if its thread is a conversation. Only a message of somebody who may use the bot makes it one:
        people also talk where we refused somebody. It is not for us if it was written before we were called into the
        thread.
        """
        conversation = item.conversation
        if not await self._journal.knows(conversation):
            return False
        if late or time.time() - float(item.ts) > LATE_SECONDS:
            first = await self._journal.first_input(conversation)
            if first and item.ts < input_ts(first):
                return False
        if await self._journal.conversation(conversation):
            return True
        for k in reversed(await self._journal.turn_numbers(conversation)):
            turn = await self._journal.turn(conversation, k)
            if turn is None or not turn.turned_away:
                return True
        for other in await unanswered(self._journal, conversation):
            if await self._admits(other):
                return True
        return False
