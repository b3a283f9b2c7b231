"""Repositories as GitHub describes them, kept for a few minutes: every card and every git request needs one."""

import time
from datetime import datetime
from urllib.parse import quote

from peerbot.errors import PeerBotError, Refused
from peerbot.github.client import GitHub, Repository
from peerbot.logs import logger

log = logger(__name__)

KEPT_SECONDS = 300.0


class Repositories:
    """A cache over `GitHub.repository`. It never remembers that a repository is missing."""

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self._kept: dict[str, tuple[float, Repository]] = {}

    async def find(self, full_name: str, *, written_at: datetime | None = None) -> Repository | None:
        """Find `owner/name`; None if there is none. `written_at` and what is raised are as in `GitHub.repository`."""
        until, repository = self._kept.get(full_name, (0.0, None))
        if repository and time.monotonic() < until:
            return repository
        found = await self._github.repository(full_name, written_at=written_at)
        now = time.monotonic()
        self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > now}
        if found:
            self._kept[full_name] = (now + KEPT_SECONDS, found)
        return found

    async def clone_url(self, full_name: str, *, written_at: datetime | None = None) -> str:
        """Find the address that git clones `owner/name` from. Raises as `find` does, and `Refused` if it is gone."""
        repository = await self.find(full_name, written_at=written_at)
        if repository is None:
            raise Refused(
                f"the repository {full_name} no longer exists, or PeerBot's GitHub token may not see it. Your PeerBot "
                "operator can restore it or give the token access. A new thread begins with a repository that exists."
            )
        return repository.clone_url

    def forget(self, full_name: str, *, asked_at: float) -> bool:
        """Forget `owner/name`: a request at `asked_at` (monotonic) proved it wrong. True if memory had it then."""
        until, _ = self._kept.pop(full_name, (0.0, None))
        return until - KEPT_SECONDS < asked_at

    async def known(self, full_name: str | None) -> Repository | None:
        """Find a repository for links; None, and no error, if GitHub does not answer."""
        try:
            return await self.find(full_name) if full_name else None
        except PeerBotError as error:
            log.warning("no_links", reason=str(error))
            return None


def branch_url(repository: Repository | None, branch: str | None) -> str:
    """Make the address of a branch's page; empty if the repository or the branch is unknown."""
    return f"{repository.html_url}/tree/{quote(branch)}" if repository and branch else ""
