"""The money of a turn, in slices that replicas take before they spend it (decision 0024).

The slices of a turn are numbered, and each is created knowing all before it. So their sum never exceeds the budget,
whichever replicas take them. A slice counts as spent unless its replica gives the rest of it back.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from peerbot.conversation.documents import Returned, Slice, Usage
from peerbot.conversation.keys import Conversation
from peerbot.conversation.spent import Spent, summed
from peerbot.errors import Unavailable
from peerbot.journal import paths
from peerbot.journal.journal import Journal

_LEAST_USD = 1e-6  # smaller rests come from rounding
_TRIES = 20  # each means that another replica took a slice in this moment


async def slices(journal: Journal, conversation: Conversation, turn: int) -> dict[int, tuple[Slice, float]]:
    """Read a turn's slices by number, each with what it counts in US dollars."""
    kinds = await journal.numbered(paths.slices(conversation, turn))
    found: dict[int, tuple[Slice, float]] = {}
    for i in sorted(i for i, there in kinds.items() if "json" in there):
        taken = await journal.read_existing(paths.slice_document(conversation, turn, i), Slice)
        back = None
        if "returned" in kinds[i]:
            back = await journal.read(paths.slice_document(conversation, turn, i, "returned"), Returned)
        found[i] = (taken, taken.usd - (back.usd if back else 0.0))
    return found


async def take(
    journal: Journal,
    conversation: Conversation,
    turn: int,
    *,
    run: int,
    usd: float,
    budget_usd: float,
    begins: bool = False,
    user: str = "",
) -> tuple[int, Slice] | None:
    """Take a slice of `usd`, or what is left; None if nothing is left.

    `begins`: the run begins the turn. Then there is a slice in any case, since it says so, and that `user` pays.
    """
    for _ in range(_TRIES):
        there = await slices(journal, conversation, turn)
        left = budget_usd - sum(counts for _, counts in there.values())
        if left < _LEAST_USD and not begins:
            return None
        i, wanted = max(there, default=0) + 1, Slice(run=run, usd=max(0.0, min(usd, left)), user=user)
        if await journal.create(paths.slice_document(conversation, turn, i), wanted):
            return i, wanted
    raise Unavailable("Other dispatchers take this turn's budget at the same time. Try again.")


async def give_back(journal: Journal, conversation: Conversation, turn: int, i: int, usd: float) -> None:
    """Give `usd` of a slice back. Only its replica may, once, and it spends nothing of that any more."""
    await journal.create(paths.slice_document(conversation, turn, i, "returned"), Returned(usd=usd))


@dataclass(frozen=True, slots=True)
class Books:
    """What a turn has cost up to now: each dispatcher's last report, and the person who pays (empty: nobody knows)."""

    reports: list[Usage]
    payer: str

    @property
    def spent(self) -> list[Spent]:
        """The sum, by model."""
        return summed(each for usage in self.reports for each in usage.spent)

    @property
    def first_request_at(self) -> datetime | None:
        """When the first request was passed on to Claude; None if nobody has said so."""
        return min((usage.first_request_at for usage in self.reports if usage.first_request_at), default=None)


async def books(journal: Journal, conversation: Conversation, turn: int, *, but: Collection[int] = ()) -> Books:
    """Read a turn's books; leave out the reports of dispatchers whose first slice is one of `but`.

    A dispatcher reports after each request. If one is killed, its last request may be missing, and those that were
    open: so the sum may be too low by these.
    """
    reports, payer = [], ""
    for i, kinds in sorted((await journal.numbered(paths.slices(conversation, turn))).items()):
        if "json" in kinds and not payer:
            payer = (await journal.read_existing(paths.slice_document(conversation, turn, i), Slice)).user
        numbers = [int(kind.removeprefix(paths.USED)) for kind in kinds if kind.startswith(paths.USED)]
        if numbers and i not in but:
            key = paths.slice_document(conversation, turn, i, f"{paths.USED}{max(numbers)}")
            reports.append(await journal.read_existing(key, Usage))
    return Books(reports, payer)


async def report(journal: Journal, conversation: Conversation, turn: int, i: int, n: int, usage: Usage) -> bool:
    """Write the `n`th report of the dispatcher that took slice `i` first; False if it has one of this number."""
    return await journal.create(paths.slice_document(conversation, turn, i, f"{paths.USED}{n}"), usage)
