"""The ways in which a run can end, and how its worker's exit code tells them apart. Pure.

`slack/words.py` has the words.
"""

from enum import StrEnum


class RunEnd(StrEnum):
    """Why a run ended."""

    FINISHED = "finished"  # its worker closed it itself
    NEVER_STARTED = "never_started"
    NOT_ADMITTED = "not_admitted"  # the runtime refused it, and would refuse another try, too
    CRASHED = "crashed"
    OUT_OF_MEMORY = "out_of_memory"
    DEADLINE = "deadline"
    HUNG = "hung"  # it gave no sign of life
    EVICTED = "evicted"
    NODE_LOST = "node_lost"
    DRAINED = "drained"
    DISPATCHER_ENDED = "dispatcher_ended"
    CUT_OFF = "cut_off"  # for too long its worker reached no gateway, or the gateway no journal
    GONE = "gone"  # nothing is left that could say why

    @property
    def died_of_itself(self) -> bool:
        """Whether the run counts as a try of its inputs (decision 0002)."""
        return self in (RunEnd.CRASHED, RunEnd.OUT_OF_MEMORY, RunEnd.DEADLINE, RunEnd.HUNG)


CUT_OFF_EXIT_CODE = 75
"""The exit code of a worker that was cut off: "a temporary failure" in sysexits.h."""

DRAINED_EXIT_CODE = 143
"""The exit code of a worker that was asked to end in the middle of a turn: 128 plus SIGTERM's number, as in shells.

It is not 0: Kubernetes would then count the pod's work as done, and would no longer say that it was evicted.
"""


HUNG_EXIT_CODE = 124
"""The code of a run whose worker hung and was killed for it. The command `timeout` uses the same code."""

_BY_EXIT_CODE = {
    0: RunEnd.FINISHED,
    CUT_OFF_EXIT_CODE: RunEnd.CUT_OFF,
    DRAINED_EXIT_CODE: RunEnd.DRAINED,
    HUNG_EXIT_CODE: RunEnd.HUNG,
}


def end_of(exit_code: int) -> RunEnd:
    """Say how a run ended, from its worker's exit code (128 + n for signal n)."""
    return _BY_EXIT_CODE.get(exit_code, RunEnd.CRASHED)
