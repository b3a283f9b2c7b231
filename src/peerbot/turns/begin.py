"""Chooses the repository and the branch for a conversation's work, once, and writes the choice down.

What people set for the agent (a model, instructions) is written down with it: it holds for the whole thread.
"""

from peerbot.conversation.documents import Input, Started
from peerbot.conversation.held import Held, held
from peerbot.conversation.keys import Conversation, branch_prefixes
from peerbot.errors import Refused
from peerbot.github.client import GitHub, Repository
from peerbot.journal.chosen import Chosen
from peerbot.journal.journal import Journal
from peerbot.turns.choosable import Choosable
from peerbot.turns.own import Own, OwnRepositories


class Beginning:
    """Finds or makes a conversation's repository. Idempotent: the first `conversation.json` counts."""

    def __init__(
        self,
        *,
        journal: Journal,
        github: GitHub,
        own: OwnRepositories,
        chosen: Chosen,
        places: Choosable,
        branch_prefix: str,
    ) -> None:
        self._journal = journal
        self._github = github
        self._own = own
        self._chosen = chosen
        self._places = places
        self._branch_prefix = branch_prefix

    async def of(self, conversation: Conversation, first: Input) -> Started:
        """Read where the conversation's work goes, or choose a place for the author of `first`.

        Raises `Refused` if GitHub refuses, `Unavailable` if it does not answer.
        """
        if there := await self._journal.conversation(conversation):
            return there.model_copy(update={"branch": await self._journal.branch(conversation, there.branch)})
        holds = held(self._places.bounds, *await self._chosen.both(conversation, first.user))
        set_one = await self._set(conversation, first.user, holds)
        own = Own(set_one) if set_one else await self._own.of(conversation, first.user)
        return await self._journal.begin(
            conversation,
            Started(
                began_by=first.user,
                repository=own.repository.full_name,
                default_branch=own.repository.default_branch,
                branch=await self._branch(conversation, own.repository),
                instead_of=own.instead_of,
                base=holds.base if set_one else "",
                model=holds.model,
                channel_instructions=holds.channel_instructions,
                person_instructions=holds.person_instructions,
            ),
        )

    async def _set(self, conversation: Conversation, user: str, holds: Held) -> Repository | None:
        """Find the repository that is set for the channel or the person; None if the person's own is to be used."""
        whose = "this channel" if holds.whose == "channel" else "you"
        if holds.refused and not holds.repositories:
            raise Refused(
                f"The repository that is set for {whose}, {holds.refused[0]}, is not among those that your PeerBot "
                "operator allows (`PEERBOT_REPOSITORIES`). Set another one with `/peerbot settings`."
            )
        if not holds.repositories:
            return None
        name = holds.repositories[0]
        repository = await self._github.repository(name)
        if repository is None:
            raise Refused(
                f"The repository that is set for {whose}, {name}, does not exist, or PeerBot's GitHub token may not "
                "see it. Set another one with `/peerbot settings`, or give the token access to it."
            )
        if refusal := await self._places.refusal(repository, conversation.team, user):
            raise Refused(refusal)
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
