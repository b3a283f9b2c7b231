"""Reads one conversation from the journal's objects. Each look reads them again, and trusts no memory.

It reads the markers before the rest, so that an input without a marker really had none when it was seen.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from peerbot.conversation import keys
from peerbot.conversation.documents import (
    Branch,
    Card,
    Chosen,
    Document,
    Feedback,
    Input,
    Marker,
    Posted,
    RepostClaim,
    Run,
    RunClosed,
    RunStarted,
    Settled,
    Started,
    Turn,
    WentBack,
)
from peerbot.conversation.keys import Conversation
from peerbot.conversation.removed import Removed
from peerbot.journal import paths
from peerbot.journal.storage import Storage
from peerbot.logs import logger
from peerbot.protocol.sessions import check_packed

log = logger(__name__)

_D = TypeVar("_D", bound=Document)

_READS_AT_ONCE = 32
_SESSIONS_AT_ONCE = 2  # a transcript may be 44 MiB
_RUN_KINDS: dict[str, type[Document]] = {"json": Run, "started": RunStarted, "closed": RunClosed}
_OF_CHOICES: dict[str, type[Document]] = {"chosen": Chosen, "back": WentBack, "feedback": Feedback}
_TURN_KINDS: dict[str, type[Document]] = {
    "json": Turn,
    "card": Card,
    "posted": Posted,
    "repost": RepostClaim,
    "removed": Removed,
}


@dataclass(slots=True)
class Seen:
    """A conversation's objects. A document that can't be read is None, and its key is in `damaged` or `newer`."""

    conversation: Conversation
    inputs: dict[str, Input | None] = field(default_factory=dict)
    markers: dict[str, Marker | None] = field(default_factory=dict)
    runs: dict[int, dict[str, Document | None]] = field(default_factory=dict)  # by number and kind
    turns: dict[int, dict[str, Document | None]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)  # keys
    newer: list[str] = field(default_factory=list)  # keys of documents that a newer release wrote
    settled: set[str] = field(default_factory=set)  # inputs that had no effect, and whose authors know
    session_missing: str | None = None  # the key of the session that the next turn would resume
    removed: int = 0  # the turns up to this one were removed
    fence: tuple[int, Removed] | None = None  # the document that says so, if it can be read, with its number

    def turn(self, k: int) -> Turn | None:
        """Turn `k`, if it is written and can be read."""
        found = self.turns.get(k, {}).get("json")
        return found if isinstance(found, Turn) else None

    def posted(self, k: int) -> Posted | None:
        """The receipt of turn `k`, if it can be read."""
        found = self.turns.get(k, {}).get("posted")
        return found if isinstance(found, Posted) else None

    @property
    def answered(self) -> Mapping[str, list[int]]:
        """The turns that answer each input, by input."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for k in sorted(self.turns):
            if turn := self.turn(k):
                for identity in dict.fromkeys(turn.inputs):
                    found[identity].append(k)
        return found

    @property
    def removed_run(self) -> int:
        """The newest run at the time of the removal: those before it were removed."""
        return self.fence[1].run if self.fence else 0

    def forget_removed(self) -> None:
        """Overlook what is left of turns, runs and inputs that were removed: a prune may be at work, or died."""
        self.removed = max((k for k, there in self.turns.items() if paths.REMOVED in there), default=0)
        removed = self.turns.get(self.removed, {}).get(paths.REMOVED)
        self.turns = {k: there for k, there in self.turns.items() if k > self.removed}
        if not isinstance(removed, Removed):
            return
        self.fence = self.removed, removed
        self.runs = {n: there for n, there in self.runs.items() if n >= removed.run}
        stays, until = {*self.answered, *self.markers}, keys.in_order(f"{removed.until}-~")
        self.inputs = {i: found for i, found in self.inputs.items() if i in stays or keys.in_order(i) > until}


