"""What a thread is told of its workers: why one can't start, why one ended, and what happens next. Pure."""

from peerbot.conversation.documents import RunClosed, RunEnd

_HOW_IT_ENDED = {
    RunEnd.NEVER_STARTED: "it never started",
    RunEnd.NOT_ADMITTED: "it could not be started",
    RunEnd.CRASHED: "it crashed",
    RunEnd.OUT_OF_MEMORY: "it ran out of memory",
    RunEnd.DEADLINE: "its time was up",
    RunEnd.HUNG: "it hung",
    RunEnd.EVICTED: "its node had to stop it",
    RunEnd.NODE_LOST: "its node was lost",
    RunEnd.CUT_OFF: "it lost its connection",
}


def why(closed: RunClosed) -> str:
    """Why a run ended, as the end of a sentence."""
    return closed.said or _HOW_IT_ENDED.get(closed.reason, "it was ended from outside")


def waits(said: str) -> str:
    """The worker has not begun, for this reason."""
    return (
        f"The worker can't start yet: {said}. It begins as soon as it can; if that takes more than 15 minutes, I stop "
        "and say so here."
    )


def goes_on(before: RunClosed) -> str:
    """Another worker goes on after one that ended; empty where there is nothing to tell."""
    if before.reason in (RunEnd.FINISHED, RunEnd.DRAINED, RunEnd.DISPATCHER_ENDED):
        return ""
    return f"The worker before this one ended: {why(before)}. This one goes on from what was saved."
