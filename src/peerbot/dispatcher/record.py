"""Receive → record: the marker, then the input, before Slack gets its ack (DESIGN.md, Record)."""

from collections.abc import Callable

from peerbot.conversation.documents import Input
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

        Two creates, and for a reply without a mention one look-up. When it returns, the input is in the journal;
        when it raises, Slack gets no ack and sends the event again. A second time is no second input: it makes
        sure of the marker (its writer may have died before the input) and has the conversation reconciled.
        """
        item = candidate.input
        if not candidate.sure and not await self._journal.knows(item.conversation):
            return False
        await self._journal.mark(item)
        new = await self._journal.record(item)
        log.info("input_recorded", conversation=str(item.conversation), input=item.id, new=new)
        self._recorded(item, new)
        return True
