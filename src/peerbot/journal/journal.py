"""The journal as typed documents: the inputs, the runs that worked on them, and the answers (decisions 0001 to 0003).

Every write is a create: it returns whether the document there is *ours* now, and the same write again returns the
same, so every caller may repeat itself. Nothing is ever overwritten, so the journal keeps in memory what it has read.
It never keeps that something is missing.

Every method raises `Unavailable` (no answer in time; ask again), `Refused` (the store forbids it), `Unreadable` (a
document is damaged, or of a newer release), and `ValueError` for an invalid name.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from peerbot.conversation.documents import (
    Branch,
    Card,
    Document,
    Input,
    Marker,
    Posted,
    RepostClaim,
    Run,
    RunClosed,
    RunStarted,
    Started,
    Told,
    Turn,
)
from peerbot.conversation.keys import Conversation
from peerbot.errors import Unavailable, Unreadable
from peerbot.journal import paths
from peerbot.journal.counted import count
from peerbot.journal.granted import GrantedStorage
from peerbot.journal.recent import Recent
from peerbot.journal.storage import Storage
from peerbot.journal.turn_list import TurnFiles, TurnList
from peerbot.logs import logger

log = logger(__name__)

_D = TypeVar("_D", bound=Document)
_T = TypeVar("_T")

_KNOWN_CONVERSATIONS = 50_000  # about 15 MB when full
_KEPT_DOCUMENTS = 2_000  # a few KB each
_READS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All that the journal holds of one run."""

    n: int
    run: Run
    started: RunStarted | None
    closed: RunClosed | None


