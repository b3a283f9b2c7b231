"""Puts a conversation's branch back to the commit before a turn, and keeps what was there on a branch of its own.

The order loses nothing: both branches move in one push or none does, with git's check of where they point; then the
journal says so. So it may be done twice, and by two replicas at once. Commits of people are never dropped.
"""

from dataclasses import dataclass, replace

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Input, Turn, WentBack, now
from peerbot.conversation.keys import AUTHOR, Conversation, undone_branch
from peerbot.errors import Conflict
from peerbot.github.api import LATE_SECONDS, NotShown, until_shown
from peerbot.github.client import GitHub
from peerbot.github.refs import NOTHING, Commit, Refs
from peerbot.github.repositories import Repositories
from peerbot.journal import chosen
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.prompt import one_name
from peerbot.slack import choice_words

log = logger(__name__)

_TITLE_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class _Way:
    """The way back: from `there` to `before`, with `there` kept on `kept_on`. `done`: it was gone already."""

    repository: str
    branch: str
    there: str
    before: str
    kept_on: str
    done: bool


@dataclass(slots=True)
class Back:
    """Goes back. It holds nothing."""

    journal: Journal
    github: GitHub
    refs: Refs
    repositories: Repositories

    async def why_not(self, conversation: Conversation, choice: Input) -> str:
        """Say why the branch can't go back before the choice's turn, for its author; empty if it can."""
        way = await self._way(conversation, choice)
        return way if isinstance(way, str) else ""

    async def go(self, conversation: Conversation, choice: Input) -> WentBack | str:
        """Put the branch back; returns what was done, or why it was not, for the choice's author.

        Raises what GitHub and the journal raise: call it again.
        """
        assert choice.turn is not None
        if there := await chosen.went_back(self.journal, conversation, choice.turn):
            return there
        way = await self._way(conversation, choice)
        if isinstance(way, str):
            return way
        if way is None:
            return await chosen.go_back(self.journal, conversation, WentBack(turn=choice.turn))
        if not way.done:
            url = await self.repositories.clone_url(way.repository)
            moves = {way.kept_on: (NOTHING, way.there), way.branch: (way.there, way.before)}
            try:
                await self.refs.move(url, moves)
            except Conflict as error:
                again = await self._way(conversation, choice)  # another replica may have been first, or people
                if not isinstance(again, _Way):
                    return again or choice_words.not_moved(f"GitHub did not take the push ({error}).")
                if not again.done:
                    return choice_words.not_moved(f"GitHub did not take the push ({error}).")
            log.info("branch_put_back", branch=way.branch, was=way.there, to=way.before, kept_on=way.kept_on)
        back = WentBack(turn=choice.turn, branch=way.branch, kept_on=way.kept_on)
        return await chosen.go_back(self.journal, conversation, back)

    async def _way(self, conversation: Conversation, choice: Input) -> "_Way | str | None":
        """Find the way back; a sentence if there is none, and None if the turn put nothing on the branch."""
        turn = await self.journal.turn(conversation, choice.turn) if choice.turn else None
        if turn is None or turn.commit is None or turn.commit == turn.before:
            return choice_words.NOTHING_TO_UNDO if choice.act == Act.UNDO or turn is None else None
        if turn.before is None or turn.branch is None or turn.repository is None:
            return choice_words.NOT_KNOWN
        begun = await self.journal.conversation(conversation)
        if begun is None or await self.journal.branch(conversation, begun.branch) != turn.branch:
            return choice_words.OTHER_BRANCH
        pull = turn.pull_request
        if pull and await self.github.pull_request_state(turn.repository, pull.number) == "merged":
            return choice_words.merged(pull.number)
        return await self._way_on(turn, turn.repository, turn.branch, begun.default_branch)

    async def _way_on(self, turn: Turn, repository: str, branch: str, default_branch: str) -> "_Way | str":
        """Look at the branch itself: commits of people must not be lost."""
        assert turn.commit
        assert turn.before
        way = _Way(repository, branch, turn.commit, turn.before, undone_branch(branch, turn.k), done=False)
        head = await self._head(turn)
        if head == way.before and await self.github.branch_head(repository, way.kept_on) == way.there:
            return replace(way, done=True)
        if head != way.there:
            later = await self.refs.commits(repository, way.there, head) if head else []
            return choice_words.moved(branch, list(map(_named, later or [])))
        if others := await self._of_people(repository, way.before, way.there, default_branch):
            return choice_words.moved(branch, list(map(_named, others)))
        return way

    async def _head(self, turn: Turn) -> str | None:
        """Find the branch's head. GitHub may show the turn's push late."""
        assert turn.repository
        assert turn.branch
        repository, branch = turn.repository, turn.branch
        head = None

        async def ask() -> None:
            nonlocal head
            head = await self.github.branch_head(repository, branch)
            if head not in (turn.commit, turn.before):
                raise NotShown

        left = LATE_SECONDS - (now() - turn.ended_at).total_seconds()
        try:
            await until_shown(ask, seconds=min(left, LATE_SECONDS))
        except NotShown:
            return head
        return head

    async def _of_people(self, repository: str, before: str, commit: str, default_branch: str) -> list[Commit]:
        """List the commits that would be lost and are not ours; those of the default branch are not lost."""
        between = await self.refs.commits(repository, before, commit)
        if between is None:
            return [Commit(commit, "commits that I can't compare", "")]
        others = [each for each in between if each.committer != AUTHOR[1]]
        if not others:
            return []
        alone = await self.refs.commits(repository, default_branch, commit)
        if alone is None:
            return others
        kept = {each.id for each in alone}
        return [each for each in others if each.id in kept]


def _named(commit: Commit) -> str:
    return f"`{commit.id[:10]}` {one_name(commit.title)[:_TITLE_CHARACTERS]}"
