"""Thins a conversation that goes on: transcripts of old turns go, those that a later turn may take up stay."""

from collections.abc import Iterable
from datetime import datetime

from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.journal.chosen import newest_answer
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.journal.storage import Storage


async def useless(storage: Storage, conversation: Conversation, sizes: Iterable[str], before: datetime) -> list[str]:
    """Name the objects of `sizes` (keys below the folder) that nobody takes up again and that are old enough.

    These are transcripts of turns that ended before `before`, in all their parts, and saved states that a turn which
    ended should have deleted. What the next turn goes on with stays, also if people retry the newest answer. The caller
    has made sure that nothing is under way.
    """
    journal = Journal(storage)
    memory = await Memory.of(journal, conversation)
    if not (newest := await newest_answer(journal, conversation)):
        return []
    retried = await Memory.of(journal, conversation, newest)  # as it would be if people retried the newest answer
    found = [await each.last_session() for each in (memory, retried)]
    since = min(await memory.unfinished_since(session=True), await memory.unfinished_since())
    floor = min([since, *(ref.turn for ref in found if ref)])
    kept = [work for each in (memory, retried) if (work := await each.kept_work())]
    stay = {paths.work(conversation, work.turn, work.run, work.part) for work in kept}
    old: dict[int, bool] = {}
    going = []
    for rest in sizes:
        folder, _, name = rest.partition("/")
        number = name.partition("/")[0]
        if folder not in ("sessions", "work") or not number.isdecimal() or int(number) >= floor:
            continue
        k, key = int(number), f"{paths.folder(conversation)}{rest}"
        if k not in old:
            turn = await journal.turn(conversation, k)
            old[k] = turn is not None and turn.ended_at < before
        if old[k] and key not in stay:
            going.append(rest)
    return sorted(going)
