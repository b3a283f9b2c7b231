"""The worker's side of the gateway's API: typed calls, each repeated until an answer comes or its time is over.

Every call may be repeated: its content has a name of its own (token hashes, part numbers, a nonce), so a lost answer
does no harm. Another replica may answer the next time.
"""

import io
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
import stamina
from pydantic import BaseModel

from peerbot.conversation.deadlines import KEEP_SECONDS, POLL_SECONDS
from peerbot.conversation.progress import Progress
from peerbot.errors import Conflict, PeerBotError, Refused, Unavailable
from peerbot.protocol.documents import (
    LARGEST_RESULT_BYTES,
    AskReply,
    AskRequest,
    Brief,
    FileRefused,
    Inputs,
    PersonInput,
    SessionPart,
    StartRequest,
    Steer,
    SteerRequest,
    Submodule,
    Submodules,
    Thread,
    TurnBegin,
    TurnFinished,
    TurnResult,
    new_secret,
    secret_hash,
)

_M = TypeVar("_M", bound=BaseModel)

CALL_SECONDS = 30.0
SENT_WHOLE_BYTES = 1024 * 1024
"""A larger body is handed to aiohttp as a file, so that its sending does not hold the event loop."""

RETRY_SECONDS = 120.0
FILE_SECONDS = 120.0
"""How long to try to fetch or to send a file."""

PART_SECONDS = 10.0
"""How long to offer a part of the transcript; if it is not taken, it goes out with the next, or with the whole."""


class NotDone(Refused):
    """The gateway says why a file can't be had or sent."""

    def __init__(self, reply: FileRefused) -> None:
        super().__init__(reply.said)
        self.why = reply.why


