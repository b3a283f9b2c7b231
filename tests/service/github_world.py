"""A local GitHub with a client of the production kind, and the real git to work with it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from peerbot.github.client import GitHub, Owner, Repository
from peerbot.local.github import LocalGitHub

AUTHOR = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")


@dataclass
class World:
    """One local GitHub, one client of it."""

    server: LocalGitHub
    session: aiohttp.ClientSession
    client: GitHub

    def another_client(self, *, token: str | None = None, attempt_seconds: float = 15.0) -> GitHub:
        """A client with another token, or less patience."""
        return GitHub(
            self.session,
            token=token or self.server.token,
            api_url=self.server.api_url,
            attempt_seconds=attempt_seconds,
        )

    @property
    def organization(self) -> Owner:
        return Owner(self.server.organization, is_organization=True)

    async def repository(self, name: str = "user-ada") -> Repository:
        made = await self.client.ensure_repository(self.organization, name, description="Ada's")
        assert made is not None
        return made

    async def checkout(self, repository: Repository, directory: Path, *options: str) -> Path:
        await git("clone", "--quiet", *options, repository.clone_url, directory, login=self.client)
        return directory

    async def pushed_branch(self, repository: Repository, directory: Path, branch: str) -> str:
        """Push a branch with one new file, and return its commit."""
        await self.checkout(repository, directory)
        await git("-C", directory, "checkout", "--quiet", "-b", branch)
        sha = await commit(directory, "primes.py", "print(2, 3, 5)\n")
        await git("-C", directory, "push", "--quiet", "origin", branch, login=self.client)
        return sha


@asynccontextmanager
async def world(directory: Path | None = None) -> AsyncIterator[World]:
    async with LocalGitHub(directory) as server, aiohttp.ClientSession() as session:
        yield World(server, session, GitHub(session, token=server.token, api_url=server.api_url))


class GitError(Exception):
    """Git refused. Its text is git's output."""


async def git(*arguments: str | Path, login: GitHub | None = None, trace: bool = False) -> str:
    """Run the real git as a person's would run, with the client's credentials; return all that it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    }
    if trace:
        environment["GIT_CURL_VERBOSE"] = "1"
    if login is not None:
        environment |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: {login.git_authorization()}",
        }
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        printed = (await process.communicate())[0].decode(errors="replace")
    if process.returncode != 0:
        raise GitError(printed)
    return printed.strip()


async def commit(directory: Path, path: str, content: str | bytes) -> str:
    """Commit one file and return the commit."""
    (directory / path).write_bytes(content.encode() if isinstance(content, str) else content)
    await git("-C", directory, "-c", "core.compression=0", "add", "--all")
    await git("-C", directory, *AUTHOR, "commit", "--quiet", "--message", f"Add {path}")
    return await git("-C", directory, "rev-parse", "HEAD")


async def made_repository(directory: Path, *options: str) -> Path:
    """A person's own repository with one commit on `work`."""
    await git("init", "--quiet", "--initial-branch", "work", *options, directory)
    await commit(directory, "app.py", "print('hello')\n")
    return directory
