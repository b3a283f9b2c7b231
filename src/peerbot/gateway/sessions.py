"""The agent's transcript: parts while a turn runs, one compressed whole at its end (D2).

A turn that goes on in another run finds what the runs before it left: the whole of the turn before, then each run's
parts in order. Entries are Claude Code's own; nothing here looks into them beyond their key and uuid.
"""

import asyncio

from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused
from peerbot.gateway.turns import last_session
from peerbot.journal.journal import Journal
from peerbot.protocol.documents import SessionPart, SessionWhole
from peerbot.protocol.sessions import merge, pack, unpack


async def session_so_far(journal: Journal, conversation: Conversation, turn: int) -> bytes:
    """Put together what `turn` goes on with: gzip of a `SessionWhole`."""
    before = [k for k in await journal.turn_numbers(conversation) if k < turn]
    ref = await last_session(journal, conversation, before)
    whole = await journal.session(conversation, ref.turn, ref.run) if ref else None
    parts = [SessionPart.model_validate_json(data) for data in await journal.session_parts(conversation, turn)]
    if whole is not None and not parts:
        return whole
    kept = await asyncio.to_thread(unpack, whole) if whole else SessionWhole(transcripts=[])
    return await asyncio.to_thread(lambda: pack(merge([*kept.transcripts, *parts])))


async def checked(data: bytes) -> bytes:
    """Make sure that a whole can be read again before it is kept; raises `Refused` where it can't."""
    try:
        await asyncio.to_thread(unpack, data)
    except ValueError as error:
        raise Refused("This is not a transcript that can be kept.") from error
    return data
