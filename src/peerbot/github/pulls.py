"""How a pull request stands on GitHub, with what its checks say: for a caller that looks again and again.

A document that has not changed since this process read it last costs nothing of GitHub's rate limit: we send its ETag.
A failure is not tried again here, since the next look comes anyway.
"""

import time
from collections import OrderedDict
from typing import Any, Literal

import aiohttp
from pydantic import Field, TypeAdapter

from peerbot.conversation.pulls import Checks, PullState, summed
from peerbot.errors import Refused
from peerbot.github.api import Answer, Api
from peerbot.logs import logger

log = logger(__name__)

_PULLS = "the right to read pull requests (classic: repo; fine-grained: Pull requests, read)"
_CHECKS = "the right to read checks (classic: repo; GitHub has no such right for fine-grained tokens)"
_STATUSES = "the right to read commit statuses (classic: repo; fine-grained: Commit statuses, read)"
_PULL = "/repos/{owner}/{name}/pulls/{number}"
_COMMIT = "/repos/{owner}/{name}/commits/{sha}"
_PAGE, _MOST_PAGES = 100, 3
_KEPT_ANSWERS = 200  # some ten KB each
_PASSED = ("success", "neutral", "skipped")


class _Head(Answer):
    sha: str


class _Pull(Answer):
    state: Literal["open", "closed"]
    merged: bool
    draft: bool = False
    head: _Head


class _CheckRun(Answer):
    status: str
    conclusion: str | None


class _Status(Answer):
    state: str


class _Page(Answer):
    total_count: int
    runs: list[_CheckRun] = Field(default_factory=list, alias="check_runs")
    statuses: list[_Status] = Field(default_factory=list)


_PULL_ANSWER, _PAGE_ANSWER = TypeAdapter(_Pull), TypeAdapter(_Page)


class _Known(OrderedDict[str, Any]):
    """Answers with their ETags; it forgets the oldest."""

    def __setitem__(self, url: str, answer: Any) -> None:
        super().__setitem__(url, answer)
        self.move_to_end(url)
        while len(self) > _KEPT_ANSWERS:
            self.popitem(last=False)


class PullStates:
    """Looks at pull requests with one token. The owner of `session` closes it."""

    def __init__(self, session: aiohttp.ClientSession, *, token: str, api_url: str) -> None:
        self._api = Api(session, token=token, url=api_url, attempt_seconds=15.0, attempts=1, known=_Known())
        self._not_told: set[str] = set()  # repositories whose checks this token may not see

    def leave_alone_seconds(self) -> float:
        """Say for how long to ask nothing: what is left of GitHub's rate limit belongs to people's turns.

        0 as long as more than half of it is left. All that use the token share it, and GitHub counts.
        """
        left = self._api.requests.left
        if left is None or 2 * left.remaining > left.limit:
            return 0.0
        return max(0.0, left.reset_datetime.timestamp() - time.time())

    async def of(self, full_name: str, number: int) -> PullState | None:
        """Look at a pull request; None if it is not there, or the token may not see it.

        Raises `Unavailable` if GitHub does not answer or is busy, and `Refused` if it refuses the token.
        """
        owner, _, name = full_name.partition("/")
        variables = {"owner": owner, "name": name, "number": str(number)}

        async def ask() -> _Pull | None:
            found = await self._api.get_if_there(_PULL, variables)
            return None if found is None else _PULL_ANSWER.validate_python(found)

        pull = await self._api.run(ask, to=f"read pull request #{number} of {full_name} on GitHub", right=_PULLS)
        if pull is None:
            return None
        if pull.state == "closed":
            return PullState(standing="merged" if pull.merged else "closed")
        checks = await self._checks(full_name, {"owner": owner, "name": name, "sha": pull.head.sha})
        return PullState(standing="draft" if pull.draft else "open", checks=checks)

    async def _checks(self, full_name: str, commit: dict[str, str]) -> Checks | None:
        """Sum up the checks of a commit; None if there are none, or if this token may not see all kinds of them."""
        try:
            runs, more_runs = await self._all(full_name, "check-runs", commit, _CHECKS)
            statuses, more_statuses = await self._all(full_name, "status", commit, _STATUSES)
        except Refused as refused:
            if full_name not in self._not_told:
                self._not_told.add(full_name)
                log.warning("checks_not_seen", repository=full_name, reason=str(refused))
            return None
        ended = [each.conclusion for page in runs for each in page.runs if each.status == "completed"]
        ended += [each.state for page in statuses for each in page.statuses if each.state != "pending"]
        passed = sum(said in _PASSED for said in ended)
        there = sum(len(page.runs) for page in runs) + sum(len(page.statuses) for page in statuses)
        unread = more_runs + more_statuses
        return summed(passed=passed, failed=len(ended) - passed, running=there - len(ended), unread=unread)

    async def _all(self, full_name: str, what: str, commit: dict[str, str], right: str) -> tuple[list[_Page], int]:
        """Read what there is of a kind, at most some pages of it; returns how many more there are, too."""
        pages: list[_Page] = []
        there = total = 0
        for number in range(1, _MOST_PAGES + 1):
            variables = {**commit, "per_page": str(_PAGE), "page": str(number)}

            async def ask(variables: dict[str, str] = variables) -> _Page:
                url = f"{_COMMIT}/{what}{{?per_page,page}}"
                return _PAGE_ANSWER.validate_python(await self._api.requests.getitem(url, variables))

            page = await self._api.run(ask, to=f"read the checks of {full_name} on GitHub", right=right)
            pages.append(page)
            there, total = there + len(page.runs) + len(page.statuses), page.total_count
            if there >= total:
                break
        return pages, max(0, total - there)
