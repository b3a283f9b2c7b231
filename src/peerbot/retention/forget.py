"""`peerbot forget`: erases what a person said, or a thread, and leaves a receipt that holds nothing of it.

What a person said can't be told apart in a transcript: it is in prompts, in the agent's thoughts, in its answers. So
everything goes of each conversation in which the person said something (decision 0034).
"""

import asyncio
import secrets
from contextlib import suppress

from pydantic import ValidationError

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import Input, now
from peerbot.conversation.keys import Conversation
from peerbot.conversation.removed import Forgotten
from peerbot.errors import Unavailable
from peerbot.journal import choices, paths, pulls
from peerbot.journal.journal import Journal
from peerbot.journal.open import must_exist, open_storage
from peerbot.journal.storage import SizedStorage
from peerbot.outside import OutsideSettings
from peerbot.retention.look import Looked, Looker
from peerbot.retention.prune import Listed, listed
from peerbot.retention.removal import Deletes, planned, remove
from peerbot.retention.report import ForgottenReport
from peerbot.sessions.pull import conversation_named

_READS_AT_ONCE = 32
_NOBODY = Choice(chosen_by="")


async def forget(
    settings: OutsideSettings, *, person: str = "", thread: str = "", asked_by: str, yes: bool
) -> ForgottenReport:
    """Erase a person (`U…`, or `team/U…`), or a thread (its link, or `team/channel/thread_ts`).

    `asked_by`: for the receipt. Without `yes` it only says what that would erase. Raises `SettingsError`, the store's
    errors, and `PeerBotError` if there is no such thread. Then some is done, and the same call again goes on.
    """
    must_exist(settings.store_url)
    storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
    try:
        forgetting = Forgetting(storage, ForgottenReport(store=settings.store_url, done=yes))
        if thread:
            await forgetting.one(await conversation_named(storage, thread))
        else:
            await forgetting.person(person)
        if yes:
            await forgetting.receipt(asked_by, of_person=not thread)
        return forgetting.report
    finally:
        await storage.close()


class Forgetting:
    """One walk through a journal; it counts into `report`, which also says whether to erase."""

    def __init__(self, storage: SizedStorage, report: ForgottenReport) -> None:
        self.report = report
        self._storage = storage
        self._journal = Journal(storage)
        self._looker = Looker(storage)
        self._deletes = Deletes(storage)
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)

    async def person(self, named: str) -> None:
        """Erase every conversation in which a person said something, and their settings."""
        team, _, user = named.rpartition("/")
        teams = {team} - {""}
        async for found in listed(self._storage):
            if team in ("", found.conversation.team):
                teams.add(found.conversation.team)
                if await self._spoke(found, user):
                    await self.one(found.conversation)
        for each in sorted(teams):
            await self._settings(f"{each}-{user}")

    async def one(self, conversation: Conversation) -> None:
        """Erase a conversation, unless something is under way in it."""
        looked = await self._looker.at(conversation, now())
        if looked.busy:
            self.report.busy[str(conversation)] = looked.busy
            return
        if self.report.done:
            for watch, state in (await pulls.all_watched(self._journal, conversation)).items():
                await pulls.end(self._journal, watch, state)
            size = await remove(self._deletes, looked, "forget")
        else:
            size = planned(looked, whole=True)
        self.report.removed.add(size.objects, size.bytes)
        self._count(looked)

    async def receipt(self, asked_by: str, *, of_person: bool) -> None:
        """Write down that it is done."""
        report = self.report
        document = Forgotten(
            asked_by=asked_by,
            what="person" if of_person else "thread",
            conversations=report.removed.conversations,
            inputs=report.inputs,
            turns=report.turns,
            objects=report.removed.objects + report.settings,
            size=report.removed.bytes,
        )
        key = paths.forgotten(f"{document.forgotten_at:%Y-%m-%d}-{secrets.token_hex(8)}")
        await self._journal.create(key, document)
        report.receipt = key

    def _count(self, looked: Looked) -> None:
        self.report.inputs += len(looked.seen.inputs)
        self.report.turns += len(looked.seen.turns)

    async def _spoke(self, found: Listed, user: str) -> bool:
        folder = paths.folder(found.conversation)
        reads = [self._is_by(f"{folder}{rest}", user) for rest in found.rests if rest.startswith("inputs/")]
        return any(await asyncio.gather(*reads))

    async def _is_by(self, key: str, user: str) -> bool:
        async with self._reading:
            data = await self._storage.get(key)
        if data is None:
            return False
        try:
            return Input.model_validate_json(data).user == user
        except ValidationError:
            self.report.unreadable += 1
            return False

    async def _settings(self, identity: str) -> None:
        """Replace a person's settings by empty ones, and delete those before.

        The numbers go on: a dispatcher may still have an earlier choice of a number in memory.
        """
        seq = 0
        with suppress(ValueError):
            seq = max(await self._journal.numbered(paths.choices("user", identity)), default=0)
        if not seq:
            return
        before = [key async for key in self._storage.list(paths.choices("user", identity))]
        newest = await self._storage.get(paths.choice("user", identity, seq))
        empty = newest is not None and not _says(newest)
        self.report.settings += len(before) - empty
        if not self.report.done:
            return
        if not empty and not await choices.choose_after(self._journal, "user", identity, seq, _NOBODY):
            raise Unavailable("Somebody changes these settings at this moment. Run the same command again.")
        for key in before:
            if not (empty and key == paths.choice("user", identity, seq)):
                await self._deletes(key)


def _says(data: bytes) -> bool:
    """Whether a choice says anything."""
    try:
        held = Choice.model_validate_json(data)
    except ValidationError:
        return True
    return any(
        (held.repository, held.others, held.base, held.model, held.instructions, held.plan_first, held.chosen_by)
    )
