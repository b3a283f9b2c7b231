"""Keeps a turn's changes: commits and pushes them, or keeps them in the journal if they can't be pushed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from peerbot import logs
from peerbot.conversation.documents import FileChange
from peerbot.conversation.notes import NotPushed
from peerbot.errors import PeerBotError
from peerbot.protocol.documents import PersonInput
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.upstream import Diverged, Upstream
from peerbot.worker.workspace import GitFailed, Workspace

log = logs.logger(__name__)

KEEP_SECONDS = 300.0
"""How long a turn's work may take to be committed, and then to be pushed."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The fate of a turn's changes: the branch's head if it was pushed, the trouble if it was not."""

    commit: str | None
    files: list[FileChange]
    saved: bool = False  # in the journal
    trouble: NotPushed | None = None  # for people
    cause: str = ""  # for the operator


class Keep:
    """Keeps turns' changes. `idle_seconds`: how long the worker, and so its workspace, waits after a turn."""

    def __init__(
        self, workspace: Workspace, upstream: Upstream, gateway: GatewayClient, *, idle_seconds: float
    ) -> None:
        self._workspace = workspace
        self._upstream = upstream
        self._gateway = gateway
        self._idle_seconds = idle_seconds

    async def turn(self, turn: int, inputs: Sequence[PersonInput], start: str) -> Kept:
        """Commit all changes, and push; `files` are those changed since `start`. A failure becomes a note to people.

        Raises `Unavailable` if the gateway's journal stays away, and `Refused` if the run is over.
        """
        people = {item.user: item.name for item in inputs}
        trailers = [f"Co-authored-by: {name} <{user}@slack.invalid>" for user, name in people.items()]
        files: list[FileChange] = []
        try:
            async with _git_time():
                await self._workspace.commit_rest("Work in progress, committed at the end of the turn", trailers)
                files = await self._workspace.changes(start)
            try:
                async with _git_time():
                    return Kept(await self._upstream.push(), files)
            except GitFailed:
                if not await self._gateway.came_back():  # it pushes for nobody while its journal is away
                    raise
            async with _git_time():
                return Kept(await self._upstream.push(), files)
        except GitFailed as error:
            log.warning("push_failed", reason=error.detail, exc_info=error)
            return self._not_pushed(error, files, saved=await self._saved(turn))

    async def _saved(self, turn: int) -> bool:
        """Keep unpushed commits in the journal, so that they outlive this worker; False if that fails too."""
        try:
            bundle = await self._upstream.bundle()
            if bundle:
                await self._gateway.keep_work(turn, bundle)
            return bool(bundle)
        except (PeerBotError, OSError) as error:
            log.warning("work_not_kept", reason=str(error), exc_info=error)
            return False

    def _not_pushed(self, error: GitFailed, files: list[FileChange], *, saved: bool) -> Kept:
        """Say that a turn's changes are not on the branch, and what happens to them."""
        trouble = NotPushed(
            reason=str(error), kept=saved, diverged=isinstance(error, Diverged), waits_seconds=self._idle_seconds
        )
        return Kept(None, files, saved, trouble, detail_of(error))


def detail_of(error: BaseException) -> str:
    """Return the operator's words for a failure."""
    return (error.detail if isinstance(error, GitFailed) else "") or str(error)


@contextlib.asynccontextmanager
async def _git_time() -> AsyncIterator[None]:
    """Give the block `KEEP_SECONDS`; raises `GitFailed` when they are over."""
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            yield
    except TimeoutError as error:
        raise GitFailed(f"git took longer than {KEEP_SECONDS:.0f} seconds.") from error
