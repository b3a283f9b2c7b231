"""Identify a caller, a run's supervisor or its agent, by the hash of its token in the journal (decision 0004)."""

import hmac
import time
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from peerbot.conversation.deadlines import OUTAGE_SECONDS
from peerbot.conversation.keys import Conversation
from peerbot.errors import Conflict, Refused, Unavailable
from peerbot.journal.journal import Journal, RunRecord
from peerbot.protocol.documents import secret_hash

READS_MAY_BE_OLD_SECONDS = 2.0

ASKED_AGAIN_SECONDS = 5.0
"""After a look that found the journal away, reads do not ask it again for this long."""

_OVER = "This run has ended, or this is not its token."


class Role(StrEnum):
    """The use of a token."""

    SUPERVISOR = "supervisor"  # progress, session, turn
    AGENT = "agent"  # model and git


@dataclass(frozen=True, slots=True)
class Caller:
    """A run that has proved its identity."""

    conversation: Conversation
    record: RunRecord

    @property
    def name(self) -> str:
        """The run's name."""
        return self.conversation.job_name(self.record.n)


class Access:
    """Checks tokens. Its cache is only for reads; a write always looks at the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._seen: dict[tuple[Conversation, int], tuple[float, RunRecord]] = {}
        self._away_until = 0.0

    async def caller(self, request: web.Request, role: Role, *, write: bool) -> Caller:
        """Identify the run that calls, in the given role.

        Raises `Refused` if the token is not of this run and role, or the run is closed, and `Conflict` if `write` is
        set and a newer run was reserved. It does not say what exactly is wrong, so that a probe learns nothing.
        """
        conversation, run = named_run(request)
        record = await self._record(conversation, run, fresh=write)
        if record is None or _role(request, record) is not role:
            raise Refused(_OVER)
        caller = Caller(conversation, record)
        if write and await self._journal.run(caller.conversation, caller.record.n + 1) is not None:
            raise Conflict("A newer run has taken over this conversation.")
        return caller

    async def known(self, request: web.Request) -> tuple[Caller, Role] | None:
        """Say which run calls, and in which role; None if the token is of none, or the run is closed as far as we know.

        It may have been closed since: this only says whose share a request takes. Raises `Refused` if the path names
        no run.
        """
        conversation, run = named_run(request)
        _, record = self._seen.get((conversation, run), (0.0, None))
        record = record or await self._record(conversation, run, fresh=False)
        role = _role(request, record) if record else None
        return (Caller(conversation, record), role) if record and role else None

    def forget(self, conversation: Conversation, run: int) -> None:
        """Drop the cache of a run that was closed here."""
        self._seen.pop((conversation, run), None)

    async def _record(self, conversation: Conversation, run: int, *, fresh: bool) -> RunRecord | None:
        now = time.monotonic()
        seen_at, record = self._seen.get((conversation, run), (0.0, None))
        if record and not fresh:
            if now - seen_at < READS_MAY_BE_OLD_SECONDS:
                return record
            if now < self._away_until and now - seen_at < OUTAGE_SECONDS:
                return record
        try:
            found = await self._journal.run(conversation, run)
        except Unavailable:
            self._away_until = time.monotonic() + ASKED_AGAIN_SECONDS
            if record and not fresh and now - seen_at < OUTAGE_SECONDS:
                return record
            raise
        if found and found.started:  # it may start at any moment
            self._seen = {key: value for key, value in self._seen.items() if now - value[0] < OUTAGE_SECONDS}
            self._seen[conversation, run] = (now, found)
        return found


def _role(request: web.Request, record: RunRecord) -> Role | None:
    """Say which role the request's token has in a run; None if it is not of this run, or the run is not open."""
    if record.started is None or record.closed is not None:
        return None
    secret = _bearer(request)
    hashes = {Role.SUPERVISOR: record.started.supervisor_hash, Role.AGENT: record.started.agent_hash}
    return next((role for role, wanted in hashes.items() if is_secret_of(secret, wanted)), None)


def is_secret_of(secret: str, wanted: str) -> bool:
    """Say whether the journal keeps the hash of `secret`; the time that it takes tells nothing about the hash."""
    return hmac.compare_digest(secret_hash(secret), wanted)


def named_run(request: web.Request) -> tuple[Conversation, int]:
    """Read the run that the path names; raises `Refused` if it names none."""
    match = request.match_info
    try:
        return Conversation(match["team"], match["channel"], match["thread_ts"]), int(match["run"])
    except ValueError as error:
        raise Refused(_OVER) from error


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token.isascii() else ""
