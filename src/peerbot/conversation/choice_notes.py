"""The notes about what people chose after an answer, or operators removed; part of `conversation/notes.py`. Pure."""

from typing import Literal

from peerbot.conversation.fact import Fact


class Undone(Fact):
    """Somebody undid a turn: the branch is as it was before it. `kept_on`: the branch that has what was there."""

    kind: Literal["undone"] = "undone"
    name: str  # of the person, in words
    turn: int
    branch: str
    kept_on: str


class Retried(Fact):
    """The turn is another try of turn `turn`, from before it. `kept_on` as in `Undone`; empty if nothing was there."""

    kind: Literal["retried"] = "retried"
    name: str
    turn: int
    kept_on: str = ""


class SessionForgotten(Fact):
    """Somebody asked for a new session: the agent's next turn begins without its memory of this thread."""

    kind: Literal["session_forgotten"] = "session_forgotten"
    name: str


class RecordRemoved(Fact):
    """What was said and done in this thread before was removed from the journal (decision 0034)."""

    kind: Literal["record_removed"] = "record_removed"
