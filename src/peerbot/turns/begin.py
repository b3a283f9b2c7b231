"""Chooses the repository and the branch for a conversation's work, once, and writes the choice down.

What people set for the agent (a model, instructions) is written down with it: it holds for the whole thread.
"""

from collections.abc import Sequence

from peerbot.conversation.documents import Input, Started
from peerbot.conversation.held import Held, held
from peerbot.conversation.keys import Conversation, branch_prefixes
from peerbot.errors import PeerBotError, Refused
from peerbot.github.client import GitHub, Repository
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.slack.where import named
from peerbot.thread.where import Where
from peerbot.turns.choosable import Choosable
from peerbot.turns.own import Own, OwnRepositories


class Several(PeerBotError):
    """Several repositories fit: people have to choose one first."""

    def __init__(self, repositories: Sequence[str]) -> None:
        super().__init__("Several repositories fit, and nobody has chosen one yet.")
        self.repositories = tuple(repositories)


class Beginning:
    """Finds or makes a conversation's repository. Idempotent: the first `conversation.json` counts.

    `phrase`: our trigger phrase, which is no part of what people write.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        github: GitHub,
        own: OwnRepositories,
        chosen: ChosenSettings,
        places: Choosable,
        where: Where,
        phrase: str,
        branch_prefix: str,
    ) -> None:
        self._journal = journal
        self._github = github
        self._own = own
        self._chosen = chosen
        self._places = places
        self._where = where
        self._phrase = phrase
        self._branch_prefix = branch_prefix

    async def of(self, conversation: Conversation, asked: Sequence[Input]) -> Started:
        """Read where the conversation's work goes, or choose a place for the messages `asked`, by the first's author.

        Raises `Refused` if GitHub refuses or people may not work where they want to, `Unavailable` if GitHub does not
        answer, and `Several` if people have to choose first.
        """
        if there := await self._journal.conversation(conversation):
            return there.model_copy(update={"branch": await self._journal.branch(conversation, there.branch)})
        first = asked[0]
        holds = held(self._places.bounds, *await self._chosen.now(conversation, first.user))
        name = await self._wanted(conversation, asked, holds)
        set_one = await self._reached(conversation, first.user, name, holds) if name else None
        own = Own(set_one) if set_one else await self._own.of(conversation, first.user)
        return await self._journal.begin(
            conversation,
            Started(
                began_by=first.user,
                repository=own.repository.full_name,
                default_branch=own.repository.default_branch,
                branch=await self._branch(conversation, own.repository),
                instead_of=own.instead_of,
                base=holds.base if name in holds.repositories else "",
                model=holds.model,
                channel_instructions=holds.channel_instructions,
                person_instructions=holds.person_instructions,
            ),
        )

    async def _wanted(self, conversation: Conversation, asked: Sequence[Input], holds: Held) -> str:
        """Find the repository that people want: picked or written for this thread, or set; empty for one's own."""
        if holds.refused and not holds.repositories:
            whose = "this channel" if holds.whose == "channel" else "you"
            raise Refused(
                f"The repository that is set for {whose}, {holds.refused[0]}, is not among those that your PeerBot "
                "operator allows (`PEERBOT_REPOSITORIES`). Set another one with `/peerbot settings`."
            )
        if picked := await self._where.picked(conversation):
            await self._where.show(conversation, picked)  # the dispatcher that took the choice may have died
            return self._listed(picked.repository, holds)
        was_asked = await self._where.was_asked(conversation)
        for item in asked:
            name = named(item.text, self._phrase, lambda one: self._fits(one, holds), alone=was_asked)
            if name:
                listed = self._listed(name, holds)
                if was_asked:
                    await self._where.picked_in_words(item, listed)
                return listed
        if len(holds.repositories) > 1:
            raise Several(holds.repositories)
        return holds.repositories[0] if holds.repositories else ""

    def _fits(self, name: str, holds: Held) -> bool:
        within = holds.whose != "channel" or name.lower() in [each.lower() for each in holds.repositories]
        return within and self._places.bounds.repository(name)

    def _listed(self, name: str, holds: Held) -> str:
        """Return a repository's name as the channel's settings have it. Raises `Refused` if these name others alone."""
        if holds.whose != "channel":
            return name
        found = next((each for each in holds.repositories if each.lower() == name.lower()), None)
        if found is None:
            raise Refused(
                f"In this channel I work in {', '.join(holds.repositories)}, and not in {name}. A member of the "
                "channel can add it with `/peerbot settings`."
            )
        return found

    async def _reached(self, conversation: Conversation, user: str, name: str, holds: Held) -> Repository:
        """Find a repository that people want. Raises `Refused` if they may not have it."""
        if problem := await self._places.problem(name, conversation.team, user):
            raise Refused(f"{problem} It is set with `/peerbot settings`." if name in holds.repositories else problem)
        repository = await self._github.repository(name)
        if repository is None:
            raise Refused(f"{name} does not exist any more.")
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
