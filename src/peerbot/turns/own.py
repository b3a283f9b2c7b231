"""Finds or makes a person's own repository, and never takes another's for it (decision 0020).

A repository is theirs if the journal has GitHub's number of it, or if its description has the mark that we gave it
when we made it. The mark is for the moment in between: it comes from the journal, and nobody can guess it.
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta

from peerbot.conversation.documents import RepositoryName, RepositorySettled, now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.names import repository_name
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.github.client import GitHub, Owner, Repository
from peerbot.journal import choices
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.people import People

log = logger(__name__)

MOST_NAMES = 9
_DESCRIPTION = "Work of PeerBot"
_SHOWN_WITHIN = timedelta(minutes=10)  # a new repository, even by a GitHub that has trouble


@dataclass(frozen=True, slots=True)
class Own:
    """A person's own repository. `instead_of` is another's that has the better name, if this was found out just now."""

    repository: Repository
    instead_of: str = ""


class OwnRepositories:
    """Finds or makes people's own repositories, in `organization`. Two replicas at once come to the same one."""

    def __init__(self, *, journal: Journal, github: GitHub, people: People, organization: str) -> None:
        self._journal = journal
        self._github = github
        self._people = people
        self._organization = organization

    async def of(self, conversation: Conversation, user: str) -> Own:
        """Find or make the repository of `user` for `conversation`, which begins.

        Its name stays theirs, whatever display names others take. Raises `Refused` and `Unavailable` as GitHub does.
        """
        person = await self._people.person(user, conversation.team)
        handle = person.name if person else user
        owner = await self._github.owner(self._organization)
        instead_of = ""
        for number in range(1, MOST_NAMES + 1):
            name = repository_name(handle, user, number)
            claim = await choices.claim_repository(self._journal, owner.login, name, f"{conversation.team}/{user}")
            if claim.user != f"{conversation.team}/{user}":
                continue
            place = _Place(conversation, user, owner, name, claim)
            repository, settled = await self._found(place)
            if repository:
                return Own(repository, instead_of)
            if settled.conversation == str(conversation):
                instead_of = instead_of or place.full_name
        raise Refused(f"Repositories that are not yours have all the names that yours could have, such as {name}.")

    async def _found(self, place: "_Place") -> tuple[Repository | None, RepositorySettled]:
        """Find or make the repository of a name that is the person's; None if another's has it, settled for ever."""
        login, name = place.owner.login, place.name
        before = await choices.settled(self._journal, login, name)
        if before and before.id is None:
            return None, before
        number = before.i + 1 if before else 1
        mark = place.mark(number)

        async def settle(identity: int | None) -> RepositorySettled:
            wanted = RepositorySettled(i=number, id=identity, conversation=str(place.thread))
            settled = await choices.settle(self._journal, login, name, wanted)
            log.info("repository_settled", repository=place.full_name, own=settled.id is not None)
            return settled

        async def made(identity: int) -> None:
            await settle(identity)

        description = f"{_DESCRIPTION} ({mark})"
        found = await self._github.ensure_repository(place.owner, name, description=description, made=made)
        if found is None and (before or await self._was_used(place, place.full_name)):
            raise _hidden(place, before)
        ours = found is not None and await self._is_ours(place, found, before, mark)
        if found and ours and before and found.id == before.id:
            return found, before
        settled = await settle(found.id if found and ours else None)
        if settled.id is None:
            return None, settled
        if found is None or found.id != settled.id:  # another replica has just made it
            raise _hidden(place, settled)
        return found, settled

    async def _is_ours(self, place: "_Place", found: Repository, before: RepositorySettled | None, mark: str) -> bool:
        """Whether we made this repository for the person, or release 0.1.0 used it for them."""
        if found.full_name.partition("/")[0].lower() != place.owner.login.lower():
            return False  # it was given to another owner
        if mark in found.description or (before and found.id == before.id):
            return True
        if before or not await self._was_used(place, place.full_name, found.full_name):
            return False
        if found.description != _DESCRIPTION:
            log.warning("repository_used_without_proof", repository=found.full_name, user=place.user)
        return True

    async def _was_used(self, place: "_Place", *names: str) -> bool:
        """Whether release 0.1.0 used a repository of this name for the person. It claimed a name, used or not."""
        if place.claim.marks:
            return False
        lower = {name.lower() for name in names}
        return await choices.has_begun_in(self._journal, place.thread, place.user, lower)


def _hidden(place: "_Place", settled: RepositorySettled | None) -> PeerBotError:
    """Make the error for a person's own repository that GitHub says is there, and does not show."""
    if settled and now() - settled.settled_at < _SHOWN_WITHIN:
        return Unavailable(f"GitHub does not show the new repository {place.full_name} yet. Try again in a moment.")
    return Refused(
        f"GitHub says that the repository {place.full_name} exists, but does not show it to PeerBot's token. Give the "
        "token access to it."
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A name that belongs to the person, and the conversation that looks for the repository."""

    thread: Conversation
    user: str
    owner: Owner
    name: str
    claim: RepositoryName

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"

    def mark(self, number: int) -> str:
        """Make the mark of the repository that is made under this name as the `number`th."""
        secret = f"{self.claim.nonce}/{self.full_name.lower()}/{number}".encode()
        return base64.b32encode(hashlib.sha256(secret).digest()[:10]).decode().lower()
