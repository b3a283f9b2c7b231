"""Claude Code's transcript, mirrored into the journal through the gateway while it is written.

Implements the SDK's `SessionStore` (`claude_agent_sdk.types.SessionStore` has the contract; Anthropic's own
conformance suite runs on this). The SDK derives a session's key from the working directory. Ours is the same in every
sandbox and pod; without a sandbox it differs from run to run, so it is mapped to one name.
"""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from claude_agent_sdk import (
    SessionKey,
    SessionListSubkeysKey,
    SessionStoreEntry,
    project_key_for_directory,
)

from peerbot.conversation.notes import SessionLoss
from peerbot.errors import Refused, Unavailable
from peerbot.logs import logger
from peerbot.protocol.documents import SessionPart, SessionWhole
from peerbot.protocol.sessions import (
    LARGEST_BYTES,
    LARGEST_PACKED_BYTES,
    LONGEST_TO_GO_ON_BYTES,
    WORKSPACE,
    heard_in,
    merge,
    pack,
    unpack,
)
from peerbot.worker.gateway import GatewayClient

log = logger(__name__)


class SessionLost(Exception):
    """The agent's session can't be taken up again."""

    def __init__(self, why: SessionLoss) -> None:
        super().__init__(why.value)
        self.why = why


class SessionTooLong(Exception):
    """The transcript has become too large to be kept."""


class GatewaySessions:
    """The session store of one run. `turn` is the turn whose parts are kept now; `begin` sets it."""

    def __init__(self, gateway: GatewayClient, workspace: Path) -> None:
        self.turn = 0
        self._gateway = gateway
        self._own_key = project_key_for_directory(workspace)
        self._parts = 0
        self._unsent: deque[tuple[int, SessionPart]] = deque()  # with their numbers, oldest first
        self._kept: list[SessionPart] = []
        self._fetched = False  # whether `_kept` has everything that the gateway has

    def begin(self, turn: int) -> None:
        """Keep entries that come from now on as parts of `turn`."""
        self.turn = turn
        self._parts = 0
        self._unsent.clear()  # the turn before was kept whole
        self._fetched = False

    def begin_new(self) -> None:
        """Forget the earlier session: it can't be resumed, and is no longer kept."""
        self._kept = []
        self._fetched = True

    @property
    def heard(self) -> str | None:
        """The id of the session in which the agent was spoken to last; None if there is none."""
        return heard_in(self._kept)

    async def check(self, session_id: str) -> None:
        """Make sure that a session is there before it is resumed; raises `SessionLost`."""
        try:
            parts = await self._all()
        except ValueError as error:
            log.error("session_unreadable", reason=str(error))
            raise SessionLost(SessionLoss.DAMAGED) from error
        if heard_in(part for part in parts if part.session_id == session_id) is None:
            log.error("session_unreadable", reason="it is not there")
            raise SessionLost(SessionLoss.GONE)
        size = _bytes([part for part in parts if part.session_id == session_id])
        if size > LONGEST_TO_GO_ON_BYTES:
            log.warning("session_too_long", bytes=size)
            raise SessionLost(SessionLoss.TOO_LONG_TO_GO_ON)

    async def waits(self, session_id: str, call: str) -> bool:
        """Whether a session ends with a call of a tool that has no result yet."""
        parts = [part for part in await self._all() if part.session_id == session_id and not part.subpath]
        contents = [_content(entry) for part in parts for entry in part.entries]
        called = any(block.get("id") == call for blocks in contents for block in blocks)
        return called and not any(block.get("tool_use_id") == call for blocks in contents for block in blocks)

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Mirror a batch, in call order; entries with a uuid may come twice.

        If the gateway does not take it now, it goes out with the next batch, or with the whole.
        """
        if not entries:
            return
        project, session_id, subpath = self._named(key)
        part = SessionPart(
            project=project, session_id=session_id, subpath=subpath, entries=[dict(entry) for entry in entries]
        )
        self._parts += 1
        self._kept.append(part)
        patiently = not self._unsent  # the agent's next step may wait for this: don't wait long again and again
        self._unsent.append((self._parts, part))
        while self._unsent:
            number, part = self._unsent[0]
            try:
                await self._gateway.keep_part(self.turn, number, part, patiently=patiently)
            except Unavailable as error:
                log.warning("session_part_waits", parts=len(self._unsent), reason=str(error))
                return
            except Refused as error:  # too large, or the run is over; the end of the turn will tell
                log.warning("session_part_lost", reason=str(error))
            self._unsent.popleft()

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """Read a transcript: earlier turns' parts and this turn's; None if there is none."""
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
        """Keep everything as the turn's compressed whole: the next turn resumes from that alone.

        Raises `SessionTooLong` if it can't be kept.
        """
        ours = self.heard  # a session that could not be resumed is no longer kept
        whole = merge(part for part in self._kept if ours in (None, part.session_id))
        size = _bytes(whole.transcripts)
        packed = pack(whole) if size <= LARGEST_BYTES else b""
        if not packed or len(packed) > LARGEST_PACKED_BYTES:
            log.warning("session_too_long", bytes=size, packed=len(packed))
            raise SessionTooLong
        await self._gateway.keep_session(self.turn, packed)

    async def _all(self) -> list[SessionPart]:
        # Resuming asks for every subagent's transcript, one after the other; all come in one answer.
        if not self._fetched:
            fetched = unpack(await self._gateway.session(self.turn)).transcripts
            self._kept = merge([*fetched, *(part for _, part in self._unsent)]).transcripts
            self._fetched = True
        return merge(self._kept).transcripts

    def _named(self, key: SessionKey) -> tuple[str, str, str]:
        project = WORKSPACE if key["project_key"] == self._own_key else key["project_key"]
        return project, key["session_id"], key.get("subpath") or ""


def _content(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the blocks of an entry's message."""
    message = entry.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    return [block for block in content if isinstance(block, Mapping)] if isinstance(content, list) else []


def _bytes(parts: list[SessionPart]) -> int:
    return len(SessionWhole(transcripts=parts).model_dump_json())
