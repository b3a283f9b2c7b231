"""`peerbot prune`: removes conversations that nobody has used for long, and thins the transcripts of others."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from peerbot.conversation.documents import now
from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.journal.open import must_exist, open_storage
from peerbot.journal.storage import SizedStorage
from peerbot.logs import logger
from peerbot.outside import OutsideSettings
from peerbot.retention.bounds import is_stub, last_input
from peerbot.retention.look import Looked, Looker
from peerbot.retention.removal import Deletes, Size, clean, planned, remove
from peerbot.retention.report import Pruned
from peerbot.retention.thin import useless

log = logger(__name__)

_AT_ONCE = 8

Tell = Callable[[str], None]


async def prune(settings: OutsideSettings, tell: Tell, *, older_than: timedelta, yes: bool) -> Pruned:
    """Prune the journal that the settings name; without `yes` only say what that would delete.

    Raises `SettingsError`, and the store's errors. Then some is done, and the same call again goes on.
    """
    must_exist(settings.store_url)
    storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
    try:
        report = Pruned(store=settings.store_url, before=now() - older_than, done=yes)
        await Pruning(Deletes(storage), report).all()
    finally:
        await storage.close()
    if not report.conversations:
        tell(f"There is no conversation in {settings.store_url}. Check that this is the right store.")
    return report


@dataclass(slots=True)
class Listed:
    """A conversation's keys below its folder, as far as they say whether to look at it."""

    conversation: Conversation
    rests: list[str] = field(default_factory=list)


async def listed(storage: SizedStorage) -> AsyncIterator[Listed]:
    """Yield every conversation, while the keys are listed page by page."""
    current: Listed | None = None
    async for key in storage.list(paths.CONVERSATIONS):
        try:
            conversation, rest = paths.parse_conversation(key)
        except ValueError:
            log.warning("not_a_conversation", key=key)
            continue
        if current is None or conversation != current.conversation:
            if current:
                yield current
            current = Listed(conversation)
        current.rests.append(rest)
    if current:
        yield current


class Pruning:
    """One walk through a journal; it counts into `report`, which also says whether to delete."""

    def __init__(self, deletes: Deletes, report: Pruned) -> None:
        self._storage = deletes.storage
        self._report = report
        self._looker = Looker(deletes.storage)
        self._deletes = deletes

    async def all(self) -> None:
        """Look at every conversation whose keys say that something in it may be old."""
        waiting: asyncio.Queue[Conversation | None] = asyncio.Queue(_AT_ONCE)

        async def work() -> None:
            while conversation := await waiting.get():
                await self.one(conversation)

        async def walk() -> None:
            async for found in listed(self._storage):
                self._report.conversations += 1
                if self._may_be_old(found):
                    await waiting.put(found.conversation)
            for _ in range(_AT_ONCE):
                await waiting.put(None)

        tasks = [asyncio.create_task(each) for each in (walk(), *(work() for _ in range(_AT_ONCE)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _may_be_old(self, found: Listed) -> bool:
        if is_stub(found.rests):
            return False
        before = self._report.before.timestamp()
        if float(last_input(found.rests)) < before:
            return True
        first = min((float(rest[7:].partition("-")[0]) for rest in found.rests if _is_input(rest)), default=before)
        fenced = any(rest.startswith("turns/") and rest.endswith(f".{paths.REMOVED}") for rest in found.rests)
        return fenced or (first < before and any(rest.startswith(("sessions/", "work/")) for rest in found.rests))

    async def one(self, conversation: Conversation) -> None:
        """Remove a conversation if it is old, or thin it. Raises what the store raises."""
        looked = await self._looker.at(conversation, now())
        if looked.is_stub or 0 < looked.last_activity < self._report.before.timestamp():
            why = "" if looked.is_stub else looked.stays()
            if not why:
                return await self._remove(looked)
            self._report.stays[why] = self._report.stays.get(why, 0) + 1
        if looked.seen.fence:
            done = self._report.done
            self._count(looked, await clean(self._deletes, looked) if done else planned(looked, whole=False))
        if not looked.busy:
            await self._thin(looked, self._report.before)
        return None

    async def _remove(self, looked: Looked) -> None:
        done = self._report.done
        self._count(looked, await remove(self._deletes, looked, "prune") if done else planned(looked, whole=True))

    def _count(self, looked: Looked, size: Size) -> None:
        self._report.removed.add(size.objects, size.bytes)
        if size.objects and self._report.done:
            log.info("conversation_removed", conversation=str(looked.conversation), objects=size.objects)

    async def _thin(self, looked: Looked, before: datetime) -> None:
        going = await useless(self._storage, looked.conversation, looked.sizes, before)
        if self._report.done:
            for rest in going:
                await self._deletes(f"{paths.folder(looked.conversation)}{rest}")
            if going:
                log.info("transcripts_removed", conversation=str(looked.conversation), objects=len(going))
        self._report.thinned.add(len(going), sum(looked.sizes[rest] for rest in going))


def _is_input(rest: str) -> bool:
    return rest.startswith("inputs/") and rest[7:].partition("-")[0].replace(".", "", 1).isdecimal()
