"""Branches are moved with git's own check, all or none; commits are compared. Against git's own HTTP server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from github_world import World, commit, git, world

from peerbot.errors import Conflict, Refused, Unavailable
from peerbot.github.client import Repository
from peerbot.github.refs import NOTHING, Refs

BRANCH = "peerbot/x"


@pytest.fixture
async def github() -> AsyncIterator[World]:
    async with world() as github:
        yield github


@pytest.fixture
def refs(github: World) -> Refs:
    return Refs(github.session, github.client.api, github.client.git_authorization)


async def two_commits(github: World, directory: Path) -> tuple[Repository, str, str]:
    repository = await github.repository()
    first = await github.pushed_branch(repository, directory, BRANCH)
    second = await commit(directory, "more.py", "")
    await git("-C", directory, "push", "--quiet", "origin", BRANCH, login=github.client)
    return repository, first, second


async def test_branches_move_together_and_their_commits_are_compared(github: World, refs: Refs, tmp_path: Path) -> None:
    repository, first, second = await two_commits(github, tmp_path / "work")
    found = await refs.commits(repository.full_name, first, second)
    assert found
    assert [(each.id, each.title) for each in found] == [(second, "Add more.py")]
    assert "@" in found[0].committer
    assert await refs.commits(repository.full_name, first, "0" * 40) is None
    await refs.move(repository.clone_url, {"peerbot/kept": (NOTHING, second), BRANCH: (second, first)})
    assert await github.client.branch_head(repository.full_name, BRANCH) == first
    assert await github.client.branch_head(repository.full_name, "peerbot/kept") == second


async def test_if_one_branch_is_elsewhere_none_moves(github: World, refs: Refs, tmp_path: Path) -> None:
    repository, first, second = await two_commits(github, tmp_path / "work")
    with pytest.raises(Conflict):
        await refs.move(repository.clone_url, {"peerbot/kept": (NOTHING, second), BRANCH: (first, first)})
    with pytest.raises(Conflict):  # it exists already
        await refs.move(repository.clone_url, {BRANCH: (NOTHING, first)})
    assert await github.client.branch_head(repository.full_name, BRANCH) == second
    assert await github.client.branch_head(repository.full_name, "peerbot/kept") is None


async def test_what_the_forge_answers_becomes_an_error_of_ours(github: World, refs: Refs, tmp_path: Path) -> None:
    repository, first, second = await two_commits(github, tmp_path / "work")
    move = {BRANCH: (second, first)}
    wrong = Refs(github.session, github.client.api, lambda: "Basic d3Jvbmc=")
    with pytest.raises(Refused):
        await wrong.move(repository.clone_url, move)
    with pytest.raises(Unavailable):
        await refs.move("http://127.0.0.1:9/acme/web.git", move)
    await github.server.archive(repository.full_name)
    with pytest.raises((Refused, Conflict)):
        await refs.move(repository.clone_url, move)
    await github.server.archive(repository.full_name, archived=False)
    assert await github.client.branch_head(repository.full_name, BRANCH) == second
