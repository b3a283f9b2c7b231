"""Chooses the repository for a conversation's work, once, and writes the choice down."""

from peerbot.conversation.documents import Input, Started
from peerbot.conversation.keys import Conversation
from peerbot.conversation.names import repository_name
from peerbot.errors import Refused
from peerbot.github.client import GitHub, Repository
from peerbot.journal import choices
from peerbot.journal.journal import Journal
from peerbot.slack.people import People


class Beginning:
    """Finds or makes a conversation's repository. Idempotent: the first `conversation.json` counts."""

    def __init__(self, *, journal: Journal, github: GitHub, people: People, organization: str) -> None:
        self._journal = journal
        self._github = github
        self._people = people
        self._organization = organization

    async def of(self, conversation: Conversation, first: Input) -> Started:
        """Read where the conversation's work goes, or choose a place for the author of `first`.

        Raises `Refused` if GitHub refuses, `Unavailable` if it does not answer.
        """
        if there := await self._journal.conversation(conversation):
            return there.model_copy(update={"branch": await self._journal.branch(conversation, there.branch)})
        repository = await self._chosen(conversation) or await self._own(conversation.team, first.user)
        return await self._journal.begin(
            conversation,
            Started(
                began_by=first.user,
                repository=repository.full_name,
                default_branch=repository.default_branch,
                branch=conversation.branch,
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

    async def _own(self, team: str, user: str) -> Repository:
        """Find or make the author's own repository. Its name stays theirs, whatever display names others take."""
        person = await self._people.person(user, team)
        handle = person.name if person else user
        owner = await self._github.owner(self._organization)
        name = repository_name(handle, user)
        if await choices.claim_repository(self._journal, owner.login, name, f"{team}/{user}") != f"{team}/{user}":
            name = repository_name(handle, user, disambiguate=True)
            if await choices.claim_repository(self._journal, owner.login, name, f"{team}/{user}") != f"{team}/{user}":
                raise Refused(f"The repository name {name} belongs to somebody else.")
        return await self._github.ensure_repository(owner, name, description="Work of PeerBot")
