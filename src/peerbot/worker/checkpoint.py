"""Saves the workspace's state while the agent works, so that a death costs a few seconds of its work (decision 0022).

A checkpoint is a saved state (`saved.py`), which the gateway keeps in the journal. The next run begins with the newest.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from peerbot.conversation.documents import now
from peerbot.conversation.notes import Left
from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.worker import agents_git
from peerbot.worker.agents_git import AgentsGit
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.git import GitFailed
from peerbot.worker.saved import LARGEST_FILE_BYTES, Packed, Packer, State
from peerbot.worker.snapshot import Snapshot
from peerbot.worker.workspace import Workspace

log = logger(__name__)

_SHARE = 10
"""A checkpoint may take at most this part of the time: after one that took a second, the next waits ten."""


@dataclass(frozen=True, slots=True)
class SavedState:
    """A state that the journal has: its number in the turn, and the paths that it lacks."""

    number: int
    left: Mapping[str, Left]


class Checkpoints:
    """Saves the state of `workspace` for one run, at most every `every_seconds`."""

    def __init__(self, workspace: Workspace, gateway: GatewayClient, *, every_seconds: float) -> None:
        self._workspace = workspace
        self._gateway = gateway
        self._every_seconds = every_seconds
        self._packer = Packer(workspace.snapshots)
        self._saved: tuple[State, str] | None = None  # what the newest one holds
        self._part: tuple[int, int] = (0, 0)  # turn, and number of its newest checkpoint
        self.times: list[datetime] = []  # of this turn's checkpoints

    async def begin(self, turn: int) -> Snapshot:
        """Take the workspace as it is now for saved: an earlier state, or the branch, has it. Raises `GitFailed`."""
        state, _, snapshot = await self._look(turn)
        self._part, self._saved, self.times = (turn, 0), (state, snapshot.tree), []
        return snapshot

    async def keep_saving(self, turn: int) -> None:
        """Save changes again and again, until cancelled; failures are only logged."""
        took = 0.0
        while True:
            await asyncio.sleep(max(self._every_seconds, (_SHARE - 1) * took))
            began = time.monotonic()
            try:
                await self.save(turn)
            except (PeerBotError, OSError) as error:
                detail = error.detail if isinstance(error, GitFailed) else ""
                log.warning("checkpoint_failed", reason=str(error), detail=detail)
            took = time.monotonic() - began

    async def save(self, turn: int) -> None:
        """Save the state if it has changed since the last save. Raises `GitFailed`, `OSError`, the gateway's errors."""
        state, seen, snapshot = await self._look(turn)
        if (state, snapshot.tree) != self._saved:
            packed = await self._packed(state, seen, snapshot, None)
            if await self._keep(turn, packed, patiently=False):
                self._saved = state, snapshot.tree

    async def save_all(self, turn: int, *, tip: str | None, places: Mapping[str, str] | None) -> SavedState | None:
        """Save the state at the end of a turn; None if it is too large.

        `tip`: the branch's commit, pushed or not. `places`: the commits to save instead of the agent's git, if that
        has another history. Raises as `save`.
        """
        state, seen, snapshot = await self._look(turn)
        if places is not None:
            refs = {ref: oid for ref, oid in places.items() if ref.startswith("refs/")}
            on = f"refs/heads/{self._workspace.branch}"
            plain = {"on": on, "head": tip, "refs": refs, "operation": "", "unmerged": ""}
            state, seen = state.model_copy(update=plain), None
        packed = await self._packed(state, seen, snapshot, tip)
        number = await self._keep(turn, packed, patiently=True)
        return SavedState(number, packed.state.left) if number else None

    async def _packed(self, state: State, seen: AgentsGit | None, snapshot: Snapshot, tip: str | None) -> Packed:
        return await self._packer.packed(state, seen, snapshot, there=self._workspace.known_commits(), tip=tip)

    async def _keep(self, turn: int, packed: Packed, *, patiently: bool) -> int | None:
        if packed.data is None:
            return None
        number = self._part[1] + 1 if self._part[0] == turn else 1
        self._part = (turn, number)  # also if we don't hear that it is kept: another state must not have its number
        await self._gateway.keep_work(turn, number, packed.data, patiently=patiently)
        self.times.append(now())
        log.info("checkpoint_saved", part=number, bytes=len(packed.data), left_out=len(packed.state.left))
        return number

    async def _look(self, turn: int) -> tuple[State, AgentsGit | None, Snapshot]:
        workspace = self._workspace
        seen = await asyncio.to_thread(agents_git.look, workspace.path)
        head = seen.head if seen else workspace.last
        snapshot = await workspace.snapshots.take(head, largest_bytes=LARGEST_FILE_BYTES)
        state = await self._packer.state(
            turn, seen, snapshot, branch=workspace.branch, base=workspace.pushed, known=workspace.known
        )
        left = {**state.left, **await workspace.snapshots.special()}
        return state.model_copy(update={"left": left}), seen, snapshot
