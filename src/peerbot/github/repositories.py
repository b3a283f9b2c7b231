"""Repositories as GitHub tells them, remembered for a few minutes: every card and every git request needs one."""

import time

from peerbot.errors import PeerBotError, Refused
from peerbot.github.client import GitHub, Repository
from peerbot.logs import logger

log = logger(__name__)

KEPT_SECONDS = 300.0


class Repositories:
    """A cache over `GitHub.repository`; that one is missing is never remembered."""

    def __init__(self, github: GitHub) -> None:
        self._github = github
        self._kept: dict[str, tuple[float, Repository]] = {}

    async def find(self, full_name: str) -> Repository | None:
        """Find `owner/name`, or None where there is none. Raises as `GitHub.repository` does."""
        until, repository = self._kept.get(full_name, (0.0, None))
        if repository and time.monotonic() < until:
            return repository
        found = await self._github.repository(full_name)
        now = time.monotonic()
        self._kept = {name: kept for name, kept in self._kept.items() if kept[0] > now}
        if found:
            self._kept[full_name] = (now + KEPT_SECONDS, found)
        return found

    async def clone_url(self, full_name: str) -> str:
        """Where git finds `owner/name`. Raises as `find`, and `Refused` where it is gone."""
        repository = await self.find(full_name)
        if repository is None:
            raise Refused(
                f"the repository {full_name} is not there any more, or PeerBot's GitHub token may not see it. Whoever "
                "runs PeerBot can restore it or give the token access; a new thread begins where there is one."
            )
        return repository.clone_url

    def forget(self, full_name: str, *, asked_at: float) -> bool:
        """What `owner/name` was asked at `asked_at` (monotonic) proved wrong; True where it came from memory."""
        until, _ = self._kept.pop(full_name, (0.0, None))
        return until - KEPT_SECONDS < asked_at

    async def known(self, full_name: str | None) -> Repository | None:
        """The same for links: none rather than an error where GitHub does not answer."""
        try:
            return await self.find(full_name) if full_name else None
        except PeerBotError as error:
            log.warning("no_links", reason=str(error))
            return None


def branch_url(repository: Repository | None, branch: str | None) -> str:
    """Where people see a branch; empty where either is not known."""
    return f"{repository.html_url}/tree/{branch}" if repository and branch else ""
