"""Work that no branch has: the saved states of workspaces (decision 0022).

A run saves its state again and again while it works. Only its newest is kept, and of a turn that ended, only the state
that the turn names.
"""

from peerbot.conversation.documents import KeptWork
from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.journal.journal import Journal


async def write(journal: Journal, conversation: Conversation, place: KeptWork, before: int, data: bytes) -> bool:
    """Keep a saved state, and forget part `before`, the last in this run; False if another has its number."""
    if not await journal.put(paths.work(conversation, place.turn, place.run, place.part), data):
        return False
    if 0 < before < (place.part or 0):
        await journal.delete(paths.work(conversation, place.turn, place.run, before))
    return True


async def read(journal: Journal, conversation: Conversation, place: KeptWork) -> bytes | None:
    """Read a saved state; None if it is gone."""
    return await journal.get(paths.work(conversation, place.turn, place.run, place.part))


async def newest(
    journal: Journal, conversation: Conversation, turns: range, *, before_run: int | None = None
) -> KeptWork | None:
    """Find the newest state that a run (earlier than `before_run`) saved while it worked on one of `turns`."""
    found = [paths.parse_work(key) async for key in journal.keys(paths.works(conversation))]
    fits = [
        (run, turn, part)
        for turn, run, part in filter(None, found)
        if turn in turns and (before_run is None or run < before_run)
    ]
    if not fits:
        return None
    run, turn, part = max(fits)
    return KeptWork(turn=turn, run=run, part=part)


async def clear(journal: Journal, conversation: Conversation, until: int, *, kept: KeptWork | None) -> None:
    """Forget the states that were saved up to turn `until`, but for `kept`. Idempotent."""
    stays = paths.work(conversation, kept.turn, kept.run, kept.part) if kept else None
    for key in [key async for key in journal.keys(paths.works(conversation))]:
        turn = int(key.removeprefix(paths.works(conversation)).partition("/")[0])
        if key != stays and turn <= until:
            await journal.delete(key)
