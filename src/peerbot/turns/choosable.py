"""Whether people may choose a repository: the operator allows it, the token reaches it, and it is nobody else's own.

A pattern such as `owner/*` covers the repositories that PeerBot made for people, too. These are for their people alone
(decision 0020). GitHub leads from an old name to a new one, so what counts is the name that GitHub says.
"""

from dataclasses import dataclass

from peerbot.conversation.held import REPOSITORY, Bounds
from peerbot.github.client import GitHub, Repository
from peerbot.journal import choices
from peerbot.journal.journal import Journal


@dataclass(frozen=True, slots=True)
class Choosable:
    """Looks at repositories for people who want to choose one."""

    journal: Journal
    github: GitHub
    bounds: Bounds

    async def problem(self, name: str, team: str, user: str) -> str:
        """Say in a sentence why `user` may not choose `name`; empty if they may. Raises what GitHub raises.

        `user` is empty for a channel: nobody's own repository is for all of its members.
        """
        if not REPOSITORY.fullmatch(name):
            return f"“{name[:80]}” is not the name of a repository: write owner/name."
        if not self.bounds.repository(name):
            return self._not_allowed(name)
        repository = await self.github.repository(name)
        if repository is None:
            return f"{name} does not exist, or PeerBot's GitHub token may not see it. Ask your PeerBot operator."
        return await self.refusal(repository, team, user)

    async def no_base(self, name: str, base: str) -> str:
        """Say in a sentence why work in `name` can't begin at branch `base`; empty if it can."""
        if await self.github.branch_head(name, base) is None:
            return f"{name} has no branch {base[:80]}."
        return ""

    async def refusal(self, repository: Repository, team: str, user: str) -> str:
        """Say in a sentence why `user` may not choose a repository that is there; empty if they may."""
        name = repository.full_name
        if not self.bounds.repository(name):
            return self._not_allowed(name)
        owner = await choices.owner_of(self.journal, *name.split("/", 1))
        if owner and owner != f"{team}/{user}":
            return f"{name} is a person's own repository: only they work there."
        return ""

    def _not_allowed(self, name: str) -> str:
        if not self.bounds.repositories:
            return "Your PeerBot operator does not let people choose repositories (PEERBOT_REPOSITORIES)."
        return (
            f"Your PeerBot operator does not allow {name} (PEERBOT_REPOSITORIES). Allowed: "
            f"{', '.join(self.bounds.repositories[:10])}."
        )