class Journal:
    """Reads the journal's objects on `storage`, without memory. Raises as the store does: `Unavailable`, `Refused`.

    `sessions`: also read the transcript that each next turn would resume.
    """

    def __init__(self, storage: Storage, *, sessions: bool = True) -> None:
        self._storage = storage
        self._sessions = sessions
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        self._unpacking = asyncio.Semaphore(_SESSIONS_AT_ONCE)

    async def conversations(self) -> AsyncIterator[tuple[Conversation, list[str]]]:
        """Yield every conversation with its keys, one at a time, while the keys are listed page by page."""
        current: Conversation | None = None
        keys: list[str] = []
        async for key in self._storage.list(paths.CONVERSATIONS):
            try:
                conversation, rest = paths.parse_conversation(key)
            except ValueError:
                log.warning("not_a_conversation", key=key)
                continue
            if conversation != current:
                if current:
                    yield current, keys
                current, keys = conversation, []
            if not paths.parse_session_part(f"/{rest}"):  # there may be thousands, and no finding is about them
                keys.append(key)
        if current:
            yield current, keys

    async def markers(self) -> dict[Conversation, list[str]]:
        """List all markers, by conversation: one for each waiting input."""
        found: defaultdict[Conversation, list[str]] = defaultdict(list)
        async for key in self._storage.list(paths.PENDING):
            try:
                conversation, identity = paths.parse_marker(key)
            except ValueError:
                log.warning("not_a_marker", key=key)
                continue
            found[conversation].append(identity)
        return found

    async def read_again(self, conversation: Conversation) -> Seen:
        """List and read a conversation."""
        markers = [key async for key in self._storage.list(paths.pending(conversation))]
        keys = [key async for key in self._storage.list(paths.folder(conversation))]
        return await self.read(conversation, [paths.parse_marker(key)[1] for key in markers], keys)

    async def read(self, conversation: Conversation, markers: Iterable[str], keys: Iterable[str]) -> Seen:
        """Read a conversation whose markers and keys were listed."""
        seen = Seen(conversation)
        reads = [self._marker(seen, identity) for identity in markers]
        reads += [self._document(seen, key) for key in keys]
        await asyncio.gather(*reads)
        seen.forget_removed()
        if self._sessions:
            await self._session(seen)
        return seen

    async def _marker(self, seen: Seen, identity: str) -> None:
        there, marker = await self._read(seen, paths.marker(seen.conversation, identity), Marker)
        if there:
            seen.markers[identity] = marker

    async def _document(self, seen: Seen, key: str) -> None:
        folder, _, name = paths.parse_conversation(key)[1].rpartition("/")
        if folder == "" and name in (paths.CONVERSATION_DOCUMENT, paths.PLACE):
            await self._read(seen, key, Started)
        elif folder == "branches":
            await self._read(seen, key, Branch)
        elif folder == "inputs":
            if identity := input_named(key):
                there, found = await self._read(seen, key, Input)
                if there:
                    seen.inputs[identity] = found
        elif folder == "settled":
            identity = name.removesuffix(".json")
            if (await self._read(seen, key, Settled))[0]:
                seen.settled.add(identity)
        elif kind := _OF_CHOICES.get(folder.partition("/")[0]):
            await self._read(seen, key, kind)
        elif folder in ("runs", "turns"):
            kinds, into = (_RUN_KINDS, seen.runs) if folder == "runs" else (_TURN_KINDS, seen.turns)
            if numbered := paths.parse_numbered(key):
                await self._numbered(seen, key, numbered, kinds, into)

    async def _numbered(
        self,
        seen: Seen,
        key: str,
        numbered: tuple[int, str],
        kinds: Mapping[str, type[Document]],
        into: dict[int, dict[str, Document | None]],
    ) -> None:
        number, name = numbered
        if kind := kinds.get(name.partition("-")[0]):  # we can't judge kinds that a newer release adds
            there, found = await self._read(seen, key, kind)
            if there:
                into.setdefault(number, {})[name] = found

    async def _session(self, seen: Seen) -> None:
        """Read the session that the next turn would resume: that of the newest turn that has one."""
        turns = (seen.turn(k) for k in sorted(seen.turns, reverse=True))
        ref = next((turn.session for turn in turns if turn and turn.session), None)
        if ref is None:
            return
        key = paths.session_whole(seen.conversation, ref.turn, ref.run)
        async with self._unpacking:
            data = await self._storage.get(key)
            if data is None:
                seen.session_missing = key
                return
            try:
                await asyncio.to_thread(check_packed, data)  # no more: the agent may have written anything
            except ValueError:
                seen.damaged.append(key)

    async def _read(self, seen: Seen, key: str, kind: type[_D]) -> tuple[bool, _D | None]:
        """Read an object; returns whether it is there, and its document if that can be read."""
        async with self._reading:
            data = await self._storage.get(key)
        if data is None:
            return False, None
        try:
            return True, kind.model_validate_json(data)
        except ValidationError as error:
            newer = any(problem["loc"] == ("schema",) for problem in error.errors(include_input=False))
            (seen.newer if newer else seen.damaged).append(key)
            return True, None


def input_named(key: str) -> str | None:
    """Read an input's name from its document's key; None for files that this release does not know."""
    conversation, rest = paths.parse_conversation(key)
    identity = rest.removeprefix("inputs/").removesuffix(".json")
    try:
        return identity if paths.input_document(conversation, identity) == key else None
    except ValueError:
        return None
