"""The report of `peerbot verify`: findings by name, waiting inputs, counts; for people and, as JSON, for programs."""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from peerbot.conversation.deadlines import ORPHAN_AFTER, spoken
from peerbot.conversation.keys import Conversation


class Kind(StrEnum):
    """The meaning of a finding for people."""

    LOST = "lost"  # somebody waits in vain
    DOUBLED = "doubled"  # somebody was answered twice
    WRONG = "wrong"  # something is not as it was written


class Name(StrEnum):
    """The faults that can be found. docs/verify.md explains each."""

    LOST_INPUT = "lost_input"
    MARKER_WITHOUT_INPUT = "marker_without_input"
    UNPOSTED = "unposted"
    ANSWER_GONE = "answer_gone"
    ANSWERED_TWICE = "answered_twice"
    POSTED_TWICE = "posted_twice"
    OUT_OF_ORDER = "out_of_order"
    UNKNOWN_ANSWER = "unknown_answer"
    TURN_MISSING = "turn_missing"
    RUN_MISSING = "run_missing"
    INPUT_MISSING = "input_missing"
    SESSION_MISSING = "session_missing"
    DAMAGED = "damaged"
    NEWER = "newer"


MEANING: dict[Name, tuple[Kind, str]] = {
    Name.LOST_INPUT: (Kind.LOST, "Write its marker again (docs/verify.md), or ask its author to write again."),
    Name.MARKER_WITHOUT_INPUT: (
        Kind.LOST,
        f"A running dispatcher mends this after {spoken(ORPHAN_AFTER)}. Its log says how.",
    ),
    Name.UNPOSTED: (Kind.LOST, "The dispatcher's log (not_posted) says why. Mend that, and it is posted."),
    Name.ANSWER_GONE: (Kind.LOST, "Somebody deleted the message. The answer's text is in the turn's document."),
    Name.ANSWERED_TWICE: (Kind.DOUBLED, "There is nothing to mend. Keep the log, and report the fault to us."),
    Name.POSTED_TWICE: (Kind.DOUBLED, "Delete the later message in Slack."),
    Name.OUT_OF_ORDER: (Kind.WRONG, "There is nothing to mend: all answers are there."),
    Name.UNKNOWN_ANSWER: (Kind.WRONG, "If somebody put back an older copy of the journal, put the newer one back."),
    Name.TURN_MISSING: (Kind.WRONG, "Put the document back from the bucket's older versions or a copy."),
    Name.RUN_MISSING: (Kind.WRONG, "Put the document back from the bucket's older versions or a copy."),
    Name.INPUT_MISSING: (Kind.WRONG, "Put the document back from the bucket's older versions or a copy."),
    Name.SESSION_MISSING: (Kind.WRONG, "Put the object back from a copy. If not, the next turn begins a new session."),
    Name.DAMAGED: (Kind.WRONG, "Put the object back from a copy. Until then the conversation may stand still."),
    Name.NEWER: (Kind.WRONG, "Update PeerBot: a newer release has written to this journal."),
}


class Finding(BaseModel):
    """One thing that is not as it should be. The same fault has the same `name`, `conversation` and `about`."""

    model_config = ConfigDict(frozen=True)

    name: Name
    kind: Kind
    conversation: str
    about: str  # an input, `turn 3`, `run 2`, or a key
    sentence: str
    what_to_do: str

    @classmethod
    def of(cls, name: Name, conversation: Conversation, about: str, sentence: str) -> "Finding":
        """Make a finding with what its name means."""
        kind, what_to_do = MEANING[name]
        return cls(
            name=name,
            kind=kind,
            conversation=str(conversation),
            about=about,
            sentence=sentence,
            what_to_do=what_to_do,
        )

    @property
    def identity(self) -> tuple[str, str, str]:
        """The key by which a second look finds the same fault again."""
        return self.name, self.conversation, self.about


class Waiting(BaseModel):
    """An input that has no answer in Slack yet, and that is not lost."""

    model_config = ConfigDict(frozen=True)

    conversation: str
    input: str
    age_seconds: int  # since the message was written
    reason: str


class NotLookedAt(BaseModel):
    """A thread that Slack does not show us. Its journal was read all the same."""

    model_config = ConfigDict(frozen=True)

    conversation: str
    reason: str


class Verdict(BaseModel):
    """The findings and counts of one conversation."""

    inputs: int = 0
    turns: int = 0
    posted: int = 0
    not_taken: int = 0  # answers that Slack would never take, by their receipts
    leftover_markers: int = 0  # of inputs that are answered and posted: the next sweep clears them
    findings: list[Finding] = []
    waiting: list[Waiting] = []
    not_looked_at: list[NotLookedAt] = []


class Report(BaseModel):
    """The findings and counts of all conversations."""

    store: str
    slack: bool  # whether Slack was asked
    at: AwareDatetime
    conversations: int = 0
    skipped: int = 0  # conversations in which nothing was said since
    inputs: int = 0
    turns: int = 0
    answers_posted: int = 0
    answers_not_taken: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    leftover_markers: int = 0
    findings: list[Finding] = []
    waiting: list[Waiting] = []
    not_looked_at: list[NotLookedAt] = []

    @property
    def good(self) -> bool:
        """Whether no fault was found. A waiting input is not a fault."""
        return not self.findings

    def add(self, verdict: Verdict) -> None:
        """Count one conversation."""
        self.conversations += 1
        self.inputs += verdict.inputs
        self.turns += verdict.turns
        self.answers_posted += verdict.posted
        self.answers_not_taken += verdict.not_taken
        self.leftover_markers += verdict.leftover_markers
        self.findings += verdict.findings
        self.waiting += verdict.waiting
        self.not_looked_at += verdict.not_looked_at
        kinds = [finding.kind for finding in verdict.findings]
        self.lost += kinds.count(Kind.LOST)
        self.doubled += kinds.count(Kind.DOUBLED)
        self.wrong += kinds.count(Kind.WRONG)

    def text(self) -> str:
        """Write it for people."""
        lines = [
            f"{self.store}, {'and Slack' if self.slack else 'without Slack (SLACK_BOT_TOKEN is not set)'}",
            f"conversations {self.conversations}, inputs {self.inputs}, turns {self.turns}, "
            f"answers posted {self.answers_posted}",
            f"lost {self.lost}, doubled {self.doubled}, otherwise wrong {self.wrong}, waiting {len(self.waiting)}",
        ]
        if self.skipped:
            lines.append(f"older conversations, left out: {self.skipped}")
        if self.answers_not_taken:
            lines.append(f"answers that Slack would never take (their receipts say so): {self.answers_not_taken}")
        if self.leftover_markers:
            lines.append(f"markers left over (harmless; the next sweep clears them): {self.leftover_markers}")
        for finding in self.findings:
            lines += ["", f"{finding.kind.upper()} {finding.name}  {finding.conversation}  {finding.about}"]
            lines += [f"  {finding.sentence}", f"  {finding.what_to_do}"]
        if self.waiting:
            lines += ["", "Waiting:"]
            lines += [f"  {_age(w.age_seconds):>8}  {w.conversation}  {w.input}  {w.reason}" for w in self.waiting]
        if self.not_looked_at:
            lines += ["", "Threads that Slack does not show:"]
            lines += [f"  {thread.conversation}  {thread.reason}" for thread in self.not_looked_at]
        return "\n".join(lines)


def _age(seconds: int) -> str:
    """Write a time as an operator says it: `45 s`, `12 min`, `3 h`, `5 d`."""
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
