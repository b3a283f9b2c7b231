"""The faults that tests can cause in the local GitHub, and its record of requests."""

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """One REST exchange, or one git request (its bodies are not kept)."""

    method: str
    path: str  # as the server sees it: /api/v3/…, or /owner/name.git/…
    query: dict[str, str]
    request: Any
    status: int
    response: Any


@dataclass(slots=True)
class Fault:
    """A fault for the next `count` requests whose method and path match.

    The answer waits `delay_seconds`. With a `status` the server answers with that status instead of serving the
    request. If the fault is `dropped`, the connection breaks instead. With `served` the server carries the request out
    first, and its own answer gets lost.
    """

    path: re.Pattern[str]
    method: str | None
    count: int
    status: int | None
    headers: dict[str, str]
    message: str
    delay_seconds: float
    served: bool
    dropped: bool


@dataclass(slots=True)
class Faults:
    """The planned faults, in the order in which they were planned.

    The API's reads show what the API and git wrote `late_seconds` late. Git itself shows it at once.
    """

    planned: list[Fault] = field(default_factory=list)
    push_refusals: list[str] = field(default_factory=list)
    late_seconds: float = 0.0

    def add(  # noqa: PLR0913 - each is a way to fail
        self,
        path: str,
        *,
        method: str | None = None,
        count: int = 1,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        message: str = "Server Error",
        delay_seconds: float = 0.0,
        served: bool = False,
        dropped: bool = False,
    ) -> None:
        """Plan a fault for the paths that the pattern `path` is found in."""
        self.planned.append(
            Fault(re.compile(path), method, count, status, headers or {}, message, delay_seconds, served, dropped)
        )

    def refuse_push(self, message: str, *, count: int = 1) -> None:
        """Decline the next `count` pushes, as a server's hook does: the pusher reads `message`."""
        self.push_refusals += [message] * count

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault for this request, and count it down."""
        for fault in self.planned:
            if fault.method in (None, method) and fault.path.search(path):
                fault.count -= 1
                if fault.count <= 0:
                    self.planned.remove(fault)
                return fault
        return None

    def take_push_refusal(self) -> str | None:
        """Return the message that declines this push; None if it is not declined."""
        return self.push_refusals.pop(0) if self.push_refusals else None
