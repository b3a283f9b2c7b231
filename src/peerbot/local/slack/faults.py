"""The faults that tests can cause in the local Slack, and the record of calls that it got.

All of them are off at first: the local Slack behaves well until somebody switches one on.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

ANY_METHOD = "*"


@dataclass(frozen=True, slots=True)
class Fault:
    """How one call goes wrong. All other parts of the call stay as they are."""

    delay_seconds: float = 0  # before anything else
    late_seconds: float = 0  # between carrying the call out and answering it
    error: str = ""  # answered as `ok: false` instead of being carried out
    status: int = 200  # the HTTP status; with any other than 200 the call is not carried out
    retry_after_seconds: int | None = None  # the `Retry-After` header of a 429
    lost: bool = False  # carried out, but the connection breaks before the answer (of a download: in the middle)
    location: str = ""  # of a download: the address to which it redirects
    content: bytes | None = None  # of a download: what comes instead of the file,
    content_type: str = ""  # and as what
    endless: bool = False  # of a download: it says no length, and does not end


@dataclass(slots=True)
class Faults:
    """The switches, all off."""

    duplicate_events: bool = False
    """Every event is sent twice, with the same envelope."""
    reorder_events: bool = False
    """Events wait for a random moment each, so that they overtake each other."""
    retry_scale: float = 1.0
    """The factor for the waits before events are sent again (3 s, 60 s, 300 s)."""
    rate_limits: bool = False
    """Slack's rate limits hold (429 with `Retry-After`)."""
    _queued: dict[str, deque[Fault]] = field(default_factory=dict)

    def add(self, method: str, fault: Fault, *, times: int = 1) -> None:
        """Let the next `times` calls of `method` (or of any, with `ANY_METHOD`) go wrong."""
        self._queued.setdefault(method, deque()).extend([fault] * times)

    def clear(self) -> None:
        """Forget the faults that no call has met yet."""
        self._queued.clear()

    def take(self, method: str) -> Fault | None:
        """Take the fault of this call, if it has one."""
        for name in (method, ANY_METHOD):
            if self._queued.get(name):
                return self._queued[name].popleft()
        return None


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the Web API. `arguments` never holds a token."""

    method: str
    arguments: dict[str, Any]
    outcome: str
    """`ok`, Slack's error word, `http 503` and the like, or `lost` (carried out, the answer was not sent)."""
