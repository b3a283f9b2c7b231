"""`peerbot verify`: walks through the journal, conversation by conversation, and looks twice at each fault.

The journal and Slack change while they are read, and a look takes time. So a fault is only reported if a second look,
begun after the first, finds it too. A real fault stays until somebody mends it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from peerbot.conversation.documents import now
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.journal.open import must_exist, open_storage
from peerbot.outside import OutsideSettings
from peerbot.slack.api import open_client
from peerbot.slack.outbound import Outbound
from peerbot.verify.judge import judge
from peerbot.verify.read import Journal, input_named
from peerbot.verify.report import Report, Verdict
from peerbot.verify.threads import Threads

_CONVERSATIONS_AT_ONCE = 16
_TOLD_EVERY = 1000  # conversations

Tell = Callable[[str], None]


async def verify(settings: OutsideSettings, tell: Tell, *, since: timedelta | None = None) -> Report:
    """Read the journal that the settings name and, with a token, its threads in Slack; changes nothing.

    `since`: leave out conversations in which nothing was said for this long and nothing waits. `tell` gets a line after
    each thousand conversations. Raises `SettingsError`, and the store's and Slack's errors: then nothing was verified.
    """
    must_exist(settings.store_url)
    storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
    try:
        async with _threads(settings) as threads:
            report = Report(store=settings.store_url, slack=threads is not None, at=now())
            await _Walk(Journal(storage), threads, report, tell).through(report.at - since if since else None)
    finally:
        await storage.close()
    report.findings.sort(key=lambda finding: finding.identity)
    report.waiting.sort(key=lambda waiting: -waiting.age_seconds)
    if not report.conversations and not report.skipped:
        tell(f"There is no conversation in {settings.store_url}. Check that this is the right store.")
    return report


class _Walk:
    """One walk through the journal."""

    def __init__(self, journal: Journal, threads: Threads | None, report: Report, tell: Tell) -> None:
        self._journal = journal
        self._threads = threads
        self._report = report
        self._tell = tell

    async def through(self, since: datetime | None) -> None:
        """Look at every conversation, a bounded number at a time."""
        markers = await self._journal.markers()  # before the rest: see look.py
        looking: set[asyncio.Task[Verdict]] = set()
        try:
            async for conversation, keys in self._journal.conversations():
                marked = markers.pop(conversation, [])
                if since and not marked and not _said_since(keys, since):
                    self._report.skipped += 1
                    continue
                looking.add(asyncio.create_task(self._one(conversation, marked, keys)))
                looking = await self._gather(looking, _CONVERSATIONS_AT_ONCE)
            for conversation, marked in markers.items():  # nothing but markers
                looking.add(asyncio.create_task(self._one(conversation, marked, [])))
                looking = await self._gather(looking, _CONVERSATIONS_AT_ONCE)
            await self._gather(looking, 1)
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)

    async def _gather(self, looking: set[asyncio.Task[Verdict]], fewer_than: int) -> set[asyncio.Task[Verdict]]:
        """Wait until fewer tasks are running, and add the verdicts; returns the running tasks."""
        while len(looking) >= fewer_than:
            done, looking = await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._report.add(task.result())
                if self._report.conversations % _TOLD_EVERY == 0:
                    self._tell(f"{self._report.conversations} conversations, {len(self._report.findings)} findings …")
        return looking

    async def _one(self, conversation: Conversation, marked: list[str], keys: list[str]) -> Verdict:
        seen = await self._journal.read(conversation, marked, keys)
        first = judge(seen, await self._threads.read(conversation) if self._threads else None, now())
        if not first.findings:
            return first
        seen = await self._journal.read_again(conversation)
        second = judge(seen, await self._threads.read(conversation) if self._threads else None, now())
        found = {finding.identity for finding in first.findings}
        second.findings = [finding for finding in second.findings if finding.identity in found]
        return second


def _said_since(keys: list[str], since: datetime) -> bool:
    """Whether one of these keys is an input said since then. Its name tells: nothing is read."""
    return any(float(input_ts(identity)) >= since.timestamp() for key in keys if (identity := input_named(key)))


@asynccontextmanager
async def _threads(settings: OutsideSettings) -> AsyncIterator[Threads | None]:
    if settings.slack_bot_token is None:
        yield None
        return
    async with open_client(settings.slack_api_url, settings.slack_bot_token.get_secret_value()) as client:
        threads = Threads(Outbound(client))
        await threads.begin()
        yield threads
