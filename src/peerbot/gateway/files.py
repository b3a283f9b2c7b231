"""A conversation's files: those that people shared, for its worker, and those that its agent sends into the thread.

The worker has no token of Slack's, so the gateway reads each file for it. A file goes through a temporary file, as all
large bodies do: so a worker gets a whole file or a reason. A run moves one at a time, and this process a few.
"""

import asyncio

import stamina
from aiohttp import web

from peerbot.conversation.documents import SharedFile
from peerbot.conversation.keys import input_id, input_ts
from peerbot.conversation.notes import FileLoss
from peerbot.errors import Conflict, PeerBotError, Refused, Unavailable
from peerbot.gateway import bodies
from peerbot.gateway.access import Access, Caller, Role
from peerbot.gateway.bodies import Spool
from peerbot.gateway.shares import Kind, Shares
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.documents import FileRefused
from peerbot.slack.files import MOST_FILES, NotRead, SharedFiles, wait_seconds
from peerbot.thread.files import LARGEST_SENT_BYTES, NotSent, Sending
from peerbot.thread.inbox import Inbox

log = logger(__name__)

READ_SECONDS = 45.0
"""How long it may take to read one file from Slack, with all tries."""

SEND_SECONDS = 45.0
"""How long a file may take on its way into the thread. Then the worker asks again."""

TRIES = 5
_AT_ONCE = 16
"""How many files this process moves at once: 320 MB of its disk. The others wait."""


class Files:
    """The handlers for files."""

    def __init__(
        self,
        *,
        journal: Journal,
        access: Access,
        inbox: Inbox,
        shares: Shares,
        shared: SharedFiles,
        sending: Sending,
    ) -> None:
        self._journal = journal
        self._access = access
        self._inbox = inbox
        self._shares = shares
        self._shared = shared
        self._sending = sending
        self._moving = asyncio.Semaphore(_AT_ONCE)
        self._sending_at_once = asyncio.Semaphore(2)  # each of these holds its bytes in memory

    def routes(self, run: str) -> list[web.RouteDef]:
        """The routes below `run`, the path of a run."""
        return [
            web.get(run + "/inputs/{input}/files/{file:[0-9]{1,3}}", self.shared),
            web.put(run + "/turns/{turn:[0-9]{1,6}}/sent", self.send),
        ]

    async def shared(self, request: web.Request) -> web.StreamResponse:
        """Hand over a file of a message of this thread, if the agent may read the message."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=False)
        n = int(request.match_info["file"])
        async with self._shares.of(request, caller.name, Kind.LARGE), self._moving:
            with Spool() as spool:
                try:
                    async with asyncio.timeout(READ_SECONDS):
                        await self._read(await self._files(request, caller), n, spool)
                except (NotRead, TimeoutError) as error:
                    why = error.why if isinstance(error, NotRead) else FileLoss.FAILED
                    return _refused(caller, n, why, error)
                return await spool.send(request, "application/octet-stream")

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Put a file of the agent's into the thread; the same file of the same turn is put there once."""
        caller = await self._access.caller(request, Role.SUPERVISOR, write=True)
        turn, name = int(request.match_info["turn"]), request.query.get("name", "")
        if turn != await self._journal.next_turn(caller.conversation):
            raise Conflict("This is not the turn that is at work.")
        async with self._shares.of_large(request, caller), bodies.spooled(request, LARGEST_SENT_BYTES) as body:

            async def put(data: bytes) -> bool:
                async with asyncio.timeout(SEND_SECONDS):
                    await self._sending.send(caller.conversation, caller.record.run, turn, name, data)
                return True

            try:
                await body.store(self._sending_at_once, put)
            except NotSent as error:
                log.warning("file_not_sent", run=caller.record.n, turn=turn, reason=str(error), exc_info=error)
                return _reply(FileRefused(said=str(error)))
            except TimeoutError as error:
                raise Unavailable("Slack did not take the file in time.") from error
        log.info("file_sent", conversation=str(caller.conversation), run=caller.record.n, turn=turn, bytes=body.bytes)
        return web.Response(status=204)

    async def _files(self, request: web.Request, caller: Caller) -> list[SharedFile]:
        """Find the files of the message that the path names. Raises `NotRead`: a refusal would end the worker's run."""
        try:
            ts = input_ts(input_id(input_ts(request.match_info["input"]), "message"))
            return await self._inbox.files_of(caller.conversation, ts)
        except (ValueError, Refused) as error:
            raise NotRead(FileLoss.DELETED) from error

    async def _read(self, files: list[SharedFile], n: int, spool: Spool) -> None:
        """Read the `n`th file into `spool`. Raises `NotRead`."""
        if n >= len(files):
            raise NotRead(FileLoss.DELETED)
        if n >= MOST_FILES:
            raise NotRead(FileLoss.TOO_MANY)
        try:
            async for attempt in stamina.retry_context(
                on=wait_seconds, attempts=TRIES, timeout=READ_SECONDS, wait_initial=0.5, wait_max=4.0
            ):
                with attempt:
                    await spool.clear()
                    async with self._shared.opened(files[n]) as pieces:
                        async for piece in pieces:
                            await spool.write(piece)
        except Unavailable as error:
            raise NotRead(FileLoss.FAILED) from error


def _refused(caller: Caller, n: int, why: FileLoss, error: PeerBotError | TimeoutError) -> web.Response:
    log.warning(
        "file_not_read", conversation=str(caller.conversation), run=caller.record.n, file=n, why=why.value,
        reason=str(error.__cause__ or error) or "took too long",
    )  # fmt: skip
    return _reply(FileRefused(why=why))


def _reply(document: FileRefused) -> web.Response:
    return web.Response(status=422, text=document.model_dump_json(by_alias=True), content_type="application/json")
