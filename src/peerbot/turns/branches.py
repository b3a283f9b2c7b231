"""Decides the branch of a conversation's work.

A conversation has one branch at a time. When people merge its pull request, close it or delete the branch, that work
is done: the next turn begins another branch from the default one. We decide that once, when the turn begins, and write
it to the journal (`branches/{i}.json`) before anybody works on it. The git relay reads it from there.
"""

import asyncio

from peerbot.conversation.documents import Branch, Run, Turn, TurnStatus
from peerbot.conversation.keys import Conversation, later_branch
from peerbot.errors import PeerBotError
from peerbot.github.client import GitHub
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.logs import logger

log = logger(__name__)

LOOK_SECONDS = 15.0
"""How long a turn waits for GitHub to say if its branch is still open. Without an answer it keeps the branch."""

_MOST_SHOWN = 1000


class Branches:
    """Decides branches. Its cache is only for cards."""

    def __init__(self, *, journal: Journal, github: GitHub) -> None:
        self._journal = journal
        self._github = github
        self._shown: dict[Conversation, str] = {}

    async def current(self, conversation: Conversation, run: Run) -> str:
        """Name the branch that the conversation's work goes to now."""
        return await self._journal.branch(conversation, run.branch)

    async def shown(self, conversation: Conversation, run: Run) -> str:
        """Name the branch for a card. It may be a turn behind if another replica began the turn."""
        if conversation not in self._shown:
            self._show(conversation, await self.current(conversation, run))
        return self._shown[conversation]

    async def of_turn(self, conversation: Conversation, turn: int) -> Branch | None:
        """Find the branch that began with exactly this turn."""
        newest = await self._journal.newest_branch(conversation)
        return newest if newest and newest.turn == turn else None

    async def for_turn(self, conversation: Conversation, memory: Memory, run: Run) -> tuple[str, str]:
        """Decide the branch of the turn of `memory`; returns it, and why it is a new one (empty if it is not new).

        Idempotent: an earlier decision for this turn counts. If GitHub does not answer, the branch stays.
        """
        branch, reason = await self._decided(conversation, memory, run)
        self._show(conversation, branch)
        return branch, reason

    async def _decided(self, conversation: Conversation, memory: Memory, run: Run) -> tuple[str, str]:
        newest = await self._journal.newest_branch(conversation)
        branch = newest.branch if newest else run.branch
        if newest and newest.turn == memory.turn:
            return branch, newest.reason
        before = await _pushed(memory, branch)
        if before is None:
            return branch, ""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                reason = await self._ended(run.repository, branch, before)
        except (PeerBotError, TimeoutError) as error:
            log.warning("branch_not_looked_at", branch=branch, reason=str(error) or "no answer in time")
            return branch, ""
        if not reason:
            return branch, ""
        number = newest.i + 1 if newest else 2
        started = await self._journal.conversation(conversation)
        first = started.branch if started else run.branch
        wanted = Branch(i=number, branch=later_branch(first, number), turn=memory.turn, reason=reason)
        begun = await self._journal.begin_branch(conversation, wanted)
        log.info("branch_begun", branch=begun.branch, reason=begun.reason)
        return begun.branch, begun.reason

    def _show(self, conversation: Conversation, branch: str) -> None:
        self._shown.pop(conversation, None)
        self._shown[conversation] = branch
        while len(self._shown) > _MOST_SHOWN:
            del self._shown[next(iter(self._shown))]

    async def _ended(self, repository: str, branch: str, before: Turn) -> str:
        """Say why work no longer goes to `branch`; empty if it is open."""
        if before.pull_request:
            state = await self._github.pull_request_state(repository, before.pull_request.number)
            if state in ("merged", "closed"):
                return f"Pull request #{before.pull_request.number} was {state}"
            if state == "open":
                return ""
        if await self._github.branch_head(repository, branch, written_at=before.ended_at) is not None:
            return ""
        if await self._github.repository(repository) is None:
            return ""  # the repository is gone or hidden: nobody has decided anything about the branch
        return f"The branch `{branch}` was deleted"


async def _pushed(memory: Memory, branch: str) -> Turn | None:
    """Find the newest turn whose work is on the branch on GitHub; None if there is none."""
    async for turn in memory.standing():
        if turn.run is None:
            continue
        if turn.branch != branch:
            return None
        if turn.commit:
            return turn
        if turn.status is TurnStatus.DONE and not turn.kept:
            return None  # a turn that pushes nothing finds nothing pushed
    return None
