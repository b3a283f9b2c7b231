"""What a run keeps while it works: its transcript, and the saved states of its workspace.

Both are bytes to the gateway. The agent can write anything into them, so nothing here parses them. A run may keep them
for the turn that is at work, one large one at a time, up to a limit.
"""

from dataclasses import dataclass
from functools import partial

from aiohttp import web

from peerbot.conversation.documents import KeptWork
from peerbot.conversation.keys import Conversation
from peerbot.errors import Conflict, Refused
from peerbot.gateway import bodies
from peerbot.gateway.access import Access, Caller, Role
from peerbot.gateway.bodies import Spool
from peerbot.gateway.shares import Kind, Shares
from peerbot.journal import work
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.sessions import LARGEST_BYTES, LARGEST_PACKED_BYTES, LARGEST_PART_BYTES
from peerbot.turns.sessions import session_so_far
from peerbot.turns.turns import Turns

log = logger(__name__)

LARGEST_WORK_BYTES = 44 * 1024 * 1024
"""The largest saved state; it is in memory while the journal takes it. A worker saves none that is larger."""
_LEAST_PART_BYTES = 4096
"""A part counts as this large at least: each is an object of the journal."""


@dataclass(slots=True)
class _Kept:
    """What this replica has taken of a run's turn."""

    turn: int
    parts_bytes: int = 0
    work: int = 0  # the number of its newest saved state; 0: not known


class Keeping:
    """The handlers for transcripts and saved states."""

    def __init__(self, journal: Journal, access: Access, turns: Turns, shares: Shares) -> None:
        self._journal = journal
        self._access = access
        self._turns = turns
        self._shares = shares
        self._kept: dict[tuple[Conversation, int], _Kept] = {}

    def routes(self, turn: str) -> list[web.RouteDef]:
        """The routes below `turn`, the path of a turn."""
        return [
            web.put(turn + "/session/{part:[0-9]{1,6}}", self.keep_part),
            web.put(turn + "/session", self.keep_session),
            web.get(turn + "/session", self.session),
            web.put(turn + "/work/{part:[0-9]{1,6}}", self.keep_work),
            web.put(turn + "/work", self.keep_work),  # the release before names no part
            web.get(turn + "/work", self.work),
        ]

    def forget(self, conversation: Conversation, run: int) -> None:
        """Drop what is known of a run that is over."""
        self._kept.pop((conversation, run), None)

    async def keep_part(self, request: web.Request) -> web.StreamResponse:
        """Keep some entries of the transcript; the same part again is fine."""
        caller, kept = await self._caller(request)
        part = int(request.match_info["part"])
        async with self._shares.of_large(request, caller), bodies.spooled(request, LARGEST_PART_BYTES) as body:
            kept.parts_bytes += max(body.bytes, _LEAST_PART_BYTES)
            if kept.parts_bytes > LARGEST_BYTES:  # approximate: each replica counts alone
                raise Refused("This turn's transcript has become too large to keep.")
            put = partial(self._journal.write_session_part, caller.conversation, kept.turn, caller.record.n, part)
            if not await body.store(self._journal.large, put):
                raise Conflict("Another part of the transcript already has this number.")
        return web.Response(status=204)

    async def keep_session(self, request: web.Request) -> web.StreamResponse:
        """Keep the whole transcript at a turn's end."""
        caller, kept = await self._caller(request)
        async with self._shares.of_large(request, caller), bodies.spooled(request, LARGEST_PACKED_BYTES) as body:
            put = partial(self._journal.write_session, caller.conversation, kept.turn, caller.record.n)
            if not await body.store(self._journal.large, put):
                raise Conflict("This turn's transcript is already kept.")
        return web.Response(status=204)

    async def session(self, request: web.Request) -> web.StreamResponse:
        """Hand over the transcript with which a turn goes on."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=False)
        async with self._shares.of(request, caller.name, Kind.LARGE):
            with Spool() as spool:
                await session_so_far(self._journal, caller.conversation, _turn(request), spool.write)
                return await spool.send(request, "application/gzip")

    async def keep_work(self, request: web.Request) -> web.StreamResponse:
        """Keep a saved state of the workspace, so that the next run or turn can go on with it."""
        caller, kept = await self._caller(request)
        part = int(request.match_info.get("part", "0"))
        place = KeptWork(turn=kept.turn, run=caller.record.n, part=part)
        async with self._shares.of_large(request, caller), bodies.spooled(request, LARGEST_WORK_BYTES) as body:
            put = partial(work.write, self._journal, caller.conversation, place, kept.work or part - 1)
            if not await body.store(self._journal.large, put):
                raise Conflict("Another state has been saved with this number.")
            kept.work = max(kept.work, part)
            log.info(
                "work_kept", conversation=str(caller.conversation), run=caller.record.n, part=part, bytes=body.bytes
            )
        return web.Response(status=204)

    async def work(self, request: web.Request) -> web.StreamResponse:
        """Hand over the saved state with which this turn goes on."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=False)
        async with self._shares.of(request, caller.name, Kind.LARGE):
            with Spool() as spool:
                async with self._journal.large:
                    data = await self._turns.saved_work(caller.conversation, caller.record, _turn(request))
                    if data is None:
                        raise Refused("Nothing is saved for this turn.")
                    await spool.write(data)
                    del data
                return await spool.send(request, "application/octet-stream")

    async def _caller(self, request: web.Request) -> tuple[Caller, _Kept]:
        """Identify the run that keeps something, and make sure that it does so for the turn that is at work."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=True)
        turn, run = _turn(request), (caller.conversation, caller.record.n)
        kept = self._kept.get(run)
        if kept is None or kept.turn != turn:
            if turn != await self._journal.next_turn(caller.conversation):
                raise Conflict("This is not the turn that is at work.")
            kept = self._kept[run] = _Kept(turn)
        return caller, kept


def _turn(request: web.Request) -> int:
    return int(request.match_info["turn"])
