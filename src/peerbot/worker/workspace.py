"""The workspace: a checkout on the conversation's branch, and git in it.

git runs here as if the agent had started it (decision 0004): in a clean environment, with an explicit URL, and with the
agent's token alone. A repository's own configuration may run programs, but they find nothing to steal.
"""

import asyncio
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import stamina

from peerbot.conversation.documents import FileChange
from peerbot.errors import PeerBotError, TurnFailed
from peerbot.logs import logger

log = logger(__name__)

GIT_SECONDS = 300.0
TRIES = 3
_AWAY = ("error: 5", "Try again", "Failed to connect", "Empty reply", "Recv failure", "hung up", "timed out")
AUTHOR = ("PeerBot", "peerbot@users.noreply.github.com")
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class GitFailed(PeerBotError):
    """git ended with an error. The message is for people; `detail` is git's output, for the log."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail

    @property
    def may_pass(self) -> bool:
        """Whether trying again can help. A push or request that was refused is refused again."""
        return not any(mark in self.detail for mark in ("rejected]", "error: 403", "error: 404"))

    @property
    def away(self) -> bool:
        """Whether the git server did not answer, or was broken or busy: then a longer wait is worth it."""
        return self.may_pass and any(mark in self.detail for mark in _AWAY)


class Workspace:
    """The checkout of one run, in `path`."""

    def __init__(
        self,
        path: Path,
        *,
        url: str,
        branch: str,
        default_branch: str,
        environment: Mapping[str, str],
        patience_seconds: float = 5.0,
    ) -> None:
        self.path = path
        self.url = url
        self.branch = branch
        self.default_branch = default_branch
        self.pushed: str | None = None  # the commit that GitHub's branch points to, as far as we know
        self.fresh = False  # whether it is as the clone made it
        self._environment = dict(environment)
        self._patience_seconds = patience_seconds

    async def prepare(self) -> None:
        """Clone (without old files' contents) and check out the conversation's branch; make it if it is not there.

        Raises `TurnFailed` with git's words if that fails.
        """
        try:
            await asyncio.to_thread(_empty, self.path)  # an earlier try may have left files
            await self.patiently("clone", "--quiet", "--filter=blob:none", "--no-checkout", self.url, ".")
            # GitHub's own word: somebody may have renamed it since the conversation began.
            told = await self.git("for-each-ref", "--format=%(symref:lstrip=3)", "refs/remotes/origin/HEAD")
            self.default_branch = told.strip() or self.default_branch
            self.pushed = await self.oid(f"refs/remotes/origin/{self.branch}")
            start = self.pushed or await self.oid(f"refs/remotes/origin/{self.default_branch}")
            if start:
                await self.patiently("checkout", "--quiet", "--no-track", "-B", self.branch, start)
            else:  # an empty repository: the branch begins with the first commit
                await self.git("symbolic-ref", "HEAD", f"refs/heads/{self.branch}")
            self.fresh = True
            log.debug("workspace_ready")
        except GitFailed as error:
            raise TurnFailed(f"The repository could not be checked out: {error}") from error

    async def head(self) -> str:
        """Return the head's commit, or the empty tree if there is no commit yet."""
        try:
            return (await self.git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")).strip()
        except GitFailed:
            return EMPTY_TREE

    async def commit_rest(self, message: str, trailers: list[str]) -> None:
        """Commit all changes that the agent left uncommitted; do nothing if there are none."""
        if not (await self.git("status", "--porcelain")).strip():
            return
        await self.git("add", "--all")
        body = "\n".join(trailers)
        # The repository's own hooks are for the agent; they are no reason to lose its work.
        await self.git("commit", "--quiet", "--no-verify", "--message", message, "--message", body)

    async def changes(self, since: str) -> list[FileChange]:
        """List the files that changed between `since` and the head."""
        if (head := await self.head()) in (EMPTY_TREE, since):
            return []
        told = await self.git("diff", "--numstat", "--no-renames", "-z", since, head)
        fields = os.fsencode(told).decode(errors="replace").split("\0")
        return [_change(line) for line in fields if line]

    async def oid(self, ref: str) -> str | None:
        """Return the commit that `ref` points to; None if there is no such ref, or no such commit here."""
        try:
            return (await self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")).strip()
        except GitFailed:
            return None

    async def knows(self, ref: str) -> bool:
        """Whether `ref` names a commit that is here."""
        return await self.oid(ref) is not None

    async def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether the history of `of` contains `commit`."""
        try:
            await self.git("merge-base", "--is-ancestor", commit, of)
        except GitFailed:
            return False
        return True

    async def patiently(self, *arguments: str) -> None:
        """Run git against the gateway: three times at most if trying again can help; if it is away, longer.

        Use it for commands that write files into the workspace too: git fetches their contents only then.
        """
        tried = 0

        def again(error: Exception) -> bool:
            return isinstance(error, GitFailed) and (error.away or (error.may_pass and tried < TRIES))

        async for attempt in stamina.retry_context(
            on=again, attempts=None, timeout=self._patience_seconds, wait_initial=0.5, wait_max=8.0
        ):
            tried = attempt.num
            with attempt:
                await self.git(*arguments)

    async def git(self, *arguments: str, data: bytes = b"", index: Path | None = None) -> str:
        """Run git here with `data` on its standard input; returns its output. Raises `GitFailed` with its words.

        `index` is another index than the workspace's own. Output bytes that are not UTF-8 come as surrogates, as they
        do in file names.
        """
        # Files, not pipes: a program that a repository's configuration leaves running would hold a pipe open.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(data)
            given.seek(0)
            process = await asyncio.create_subprocess_exec(
                "git",
                *arguments,
                cwd=self.path,
                env=self._environment | ({"GIT_INDEX_FILE": str(index)} if index else {}),
                stdin=given,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(GIT_SECONDS):
                    await process.wait()
            except BaseException as error:
                if process.returncode is None:
                    with suppress(ProcessLookupError):  # it has ended, and asyncio is about to hear of it
                        os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
                if isinstance(error, TimeoutError):
                    raise GitFailed(f"`git {arguments[0]}` took longer than {GIT_SECONDS:.0f} seconds.") from error
                raise
            if process.returncode:
                detail = _last_lines(_contents(err))
                raise GitFailed(_told(detail) or f"`git {arguments[0]}` failed.", f"git {arguments[0]}: {detail}")
            return os.fsdecode(_contents(out))


def _contents(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def git_environment(gateway_url: str, agent_token: str, base: Mapping[str, str], workspace: Path) -> dict[str, str]:
    """Make the environment of git, for the supervisor and the agent: `base`, the token for the gateway, an author.

    The token stands in the environment, not in an argument list or a file. A pod's `workspace` is a volume that belongs
    to root: git would refuse it as somebody else's without `safe.directory`.
    """
    name, email = AUTHOR
    return {
        **base,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": f"http.{gateway_url}.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Bearer {agent_token}",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": str(workspace),
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
    }


def _change(line: str) -> FileChange:
    added, removed, path = line.split("\t", 2)
    return FileChange(
        path=path,
        added=None if added == "-" else int(added),
        removed=None if removed == "-" else int(removed),
    )


def _last_lines(data: bytes, most: int = 5) -> str:
    lines = [line.strip() for line in data.decode(errors="replace").splitlines()]
    # Git's advice would push the error itself out of sight.
    return "\n".join([line for line in lines if line and not line.startswith("hint:")][-most:])[:1000]


def _told(said: str) -> str:
    """Find the words of the gateway or of GitHub in git's output; empty if all words are git's own."""
    lines = [found[1] for found in re.finditer(r"^(?:fatal: )?remote(?: error)?: (?:PeerBot: )?(.+)$", said, re.M)]
    if not lines:
        lines = re.findall(r"^ ?! \[remote rejected\] .* \((.+)\)$", said, re.M)
    return " ".join(dict.fromkeys(lines))[:500]


def _empty(directory: Path) -> None:
    for child in directory.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child, ignore_errors=True)
        else:
            child.unlink()
