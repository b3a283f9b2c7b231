"""Receive → record: the marker, then the input, before Slack gets its ack (step 2 of docs/architecture.md)."""

from collections.abc import Callable

from peerbot.conversation.documents import Input, TurnStatus
from peerbot.conversation.keys import Conversation, input_id
from peerbot.conversation.policy import Candidate
from peerbot.journal.journal import Journal
from peerbot.logs import logger

log = logger(__name__)


class Recorder:
    """Writes what is for us into the journal. `recorded` is told afterwards; it must return at once."""

    def __init__(self, journal: Journal, recorded: Callable[[Input, bool], None]) -> None:
        self._journal = journal
        self._recorded = recorded

    async def __call__(self, candidate: Candidate) -> bool:
        """Record `candidate` if it is for us; True where it was.

        Two creates, and for a reply without a mention a look-up, cached where it is asked often. When it returns, the
        input is in the journal; when it raises, Slack gets no ack and sends the event again. A second time is no
        second input: it makes sure of the marker (its writer may have died before the input) and has the
        conversation reconciled.
        """
        item = candidate.input
        if not candidate.sure and not await self._takes_part(item.conversation):
            return False
        await self.record(item)
        return True

    async def record(self, item: Input) -> None:
        """Record what is known to be for us: the marker, then the input."""
        await self._journal.mark(item)
        new = await self._journal.record(item)
        log.info("input_recorded", conversation=str(item.conversation), input=item.id, new=new)
        self._recorded(item, new)

    async def _takes_part(self, conversation: Conversation) -> bool:
        """Whether a reply that does not mention us is for us: not where people talked and we only refused somebody."""
        if not await self._journal.knows(conversation):
            return False
        began_with_us = input_id(conversation.thread_ts, "message")
        if await self._journal.conversation(conversation) or await self._journal.input(conversation, began_with_us):
            return True
        newest = await self._journal.newest_turn(conversation)
        return newest is None or newest.status is not TurnStatus.REFUSED
