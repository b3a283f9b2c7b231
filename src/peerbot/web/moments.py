"""When things of a turn happened, from the mention to the answer, and the workers that it had."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from peerbot.conversation.documents import Input, TurnTimes

_SKEW = timedelta(seconds=5)  # between Slack's clock and ours


class Worker(BaseModel):
    """A run that worked on the turn; `end` is empty while it is alive."""

    number: int
    name: str
    reserved: datetime
    started: datetime | None
    closed: datetime | None
    end: str
    because: str  # the end of a sentence, if it did not end as it should


class Moment(BaseModel):
    """A time on the way from a mention to its answer; `what` is a word that the page knows."""

    what: str
    at: datetime
    about: str = ""


def moments_of(inputs: Iterable[Input], workers: Iterable[Worker]) -> list[Moment]:
    """List when the first input was made and recorded, and what became of the workers."""
    found = []
    for first in list(inputs)[:1]:
        found += [Moment(what="said", at=slack_time(first.ts)), Moment(what="recorded", at=first.received_at)]
    for each in workers:
        found.append(Moment(what="reserved", at=each.reserved, about=each.name))
        if each.started:
            found.append(Moment(what="started", at=each.started, about=each.name))
        if each.closed and each.because:
            found.append(Moment(what="interrupted", at=each.closed, about=each.because))
    return found


def times_of(times: TurnTimes) -> list[Moment]:
    """List what a turn's own document tells."""
    found = (
        ("cloned", times.cloned),
        ("requested", times.first_request),
        ("saved", times.saved),
        ("pushed", times.pushed),
    )
    return [Moment(what=what, at=at) for what, at in found if at]


def of_the_turn(moments: list[Moment], ended: datetime | None) -> list[Moment]:
    """Sort a turn's moments; leave out what a worker did before it, for another turn, and how it ended after it."""
    begun = min((moment.at for moment in moments if moment.what in ("said", "recorded")), default=None)
    return sorted(
        (
            moment
            for moment in moments
            if not (moment.what in ("reserved", "started") and begun and moment.at < begun - _SKEW)
            and not (moment.what == "interrupted" and ended and moment.at > ended)
        ),
        key=lambda moment: moment.at,
    )


def slack_time(ts: str) -> datetime:
    """Read the time in Slack's name of a message."""
    return datetime.fromtimestamp(float(ts), UTC)
