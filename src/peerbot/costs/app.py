"""`peerbot cost`: adds up what turns have cost, and asks GitHub which of their pull requests were merged."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime

import aiohttp

from peerbot.conversation.documents import now
from peerbot.conversation.limits import month_of
from peerbot.conversation.spent import summed, tokens_read, tokens_written
from peerbot.costs.read import Paid, Reader
from peerbot.costs.report import By, Report, Row
from peerbot.errors import PeerBotError
from peerbot.github.client import GitHub
from peerbot.journal.open import must_exist, open_storage
from peerbot.outside import OutsideSettings
from peerbot.way_out import proxy_for

QUIET_SECONDS = 2.0
"""It shows progress if it takes longer than this, and again each time that as much has gone by."""

MOST_PULL_REQUESTS = 1_000
"""It asks GitHub for the state of so many at most: the dispatcher needs its share of the token's 5,000 an hour, too."""

_AT_ONCE = 8
_NOBODY = "(unknown)"
_NOWHERE = "(none)"

Tell = Callable[[str], None]
_Pull = tuple[str, int]


async def cost(
    settings: OutsideSettings,
    tell: Tell,
    *,
    by: By,
    since: datetime | None = None,
    github: bool = True,
    quiet_seconds: float = QUIET_SECONDS,
) -> Report:
    """Read the journal that the settings name and, with a token, GitHub; changes nothing.

    Raises `SettingsError`, and the store's errors. If GitHub does not answer, a note of the report says so.
    """
    must_exist(settings.store_url)
    report = Report(store=settings.store_url, at=now(), since=since, by=by)
    async with AsyncExitStack() as stack:
        storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
        stack.push_async_callback(storage.close)
        sums = _Sums(report, _Told(tell, quiet_seconds))
        await sums.read(Reader(storage, since=since, people=by is By.PERSON))
        merged = None
        if github:
            session = await stack.enter_async_context(aiohttp.ClientSession(proxy=proxy_for(settings.github_api_url)))
            merged = await sums.merged(settings, session)
    sums.finish(merged)
    return report


class _Told:
    """Says how far it is, from time to time."""

    def __init__(self, tell: Tell, seconds: float) -> None:
        self._tell = tell
        self._seconds = seconds
        self._last = time.monotonic()

    def maybe(self, line: Callable[[], str]) -> None:
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._tell(line())


class _Sums:
    """The sums of one report. Of a turn it keeps nothing but its pull request's number."""

    def __init__(self, report: Report, told: _Told) -> None:
        self._report = report
        self._told = told
        self._rows: dict[str, Row] = {}
        self._pulls: defaultdict[str, set[_Pull]] = defaultdict(set)  # by the row's name
        self._newest: dict[_Pull, datetime] = {}
        self._before = 0  # turns that a release without figures of its own wrote

    async def read(self, reader: Reader) -> None:
        async for paid in reader.turns():
            self._add(paid)
            self._told.maybe(lambda: f"{reader.conversations} conversations, {self._report.total.turns} turns …")
        if reader.unreadable:
            self._report.notes.append(f"{reader.unreadable} turns can't be read; `peerbot verify` names them.")

    def _add(self, paid: Paid) -> None:
        turn = paid.turn
        name = self._name(paid)
        for row in (self._rows.setdefault(name, Row(name=name)), self._report.total):
            row.turns += 1
            row.usd += turn.cost_usd or 0.0
            row.tokens_read += tokens_read(turn.spent)
            row.tokens_written += tokens_written(turn.spent)
        self._report.models = summed([*self._report.models, *turn.spent])
        self._before += bool(turn.cost_usd and not turn.spent)
        if turn.pull_request and turn.repository:
            pull = (turn.repository, turn.pull_request.number)
            self._pulls[name].add(pull)
            self._newest[pull] = max(turn.ended_at, self._newest.get(pull, turn.ended_at))

    def _name(self, paid: Paid) -> str:
        match self._report.by:
            case By.PERSON:
                return paid.person or _NOBODY
            case By.CHANNEL:
                return f"{paid.conversation.team}/{paid.conversation.channel}"
            case By.REPOSITORY:
                return paid.turn.repository or _NOWHERE
        return month_of(paid.turn.ended_at)

    async def merged(self, settings: OutsideSettings, session: aiohttp.ClientSession) -> set[_Pull] | None:
        """Ask GitHub which pull requests were merged; None if it can't tell."""
        if settings.github_token is None:
            self._report.notes.append("GITHUB_TOKEN is not set, so nobody knows which pull requests were merged.")
            return None
        client = GitHub(session, token=settings.github_token.get_secret_value(), api_url=settings.github_api_url)
        newest = sorted(self._newest, key=lambda pull: self._newest[pull], reverse=True)
        if len(newest) > MOST_PULL_REQUESTS:
            self._report.notes.append(
                f"GitHub was asked for the newest {MOST_PULL_REQUESTS:,} of {len(newest):,} pull requests only; the "
                "others count as not merged. Use --since."
            )
        asked, found = newest[:MOST_PULL_REQUESTS], set[_Pull]()
        try:
            for at in range(0, len(asked), _AT_ONCE):
                some = asked[at : at + _AT_ONCE]
                states = await asyncio.gather(*(client.pull_request_state(*pull) for pull in some))
                found |= {pull for pull, state in zip(some, states, strict=True) if state == "merged"}
                self._told.maybe(lambda at=at: f"{at + _AT_ONCE} of {len(asked)} pull requests …")  # type: ignore[misc]
        except PeerBotError as error:
            self._report.notes.append(f"Nobody knows which pull requests were merged. {error}")
            return None
        return found

    def finish(self, merged: set[_Pull] | None) -> None:
        report = self._report
        for name, row in self._rows.items():
            _count(row, self._pulls[name], merged)
        _count(report.total, set(self._newest), merged)
        by_name = report.by is By.MONTH
        report.rows = sorted(self._rows.values(), key=lambda row: (row.name if by_name else "", -row.usd, row.name))
        if self._before:
            report.notes.append(
                f"{self._before} turns are of a release before PeerBot counted itself: their dollars are as their "
                "workers reported them, without tokens."
            )


def _count(row: Row, pulls: set[_Pull], merged: set[_Pull] | None) -> None:
    row.pull_requests = len(pulls)
    row.merged = None if merged is None else len(pulls & merged)
