"""The port: where runs run. `process.py` is a child process, `kubernetes.py` a Job (decision 0006).

A run is known by its name (`Conversation.job_name`), which both replicas make alike: starting a run that exists is
success, as `AlreadyExists` is for a Job.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What it takes to start a run. `environment` carries no secret; the bootstrap secret travels in a file.

    `user` (a user id) and `turn`, for operators: whose message it is started for, and which turn begins with it.
    """

    conversation: Conversation
    run: int
    bootstrap_secret: str = field(repr=False)
    environment: Mapping[str, str]
    user: str = ""
    turn: int = 0

    @property
    def name(self) -> str:
        """The run's name, the same on every replica."""
        return self.conversation.job_name(self.run)


class Phase(StrEnum):
    """Where a run is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunState:
    """What a look at a run shows."""

    conversation: Conversation
    run: int
    phase: Phase
    end: RunEnd | None = None  # set when ended
    detail: str = ""  # for the operator: exit code, last lines
    said: str = ""  # for people, a sentence: why it can't start yet, or why it ended


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something changed: a run's state, or somebody woke it."""

    conversation: Conversation
    run: int
    woken: bool  # True: look for inputs; False: its state changed


class Runs(Protocol):
    """Starts, looks at, wakes and watches runs. Whoever opened it closes it.

    Raises `Unavailable` when the place where runs run does not answer, `Refused` when it will not take a run.
    """

    async def start(self, spec: RunSpec) -> None:
        """Start the run; success too where a run of this name exists already, alive or ended."""

    async def look(self, conversation: Conversation, run: int) -> RunState | None:
        """Look now, not into a cache; None where there is no such run (never came, or long gone)."""

    async def list(self) -> list[RunState]:
        """Every run that is there, ended ones too while they are kept."""

    async def wake(self, conversation: Conversation, run: int) -> None:
        """Tell whichever replica the run's worker waits on that there is a new input. Nothing where it is gone."""

    def watch(self) -> AsyncIterator[RunEvent]:
        """Every change from now on; several watchers may listen. Ends when the port is closed."""

    async def burn(self, conversation: Conversation, run: int) -> None:
        """Remove what carried a run's bootstrap secret: its worker has called, and it opens nothing any more."""

    async def close(self) -> None:
        """End the runs that end with us, and release what is held. Idempotent."""
