"""What people and channels have spent in a month, so that nobody has to read all turns to answer them.

At a turn's end one small object is created for its person, and one for its channel. Its name has the figures, so a
listing of the month says all: one call for a thousand turns. The turns themselves are the truth: if a dispatcher dies
between a turn and its entries, the entries are missing, and these sums are too low by that turn.
"""

import asyncio
import re
from dataclasses import dataclass

from peerbot.conversation.documents import Document, Turn
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Purse, Scope, purse
from peerbot.conversation.spent import dollars, tokens_read, tokens_written
from peerbot.errors import PeerBotError
from peerbot.journal import paths, spending
from peerbot.journal.journal import Journal
from peerbot.logs import logger

log = logger(__name__)

MOST_READ = 300
_AT_ONCE = 32

_ENTRY = re.compile(r"[a-z2-7]{16}-\d+-(\d{1,15})-(\d{1,15})-(\d{1,15})")


class Booked(Document):
    """`spent-by/{person|channel}/{id}/{month}/{conversation}-{turn}-{microdollars}-{tokens read}-{written}`.

    Entries of the release before are empty.
    """

    user: str = ""
    channel: str = ""
    repository: str = ""


@dataclass(frozen=True, slots=True)
class Spending:
    """What somebody has spent in a month, or a channel."""

    turns: int = 0
    usd: float = 0.0
    tokens_read: int = 0
    tokens_written: int = 0


async def book(journal: Journal, conversation: Conversation, turn: Turn) -> None:
    """Enter what a written turn has cost. May be repeated. A failure is only logged."""
    if not turn.spent:
        return
    spent = turn.spent
    figures = f"{round(dollars(spent) * 1e6)}-{tokens_read(spent)}-{tokens_written(spent)}"
    name = f"{conversation.id}-{turn.k}-{figures}"
    try:
        user = (await spending.books(journal, conversation, turn.k)).payer
        repository = turn.repository or ""
        entry = Booked(nonce=turn.nonce, user=user, channel=conversation.channel, repository=repository)
        scopes = (Scope.PERSON, Scope.CHANNEL) if user else (Scope.CHANNEL,)
        payers = [purse(scope, conversation, user, turn.ended_at) for scope in scopes]
        await asyncio.gather(*(journal.create(f"{paths.spent_by(payer)}{name}", entry) for payer in payers))
    except PeerBotError as error:
        log.warning("cost_not_booked", turn=turn.k, reason=str(error))


async def month_of_person(journal: Journal, conversation: Conversation, user: str, month: str) -> Spending:
    """Add up what a person of the conversation's workspace has spent in a month (`2026-11`)."""
    return await total(journal, Purse(Scope.PERSON, f"{conversation.team}-{user}", month))


async def month_of_channel(journal: Journal, conversation: Conversation, month: str) -> Spending:
    """Add up what the conversation's channel has spent in a month (`2026-11`)."""
    return await total(journal, Purse(Scope.CHANNEL, f"{conversation.team}-{conversation.channel}", month))


async def thread(journal: Journal, conversation: Conversation) -> Spending:
    """Add up what the turns of a thread have cost."""
    turns = [await journal.turn(conversation, k) for k in await journal.turn_numbers(conversation)]
    there = [turn for turn in turns if turn and turn.cost_usd is not None]
    return Spending(
        turns=len(there),
        usd=sum(turn.cost_usd or 0.0 for turn in there),
        tokens_read=sum(tokens_read(turn.spent) for turn in there),
        tokens_written=sum(tokens_written(turn.spent) for turn in there),
    )


async def entries(journal: Journal, of: Purse) -> list[tuple[float, Booked]]:
    """Read a month's entries, each with its US dollars: at most `MOST_READ`, for a table that somebody waits for."""
    keys = [key async for key in journal.keys(paths.spent_by(of)) if _ENTRY.fullmatch(key.rpartition("/")[2])]
    few = asyncio.Semaphore(_AT_ONCE)

    async def read(key: str) -> tuple[float, Booked]:
        async with few:
            found = _ENTRY.fullmatch(key.rpartition("/")[2])
            assert found
            return int(found[1]) / 1e6, await journal.read_existing(key, Booked)

    return list(await asyncio.gather(*map(read, keys[:MOST_READ])))


async def total(journal: Journal, of: Purse) -> Spending:
    """Add up a month of a person's or a channel's purse."""
    turns = micro = read = written = 0
    async for key in journal.keys(paths.spent_by(of)):
        if found := _ENTRY.fullmatch(key.rpartition("/")[2]):
            turns += 1
            micro, read, written = micro + int(found[1]), read + int(found[2]), written + int(found[3])
    return Spending(turns, micro / 1e6, read, written)
