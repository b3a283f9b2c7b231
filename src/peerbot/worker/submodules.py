"""Checks out the submodules that PeerBot can reach, and says which ones it can't.

The gateway serves those of the same forge that the repository's default branch names, to read. Their addresses in the
workspace's configuration lead there; `.gitmodules` stays as it is.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.protocol.documents import Submodule
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.git import GitFailed
from peerbot.worker.snapshot import LINK
from peerbot.worker.workspace import Workspace

log = logger(__name__)

ALL_SECONDS = 240.0
"""How long the submodules of a workspace may take. The ones that are left then are named as missing."""
_FILE = ".gitmodules"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A submodule of the checkout: its name and address in `.gitmodules`, its path, and the commit that it is on."""

    name: str
    url: str
    path: str
    commit: str


class Submodules:
    """The submodules in `workspace`."""

    def __init__(self, workspace: Workspace, gateway: GatewayClient) -> None:
        self._workspace = workspace
        self._git = workspace.git
        self._gateway = gateway
        self._named: dict[str, Submodule] | None = None
        self._there: dict[str, str] = {}  # path: the commit that the branch wants

    async def checked_out(self, moved: Mapping[str, str]) -> dict[str, str]:
        """Check out the submodules as the branch wants them; returns those that are missing, and why.

        Leaves those alone that the branch wants as before. `moved`: the ones that the agent had on another commit when
        its work was saved. A submodule that can't be had is no error.
        """
        if self._workspace.fresh:
            self._named, self._there = None, {}
        missing = {}
        until = time.monotonic() + ALL_SECONDS
        for wanted in await self._wanted():
            if self._there.get(wanted.path) == wanted.commit:
                continue
            reason = await self._checked_out(wanted) if time.monotonic() < until else "there was no time left for it"
            if reason:
                missing[wanted.path] = reason
                continue
            self._there[wanted.path] = wanted.commit
            if commit := moved.get(wanted.path):
                await self._move(wanted.path, commit)
        if missing:
            log.info("submodules_missing", paths=list(missing))  # an address may hold a password
        return missing

    async def _wanted(self) -> list[_Wanted]:
        """List the submodules of HEAD that its `.gitmodules` names."""
        try:
            told = await self._git("config", "--blob", f"HEAD:{_FILE}", "-z", "--get-regexp", r"^submodule\..*\.")
        except GitFailed:
            return []  # there is no such file
        values: dict[str, dict[str, str]] = {}
        for line in filter(None, told.split("\0")):
            key, _, value = line.partition("\n")
            name, _, field = key.removeprefix("submodule.").rpartition(".")
            values.setdefault(name, {})[field] = value
        places = {each["path"]: name for name, each in values.items() if "path" in each}
        head = await self._workspace.head()
        there = await self._workspace.snapshots.entries(head, places) if places else {}
        return [
            _Wanted(name, values[name].get("url", ""), path, there[path].oid)
            for path, name in places.items()
            if path in there and there[path].mode == LINK
        ]

    async def _checked_out(self, wanted: _Wanted) -> str:
        """Check out one; returns why that is not possible, or nothing."""
        try:
            named = (await self._known()).get(wanted.name)
        except PeerBotError as error:
            log.warning("submodules_not_listed", reason=str(error))
            return "PeerBot could not find out where it is"
        if named is None or named.url != wanted.url:
            return f"the default branch does not name it with this address: {wanted.url}"
        if named.repository is None:
            return f"it is on another server: {wanted.url}"
        try:
            await self._git("config", f"submodule.{wanted.name}.url", f"{self._gateway.url}/modules/{named.repository}")
            await self._git.patiently(
                "submodule", "--quiet", "update", "--init", "--checkout", "--filter=blob:none", "--", wanted.path
            )
        except GitFailed as error:
            log.info("submodule_not_fetched", path=wanted.path, detail=error.detail)
            return f"it could not be fetched: {error}"
        return ""

    async def _known(self) -> dict[str, Submodule]:
        """The submodules that the default branch names, by name: asked for once."""
        if self._named is None:
            self._named = {each.name: each for each in await self._gateway.submodules()}
        return self._named

    async def _move(self, path: str, commit: str) -> None:
        """Put a submodule on the commit where the agent had it."""
        place = self._workspace.path / path
        own = {"GIT_DIR": str(place / ".git"), "GIT_WORK_TREE": str(place)}
        try:
            await self._git("checkout", "--quiet", "--detach", commit, more=own)
        except GitFailed as error:
            log.warning("submodule_not_moved", path=path, detail=error.detail)
