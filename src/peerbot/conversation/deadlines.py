"""The deadlines that depend on each other, each derived from the one that it must stay above or below. Pure.

A deadline that no other part relies on is defined where it is used. Sentences that name one of these times take it from
here (`spoken`).
"""

from datetime import timedelta

SWEEP_SECONDS = 60.0
"""The time between two sweeps: a dispatcher then looks at everything that is not answered."""

RETRY_SECONDS = SWEEP_SECONDS - 10
"""How long a dispatcher asks a service again for one conversation. After that the next sweep tries."""

POST_SECONDS = 45.0
"""How long the dispatcher that created a turn, or claimed to post it again, may try to post its answer."""

REPOST_AFTER = timedelta(seconds=POST_SECONDS + 15)
"""How soon another dispatcher may claim the answer: the one before has stopped by then (decision 0003)."""

COMES_WITHIN = timedelta(seconds=10)
"""A reserved run that has not appeared by then never will: only the dispatcher that reserved it knew its secret, and
that one has died (decision 0002). A Job that is not released by then belongs to such a dispatcher, too."""

LONGEST_START = timedelta(minutes=15)
"""If a run has not begun by then, we give it up and tell the thread why."""

OFFER_AFTER = timedelta(hours=2)
"""PeerBot does not begin an input this old unasked if no run was reserved for it since: there was an outage, or
somebody restored a bucket. Nor does it go on for longer than this after runs that end, one after the other, through
nobody's fault. A dispatcher that starts looks back just as far, since it would only offer older inputs."""

FIRST_BACK_OFF, LONGEST_BACK_OFF = timedelta(seconds=1), timedelta(seconds=SWEEP_SECONDS)
"""How long the next run waits after runs that ended through nobody's fault: twice as long after each of them."""

ORPHAN_AFTER = timedelta(minutes=10)
"""If a marker has no input by then, its writer died between the two puts, and Slack has not sent the event again."""

MENDED_WITHIN = ORPHAN_AFTER + timedelta(seconds=2 * SWEEP_SECONDS)
"""By then a running dispatcher has mended all that it can mend alone: it has swept twice."""

LONGEST_RUN_SECONDS = 3600.0
"""After this a worker takes no new turn: its run closes, and the next message starts another."""

KEEP_SECONDS = 20 * 60.0
"""How long a worker whose turn is done tries to keep it while the gateway or its journal is away."""

OUTAGE_SECONDS = KEEP_SECONDS + 10 * 60.0
"""How old a look-up of a run may be for reads while the journal is away. Nobody can close a run then, and its agent
works on for as long as its worker may try to keep the turn."""

POLL_SECONDS = 25.0
"""How long the gateway holds a worker's request for inputs until one comes."""

POD_GRACE_SECONDS, PROCESS_GRACE_SECONDS = 30, 10.0
"""How long a worker may take to end after it is asked to; then it is killed. A pod may be far from its gateway."""

LAST_SAVE_SECONDS = 0.6 * min(POD_GRACE_SECONDS, PROCESS_GRACE_SECONDS)
"""How long a worker that is asked to end may take for its last checkpoint."""


def backstop_seconds(turn_seconds: float) -> float:
    """Say when a run is ended from outside, in seconds: far later than it may take for anything (decision 0012)."""
    return LONGEST_RUN_SECONDS + 2 * turn_seconds + 600


def back_off(ends: int) -> timedelta:
    """Say how long the next run waits after so many ends in a row that are nobody's fault (at least one)."""
    return min(FIRST_BACK_OFF * (1 << min(ends - 1, 10)), LONGEST_BACK_OFF)


def spoken(time: timedelta) -> str:
    """Put a time into words: `2 hours`, `15 minutes`, `45 seconds`."""
    seconds = time.total_seconds()
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}" + ("s" if seconds != size else "")
    return f"{seconds:g} seconds"
