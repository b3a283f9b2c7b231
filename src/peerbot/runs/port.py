"""The port: where runs run. In `processes/` a run is a child process, in `jobs/` a Kubernetes Job (decision 0006).

A run is known by its name (`Conversation.job_name`), which every replica makes alike. To start a run that exists is
success, as `AlreadyExists` is for a Job.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation

NOT_ADMITTED = "a rule of the cluster does not admit it"
"""Why a run can't start that was refused for good: the end of a sentence for people."""

NOT_ASKED = "it was stopped by a signal (SIGTERM) that PeerBot did not send"
"""Why a run ended that was drained though nobody asked for that: the end of a sentence for people."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """All that starting a run takes. `environment` carries no secret; the bootstrap secret travels in a file.

    `user` (a user id) and `turn` are for operators: the author of the message, and the turn that the run begins with.
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
    """The phase of a run's life."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunState:
    """A run's state as a look at it shows it."""

    conversation: Conversation
    run: int
    phase: Phase
    end: RunEnd | None = None  # set when ended
    detail: str = ""  # for the operator: exit code, last lines
    said: str = ""  # for people: why it can't start yet, or why it ended
    by_signal: bool = False  # a signal ended it, or may have, and nobody outside sent it


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A change: a run has another state, or somebody woke it."""

    conversation: Conversation
    run: int
    woken: bool  # True: look for inputs; False: its state changed


class Runs(Protocol):
    """Starts, looks at, wakes and watches runs. The caller that opened it closes it.

    Raises `Unavailable` if the place where runs run does not answer, `Refused` if it will not take a run.
    """

    @property
    def network(self) -> str:
        """What runs reach: `machine` (whatever this machine reaches), or what the chart's policies let them reach.

        That is `open`, `internet` or `gateway`; empty: nobody knows.
        """

    async def start(self, spec: RunSpec) -> None:
        """Start the run. It is success, too, if a run of this name exists already, alive or ended."""

    async def look(self, conversation: Conversation, run: int) -> RunState | None:
        """Look now, not into a cache; None if there is no such run (it never came, or is long gone)."""

    async def list(self) -> list[RunState]:
        """List every run, ended ones too while they are kept."""

    async def wake(self, conversation: Conversation, run: int) -> None:
        """Tell the replica that the run's worker waits on that there is a new input. No error if the run is gone."""

    def watch(self) -> AsyncIterator[RunEvent]:
        """Yield every change from now on; several watchers may listen. Ends when the port is closed."""

    async def burn(self, conversation: Conversation, run: int) -> None:
        """Remove the carrier of a run's bootstrap secret: its worker has called, so the secret opens nothing now."""

    def ending(self) -> None:
        """Note that this process was asked to end. Its runs may have been asked, too, by the same hand."""

    async def close(self) -> None:
        """End the runs that end with this process, and release all that is held. Idempotent."""
