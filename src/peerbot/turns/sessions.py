"""The agent's transcript: parts while a turn runs, one compressed whole at its end (decision 0001).

A turn that goes on in another run gets everything that the runs before it left: the whole of the turn before, then each
run's parts in order. Entries are Claude Code's own; this module reads only their key and uuid.
"""

import asyncio

from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.documents import SessionWhole
from peerbot.protocol.sessions import merge, pack, unpack
from peerbot.turns.turns import last_session, readable_parts, unfinished_since

log = logger(__name__)


async def session_so_far(journal: Journal, conversation: Conversation, turn: int) -> bytes:
    """Put together the transcript with which `turn` goes on: gzip of a `SessionWhole`.

    It leaves unreadable parts out: the worker then sees that its session is not there, and begins another.
    """
    ref = await last_session(journal, conversation, turn)
    whole = await journal.session(conversation, ref.turn, ref.run) if ref else None
    parts = readable_parts(
        [
            data
            for k in range(await unfinished_since(journal, conversation, turn), turn + 1)
            for data in await journal.session_parts(conversation, k)
        ]
    )
    kept = SessionWhole(transcripts=[])
    if whole is not None:
        try:
            kept = await asyncio.to_thread(unpack, whole)
        except ValueError as error:
            log.error("session_unreadable", conversation=str(conversation), turn=turn, reason=str(error))
        else:
            if not parts:
                return whole
    return await asyncio.to_thread(lambda: pack(merge([*kept.transcripts, *parts])))


async def checked(data: bytes) -> bytes:
    """Check that we can read a whole again before we keep it; raises `Refused` if we can't. Returns `data`."""
    try:
        await asyncio.to_thread(unpack, data)
    except ValueError as error:
        raise Refused("This is not a transcript that PeerBot can keep.") from error
    return data
