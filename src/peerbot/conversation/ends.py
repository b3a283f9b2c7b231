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

    @property
    def is_nobodys_fault(self) -> bool:
        """Whether neither the run nor its inputs brought this end on: the operator or the cluster did, or nobody knows.

        Such an end never uses an input up. The next run waits for a while (`back_off` in deadlines.py).
        """
        return not self.died_of_itself and self is not RunEnd.NOT_ADMITTED


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


def end_of(exit_code: int, *, asked: bool) -> RunEnd:
    """Say how a run ended, from its worker's exit code (128 + n for signal n).

    `asked`: the operator, the cluster or PeerBot asked it to end. If none of them did, a drain is a crash: an agent can
    send its supervisor SIGTERM.
    """
    if exit_code == DRAINED_EXIT_CODE and not asked:
        return RunEnd.CRASHED
    return _BY_EXIT_CODE.get(exit_code, RunEnd.CRASHED)


def by_signal(exit_code: int) -> bool:
    """Whether a signal ended the worker, or may have: a worker that hangs may be one that was stopped (SIGSTOP)."""
    return exit_code > 128 or exit_code == HUNG_EXIT_CODE
