"""How GitHub's REST API is called: with a deadline, bounded retries, and every failure as one of our errors.

An *operation* is one or a few requests that together may run twice without harm ("find it, or make it, or find it
again"). Only whole operations are retried, so a lost answer to a creation needs no care of its own.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import stamina
from gidgethub import GitHubException, HTTPException, RedirectionException
from gidgethub.aiohttp import GitHubAPI
from gidgethub.sansio import RateLimit
from pydantic import BaseModel, ConfigDict

from peerbot import metrics
from peerbot.errors import PeerBotError, Refused, Unavailable

T = TypeVar("T")

_ATTEMPTS = 4
_RETRY_SECONDS = 30.0  # no attempt begins later than this after the first
_LONGEST_WAIT_SECONDS = 10.0  # if GitHub asks for a longer pause, it is busy for longer than our caller can wait
LATE_SECONDS = 10.0
"""GitHub may show a write this late: until then, something that is not there may only not be shown yet."""

_TROUBLE = (GitHubException, aiohttp.ClientError, TimeoutError, ValueError)  # ValueError: an answer nobody can read


class Answer(BaseModel):
    """The part of a GitHub answer that we read. Values stay out of error messages: some answers hold credentials."""

    model_config = ConfigDict(hide_input_in_errors=True)


class _Requests(GitHubAPI):
    """Knows after every answer what is `left` of the rate limit: the library reads that from no 304 and no refusal."""

    left: RateLimit | None = None

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        outcome = "failed"
        try:
            with metrics.timed(metrics.github_call_seconds):
                answer = await super()._request(method, url, headers, body)
            self.left = RateLimit.from_http(answer[1]) or self.left
            outcome = _outcome(*answer[:2])
        finally:
            metrics.github_calls.labels(outcome).inc()
        if self.left:
            metrics.github_budget_left.set(self.left.remaining)
        return answer


class Api:
    """GitHub's REST API for one token. The owner of the session closes it.

    `attempt_seconds` bounds one try of an operation, and there are `attempts`. `known` keeps answers with their ETags,
    so that GitHub need not send them again.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        token: str,
        url: str,
        attempt_seconds: float,
        attempts: int = _ATTEMPTS,
        known: MutableMapping[str, Any] | None = None,
    ) -> None:
        self.requests = _Requests(session, "peerbot", oauth_token=token, base_url=url, cache=known)
        self._attempt_seconds = attempt_seconds
        self._attempts = attempts

    async def run(self, operation: Callable[[], Awaitable[T]], *, to: str, right: str) -> T:
        """Run `operation`, try it again while GitHub is busy or broken, and return its result.

        `to` says what it is for ("read the repository a/b"), `right` the right that the token needs for it. Both go
        into the sentences of `Refused` (wrong token, missing right, invalid request) and `Unavailable` (all else).
        """
        try:
            async for attempt in stamina.retry_context(
                on=_again,
                attempts=self._attempts,
                timeout=_RETRY_SECONDS,
                wait_initial=0.2,
                wait_max=3.0,
                wait_jitter=0.3,
            ):
                with attempt:
                    async with asyncio.timeout(self._attempt_seconds):
                        return await operation()
        except _TROUBLE as error:
            raise _explained(error, to=to, right=right) from error
        raise AssertionError("a retry context either returns or raises")

    async def get_if_there(self, path: str, variables: dict[str, Any]) -> Any | None:
        """GET one document inside an operation; None if there is none (404, or 409: the repository is empty)."""
        try:
            return await self.requests.getitem(path, variables)
        except HTTPException as error:
            if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                return None
            raise


class NotShown(Exception):
    """GitHub does not show yet what was written."""


async def until_shown(ask: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """Repeat `ask` while it raises `NotShown`, for at most `seconds`. Raises the last `NotShown`."""
    if seconds <= 0:
        return await ask()
    async for attempt in stamina.retry_context(
        on=NotShown, attempts=None, timeout=seconds, wait_initial=0.2, wait_max=1.5, wait_jitter=0.3
    ):
        with attempt:
            return await ask()
    raise AssertionError("a retry context either returns or raises")


def complaints(error: Exception) -> list[dict[str, Any]]:
    """List the `errors` of a 422 answer as documents (GitHub sometimes sends bare strings)."""
    errors = getattr(error, "errors", None) or []
    return [each if isinstance(each, dict) else {"message": str(each)} for each in errors]


def _again(error: Exception) -> bool | float:
    """Say whether to try once more, or in how many seconds."""
    if isinstance(error, HTTPException):
        wait = _asked_to_wait(error)
        if wait is not None:
            return wait + random.uniform(0, 0.3) if wait <= _LONGEST_WAIT_SECONDS else False  # noqa: S311 (jitter)
        return error.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
    return isinstance(error, (aiohttp.ClientError, TimeoutError))


def _asked_to_wait(error: HTTPException) -> float | None:
    """Say for how many seconds GitHub asks us to leave it alone; None if it does not ask."""
    if error.status_code not in (
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ):
        return None
    headers = error.headers
    try:
        if "retry-after" in headers:
            return max(0.0, float(headers["retry-after"]))
        if headers.get("x-ratelimit-remaining") == "0":
            return max(0.0, float(headers["x-ratelimit-reset"]) - time.time())
    except (KeyError, ValueError):
        return 60.0
    busy = error.status_code == HTTPStatus.TOO_MANY_REQUESTS or "rate limit" in str(error).lower()
    return 60.0 if busy else None  # GitHub: "wait for at least one minute" if it names no time


def _outcome(status: int, headers: Mapping[str, str]) -> str:
    """Say how a request ended, for `metrics.github_calls`."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "failed"
    if status < HTTPStatus.BAD_REQUEST:
        return "ok"
    limited = status == HTTPStatus.TOO_MANY_REQUESTS or headers.get("x-ratelimit-remaining") == "0"
    return "limited" if limited or "retry-after" in headers else "refused"


def _explained(error: Exception, *, to: str, right: str) -> PeerBotError:
    """Make the error for people. The caller chains the raw one."""
    if isinstance(error, HTTPException):
        wait = _asked_to_wait(error)
        if wait is None:
            return _answered(error, to=to, right=right)
        return Unavailable(f"Could not {to}: GitHub's rate limit is used up. Try again in {max(1, round(wait))} s.")
    if isinstance(error, ValueError):
        return Unavailable(f"Could not {to}: the answer did not come from GitHub. Check GITHUB_API_URL.")
    return Unavailable(f"Could not {to}: GitHub did not answer in time. Try again in a moment.")


def _answered(error: HTTPException, *, to: str, right: str) -> PeerBotError:
    """Make the error for a status other than "busy"."""
    status = int(error.status_code)
    if status == HTTPStatus.UNAUTHORIZED:
        return Refused("GitHub refused the token: it is wrong, expired or revoked. Set GITHUB_TOKEN to a valid one.")
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        reasons = "; ".join(str(each.get("message") or each) for each in complaints(error))
        return Refused(f"Could not {to}: GitHub refused it ({reasons or error}).")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(error, RedirectionException):
        return Unavailable(f"Could not {to}: GitHub answered with status {status}. Try again in a moment.")
    return Refused(f"Could not {to}: GitHub does not let this token ({status}, {str(error)[:200]}). It needs {right}.")
