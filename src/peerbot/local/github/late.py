"""Shows readers of the API each write a while late, as GitHub's replicas do (`Faults.late_seconds`).

It keeps what a repository was like before each write. A reader gets the oldest of these states whose write is younger
than that.
"""

import time
from collections import defaultdict
from dataclasses import dataclass

from peerbot.local.github import pulls
from peerbot.local.github.faults import Faults
from peerbot.local.github.state import RepositoryRecord, State


@dataclass(frozen=True, slots=True)
class _Before:
    """A repository before a write that began at `began_at` (monotonic): None if it was not there."""

    record: RepositoryRecord | None
    refs: dict[str, str]
    began_at: float


class Late:
    """What readers see of the repositories of `state`. If the switch is off, that is their present state."""

    def __init__(self, state: State, faults: Faults) -> None:
        self._state = state
        self._faults = faults
        self._before: defaultdict[str, list[_Before]] = defaultdict(list)

    async def write(self, full_name: str) -> None:
        """Hide a write that begins now. The caller does not hold the repository's lock yet."""
        if self._faults.late_seconds:
            before = _Before(await self._record(full_name), await self._refs(full_name), time.monotonic())
            self._before[full_name.lower()].append(before)

    async def record(self, full_name: str) -> RepositoryRecord | None:
        """Read a repository's document, with its pull requests; None if readers see no such repository."""
        before = self._oldest(full_name)
        return before.record if before else await self._record(full_name)

    async def refs(self, full_name: str) -> dict[str, str]:
        """Read a repository's refs, by their full names."""
        before = self._oldest(full_name)
        return before.refs if before else await self._refs(full_name)

    async def heads(self, full_name: str) -> dict[str, str]:
        """Read a repository's branches."""
        prefix = "refs/heads/"
        refs = await self.refs(full_name)
        return {ref.removeprefix(prefix): sha for ref, sha in refs.items() if ref.startswith(prefix)}

    def _oldest(self, full_name: str) -> _Before | None:
        key, since = full_name.lower(), time.monotonic() - self._faults.late_seconds
        kept = [before for before in self._before[key] if before.began_at > since]
        self._before[key] = kept
        return kept[0] if kept and self._faults.late_seconds else None

    async def _record(self, full_name: str) -> RepositoryRecord | None:
        if self._state.find(full_name) is None:
            return None
        async with self._state.lock(full_name):
            return await pulls.refreshed(self._state, full_name)

    async def _refs(self, full_name: str) -> dict[str, str]:
        return await self._state.refs(full_name) if self._state.find(full_name) else {}
