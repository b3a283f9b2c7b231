"""What the agent remembers when a turn begins, and which unfinished work it goes on with.

A turn goes on with the newest session before it. People may change that: a retry begins from before the turn that it
repeats, and a new session begins without any (decision 0029). The turn that does so says it (`forgets`, `undoes`).
"""

from collections.abc import AsyncIterator, Callable

from peerbot.conversation.documents import Input, KeptWork, SessionRef, Turn
from peerbot.conversation.keys import Conversation
from peerbot.journal import chosen
from peerbot.journal.journal import Journal


async def retry_at_work(journal: Journal, conversation: Conversation) -> Input | None:
    """Find the retry that the agent has to answer now; None if there is none."""
    return await chosen.retry_among(journal, conversation, await journal.pending_in(conversation))


async def last_session(journal: Journal, conversation: Conversation, turn: int) -> SessionRef | None:
    """Find the session with which `turn` goes on; skip turns without one (a refusal), and those that are forgotten."""
    async for before in remembered(journal, conversation, turn):
        if before.session:
            return before.session
    return None


async def remembered(journal: Journal, conversation: Conversation, turn: int) -> AsyncIterator[Turn]:
    """Yield the turns before `turn` that its agent may remember, newest first."""
    async for before in _back_from(journal, conversation, turn, lambda each: each.forgets):
        yield before


async def standing(journal: Journal, conversation: Conversation, turn: int) -> AsyncIterator[Turn]:
    """Yield the turns before `turn` whose work stands: nobody has undone it, newest first."""
    async for before in _back_from(journal, conversation, turn, lambda each: each.undoes):
        yield before


async def _back_from(
    journal: Journal, conversation: Conversation, turn: int, jump: Callable[[Turn], int | None]
) -> AsyncIterator[Turn]:
    """Yield the turns before `turn`, newest first; `jump` says from which turn on the ones before it do not count.

    A retry jumps to before the turn that it repeats, and from there as that turn did.
    """
    retry = await _retry(journal, conversation, turn)
    below = retry.turn if retry and retry.turn else turn
    for k in reversed(await journal.turn_numbers(conversation)):
        if k > below:
            continue
        if before := await journal.turn(conversation, k):
            if k < below:
                yield before
            below = min(below, jump(before) or below)


async def forgotten(journal: Journal, conversation: Conversation, turn: int) -> bool:
    """Whether people asked for a new session, and `turn` is the first in it."""
    async for before in remembered(journal, conversation, turn):
        if before.session:
            return False
        if before.forgets == 1 and before.run is None:
            return True
    return False


async def kept_work(journal: Journal, conversation: Conversation, turn: int) -> KeptWork | None:
    """Find the work that could not be pushed with which `turn` goes on.

    The newest turn with a run names all of it; the work of turns that were undone does not count.
    """
    async for before in standing(journal, conversation, turn):
        if before.run is not None:
            return before.kept
    return None


async def unfinished_since(journal: Journal, conversation: Conversation, turn: int, *, session: bool = False) -> int:
    """Find the first turn whose work `turn` goes on with: itself, or the first of a row of turns that did nothing.

    Those turns come just before it. They were given up, or failed before they asked their agent. `session`: the first
    turn whose parts of a session it goes on with. What people undid or let the agent forget does not count.
    """
    since = turn
    if await _retry(journal, conversation, turn):
        return since
    while since > 1 and (before := await journal.turn(conversation, since - 1)) and _took_nothing_up(before):
        since -= 1
        if before.undoes or (session and before.forgets):
            break
    return since


def _took_nothing_up(turn: Turn) -> bool:
    return turn.run is None or not turn.began


async def _retry(journal: Journal, conversation: Conversation, turn: int) -> Input | None:
    """Find the retry that `turn` answers, if it is the turn at work."""
    retry = await retry_at_work(journal, conversation)
    return retry if retry and turn == await journal.next_turn(conversation) else None
