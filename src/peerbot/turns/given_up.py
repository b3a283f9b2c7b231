"""Makes the note for a thread whose messages have no tries left: why, and where the work is saved.

The next message goes on from the saved work (`turns/turns.py`). The log says more, in `run_died`.
"""

from datetime import datetime

from peerbot.conversation.documents import RunClosed, now
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import GivenUp, Note, NotStarted, Saved, StoppedBy
from peerbot.errors import PeerBotError
from peerbot.github.client import GitHub
from peerbot.journal import work
from peerbot.journal.journal import Journal
from peerbot.logs import logger

log = logger(__name__)


class GivingUp:
    """Collects the facts about a turn that we give up."""

    def __init__(self, *, journal: Journal, github: GitHub) -> None:
        self._journal = journal
        self._github = github

    async def note(self, conversation: Conversation, last: RunClosed) -> Note:
        """Say how the last run ended, and which work is saved. Raises what the journal raises."""
        if last.reason is RunEnd.NOT_ADMITTED:
            return NotStarted(said=last.said)
        return GivenUp(end=last.reason, said=last.said, saved=await self._saved(conversation, last.closed_at))

    async def stopped(self, conversation: Conversation, name: str, began: bool) -> Note:
        """Say that a person of this `name` stopped work at which no worker is now. Raises what the journal raises."""
        saved = await self._saved(conversation, now()) if began else None
        return StoppedBy(name=name, began=began, saved=saved)

    async def _saved(self, conversation: Conversation, ended_at: datetime) -> Saved | None:
        begun = await self._journal.conversation(conversation)
        if begun is None:
            return None
        branch = await self._journal.branch(conversation, begun.branch)
        turns = range(1, await self._journal.next_turn(conversation) + 1)
        kept = await work.newest(self._journal, conversation, turns) is not None
        try:
            pushed = await self._github.branch_head(begun.repository, branch, written_at=ended_at) is not None
        except PeerBotError as error:
            log.warning("not_known_what_is_pushed", reason=str(error))
            pushed = False
        return Saved(repository=begun.repository, kept=kept, branch=branch if pushed else "")
