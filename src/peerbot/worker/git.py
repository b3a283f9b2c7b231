"""Runs git: for the agent's repository, and for the supervisor's own beside it.

git runs here as if the agent had started it (decision 0004): in a clean environment, with an explicit URL, and with the
agent's token alone. A repository's own configuration may run programs, but they find nothing to steal.
"""

import asyncio
import os
import re
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import stamina

from peerbot.conversation.keys import AUTHOR
from peerbot.errors import PeerBotError

GIT_SECONDS = 300.0
TRIES = 3
_TERM_SECONDS = 1.0
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_AWAY = ("error: 5", "Try again", "Failed to connect", "Empty reply", "Recv failure", "hung up", "timed out")

_QUIET = {
    "core.hooksPath": "/dev/null",  # hooks are for the agent; here they could ask, fail or hang
    "core.fsmonitor": "false",
    "core.bare": "false",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
    "merge.verifySignatures": "false",
    "rebase.autoStash": "false",
}


class GitFailed(PeerBotError):
    """git ended with an error. The message is for people; `detail` is the end of git's output, for the log.

    `output` is all that git said about it, and `printed` its standard output: both may be long.
    """

    def __init__(self, message: str, detail: str = "", output: str = "", printed: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        self.output = output
        self.printed = printed

    @property
    def may_pass(self) -> bool:
        """Whether trying again can help. A push or request that was refused is refused again."""
        return not any(mark in self.detail for mark in ("rejected]", "error: 403", "error: 404"))

    @property
    def away(self) -> bool:
        """Whether the git server did not answer, or was broken or busy: then a longer wait is worth it."""
        return self.may_pass and any(mark in self.detail for mark in _AWAY)


class Git:
    """git in `directory`, with exactly `environment`. `patience_seconds`: how long to ask a server that is away."""

    def __init__(self, directory: Path, environment: Mapping[str, str], *, patience_seconds: float = 5.0) -> None:
        self._directory = directory
        self._environment = dict(environment)
        self._patience_seconds = patience_seconds

    async def __call__(
        self, *arguments: str, data: bytes = b"", index: Path | None = None, more: Mapping[str, str] | None = None
    ) -> str:
        """Run git with `data` on its standard input; returns its output. Raises `GitFailed` with its words.

        `index` is another index than the repository's own, `more` adds to the environment. Output bytes that are not
        UTF-8 come as surrogates, as they do in file names.
        """
        environment = self._environment | dict(more or {}) | ({"GIT_INDEX_FILE": str(index)} if index else {})
        # Files, not pipes: a program that a repository's configuration leaves running would hold a pipe open.
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            given.write(data)
            given.seek(0)
            process = await asyncio.create_subprocess_exec(
                "git",
                *arguments,
                cwd=self._directory,
                env=environment,
                stdin=given,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(GIT_SECONDS):
                    await process.wait()
            except BaseException as error:
                await _killed(process)
                if isinstance(error, TimeoutError):
                    raise GitFailed(f"`git {arguments[0]}` took longer than {GIT_SECONDS:.0f} seconds.") from error
                raise
            if process.returncode:
                said = _contents(err).decode(errors="replace")
                detail = _last_lines(said)
                words = _told(detail) or f"`git {arguments[0]}` failed."
                raise GitFailed(words, f"git {arguments[0]}: {detail}", said, os.fsdecode(_contents(out)))
            return os.fsdecode(_contents(out))

    async def patiently(self, *arguments: str) -> str:
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
                return await self(*arguments)
        raise AssertionError("stamina returns or raises")

    async def oid(self, ref: str) -> str | None:
        """Return the commit that `ref` points to; None if there is no such ref, or no such commit here."""
        try:
            return (await self("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")).strip()
        except GitFailed:
            return None

    async def knows(self, ref: str) -> bool:
        """Whether `ref` names a commit that is here."""
        return await self.oid(ref) is not None

    async def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether the history of `of` contains `commit`."""
        try:
            await self("merge-base", "--is-ancestor", commit, of)
        except GitFailed:
            return False
        return True


def git_environment(gateway_url: str, agent_token: str, base: Mapping[str, str], workspace: Path) -> dict[str, str]:
    """Make the environment of the agent's git: `base`, and the token for the gateway.

    The token stands in the environment, not in an argument list or a file. A pod's `workspace` is a volume that belongs
    to root: git would refuse it as somebody else's without `safe.directory`. The author is in git's configuration
    (`write_author`): `GIT_AUTHOR_NAME` would hold in repositories, too, that a project's tests make.
    """
    return {
        **base,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        **_configured(
            {
                f"http.{gateway_url}.extraHeader": f"Authorization: Bearer {agent_token}",
                "safe.directory": str(workspace),
            }
        ),
    }


def supervisors_environment(agents: Mapping[str, str], **more: str) -> dict[str, str]:
    """Make the environment of the supervisor's git: the agent's, an author, no hooks, no questions, and `more`."""
    count = int(agents["GIT_CONFIG_COUNT"])
    name, email = AUTHOR
    return {
        **agents,
        **_configured(_QUIET, first=count),
        "GIT_EDITOR": "true",
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
        **more,
    }


def write_author(home: Path) -> None:
    """Make PeerBot the author of the agent's commits, where neither the repository nor the agent names another."""
    file = home / ".gitconfig"
    if not file.exists():
        name, email = AUTHOR
        file.write_text(f"[user]\n\tname = {name}\n\temail = {email}\n")


def _configured(settings: Mapping[str, str], *, first: int = 0) -> dict[str, str]:
    """Put git settings into environment variables, from number `first` on."""
    made = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, value) in enumerate(settings.items(), first):
        made |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return made


async def _killed(process: asyncio.subprocess.Process) -> None:
    """End git and what it started. On SIGTERM it takes its locks away, which would be in the next command's way."""
    for number, seconds in ((signal.SIGTERM, _TERM_SECONDS), (signal.SIGKILL, None)):
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and asyncio is about to hear of it
                os.killpg(process.pid, number)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)


def _contents(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _last_lines(said: str, most: int = 5) -> str:
    lines = [line.strip() for line in said.splitlines()]
    # Git's advice would push the error itself out of sight.
    return "\n".join([line for line in lines if line and not line.startswith("hint:")][-most:])[:1000]


def _told(said: str) -> str:
    """Find the words of the gateway or of GitHub in git's output; empty if all words are git's own."""
    lines = [found[1] for found in re.finditer(r"^(?:fatal: )?remote(?: error)?: (?:PeerBot: )?(.+)$", said, re.M)]
    if not lines:
        lines = re.findall(r"^ ?! \[remote rejected\] .* \((.+)\)$", said, re.M)
    return " ".join(dict.fromkeys(lines))[:500]
