"""What the agent asks people, what settles it, and what an answer means (decision 0028). Pure.

A question has a number within its turn. It is settled once, by a create: the first answer wins, or it ends without one.
"""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from peerbot.conversation.documents import Document, now


class Deciders(StrEnum):
    """The people who may decide what the agent asks."""

    ASKER = "asker"
    EVERYONE = "everyone"


APPROVE, REJECT = "Approve", "Reject"
"""The choices that a plan has, in the order of their numbers."""

MOST_ITEMS, MOST_OPTIONS = 4, 10
LONGEST_PLAN = 60_000
LONGEST_ANSWER = 8_000
"""How much of an answer in words the journal keeps, in characters: the message has it all."""

_ID = re.compile(r"[1-9]\d{0,5}\.[1-9]\d{0,2}")


class Option(BaseModel):
    """A choice that people have."""

    model_config = ConfigDict(frozen=True)

    label: str = Field(min_length=1, max_length=1000)
    description: str = Field(default="", max_length=4000)


class Item(BaseModel):
    """One of the things that are asked together."""

    model_config = ConfigDict(frozen=True)

    question: str = Field(min_length=1, max_length=4000)
    header: str = Field(default="", max_length=200)
    options: tuple[Option, ...] = Field(max_length=MOST_OPTIONS)
    several: bool = False  # people may choose more than one


class Question(Document):
    """`questions/{k}/{i}.json`: what the agent asked in turn `k`, for the `i`th time."""

    turn: int
    i: int
    run: int
    call: str  # Claude Code's id of the call
    kind: Literal["question", "plan"]
    items: tuple[Item, ...] = ()  # of a question
    plan: str = ""  # of a plan, in Markdown
    asker: str  # the person whose message began the turn: they are notified, and may decide
    asked_at: AwareDatetime = Field(default_factory=now)

    @property
    def id(self) -> str:
        """Its name within the conversation."""
        return f"{self.turn}.{self.i}"

    def choices(self, item: int) -> tuple[str, ...]:
        """List the labels of what people can choose for an item; a plan is one item."""
        if self.kind == "plan":
            return (APPROVE, REJECT)
        return tuple(option.label for option in self.items[item].options)

    @property
    def count(self) -> int:
        """How many items there are to decide."""
        return 1 if self.kind == "plan" else len(self.items)


class QuestionPosted(Document):
    """`questions/{k}/{i}.posted`: the message with the question's buttons."""

    channel: str
    ts: str


End = Literal["answered", "stopped", "ended", "asked_again"]


class QuestionSettled(Document):
    """`questions/{k}/{i}.settled`: what became of a question; the first that is written holds.

    `stopped`: somebody stopped the work. `ended`: its turn ended without it. `asked_again`: the agent asked another.
    """

    how: End
    input: str = ""  # the id of the answer, or of the stop
    user: str = ""
    name: str = ""  # the person's, in words
    choices: tuple[tuple[str, ...], ...] = ()  # the labels that they chose, item by item; empty: they answered in words
    words: str = ""
    settled_at: AwareDatetime = Field(default_factory=now)

    @property
    def approves(self) -> bool:
        """Whether somebody pressed Approve."""
        return self.choices == ((APPROVE,),)

    @property
    def rejects(self) -> bool:
        """Whether somebody pressed Reject."""
        return self.choices == ((REJECT,),)


class QuestionShown(Document):
    """`questions/{k}/{i}.shown`: the question's message shows what became of it."""


class Asked(BaseModel):
    """A question as a worker needs it that takes up the work of another: `call` waits for its answer if `deferred`."""

    id: str
    call: str
    kind: Literal["question", "plan"]
    items: tuple[Item, ...] = ()
    plan: str = ""
    deferred: bool = False
    settled: QuestionSettled | None = None


_PLAN = re.compile(r"\s*plan:", re.IGNORECASE)


def wants_plan(text: str) -> bool:
    """Whether a message wants a plan before the work: it begins with `plan:`."""
    return _PLAN.match(text) is not None


def is_question_id(text: str) -> bool:
    """Whether a text looks like a question's id."""
    return _ID.fullmatch(text) is not None


def parse_question_id(identity: str) -> tuple[int, int]:
    """Read turn and number out of a question's id. Raises `ValueError`."""
    if not is_question_id(identity):
        raise ValueError(f"not a question: {identity!r}")
    turn, _, i = identity.partition(".")
    return int(turn), int(i)


def read_answer(
    question: Question, picks: Sequence[Sequence[int]], text: str
) -> tuple[tuple[tuple[str, ...], ...], str] | None:
    """Read an answer: the labels that somebody chose item by item, and their words. None: it says nothing.

    Picks are numbers that came with a click, and may be anything. Words that are a label exactly are that choice.
    """
    if picks:
        chosen = []
        for item in range(question.count):
            labels = question.choices(item)
            named = [labels[n] for n in (picks[item] if item < len(picks) else ()) if 0 <= n < len(labels)]
            chosen.append(tuple(dict.fromkeys(named)))
        return (tuple(chosen), "") if any(chosen) else None
    words = text.strip()
    if not words:
        return None
    if question.count == 1:
        for label in question.choices(0):
            if label.casefold() == words.casefold() and question.kind == "question":
                return ((label,),), ""
    return (), words[:LONGEST_ANSWER]


def said(settled: QuestionSettled) -> str:
    """Say in one text what somebody answered."""
    return settled.words or "; ".join(", ".join(labels) or "(no answer)" for labels in settled.choices)


def told(question: Question | Asked, settled: QuestionSettled) -> str:
    """Say to the agent what it asked, and what somebody answered."""
    if question.kind == "plan":
        if settled.approves:
            return "I approve your plan. Do it."
        return "I reject your plan. Do not do it." if settled.rejects else settled.words
    if settled.words or not settled.choices:
        asked = "; ".join(f"“{item.question}”" for item in question.items)
        return f"My answer to your question {asked}: {settled.words}"
    pairs = zip(question.items, settled.choices, strict=False)
    return "\n".join(f"My answer to your question “{i.question}”: {', '.join(c) or '(none)'}" for i, c in pairs)
