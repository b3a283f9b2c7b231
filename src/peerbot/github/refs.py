"""Moves branches on the forge, with git's own check of where they point.

The REST API moves a branch wherever it is: a commit that somebody pushed a moment before would be lost. A push names
the commit that the branch is expected at, and moves all its branches or none (`atomic`). The commits are there already,
so the push carries no objects.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from pydantic import BaseModel, ConfigDict

from peerbot.errors import Conflict, Refused, Unavailable
from peerbot.github.api import Api
from peerbot.logs import logger

log = logger(__name__)

NOTHING = "0" * 40
"""The place of a branch that does not exist."""

_SECONDS = 30.0
_LARGEST_REPLY_BYTES = 64 * 1024
_EMPTY_PACK = b"PACK" + (2).to_bytes(4, "big") + (0).to_bytes(4, "big")
_FLUSH = b"0000"
_PAGE = 100  # of at most 250 commits that GitHub compares in one answer


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: its id, the first line of its message, and the e-mail address of its committer."""

    id: str
    title: str
    committer: str


class _Signature(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    email: str = ""


class _Said(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    message: str
    committer: _Signature | None = None


class _Compared(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    sha: str
    commit: _Said


class _Comparison(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    total_commits: int
    commits: list[_Compared]


class Refs:
    """The branches of the forge. The owner of `session` closes it; `authorization` makes git's header."""

    def __init__(self, session: aiohttp.ClientSession, api: Api, authorization: Callable[[], str]) -> None:
        self._session = session
        self._api = api
        self._authorization = authorization

    async def commits(self, full_name: str, base: str, head: str) -> list[Commit] | None:
        """List the commits of `head` that `base` lacks; None if they can't be compared, or there are too many.

        Raises as `GitHub`'s methods do.
        """
        owner, _, name = full_name.partition("/")
        named = {"owner": owner, "name": name, "span": f"{base}...{head}", "per_page": str(_PAGE)}

        async def ask() -> list[Commit] | None:
            found = await self._api.get_if_there("/repos/{owner}/{name}/compare/{span}{?per_page}", named)
            if found is None:
                return None
            read = _Comparison.model_validate(found)
            if read.total_commits > len(read.commits):
                return None
            return [
                Commit(each.sha, each.commit.message.partition("\n")[0], each.commit.committer.email)
                if each.commit.committer
                else Commit(each.sha, each.commit.message.partition("\n")[0], "")
                for each in read.commits
            ]

        to = f"compare commits of {full_name} on GitHub"
        return await self._api.run(ask, to=to, right="the right to read it (Contents)")

    async def move(self, clone_url: str, moves: Mapping[str, tuple[str, str]]) -> None:
        """Move branches from one commit to another, all of them or none.

        Raises `Conflict` if a branch is not where it is expected, or the forge does not take the push, with its words;
        `Refused` if the token may not push, `Unavailable` if nobody answers: then it may have happened.
        """
        lines = [f"{old} {new} refs/heads/{branch}" for branch, (old, new) in moves.items()]
        lines[0] += "\0 report-status atomic"
        body = b"".join(_pkt_line(line.encode()) for line in lines) + _FLUSH
        body += _EMPTY_PACK + hashlib.sha1(_EMPTY_PACK, usedforsecurity=False).digest()
        headers = {
            "Authorization": self._authorization(),
            "Content-Type": "application/x-git-receive-pack-request",
            "Accept": "application/x-git-receive-pack-result",
        }
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._session.post(
                    f"{clone_url}/git-receive-pack", data=body, headers=headers, allow_redirects=False
                ) as reply,
            ):
                status, said = reply.status, await reply.content.read(_LARGEST_REPLY_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("GitHub did not answer a push in time.") from error
        if status in (401, 403, 404):
            raise Refused("GitHub does not let PeerBot's token push to this repository.")
        if status != 200:
            raise Unavailable(f"GitHub answered a push with status {status}.")
        if refused := _refusal(said):
            raise Conflict(refused)


def _pkt_line(data: bytes) -> bytes:
    return b"%04x" % (len(data) + 4) + data


def _refusal(report: bytes) -> str:
    """Read git's report on a push; the reason if it was refused, or no report."""
    lines, at = [], 0
    while at + 4 <= len(report):
        try:
            size = int(report[at : at + 4], 16)
        except ValueError:
            break
        if size < 5:
            break
        lines.append(report[at + 4 : at + size].decode(errors="replace").strip())
        at += size
    refused = [line.split(" ", 2)[-1] for line in lines if line.startswith("ng ")]
    if refused:
        return refused[0]
    if "unpack ok" not in lines:
        return next((line for line in lines if line.startswith("unpack ")), "no report")
    return ""
