"""Messages that the journal did not take, in memory: each once, within bounds, and none keeps another waiting."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from peerbot.conversation.documents import Input
from peerbot.dispatcher.unrecorded import MOST_CONVERSATIONS, MOST_MESSAGES, Unrecorded
from peerbot.errors import Unavailable, Unreadable
from peerbot.slack.events import Candidate
from peerbot.tasks import Tasks


def said(number: int, *, thread: int = 0) -> Candidate:
    ts, thread_ts = (f"{1795000000 + seconds}.000100" for seconds in (number, thread))
    return Candidate(Input(team="T1", channel="C1", thread_ts=thread_ts, ts=ts, user="U1", text="", event_id=""), True)


class Store:
    """Notes all that is recorded, in order, except the inputs that `refuse` raises for."""

    def __init__(self, refuse: Callable[[str, list[str]], None] = lambda ts, recorded: None) -> None:
        self.recorded: list[str] = []
        self._refuse = refuse

    async def record(self, candidate: Candidate) -> bool:
        self._refuse(candidate.input.ts, self.recorded)
        self.recorded.append(candidate.input.ts)
        return True


class Signs:
    """The reactions that people see on the messages."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def waits(self, item: Input) -> None:
        self.seen.append(item.ts)

    async def waits_no_more(self, item: Input) -> None:
        self.seen.remove(item.ts)


async def tried_again(store: Store, candidates: list[Candidate], signs: Signs | None = None) -> list[str]:
    """Wait until nothing waits any more; returns all that `store` has recorded."""
    tasks = Tasks()
    unrecorded = Unrecorded(store.record, signs or Signs(), tasks.spawn)
    for candidate in candidates:
        unrecorded.add(candidate)
    await tasks.close(20)
    return store.recorded


async def test_the_oldest_of_a_conversation_is_first_and_each_is_recorded_once() -> None:
    later, earlier = said(2), said(1)
    assert await tried_again(Store(), [later, earlier, later]) == [earlier.input.ts, later.input.ts]


async def test_what_can_never_be_recorded_keeps_nothing_else_waiting() -> None:
    damaged, well = said(1), said(2)

    def refuse(ts: str, _: list[str]) -> None:
        if ts == damaged.input.ts:
            raise Unreadable

    assert await tried_again(Store(refuse), [damaged, well]) == [well.input.ts]


async def test_a_message_that_may_not_be_for_us_gets_no_sign_and_only_unrecorded_ones_keep_theirs() -> None:
    damaged, well, other = said(1), said(2), replace(said(3), sure=False)

    def refuse(ts: str, _: list[str]) -> None:
        if ts == damaged.input.ts:
            raise Unreadable

    signs = Signs()
    await tried_again(Store(refuse), [damaged, well, other, well], signs)
    assert signs.seen == [damaged.input.ts]


async def test_a_conversation_that_the_journal_does_not_take_keeps_no_other_waiting() -> None:
    away, well = said(1), said(2, thread=2)

    def refuse(ts: str, recorded: list[str]) -> None:
        if ts == away.input.ts and well.input.ts not in recorded:
            raise Unavailable

    assert await tried_again(Store(refuse), [away, well]) == [well.input.ts, away.input.ts]


@pytest.mark.parametrize(
    ("candidates", "most"),
    [
        ([said(number) for number in range(MOST_MESSAGES + 9)], MOST_MESSAGES),
        ([said(number, thread=number) for number in range(MOST_CONVERSATIONS + 9)], MOST_CONVERSATIONS),
    ],
    ids=["messages", "conversations"],
)
async def test_only_so_much_is_kept(candidates: list[Candidate], most: int) -> None:
    assert sorted(await tried_again(Store(), candidates)) == [candidate.input.ts for candidate in candidates[:most]]
