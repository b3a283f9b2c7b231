"""Files that the agent sends into its thread: each comes once, whatever dies in between (decision 0027).

A file that Slack has, and that nobody shared yet, is seen by nobody. So the bytes go first, then a document under the
turn that names Slack's id of the file, and then the file is shared. If any of it is asked for again, the document says
which file it is, and the thread says whether that file is there.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import PurePosixPath

import stamina

from peerbot.conversation.documents import Run, now
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.conversation.sent import SentFile
from peerbot.errors import Refused
from peerbot.files.names import safe_name
from peerbot.journal import sent
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.api import came_at_once, refusal_code
from peerbot.slack.post import UPLOAD_REFUSALS, Poster
from peerbot.thread.answers import is_file_of_an_answer

log = logger(__name__)

MOST_SENT = 5
LARGEST_SENT_BYTES = 10 * 1024 * 1024
MOST_SENT_BYTES = 25 * 1024 * 1024
"""How many files the agent may send in a turn, how large each may be, and all of them together."""

AT_WORK = timedelta(seconds=60)
"""Longer than the gateway lets one call take."""

_TRIES = 3
_LOOK_SECONDS = 1.0
_LOOKS = 3
"""How often we look for a shared file: Slack puts it into the thread a moment after it says so."""

_SNIPPETS = {"diff": "diff", "patch": "diff", "log": "text", "txt": "text"}
_LARGEST_SNIPPET_BYTES = 1_000_000


class NotSent(Refused):
    """A file of the agent's was not sent. The text says why, for the agent."""


class Sending:
    """Sends files into threads. It holds nothing: the journal and Slack have all of it.

    `at_work`: for this long after its document was written, a file may still be on its way into the thread.
    """

    def __init__(self, journal: Journal, poster: Poster, *, at_work: timedelta = AT_WORK) -> None:
        self._journal = journal
        self._poster = poster
        self._at_work = at_work

    async def send(self, conversation: Conversation, run: Run, turn: int, name: str, data: bytes) -> None:
        """Put a file into the thread, unless this turn has put it there already.

        Raises `NotSent` if Slack or a limit does not allow it, and as Slack's calls and the journal do: then it may be
        there, and the same call again finds out.
        """
        name, digest = _name(name), hashlib.sha256(name.encode() + b"\0" + data).hexdigest()
        if not data:
            raise NotSent("The file is empty.")
        try:
            await self._once(conversation, run, turn, name, digest, data)
        except NotSent:
            raise
        except Refused as refused:
            code = refusal_code(refused)
            raise NotSent(UPLOAD_REFUSALS.get(code, f"Slack refused the file ({code}).")) from refused

    async def _once(self, conversation: Conversation, run: Run, turn: int, name: str, digest: str, data: bytes) -> None:
        i, mine = await self._found(conversation, turn, digest, len(data)), None
        if i is None:
            file = await self._poster.upload(name, data, snippet=_snippet(name, data))
            mine = SentFile(name=name, size=len(data), digest=digest, file=file)
            i = await self._written(conversation, turn, mine)
        written = await sent.read(self._journal, conversation, turn, i)
        if await sent.is_shown(self._journal, conversation, turn, i):
            return
        since = input_ts(run.serves[0])
        again = mine is None or written.nonce != mine.nonce
        if again:
            await self._wait(conversation, turn, i, written, since)
        await self._shown(conversation, written, since, again=again)
        await sent.note_shown(self._journal, conversation, turn, i)

    async def _found(self, conversation: Conversation, turn: int, digest: str, size: int) -> int | None:
        """Find the number of this file among the turn's; None if it is new. Raises `NotSent` if it is one too many."""
        there = await sent.all_of(self._journal, conversation, turn)
        for i, file in there.items():
            if file.digest == digest:
                return i
        _check_limits(list(there.values()), size)
        return None

    async def _written(self, conversation: Conversation, turn: int, file: SentFile) -> int:
        """Write the file's document under a number of its own; returns it, or that of the same file if it was first."""
        while True:
            there = await sent.all_of(self._journal, conversation, turn)
            same = [i for i, other in there.items() if other.digest == file.digest]
            if same:
                return same[0]
            _check_limits(list(there.values()), file.size)
            i = max(there, default=0) + 1
            if await sent.write(self._journal, conversation, turn, i, file):
                return i

    async def _wait(self, conversation: Conversation, turn: int, i: int, file: SentFile, since: str) -> None:
        """Wait until the dispatcher that wrote the document can't be sharing the file any more, or has."""
        while now() - file.written_at < self._at_work:
            if await sent.is_shown(self._journal, conversation, turn, i) or await self._is_there(
                conversation, file, since
            ):
                return
            await asyncio.sleep(_LOOK_SECONDS)

    async def _shown(self, conversation: Conversation, file: SentFile, since: str, *, again: bool) -> None:
        """Share the file in the thread, unless it is there."""
        async for attempt in stamina.retry_context(
            on=came_at_once, attempts=_TRIES, timeout=None, wait_initial=1.0, wait_max=5.0
        ):
            with attempt:
                if (again or attempt.num > 1) and await self._is_there(conversation, file, since):
                    return
                await self._poster.share(conversation, file.file, title=file.name)

    async def _is_there(self, conversation: Conversation, file: SentFile, since: str) -> bool:
        """Look whether the file is in the thread."""
        for look in range(_LOOKS):
            if look:
                await asyncio.sleep(0.25 * 2**look)
            async for message in self._poster.thread(conversation, after_ts=since):
                if file.file in message.file_ids:
                    return True
        return False


def _check_limits(there: Sequence[SentFile], size: int) -> None:
    if len(there) >= MOST_SENT:
        raise NotSent(f"You have sent {MOST_SENT} files in this turn; no more can be sent.")
    if sum(file.size for file in there) + size > MOST_SENT_BYTES:
        raise NotSent(f"The files of this turn would have more than {MOST_SENT_BYTES // 1024**2} MiB.")


def _name(name: str) -> str:
    """Make the name that people see: none by which PeerBot would take the file for a part of an answer."""
    made = safe_name(name)
    return f"file-{made}" if is_file_of_an_answer(made) else made


def _snippet(name: str, data: bytes) -> str:
    """Say as which kind of snippet Slack shows the file; empty if it is none."""
    kind = _SNIPPETS.get(PurePosixPath(name).suffix[1:].lower(), "")
    if not kind or len(data) > _LARGEST_SNIPPET_BYTES or b"\0" in data:
        return ""
    try:
        data.decode()
    except UnicodeDecodeError:
        return ""
    return kind
