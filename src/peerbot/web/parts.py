"""Reads the parts of a transcript from the journal, and makes them into what a page takes.

Parts never change, so what was made of one is kept, up to a bound. Parsing and masking happen in a thread, entry by
entry, so that the event loop acks Slack between two of them.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Generator, Iterator
from typing import NamedTuple
from weakref import WeakValueDictionary

from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.web.masks import masked, pieces
from peerbot.web.steps import LARGEST_SHOWN_BYTES, Entry, block_text, shown, steps_in, unreadable

log = logger(__name__)

PAGE_BYTES = 400_000
"""A page of steps ends after the part that makes it this large …"""

PAGE_PARTS = 120
"""… or after so many parts: each is a read."""

_KEPT_BYTES = 32 * 1024 * 1024
_AT_ONCE = 4
_ENTRIES = '"entries":'
_LONGEST_HEAD = 2_000  # of a part before its entries


class Place(NamedTuple):
    """Where a reader of a turn's transcript is: after this part of this run. They compare as they were written."""

    run: int = 0
    part: int = 0

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read `run.part` back. Raises `ValueError`."""
        run, _, part = text.partition(".")
        if not (run.isdecimal() and part.isdecimal() and len(text) < 24):
            raise ValueError(f"not a place: {text[:30]!r}")
        return cls(int(run), int(part))

    def __str__(self) -> str:
        return f"{self.run}.{self.part}"


_START = Place()


class Steps(NamedTuple):
    """Steps as JSON, one text for each part; the place after them; and whether there are more."""

    parts: list[str]
    next: Place
    more: bool


class Parts:
    """Reads parts for all viewers of this replica."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._kept_bytes = 0
        self._few = asyncio.Semaphore(_AT_ONCE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def places(self, conversation: Conversation, turn: int, after: Place = _START) -> list[Place]:
        """List the parts of a turn after a place, in order. Raises what the journal raises."""
        keys = await self._journal.session_parts(conversation, turn)
        found = (Place(*place) for key in keys if (place := paths.parse_session_part(key)))
        return [place for place in found if place > after]

    async def steps(self, conversation: Conversation, turn: int, after: Place) -> Steps:
        """Read the next steps of a turn. Raises what the journal raises."""
        places = await self.places(conversation, turn, after)
        return await self.steps_at(conversation, turn, places, after)

    async def steps_at(self, conversation: Conversation, turn: int, places: list[Place], after: Place) -> Steps:
        """Read the steps of these parts, as many as a page takes."""
        found: list[str] = []
        size, at = 0, after
        wanted = places[:PAGE_PARTS]
        for start in range(0, len(wanted), _AT_ONCE):
            group = wanted[start : start + _AT_ONCE]
            made = await asyncio.gather(*(self._part(conversation, turn, place) for place in group))
            found += [part for part in made if part]
            size += sum(map(len, made))
            at = group[-1]
            if size > PAGE_BYTES:
                break
        return Steps(found, at, more=bool(places) and at != places[-1])

    async def text(self, conversation: Conversation, turn: int, place: Place, entry: int, block: int) -> str | None:
        """Read the whole text of one step, masked; None if there is none."""
        async with self._few:
            data = await self._journal.get(paths.session_part(conversation, turn, *place))
            if data is None:
                return None
            return await asyncio.to_thread(_whole_text, data, entry, block)

    async def _part(self, conversation: Conversation, turn: int, place: Place) -> str:
        key = paths.session_part(conversation, turn, *place)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:  # all viewers of a conversation ask for a new part at once: one of them reads it
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            async with self._few:
                data = await self._journal.get(key)
                if data is None:  # a store that lists what it does not have yet
                    return ""
                made = await asyncio.to_thread(_steps_json, data, place)
            self._keep(key, made)
            return made

    def _keep(self, key: str, made: str) -> None:
        if key in self._kept:
            return
        self._kept[key] = made
        self._kept_bytes += len(made) + 200
        while self._kept_bytes > _KEPT_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone) + 200


def _steps_json(data: bytes, place: Place) -> str:
    """Make a part's steps as JSON objects with commas between them."""
    name = f"{place}.0"
    if len(data) > LARGEST_SHOWN_BYTES:
        size = f"{len(data) / 1024 / 1024:.1f} MB"
        return unreadable(name, f"This part of the transcript has {size}, too much for this page.").model_dump_json()
    try:
        subpath, entries = opened(data)
        made = [step.model_dump_json() for step in steps_in(entries, run=place.run, part=place.part, subpath=subpath)]
    except (ValueError, RecursionError) as error:
        log.warning("transcript_unreadable", place=str(place), cause=type(error).__name__)
        sentence = "A part of the transcript is damaged, or of a newer release, and can't be read."
        return unreadable(name, sentence).model_dump_json()
    return ",".join(made)


def opened(data: bytes) -> tuple[str, Iterator[tuple[int, Entry]]]:
    """Open a part: which transcript it is of (empty: the main one), and its entries with their numbers, one by one.

    Raises `ValueError`, also while the entries are read. An entry that is no object is left out.
    """
    about, entries = transcript_at(data.decode(), 0)
    subpath = about.get("subpath", "")
    return (subpath if isinstance(subpath, str) else ""), entries


def transcript_at(text: str, at: int) -> tuple[Entry, Generator[tuple[int, Entry], None, int]]:
    """Open the `SessionPart` that begins at a place of a JSON text: what is before its entries, and these.

    The generator's return value is the place after the list of entries. Raises as `opened` does.
    """
    found = text.find(_ENTRIES, at, at + _LONGEST_HEAD)
    if found < 0:
        raise ValueError("no entries")
    about = json.loads(f"{text[at:found].rstrip().rstrip(',')}}}")
    if not isinstance(about, dict):
        raise ValueError("no part of a transcript")
    return about, _entries(text, found + len(_ENTRIES))


def _entries(text: str, at: int) -> Generator[tuple[int, Entry], None, int]:
    decoder = json.JSONDecoder()
    at = skip(text, at)
    if text[at : at + 1] != "[":
        raise ValueError("no list of entries")
    at, number = skip(text, at + 1), 0
    while text[at : at + 1] != "]":
        value, at = decoder.raw_decode(text, at)
        if isinstance(value, dict):
            yield number, value
        number += 1
        at = skip(text, at)
        if text[at : at + 1] == ",":
            at = skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise ValueError("the list of entries does not end")
    return at + 1


def skip(text: str, at: int) -> int:
    """Find the next place that is no white space."""
    while text[at : at + 1] in (" ", "\n", "\r", "\t") and at < len(text):
        at += 1
    return at


def _whole_text(data: bytes, entry: int, block: int) -> str | None:
    try:
        _, entries = opened(data)
        found = next((each for number, each in entries if number == entry), None)
        return "".join(masked(shown(piece)) for piece in pieces(block_text(found, block))) if found else None
    except (ValueError, RecursionError):
        return None
