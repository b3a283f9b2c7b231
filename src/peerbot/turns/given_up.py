"""What a thread is told when the tries of its messages are used up: why, what is saved where, and what to do.

The next message goes on from what is saved (`turns/turns.py`); the log says more, in `run_died`.
"""

from peerbot.conversation.documents import RunClosed, RunEnd
from peerbot.conversation.ends import why
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.github.client import GitHub
from peerbot.journal.journal import Journal
from peerbot.logs import logger

log = logger(__name__)


class GivenUp:
    """Finds the words for a turn that is given up."""

    def __init__(self, *, journal: Journal, github: GitHub) -> None:
        self._journal = journal
        self._github = github

    async def words(self, conversation: Conversation, last: RunClosed) -> str:
        """Say why, and name what exists. Raises what the journal raises."""
        if last.reason is RunEnd.NOT_ADMITTED:
            return (
                f"The worker could not be started: {why(last)}. Tell whoever runs PeerBot (the log has more); once it "
                "is mended, write here again."
            )
        return (
            f"The worker ended before it could answer, several times; the last time {why(last)}. "
            f"{await self._saved(conversation)} Write here again, for example “go on”, and I take it up from there, or "
            "ask whoever runs PeerBot to look at this conversation's log."
        )

    async def _saved(self, conversation: Conversation) -> str:
        begun = await self._journal.conversation(conversation)
        if begun is None:
            return "Nothing was changed."
        newest = await self._journal.newest_branch(conversation)
        branch, folder = newest.branch if newest else begun.branch, f"peerbot/{conversation.id}/"
        try:
            refs = await self._github.refs(begun.repository, folder)
            pushed = await self._github.branch_head(begun.repository, branch) is not None
        except PeerBotError as error:
            log.warning("not_known_what_is_saved", reason=str(error))
            return f"What it had changed is saved below `refs/{folder}` in {begun.repository}, if it came to that."
        on_branch = f" What was pushed before is on the branch `{branch}`." if pushed else ""
        if not refs:
            return f"Of what it changed, nothing was saved yet.{on_branch}"
        newest_ref = max(refs, key=lambda ref: int(ref.rpartition("/")[2]))
        return f"What it had changed is saved in `{newest_ref}` of {begun.repository}.{on_branch}"
