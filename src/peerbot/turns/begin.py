"""Chooses the repository and the branch for a conversation's work, once, and writes the choice down."""

from peerbot.conversation.documents import Input, Started
from peerbot.conversation.keys import Conversation, branch_prefixes
from peerbot.errors import Refused
from peerbot.github.client import GitHub, Repository
from peerbot.journal import choices
from peerbot.journal.journal import Journal
from peerbot.turns.own import Own, OwnRepositories


class Beginning:
    """Finds or makes a conversation's repository. Idempotent: the first `conversation.json` counts."""

    def __init__(self, *, journal: Journal, github: GitHub, own: OwnRepositories, branch_prefix: str) -> None:
        self._journal = journal
        self._github = github
        self._own = own
        self._branch_prefix = branch_prefix

    async def of(self, conversation: Conversation, first: Input) -> Started:
        """Read where the conversation's work goes, or choose a place for the author of `first`.

        Raises `Refused` if GitHub refuses, `Unavailable` if it does not answer.
        """
        if there := await self._journal.conversation(conversation):
            return there.model_copy(update={"branch": await self._journal.branch(conversation, there.branch)})
        chosen = await self._chosen(conversation)
        own = Own(chosen) if chosen else await self._own.of(conversation, first.user)
        return await self._journal.begin(
            conversation,
            Started(
                began_by=first.user,
                repository=own.repository.full_name,
                default_branch=own.repository.default_branch,
                branch=await self._branch(conversation, own.repository),
                instead_of=own.instead_of,
            ),
        )

    async def _chosen(self, conversation: Conversation) -> Repository | None:
        """Find the repository that is set for the channel, if there is one."""
        choice = await choices.choice(self._journal, "channel", f"{conversation.team}-{conversation.channel}")
        if choice is None or choice.repository is None:
            return None
        repository = await self._github.repository(choice.repository)
        if repository is None:
            raise Refused(
                f"The repository that is set for this channel, {choice.repository}, does not exist, or PeerBot's "
                "GitHub token may not see it. Set another one, or give the token access to it."
            )
        return repository

    async def _branch(self, conversation: Conversation, repository: Repository) -> str:
        """Name the branch for the conversation, below a prefix that is not itself a branch of the repository."""
        for prefix in branch_prefixes(self._branch_prefix):
            taken = prefix == repository.default_branch
            if not taken and await self._github.branch_head(repository.full_name, prefix) is None:
                return conversation.branch_below(prefix)
        raise Refused(
            f"In {repository.full_name} there are branches `{self._branch_prefix}` to `{prefix}`, so git can have no "
            "branches below them. Set PEERBOT_BRANCH_PREFIX to another name, or delete one of them."
        )
