"""How a run ends: the ends that there are, and what the exit code of its worker says of it. Pure.

`slack/words.py` has the words.
"""

from enum import StrEnum


class RunEnd(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"  # its worker closed it itself
    NEVER_STARTED = "never_started"
    NOT_ADMITTED = "not_admitted"  # where runs run did not take it, and will not: another try would not, either
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    DEADLINE = "deadline"
    HUNG = "hung"  # it gave no sign of life
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    DRAINED = "drained"
    DISPATCHER_ENDED = "dispatcher_ended"
    CUT_OFF = "cut_off"  # its worker reached no gateway, or the gateway no journal, for too long
    GONE = "gone"  # nothing is left that could say why

    @property
    def died_of_itself(self) -> bool:
        """Whether it counts as a try of its inputs (decision 0002)."""
        return self in (RunEnd.CRASHED, RunEnd.OUT_OF_MEMORY, RunEnd.DEADLINE, RunEnd.HUNG)


CUT_OFF_EXIT_CODE = 75
"""With which a worker ends that was cut off: "a temporary failure" in sysexits.h."""

DRAINED_EXIT_CODE = 143
"""With which a worker ends that was asked to in the middle of a turn: 128 and SIGTERM's number, as shells say it.

Not 0: Kubernetes would take the pod's work for done, and not say any more that it was evicted.
"""


HUNG_EXIT_CODE = 124
"""The code of a run whose worker hung and was killed for it: `timeout` says the same of a command."""

_BY_EXIT_CODE = {
    0: RunEnd.FINISHED,
    CUT_OFF_EXIT_CODE: RunEnd.CUT_OFF,
    DRAINED_EXIT_CODE: RunEnd.DRAINED,
    HUNG_EXIT_CODE: RunEnd.HUNG,
}


def end_of(exit_code: int) -> RunEnd:
    """Say how a run ended whose worker left this exit code (128 + n for signal n)."""
    return _BY_EXIT_CODE.get(exit_code, RunEnd.CRASHED)
