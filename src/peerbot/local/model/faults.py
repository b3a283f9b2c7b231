"""Failures of a model API on demand: a test or a bench asks for one, and the next answer fails that way."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Literal

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}
"""Anthropic's error types by HTTP status."""

TOLD_TO_FAIL = "The demo model was told to fail."

CutInside = Literal["text", "tool_use"]


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of one answer. Only `delay_seconds` fits a good answer."""

    status: int | None = None
    message: str = TOLD_TO_FAIL
    retry_after_seconds: int | None = None
    cut_inside: CutInside | None = None
    cut_after: asyncio.Event | None = None
    stalls: bool = False
    refusal: bool = False
    out_of_tokens: bool = False
    delay_seconds: float = 0.0


class Faults:
    """The faults that wait for the next answers: one for each answer, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._waiting: deque[Fault] = deque()

    def error(
        self, status: int, message: str = TOLD_TO_FAIL, *, times: int = 1, retry_after_seconds: int | None = None
    ) -> None:
        """Answer with an error document; `status` is one of `ERROR_TYPES`.

        After a 400, Claude Code silently tries again without some of its beta flags (six requests in all). After any
        other error it tries again as often as `CLAUDE_CODE_MAX_RETRIES` says. The error is seen only if `times` is more
        than that.
        """
        if status not in ERROR_TYPES:
            raise ValueError(f"{status} is none of the API's errors: {sorted(ERROR_TYPES)}")
        self._add(Fault(status=status, message=message, retry_after_seconds=retry_after_seconds), times)

    def cut(self, *, inside: CutInside = "text", times: int = 1, after: asyncio.Event | None = None) -> None:
        """Break the connection in the middle of a text, or of a tool call's input.

        A cut inside a tool call waits for the first answer that has one. The connection breaks at once, or `after` the
        event: the caller may need time to read what has arrived.
        """
        self._add(Fault(cut_inside=inside, cut_after=after), times)

    def stall(self, *, times: int = 1) -> None:
        """Fall silent in the middle of a text, with the connection open, until the caller gives up."""
        self._add(Fault(stalls=True), times)

    def run_out_of_tokens(self, *, times: int = 1) -> None:
        """Stop in the middle of a text with `stop_reason: "max_tokens"`."""
        self._add(Fault(out_of_tokens=True), times)

    def refuse(self, *, times: int = 1) -> None:
        """Stop with `stop_reason: "refusal"`, as the API does when a classifier steps in."""
        self._add(Fault(refusal=True), times)

    def delay(self, seconds: float, *, times: int = 1) -> None:
        """Keep the caller waiting before the answer begins."""
        self._add(Fault(delay_seconds=seconds), times)

    def clear(self) -> None:
        """Forget the faults that still wait."""
        self._waiting.clear()

    def take(self, *, has_tool_call: bool) -> Fault:
        """Take the fault for the answer that comes next; an empty `Fault()` if none waits."""
        if not self._waiting or (self._waiting[0].cut_inside == "tool_use" and not has_tool_call):
            return Fault()
        return self._waiting.popleft()

    def _add(self, fault: Fault, times: int) -> None:
        self._waiting.extend([fault] * times)
