"""Removes what a conversation holds: first the fence, then the objects (decision 0034).

The fence, `turns/{k}.removed`, is created before anything is deleted. From then on every reader takes the turns up to
`k` as gone. So a crash between two deletes, or a message in the middle, finds a conversation that begins again, and not
half of one. Each step may be repeated, also by two at once.
"""

import asyncio
import time
from dataclasses import dataclass

from pydantic import ValidationError

from peerbot.conversation.documents import Document, Input, Started
from peerbot.conversation.keys import Conversation
from peerbot.conversation.removed import Removed
from peerbot.errors import Unavailable
from peerbot.journal import paths
from peerbot.journal.storage import SizedStorage
from peerbot.retention.bounds import Bounds, in_order, named_input
from peerbot.retention.look import Looked

DELETES_A_SECOND = 100.0
_LOOKS_AGAIN = 3
"""How often it looks for what somebody wrote late below the fence; a later prune removes the rest."""


@dataclass(slots=True)
class Size:
    """How many objects, and their bytes."""

    objects: int = 0
    bytes: int = 0

    def add(self, other: "Size") -> None:
        """Add another."""
        self.objects += other.objects
        self.bytes += other.bytes


class Deletes:
    """Deletes, so many in a second at most: the dispatchers need the store, too."""

    def __init__(self, storage: SizedStorage, a_second: float = DELETES_A_SECOND) -> None:
        self.storage = storage
        self._apart = 1 / a_second
        self._next = 0.0

    async def __call__(self, key: str) -> None:
        """Delete an object; nothing happens if it is gone."""
        now = time.monotonic()
        self._next = max(now, self._next + self._apart)
        await asyncio.sleep(self._next - now)
        await self.storage.delete(key)


def planned(looked: Looked, *, whole: bool) -> Size:
    """Say what a removal would delete; if it is not of the `whole`, what an earlier one left."""
    if whole and not looked.is_stub:
        bounds = looked.bounds()
    elif looked.seen.fence:
        bounds = _of(looked.seen.fence, looked)
    else:
        return Size()
    sizes = [size for rest, size in looked.sizes.items() if bounds.goes(rest)]
    return Size(len(sizes), sum(sizes))


async def remove(deletes: Deletes, looked: Looked, why: str) -> Size:
    """Remove what a look found; returns what it deleted.

    The caller has made sure that nothing is under way. Raises what the store raises; then the same call again goes on.
    """
    if looked.is_stub:
        return await clean(deletes, looked)
    wanted = looked.bounds()
    place = wanted.place and await _keep_place(deletes.storage, looked.conversation)
    fence = await _fence(deletes.storage, looked.conversation, wanted, why)
    return await _below(deletes, looked, Bounds(wanted.turn, fence.run, fence.until, place), fence)


async def clean(deletes: Deletes, looked: Looked) -> Size:
    """Remove what an earlier removal left, or somebody wrote late. That does no harm, also beside new turns."""
    fence = looked.seen.fence
    if fence is None:
        return Size()
    place = await _keep_place(deletes.storage, looked.conversation)
    return await _below(deletes, looked, _of(fence, looked, place=place), fence[1])


async def _below(deletes: Deletes, looked: Looked, bounds: Bounds, fence: Removed) -> Size:
    storage, conversation = deletes.storage, looked.conversation
    deleted = await _delete(deletes, conversation, looked.sizes, bounds, fence)
    for _ in range(_LOOKS_AGAIN):
        left = {}
        async for key, size in storage.sizes(paths.folder(conversation)):
            left[key.removeprefix(paths.folder(conversation))] = size
        more = await _delete(deletes, conversation, left, bounds, fence)
        deleted.add(more)
        if not more.objects:
            break
    return deleted


async def _delete(
    deletes: Deletes, conversation: Conversation, sizes: dict[str, int], bounds: Bounds, fence: Removed
) -> Size:
    deleted, folder = Size(), paths.folder(conversation)
    spared: set[str] = set()
    for rest in in_order(rest for rest in sizes if bounds.goes(rest)):
        kind = rest.partition("/")[0]
        if kind == "inputs" and await _came_after(deletes.storage, f"{folder}{rest}", fence):
            spared.add(named_input(rest))
        elif kind not in ("settled", "asked") or named_input(rest) not in spared:
            await deletes(f"{folder}{rest}")
            deleted.add(Size(1, sizes[rest]))
    return deleted


async def _came_after(storage: SizedStorage, key: str, fence: Removed) -> bool:
    """Whether an input was recorded after the fence, though it is older: its event came late."""
    data = await storage.get(key)
    if data is None:
        return False
    try:
        return Input.model_validate_json(data).received_at >= fence.removed_at
    except ValidationError:
        return False


async def _keep_place(storage: SizedStorage, conversation: Conversation) -> bool:
    """Keep of `conversation.json` where the work goes, without people's words; returns whether that is kept."""
    if await storage.get(paths.place(conversation)) is not None:
        return True
    data = await storage.get(paths.conversation_document(conversation))
    if data is None:
        return False
    try:
        started = Started.model_validate_json(data)
    except ValidationError:
        return False  # the document stays: somebody may mend it
    said = {"channel_instructions": "", "person_instructions": ""}
    await storage.put_if_absent(paths.place(conversation), _bytes(started.model_copy(update=said)))
    return True


async def _fence(storage: SizedStorage, conversation: Conversation, wanted: Bounds, why: str) -> Removed:
    """Create the fence; returns it, or the one that somebody else created this moment."""
    key = paths.turn_document(conversation, wanted.turn, paths.REMOVED)
    fence = Removed(run=wanted.run, until=wanted.until, why=why)
    if await storage.put_if_absent(key, _bytes(fence)):
        return fence
    data = await storage.get(key)
    if data is None:
        raise Unavailable(f"The journal's {key} was there and is gone. Try again.")
    return Removed.model_validate_json(data)


def _of(fence: tuple[int, Removed], looked: Looked, *, place: bool | None = None) -> Bounds:
    there = paths.CONVERSATION_DOCUMENT in looked.sizes or paths.PLACE in looked.sizes
    return Bounds(fence[0], fence[1].run, fence[1].until, there if place is None else place)


def _bytes(document: Document) -> bytes:
    return document.model_dump_json().encode()
