"""Makes the note for a thread whose messages have no tries left: why, and where the work is saved.

The next message goes on from the saved work (`turns/turns.py`). The log says more, in `run_died`.
"""

from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import GivenUp, Note, NotStarted, Saved
from peerbot.errors import PeerBotError
from peerbot.github.client import GitHub
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
        return GivenUp(end=last.reason, said=last.said, saved=await self._saved(conversation))

    async def _saved(self, conversation: Conversation) -> Saved | None:
        begun = await self._journal.conversation(conversation)
        if begun is None:
            return None
        branch, folder = await self._journal.branch(conversation, begun.branch), f"peerbot/{conversation.id}/"
        try:
            refs = await self._github.refs(begun.repository, folder)
            pushed = await self._github.branch_head(begun.repository, branch) is not None
        except PeerBotError as error:
            log.warning("not_known_what_is_saved", reason=str(error))
            return Saved(repository=begun.repository, folder=folder, known=False)
        newest = max(refs, key=lambda ref: int(ref.rpartition("/")[2]), default="")
        return Saved(repository=begun.repository, folder=folder, ref=newest, branch=branch if pushed else "")
