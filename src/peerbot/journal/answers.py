"""The answered and unanswered inputs: a turn that names an input answers it; age never does (decision 0001)."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from peerbot.conversation.documents import Input, Settled, TellClaim, now
from peerbot.conversation.keys import Conversation, input_id, input_kind, input_ts
from peerbot.conversation.steps import NoEffect
from peerbot.journal import chosen, paths
from peerbot.journal.journal import Journal

_CLOCK_SKEW = timedelta(minutes=10)
"""How far Slack's clock and a replica's are usually apart at most."""

_ALWAYS_READ = 5
"""How many of the newest turns it always reads, whatever the clocks say: a laptop that slept is further behind."""


SAID = ("message", "edit", "answer", "choice")
"""The kinds of inputs with which a turn goes on. An answer is one only if it settled its question, a choice only if the
agent has to answer it."""


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


async def unanswered(journal: Journal, conversation: Conversation, kinds: Collection[str] = SAID) -> list[Input]:
    """Read the inputs of these kinds that wait for an answer, oldest first.

    Skips a marker whose input does not exist yet (its writer is between the two puts) until the next look.
    """
    pending = [i for i in await journal.pending_in(conversation) if input_kind(i) in kinds]
    done = await answered(journal, conversation, pending)
    inputs = [await journal.input(conversation, i) for i in pending if i not in done]
    return [i for i in inputs if i is not None and (i.kind != "choice" or await chosen.agent_answers(journal, i))]


async def settle(journal: Journal, conversation: Conversation, identity: str, reason: Settled) -> Settled:
    """Say that an input has no effect, and why; returns what holds: `reason`, or what somebody said before."""
    key = paths.settled_input(conversation, identity)
    return reason if await journal.create(key, reason) else await journal.read_existing(key, Settled)


async def settled(journal: Journal, conversation: Conversation, identity: str) -> Settled | None:
    """Read why an input has no effect; None if nobody has said so."""
    return await journal.read(paths.settled_input(conversation, identity), Settled)


async def taken_back(journal: Journal, item: Input) -> bool:
    """Whether somebody took back a message, or the message that an edit or a deletion is about.

    They deleted it before anybody began, or before its own event came.
    """
    if item.kind not in ("message", "edit", "delete"):
        return False
    message = item.id if item.kind == "message" else input_id(item.of, "message")
    found = await settled(journal, item.conversation, message)
    return found is not None and found.why == NoEffect.DELETED


async def claim_telling_again(journal: Journal, item: Input, settled_at: datetime, holds_for: timedelta) -> int:
    """Claim to tell the author of a settled input again; returns the claim's number, or 0 if it is not ours to tell.

    It is not if they were told (the marker is gone), or if the newest claim still holds: somebody is telling them.
    """
    if await journal.marked_at(item.conversation, item.id) is None:
        return 0
    i, newest = 1, settled_at
    while claim := await journal.read(paths.told_again(item.conversation, item.id, i), TellClaim):
        i, newest = i + 1, claim.claimed_at
    if now() - newest <= holds_for:
        return 0
    return i if await journal.create(paths.told_again(item.conversation, item.id, i), TellClaim()) else 0
