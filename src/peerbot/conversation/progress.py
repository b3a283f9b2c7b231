"""A turn's progress as one whole document: the worker sends all of it each time, and the newest wins."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

MessageId = Annotated[str, Field(pattern=r"^\d{1,12}\.\d{6}-(message|edit)$")]
"""The id of an input that is a message, or an edit of one."""


class StepStatus(StrEnum):
    """Slack's own words for a task's state."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    ERROR = "error"


class Step(BaseModel):
    """One thing that the agent does, or plans to do."""

    id: str  # stable within the turn
    title: str  # an action in plain words: "Run the tests"
    status: StepStatus
    output: str = ""  # one line of result


class Progress(BaseModel):
    """How far a turn has come."""

    schema_version: Literal[1] = Field(default=1, alias="schema")
    seq: int  # rises by one with each report of a turn; the highest wins
    title: str  # what is going on now
    steps: list[Step]  # the agent's own todo list; without one, the things that it did
    narration: str = ""  # the agent's last words, one paragraph
    seconds: float  # since the turn began
    taken: list[MessageId] = Field(
        default_factory=list, max_length=1000
    )  # ids of later messages that the agent has read
