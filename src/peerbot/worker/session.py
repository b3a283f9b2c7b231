"""Claude Code's transcript, mirrored into the journal through the gateway while it is written.

Implements the SDK's `SessionStore` (`claude_agent_sdk.types.SessionStore` has the contract; Anthropic's own
conformance suite runs on this). The SDK derives a session's key from the working directory. Ours is the same in every
sandbox and pod; without a sandbox it differs from run to run, so it is mapped to one name.
"""

from pathlib import Path
from typing import cast

from claude_agent_sdk import (
    SessionKey,
    SessionListSubkeysKey,
    SessionStoreEntry,
    project_key_for_directory,
)

from peerbot.protocol.documents import SessionPart
from peerbot.protocol.sessions import WORKSPACE, merge, pack, unpack
from peerbot.worker.gateway import GatewayClient


class GatewaySessions:
    """The session store of one run. `turn` is the turn whose parts are kept now; set it when a turn begins."""

    def __init__(self, gateway: GatewayClient, workspace: Path) -> None:
        self.turn = 0
        self._gateway = gateway
        self._own_key = project_key_for_directory(workspace)
        self._parts = 0
        self._kept: list[SessionPart] = []
        self._fetched = False  # whether `_kept` is what the gateway has

    def begin(self, turn: int) -> None:
        """Keep what comes from now on as parts of `turn`."""
        self.turn = turn
        self._parts = 0
        self._fetched = False

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Mirror a batch, in call order; entries with a uuid may come twice."""
        if not entries:
            return
        project, session_id, subpath = self._named(key)
        part = SessionPart(
            project=project, session_id=session_id, subpath=subpath, entries=[dict(entry) for entry in entries]
        )
        self._parts += 1
        self._fetched = False
        await self._gateway.keep_part(self.turn, self._parts, part)
        self._kept.append(part)

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """Read a transcript: what the turns before left and this turn's parts; None where there is none."""
        wanted = self._named(key)
        for part in await self._all():
            if (part.project, part.session_id, part.subpath) == wanted:
                return cast(list[SessionStoreEntry], part.entries)
        return None

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """Name the transcripts of a session's subagents."""
        project, session_id, _ = self._named(cast(SessionKey, key))
        return [
            part.subpath
            for part in await self._all()
            if (part.project, part.session_id) == (project, session_id) and part.subpath
        ]

    async def keep(self) -> None:
        """Keep everything as the turn's compressed whole: the next turn resumes from that alone."""
        await self._gateway.keep_session(self.turn, pack(merge(self._kept)))

    async def _all(self) -> list[SessionPart]:
        # Resuming asks for every subagent's transcript, one after the other; all come in one answer.
        if not self._fetched:
            self._kept = unpack(await self._gateway.session(self.turn)).transcripts
            self._fetched = True
        return self._kept

    def _named(self, key: SessionKey) -> tuple[str, str, str]:
        project = WORKSPACE if key["project_key"] == self._own_key else key["project_key"]
        return project, key["session_id"], key.get("subpath") or ""
