"""The agent's transcript: parts while a turn runs, one compressed whole at its end (decision 0001).

A turn that goes on in another run gets everything that the runs before it left: the whole of the turn before, then each
run's parts in order. The agent can write anything into them, so nothing here parses them: they are put together as
bytes, and the worker reads them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from peerbot.conversation.keys import Conversation
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.logs import logger
from peerbot.protocol.sessions import END, LARGEST_BYTES, another, opened

log = logger(__name__)

Write = Callable[[bytes], Awaitable[None]]


async def session_so_far(journal: Journal, conversation: Conversation, turn: int, write: Write) -> None:
    """Put together the transcript with which `turn` goes on, gzip of a `SessionWhole`, and hand it to `write`.

    If something in it is damaged or it is too large, so is the result: the worker then begins another session.
    """
    memory = await Memory.of(journal, conversation, turn)
    ref, since = await memory.last_session(), await memory.unfinished_since(session=True)
    parts = [key for k in range(since, turn + 1) for key in await journal.session_parts(conversation, k)]
    async with journal.large:
        whole = await journal.session(conversation, ref.turn, ref.run) if ref else None
        if whole is not None and not parts:
            await write(whole)
            return
        try:
            await _written(opened(whole), write)
        except ValueError as error:
            log.error("session_unreadable", conversation=str(conversation), turn=turn, reason=str(error))
        del whole
    left = LARGEST_BYTES
    for key in parts:
        async with journal.large:
            part = await journal.get(key) or b""
            left -= len(part)
            await _written(another(part), write)
            del part
        if left < 0:
            break
    await write(END)


async def _written(pieces: Iterator[bytes], write: Write) -> None:
    """Write pieces that take time to make."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await write(piece)
