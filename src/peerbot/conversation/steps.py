"""The steps that bring a conversation forward, as `conversation/decide.py` decides them. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from peerbot.conversation.documents import RunClosed
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.notes import Note, Refusal


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to do."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """There is nothing to do now; look again at that time.

    `ends`: so many runs in a row ended through nobody's fault, and the next one waits for that.
    """

    at: datetime
    ends: int = 0


@dataclass(frozen=True, slots=True)
class Unmark:
    """These inputs are answered and their answer is posted: drop their markers."""

    inputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Post:
    """Post this turn's answer: it is the first without a receipt, and its writer has had its time."""

    turn: int
    claim: int  # the number of the claim that this takes


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer these inputs without a run, with this note."""

    inputs: tuple[str, ...]
    note: Note


@dataclass(frozen=True, slots=True)
class Drop:
    """The author of these messages took them back before anybody began: nobody answers them."""

    inputs: tuple[str, ...]


class NoEffect(StrEnum):
    """Why what somebody did had no effect."""

    DELETED = "deleted"  # they took it back
    BEGUN = "begun"  # they deleted what the agent has read
    NOTHING_AT_WORK = "nothing_at_work"
    TURN_ENDED = "turn_ended"  # the turn that they meant
    CHOSEN = "chosen"  # somebody had chosen for this answer before
    GONE_ON = "gone_on"  # the answer is no longer the newest
    AT_WORK = "at_work"  # something is at work, so that nothing may be put back under it
    NOT_POSSIBLE = "not_possible"  # for the reason that they read
    SHOWN = "shown"  # it concerned them alone
    ANSWERED = "answered"  # of an answer: the question was settled before, by an answer or otherwise
    NOT_THEIRS = "not_theirs"  # of an answer: somebody else decides
    NO_QUESTION = "no_question"  # of an answer: it says nothing, or there is no such question
    TOOK_BACK = "took_back"  # of a stop: its effect was that nobody waits for an answer any more


@dataclass(frozen=True, slots=True)
class Tell:
    """This input has no effect: tell its author why, and nobody else."""

    input: str
    why: NoEffect | Refusal


@dataclass(frozen=True, slots=True)
class Choose:
    """Of all choices about this turn, this input is to have the effect: write that down, if nobody was first."""

    input: str


@dataclass(frozen=True, slots=True)
class CarryOut:
    """Do what somebody chose (go back, forget the session). No run is open, and none has to be.

    `turn`: the number of the turn that says so, if it needs one.
    """

    input: str
    turn: int


@dataclass(frozen=True, slots=True)
class Show:
    """Do what concerns the author of this input alone."""

    input: str


@dataclass(frozen=True, slots=True)
class EndIdle:
    """Close this run, which waits for something to do: its workspace and its agent's memory must not go on."""

    run: int


@dataclass(frozen=True, slots=True)
class AnswerStopped:
    """No worker is at work on these messages: answer them, and the stops that came after them, as stopped."""

    input: str  # the first of the stops
    answers: tuple[str, ...]  # the messages, and all stops
    began: bool  # a run had begun to work on them


@dataclass(frozen=True, slots=True)
class SettleQuestion:
    """This input settles this question: an answer, or a stop. An empty `input`: its turn ended without it."""

    question: str
    input: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """These inputs have no tries left: answer them with the reason."""

    inputs: tuple[str, ...]
    last: RunClosed


@dataclass(frozen=True, slots=True)
class Offer:
    """These inputs have waited too long to be begun unasked: offer to go on.

    `last`: how the last run ended, if runs were begun for them and kept ending through nobody's fault.
    """

    inputs: tuple[str, ...]
    last: RunClosed | None = None


@dataclass(frozen=True, slots=True)
class Recover:
    """The input of this marker was never written: read it from Slack, or drop the marker."""

    input: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close this run: it has ended, and its worker did not say so."""

    run: int
    reason: RunEnd
    detail: str
    said: str = ""
    by_signal: bool = False


@dataclass(frozen=True, slots=True)
class Wake:
    """An open run is alive: tell it that there is something to do."""

    run: int


@dataclass(frozen=True, slots=True)
class Reserve:
    """Reserve this run for these inputs, and start it."""

    run: int
    inputs: tuple[str, ...]


Step = (
    Nothing | LookAgain | Unmark | Post | Answer | Drop | Tell | AnswerStopped | GiveUp | Offer | Recover | Close | Wake
    | Reserve | SettleQuestion | Choose | CarryOut | Show | EndIdle
)  # fmt: skip