class Journal:
    """Conversations on a `Storage`. Closes the storage with itself."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._documents: Recent[str, Document] = Recent(_KEPT_DOCUMENTS)
        self._known: Recent[Conversation, bool] = Recent(_KNOWN_CONVERSATIONS)
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        self.large = asyncio.Semaphore(1)  # held while an object that a worker wrote is in memory: it may be large

    # Recording

    async def mark(self, input: Input) -> None:
        """Make sure that the marker exists that says: `input` is not answered yet."""
        await self._storage.put_if_absent(paths.marker(input.conversation, input.id), _bytes(Marker()), new=True)

    async def record(self, input: Input, *, new: bool = False) -> bool:
        """Record `input`; False if it was there already (Slack delivered it again, or to another replica too).

        `new`: nobody recorded this document before. If one is there, it is another's, and need not be read to know it.
        """
        ours = await self.create(paths.input_document(input.conversation, input.id), input, new=new)
        self._known.put(input.conversation, True)
        return ours

    async def knows(self, conversation: Conversation) -> bool:
        """Whether anything was ever recorded in `conversation`, even if that was removed."""
        if self._known.get(conversation):
            return True
        async for _ in self._storage.list(paths.folder(conversation)):
            self._known.put(conversation, True)
            return True
        return False

    async def first_input(self, conversation: Conversation) -> str | None:
        """Find the first input of `conversation`; None if it has none."""
        async for key in self._storage.list(paths.inputs(conversation)):  # ascending, as Slack's timestamps are
            with suppress(ValueError):  # a file that is not ours
                return paths.parse_input(key)
        return None

    async def marked_at(self, conversation: Conversation, input_id: str) -> datetime | None:
        """Read when an input was marked. Never from memory, since a marker may go and come again."""
        key = paths.marker(conversation, input_id)
        data = await self.get(key)
        return _parse(key, data, Marker).recorded_at if data is not None else None

    async def pending(self) -> dict[Conversation, list[str]]:
        """Find every input that is not answered, by conversation, each in the order in which they happened."""
        found: defaultdict[Conversation, list[str]] = defaultdict(list)
        async for key in self._storage.list(paths.PENDING):
            _add_marker(found, key)
        return {conversation: paths.in_order(input_ids) for conversation, input_ids in found.items()}

    async def pending_in(self, conversation: Conversation) -> list[str]:
        """Find the inputs of `conversation` that are not answered, in the order in which they happened."""
        found: defaultdict[Conversation, list[str]] = defaultdict(list)
        async for key in self._storage.list(paths.pending(conversation)):
            _add_marker(found, key)
        return paths.in_order(found[conversation])

    async def unmark(self, conversation: Conversation, input_id: str) -> None:
        """Delete an input's marker, if it exists: the input is answered."""
        await self._storage.delete(paths.marker(conversation, input_id))

    async def input(self, conversation: Conversation, input_id: str) -> Input | None:
        """Read an input."""
        return await self.read(paths.input_document(conversation, input_id), Input)

    # The conversation and its runs

    async def begin(self, conversation: Conversation, started: Started) -> Started:
        """Begin `conversation`; returns how it began: `started`, or the document that somebody wrote before."""
        key = paths.conversation_document(conversation)
        if await self.create(key, started):
            return started
        return await self.read_existing(key, Started)

    async def conversation(self, conversation: Conversation) -> Started | None:
        """Read how `conversation` began; if that was removed, what stays of it."""
        begun = await self.read(paths.conversation_document(conversation), Started)
        return begun or await self.read(paths.place(conversation), Started)

    async def newest_branch(self, conversation: Conversation) -> Branch | None:
        """Read the branch that holds now; None as long as it is the conversation's first."""
        numbers = await self.numbered(paths.branches(conversation))
        return await self.read(paths.branch(conversation, max(numbers)), Branch) if numbers else None

    async def branch(self, conversation: Conversation, first: str) -> str:
        """Read which branch the conversation's work goes to now; `first` is the branch that it began with."""
        newest = await self.newest_branch(conversation)
        return newest.branch if newest else first

    async def begin_branch(self, conversation: Conversation, branch: Branch) -> Branch:
        """Begin a branch; returns it, or the branch of that number that somebody wrote before."""
        key = paths.branch(conversation, branch.i)
        return branch if await self.create(key, branch) else await self.read_existing(key, Branch)

    async def runs(self, conversation: Conversation) -> list[RunRecord]:
        """Read all its runs, by number."""
        kinds = await self.numbered(paths.runs(conversation))
        numbers = sorted(n for n, there in kinds.items() if "json" in there)
        return await self._all(self._run_record(conversation, n, kinds[n]) for n in numbers)

    async def newest_run(self, conversation: Conversation) -> RunRecord | None:
        """Read its run with the highest number."""
        kinds = await self.numbered(paths.runs(conversation))
        numbers = [n for n, there in kinds.items() if "json" in there]
        if not numbers:
            return None
        return await self._run_record(conversation, max(numbers), kinds[max(numbers)])

    async def run(self, conversation: Conversation, n: int) -> RunRecord | None:
        """Read run `n`."""
        if await self.read(paths.run_document(conversation, n), Run) is None:
            return None
        return await self._run_record(conversation, n, {"started", "closed"})

    async def reserve(self, conversation: Conversation, run: Run) -> bool:
        """Reserve a run's number; True if it is ours to start."""
        return await self.create(paths.run_document(conversation, run.n), run)

    async def run_started(self, conversation: Conversation, n: int, started: RunStarted) -> bool:
        """Note that run `n`'s worker called; False if one called before."""
        return await self.create(paths.run_document(conversation, n, "started"), started)

    async def close_run(self, conversation: Conversation, n: int, closed: RunClosed) -> bool:
        """Close run `n`; False if it was closed before."""
        return await self.create(paths.run_document(conversation, n, "closed"), closed)

    # Its turns

    async def turn_numbers(self, conversation: Conversation) -> list[int]:
        """List the turns that are written, ascending."""
        return (await self.turn_list(conversation)).numbers

    async def next_turn(self, conversation: Conversation) -> int:
        """Say the number of the next turn: one after the last that is or was written."""
        return (await self.turn_list(conversation)).next

    async def turn_files(self, conversation: Conversation) -> list[TurnFiles]:
        """List which documents of each turn exist, ascending; a turn that only has its card is in progress."""
        return (await self.turn_list(conversation)).files

    async def turn_list(self, conversation: Conversation) -> TurnList:
        """List the turns, and which were removed."""
        return TurnList.of(await self.numbered(paths.turns(conversation)))

    async def turn(self, conversation: Conversation, k: int) -> Turn | None:
        """Read turn `k`."""
        return await self.read(paths.turn_document(conversation, k), Turn)

    async def newest_turn(self, conversation: Conversation) -> Turn | None:
        """Read the written turn with the highest number."""
        numbers = await self.turn_numbers(conversation)
        return await self.turn(conversation, numbers[-1]) if numbers else None

    async def write_turn(self, conversation: Conversation, turn: Turn) -> bool:
        """Write a turn; False if another run's turn of this number is there."""
        return await self.create(paths.turn_document(conversation, turn.k), turn)

    async def card(self, conversation: Conversation, k: int) -> Card | None:
        """Read where turn `k`'s progress message is."""
        return await self.read(paths.turn_document(conversation, k, "card"), Card)

    async def write_card(self, conversation: Conversation, k: int, card: Card) -> bool:
        """Note where turn `k`'s progress message is; False if it has one already."""
        return await self.create(paths.turn_document(conversation, k, "card"), card)

    async def posted(self, conversation: Conversation, k: int) -> Posted | None:
        """Read where turn `k`'s answer is."""
        return await self.read(paths.turn_document(conversation, k, "posted"), Posted)

    async def write_posted(self, conversation: Conversation, k: int, posted: Posted) -> bool:
        """Note that turn `k`'s answer is in Slack; False if that was noted before."""
        return await self.create(paths.turn_document(conversation, k, "posted"), posted)

    async def repost_claim(self, conversation: Conversation, k: int, i: int) -> RepostClaim | None:
        """Read the `i`th claim to post turn `k` again; None if there is none, as for 0."""
        return (
            None if i == 0 else await self.read(paths.turn_document(conversation, k, f"{paths.CLAIM}{i}"), RepostClaim)
        )

    async def claim_repost(self, conversation: Conversation, k: int, i: int, claim: RepostClaim) -> bool:
        """Claim to post turn `k` again, for the `i`th time; False if somebody else has claimed it."""
        return await self.create(paths.turn_document(conversation, k, f"{paths.CLAIM}{i}"), claim)

    async def claim_telling(self, conversation: Conversation, told: Told) -> bool:
        """Claim to tell the thread that a document can't be read; False if somebody claimed it before."""
        return await self.create(paths.told(conversation), told)

    # Sessions

    async def write_session_part(self, conversation: Conversation, turn: int, run: int, part: int, data: bytes) -> bool:
        """Keep part `part` of a transcript; False if that part holds something else."""
        return await self._storage.put_if_absent(paths.session_part(conversation, turn, run, part), data)

    async def session_parts(self, conversation: Conversation, turn: int, *, before_run: int | None = None) -> list[str]:
        """List the keys of the parts kept of a turn, in order: by run, then by part. `before_run`: only earlier runs'.

        Read them one at a time, inside `large`: together they may be larger than this process.
        """
        keys = [key async for key in self.keys(paths.sessions(conversation, turn))]
        found = {place: key for key in keys if (place := paths.parse_session_part(key))}
        return [found[place] for place in sorted(found) if before_run is None or place[0] < before_run]

    async def write_session(self, conversation: Conversation, turn: int, run: int, data: bytes) -> bool:
        """Keep a whole transcript, compressed; False if there is another."""
        return await self._storage.put_if_absent(paths.session_whole(conversation, turn, run), data)

    async def session(self, conversation: Conversation, turn: int, run: int) -> bytes | None:
        """Read a whole transcript."""
        return await self.get(paths.session_whole(conversation, turn, run))

    # The store itself

    async def ping(self) -> None:
        """Ask the store one cheap question; raises if it does not answer."""
        # Reading an object can't tell a missing bucket from a missing object; a listing can.
        async for _ in self._storage.list("ping/"):
            return

    def granted(self) -> None:
        """Note that the store has let us in: from here on its refusal is an outage, `Unavailable`."""
        self._storage = GrantedStorage(self._storage)

    async def close(self) -> None:
        """Close the store. Idempotent."""
        await self._storage.close()

    # Documents, for the modules of this folder

    async def create(self, key: str, document: Document, *, new: bool = False) -> bool:
        """Create a document; True if the one there now is ours. `new`: nobody has tried to create it before."""
        ours = await self._storage.put_if_absent(key, _bytes(document), new=new)
        if ours:
            self._documents.put(key, document)
            count(document)
        return ours

    async def read(self, key: str, kind: type[_D]) -> _D | None:
        """Read a document; None if there is none."""
        kept = self._documents.get(key)
        if isinstance(kept, kind):
            return kept
        data = await self.get(key)
        if data is None:
            return None
        document = _parse(key, data, kind)
        self._documents.put(key, document)
        return document

    async def read_existing(self, key: str, kind: type[_D]) -> _D:
        """Read a document that was there a moment ago."""
        document = await self.read(key, kind)
        if document is None:  # somebody deleted it by hand, this moment
            raise Unavailable(f"The journal's {key} was there and is gone. Try again.")
        return document

    async def put(self, key: str, data: bytes) -> bool:
        """Create an object; True if the one there now is ours."""
        return await self._storage.put_if_absent(key, data)

    async def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        await self._storage.delete(key)

    def keys(self, folder: str) -> AsyncIterator[str]:
        """List all keys of a folder, in order."""
        return self._storage.list(folder)

    async def numbered(self, folder: str) -> dict[int, set[str]]:
        """List a folder of numbered documents: their kinds by number."""
        kinds: defaultdict[int, set[str]] = defaultdict(set)
        async for key in self._storage.list(folder):
            if (parsed := paths.parse_numbered(key)) is not None:
                kinds[parsed[0]].add(parsed[1])
        return kinds

    async def get(self, key: str) -> bytes | None:
        """Read an object; None if there is none."""
        async with self._reading:
            return await self._storage.get(key)

    async def _all(self, reads: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
        return await asyncio.gather(*reads)

    async def _run_record(self, conversation: Conversation, n: int, there: set[str]) -> RunRecord:
        run = await self.read_existing(paths.run_document(conversation, n), Run)
        started = closed = None
        if "started" in there:
            started = await self.read(paths.run_document(conversation, n, "started"), RunStarted)
        if "closed" in there:
            closed = await self.read(paths.run_document(conversation, n, "closed"), RunClosed)
        return RunRecord(n, run, started, closed)


def _bytes(document: Document) -> bytes:
    return document.model_dump_json().encode()


def _parse(key: str, data: bytes, kind: type[_D]) -> _D:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        newer = any(problem["loc"] == ("schema",) for problem in error.errors(include_input=False))
        reason = "was written by a newer release: update PeerBot" if newer else "is damaged"
        raise Unreadable(f"A document of the journal {reason}: {key}.") from error


def _add_marker(found: defaultdict[Conversation, list[str]], key: str) -> None:
    try:
        conversation, input_id = paths.parse_marker(key)
    except ValueError:
        log.warning("not_a_marker", key=key)
        return
    found[conversation].append(input_id)
