"""The answered and unanswered inputs: a turn that names an input answers it; age never does (decision 0001)."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.journal.journal import Journal

_CLOCK_SKEW = timedelta(minutes=10)
"""How far Slack's clock and a replica's are usually apart at most."""

_ALWAYS_READ = 5
"""How many of the newest turns it always reads, whatever the clocks say: a laptop that slept is further behind."""


async def answered(journal: Journal, conversation: Conversation, inputs: Collection[str]) -> dict[str, int]:
    """Find the turn that answers each of `inputs` (ids); leave out those that no turn names.

    Reads turns from the newest back to the first that ended before somebody wrote the oldest input. So its cost grows
    with the turns since then, not with the conversation's history.
    """
    if not inputs:
        return {}
    oldest = datetime.fromtimestamp(min(float(input_ts(i)) for i in inputs), UTC) - _CLOCK_SKEW
    found: dict[str, int] = {}
    for read, k in enumerate(reversed(await journal.turn_numbers(conversation)), start=1):
        turn = await journal.turn(conversation, k)
        if turn is None:
            continue
        found |= {i: k for i in turn.inputs if i in inputs}
        if len(found) == len(inputs) or (read >= _ALWAYS_READ and turn.ended_at < oldest):
            break
    return found


async def unanswered(journal: Journal, conversation: Conversation) -> list[Input]:
    """Read the inputs that wait for an answer, oldest first.

    Skips a marker whose input does not exist yet (its writer is between the two puts) until the next look.
    """
    pending = await journal.pending_in(conversation)
    done = await answered(journal, conversation, pending)
    inputs = [await journal.input(conversation, i) for i in pending if i not in done]
    return [i for i in inputs if i is not None]
