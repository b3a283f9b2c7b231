"""A pull request after its answer: what people see of it, and when we look at it again. Pure (decision 0031)."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from peerbot.conversation.documents import Document, now

Standing = Literal["open", "draft", "merged", "closed"]
Outcome = Literal["running", "passed", "failed"]

_STEPS = ((4, 1), (60, 4), (480, 20), (5_760, 60), (172_800, 240))
"""Until which age of the answer we look how often, in units of `PEERBOT_PULL_REQUEST_SECONDS`.

With its default of 15 s: every 15 s for a minute, every minute for a quarter of an hour, every 5 minutes for 2 hours,
every 15 minutes for a day, and every hour for 30 days."""

LAST = _STEPS[-1][0]
"""At this age of the answer we stop looking."""


class Checks(BaseModel):
    """What the checks of a pull request's newest commit come to."""

    outcome: Outcome
    failed: int = 0
    total: int = 0  # 0 while they run: a number that grows would be an edit each time


class PullState(BaseModel):
    """What people see of a pull request. `checks`: None if there are none, or nobody may know."""

    standing: Standing
    checks: Checks | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing follows: we need not look again."""
        return self.standing in ("merged", "closed")


class Watched(Document):
    """`pulls/…/{number}-{k}-{ts}.json`: the answer of turn `k` names the pull request, and shows its state.

    A later release may cut the answer at other places. Then an edit of its last message would lose or repeat words; so
    `end` says with which words that message began and ended (their hash).
    """

    repository: str
    messages: int  # that the answer has
    with_file: bool  # whether its rest is in a file
    end: str


class Look(Document):
    """`pulls/…/look-{slot}`: a replica looks at the pull request, for the `slot`th time at most."""


class PullShown(Document):
    """`pulls/…/shown-{i}`: what the answer shows of the pull request; the highest `i` counts."""

    state: PullState | None  # None: its number alone
    shown_at: AwareDatetime = Field(default_factory=now)


def summed(*, passed: int, failed: int, running: int, unread: int = 0) -> Checks | None:
    """Say what checks come to. `unread`: how many more there are, of which nobody knows anything."""
    total = passed + failed + running + unread
    if failed:
        return Checks(outcome="failed", failed=failed, total=total)
    if running:
        return Checks(outcome="running")
    return Checks(outcome="passed", total=total) if passed and not unread else None


def slot_at(age: float) -> int:
    """Say which look is due at an age of the answer: 0 before the first. It has no end."""
    slot, since, every = 0, 0, 1
    for until, every in _STEPS:
        if age < until:
            break
        slot, since = slot + (until - since) // every, until
    return slot + max(0, int((age - since) // every))


def lateness(looked: int, age: float) -> float:
    """Say how late the look after the `looked`th is, in times of what lies between two looks at that age.

    Below 0: it is not due. So a look that people wait for comes before one that nobody would miss.
    """
    slot, since, every = looked + 1, 0, 1
    for until, every in _STEPS:
        if slot <= (looks := (until - since) // every):
            break
        slot, since = slot - looks, until
    return (age - since - slot * every) / every
