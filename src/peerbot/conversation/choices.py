"""What people may do about an answer, with the buttons below it, and which buttons a turn's answer has. Pure."""

from enum import StrEnum

from peerbot.conversation import notes
from peerbot.conversation.documents import Turn, TurnStatus
from peerbot.conversation.keys import input_kind


class Act(StrEnum):
    """What somebody chose."""

    CONTINUE = "continue"
    RETRY = "retry"  # the same request, from before the turn
    UNDO = "undo"
    NEW_SESSION = "new_session"
    TERMINAL = "terminal"  # they want to go on in their own terminal
    GOOD = "good"
    BAD = "bad"

    @property
    def asks(self) -> bool:
        """Whether the agent answers it, as it answers a message."""
        return self in (Act.CONTINUE, Act.RETRY)

    @property
    def private(self) -> bool:
        """Whether it concerns only the person who chose it: everybody may choose it, at any time, again and again."""
        return self in (Act.TERMINAL, Act.GOOD, Act.BAD)

    @property
    def goes_back(self) -> bool:
        """Whether it puts the branch back to before the turn."""
        return self in (Act.RETRY, Act.UNDO)


def act_of(name: str) -> Act | None:
    """Read the name of an act; None if only another release has it."""
    return Act(name) if name in list(Act) else None


_UNFINISHED = (notes.Failed, notes.BudgetUsedUp, notes.TimeUp, notes.StoppedBy, notes.NotBegun, notes.GivenUp)
_UNFINISHED_TOO = (notes.NotStarted, notes.WaitedTooLong, notes.NoRepository)


def offered(turn: Turn) -> tuple[Act, ...]:
    """Say which buttons the answer of a turn has. Words stay possible in any case."""
    only_says = turn.run is None and (turn.undoes or turn.forgets) and turn.status is TurnStatus.DONE
    if turn.status is TurnStatus.REFUSED or only_says:
        return ()
    found = []
    if any(isinstance(note, (*_UNFINISHED, *_UNFINISHED_TOO)) for note in turn.notes):
        found.append(Act.CONTINUE)
    if any(input_kind(identity) != "stop" for identity in turn.inputs) and (turn.before or not turn.commit):
        found.append(Act.RETRY)
    if turn.commit and turn.before and turn.commit != turn.before:
        found.append(Act.UNDO)
    if turn.session:
        found += [Act.NEW_SESSION, Act.TERMINAL]
    if turn.run is not None and turn.began:
        found += [Act.GOOD, Act.BAD]
    return tuple(found)
