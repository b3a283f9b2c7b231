"""How far runs got with a turn, as the objects show that they saved of it (decision 0021)."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from peerbot.conversation.keys import Conversation
from peerbot.journal import paths
from peerbot.journal.journal import Journal

PROMPT_PARTS = 2
"""So many parts of a transcript Claude Code writes when it is asked; the next one has what the agent did."""


async def got_further(journal: Journal, conversation: Conversation, since: datetime) -> set[int]:
    """Find the runs since `since` that saved more of their turn than they found. Lists one folder for each turn."""
    found: set[int] = set()
    k, works = await journal.next_turn(conversation), [key async for key in journal.keys(paths.works(conversation))]
    while True:
        found |= further([key async for key in journal.keys(paths.sessions(conversation, k))])
        found |= {run for turn, run, _ in filter(None, map(paths.parse_work, works)) if turn == k}
        k -= 1
        before = await journal.turn(conversation, k) if k else None
        if before is None or before.ended_at < since:
            return found


def further(keys: Iterable[str]) -> set[int]:
    """Tell the runs that did something from those that were only asked, by the keys of what they saved of one turn.

    Each run saves only what is new: what it found is in the folders of the runs before it.
    """
    parts = Counter(place[0] for key in keys if (place := paths.parse_session_part(key)))
    return {run for run, number in parts.items() if number > PROMPT_PARTS}