class GatewayClient:
    """Calls the gateway for one run. An async context manager: it closes its connections.

    `url` is the gateway with the run's path. The supervisor's token never leaves this object; the agent's is
    `agent_token`. Calls raise `Refused` (the run is over), `Conflict` (another was first) and `Unavailable` (no
    answer within `RETRY_SECONDS`; a finished turn waits for longer).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.agent_token = new_secret()
        self._supervisor_token = new_secret()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=CALL_SECONDS + POLL_SECONDS, sock_connect=5)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def start(self, secret: str) -> Brief:
        """Trade the one-use secret for this client's tokens."""
        request = StartRequest(
            secret=secret,
            supervisor_hash=secret_hash(self._supervisor_token),
            agent_hash=secret_hash(self.agent_token),
        )
        return await self._call(Brief, "POST", "start", _body(request))

    async def inputs(self, wait_seconds: float) -> list[PersonInput]:
        """Fetch the unanswered inputs, oldest first; wait up to `wait_seconds` (one poll at most) for one."""
        wait = min(wait_seconds, POLL_SECONDS)
        return (await self._call(Inputs, "GET", f"inputs?wait={wait:.3f}", b"")).inputs

    async def begin(self) -> TurnBegin:
        """Begin a turn: its number, and the session to go on with."""
        return await self._call(TurnBegin, "POST", "turns", b"")

    async def steer(self, turn: int, have: Sequence[str], heard: Sequence[str], wait_seconds: float) -> Steer:
        """Hear what people did since; wait up to `wait_seconds` (one poll at most) for it. Not repeated.

        `have`: the ids of the messages that are known; `heard`: those of the questions whose end is known.
        """
        asked = SteerRequest(have=list(have), wait=min(wait_seconds, POLL_SECONDS), heard=list(heard))
        return Steer.model_validate_json(await self._once("POST", f"turns/{turn}/steer", _body(asked)))

    async def ask(self, turn: int, question: AskRequest) -> AskReply:
        """Ask people something; the same call again is asked once."""
        return await self._call(AskReply, "POST", f"turns/{turn}/ask", _body(question))

    async def progress(self, turn: int, report: Progress) -> None:
        """Report a turn's progress. Not repeated: the next report says it all again."""
        await self._once("PUT", f"turns/{turn}/progress", _body(report))

    async def keep_part(self, turn: int, part: int, data: SessionPart, *, patiently: bool = True) -> None:
        """Keep some entries of the transcript; if not `patiently`, try only once."""
        path = f"turns/{turn}/session/{part}"
        if patiently:
            await self._bytes("PUT", path, _body(data), PART_SECONDS)
        else:
            await self._once("PUT", path, _body(data))

    async def keep_session(self, turn: int, data: bytes) -> None:
        """Keep the whole transcript (gzip of a `SessionWhole`)."""
        await self._bytes("PUT", f"turns/{turn}/session", data, KEEP_SECONDS)

    async def session(self, turn: int) -> bytes:
        """Fetch the transcript that a turn goes on with (gzip of a `SessionWhole`)."""
        return await self._bytes("GET", f"turns/{turn}/session", b"")

    async def keep_work(self, turn: int, part: int, data: bytes, *, patiently: bool) -> None:
        """Keep a saved state of the workspace (a git bundle); if not `patiently`, try only once."""
        path = f"turns/{turn}/work/{part}"
        if patiently:
            await self._bytes("PUT", path, data, KEEP_SECONDS)
        else:
            await self._once("PUT", path, data)

    async def work(self, turn: int) -> bytes:
        """Fetch the saved state (a git bundle) with which the turn goes on."""
        return await self._bytes("GET", f"turns/{turn}/work", b"")

    async def file(self, identity: str, n: int) -> bytes:
        """Fetch the `n`th file that somebody shared with an input. Raises `NotDone` if it can't be had."""
        return await self._bytes("GET", f"inputs/{identity}/files/{n}", b"", FILE_SECONDS)

    async def send_file(self, turn: int, name: str, data: bytes) -> None:
        """Send a file into the thread; the same file of the same turn is sent once. Raises `NotDone`."""
        await self._bytes("PUT", f"turns/{turn}/sent?name={quote(name, safe='')}", data, FILE_SECONDS)

    async def thread(self, turn: int) -> str:
        """Fetch what was said in the thread before `turn`, as the agent may read it."""
        return (await self._call(Thread, "GET", f"turns/{turn}/thread", b"")).text

    async def submodules(self) -> list[Submodule]:
        """List the submodules that the repository's default branch names."""
        return (await self._call(Submodules, "GET", "modules", b"")).submodules

    async def came_back(self) -> bool:
        """Wait until a turn can be kept; False if it can at once, True if it could not at first."""
        try:
            await self._once("GET", "ready", b"")
        except Unavailable:
            await self._bytes("GET", "ready", b"", KEEP_SECONDS)
            return True
        return False

    async def finish(self, turn: int, result: TurnResult) -> TurnFinished:
        """End a turn: the gateway writes it, and sends its answer on its way."""
        return await self._call(TurnFinished, "POST", f"turns/{turn}/finish", _body(_fitting(result)), KEEP_SECONDS)

    async def close_run(self) -> None:
        """End the run: nothing may be called after this."""
        try:
            await self._bytes("POST", "close", b"")
        except Refused:
            return  # an earlier try closed it

    async def _call(self, reply: type[_M], method: str, path: str, body: bytes, seconds: float = RETRY_SECONDS) -> _M:
        return reply.model_validate_json(await self._bytes(method, path, body, seconds))

    async def _bytes(self, method: str, path: str, body: bytes, seconds: float = RETRY_SECONDS) -> bytes:
        async for attempt in stamina.retry_context(
            on=Unavailable, attempts=None, timeout=seconds, wait_initial=0.1, wait_max=5.0
        ):
            with attempt:
                return await self._once(method, path, body)
        raise AssertionError("stamina returns or raises")

    async def _once(self, method: str, path: str, body: bytes) -> bytes:
        headers = {"Authorization": f"Bearer {self._supervisor_token}"}
        data: bytes | io.BytesIO = body if len(body) <= SENT_WHOLE_BYTES else io.BytesIO(body)
        try:
            async with self._session.request(method, f"{self.url}/{path}", data=data, headers=headers) as reply:
                answer = await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable("The gateway did not answer.") from error
        if reply.status < 300:
            return answer
        raise _failure(reply.status, answer)


def _fitting(result: TurnResult) -> TurnResult:
    """Leave out so many of the changed files that the gateway takes the result: there may be a hundred thousand."""
    while result.files and len(_body(result)) > LARGEST_RESULT_BYTES:
        result = result.model_copy(update={"files": result.files[: len(result.files) // 2]})
    return result


def _failure(status: int, data: bytes) -> PeerBotError:
    sentence = f"{data[:500].decode(errors='replace')} (HTTP {status})"
    if status == 422:
        return NotDone(FileRefused.model_validate_json(data))
    if status == 409:
        return Conflict(sentence)
    if status in (502, 503, 504):
        return Unavailable(sentence)
    return Refused(sentence)


def _body(document: BaseModel) -> bytes:
    return document.model_dump_json(by_alias=True).encode()
