"""GitHub is eventually consistent: what was just written may not be shown for seconds. Each look for it bears that.

Each test also looks without patience and sees nothing, so that it can't pass with a GitHub that shows all at once.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from github_world import World, commit, git, world
from system import eventually

from peerbot.conversation.documents import now
from peerbot.errors import Refused, Unavailable

LATE_SECONDS = 1.5
BRANCH = "peerbot/2026-01-01-abc"


@pytest.fixture
async def github() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def is_late(github: World, seconds: float = LATE_SECONDS) -> None:
    """From here on each write is shown late; what was written before is shown."""
    github.server.faults.late_seconds = seconds


def posts(github: World, ending: str) -> list[int]:
    return [call.status for call in github.server.calls if call.method == "POST" and call.path.endswith(ending)]


async def test_a_repository_that_was_just_made_is_found_and_has_its_first_commit(github: World) -> None:
    is_late(github)
    making = asyncio.create_task(github.repository())
    await eventually(lambda: posts(github, "/repos"))

    assert await github.client.repository("peerbot-community/user-ada") is None
    found = await github.client.repository("peerbot-community/user-ada", written_at=now())

    assert found == await making
    assert found is not None
    assert not found.empty


async def test_many_that_make_one_repository_at_once_get_the_same_one(github: World) -> None:
    is_late(github)
    found = await asyncio.gather(*(github.repository() for _ in range(10)))

    assert len({each.id for each in found}) == 1
    assert sorted(posts(github, "/repos")) == [201] + [422] * 9


@pytest.mark.slow
async def test_a_repository_that_github_says_is_there_and_never_shows_is_none(github: World) -> None:
    is_late(github, 600)
    made = asyncio.create_task(github.repository())
    await eventually(lambda: posts(github, "/repos"))

    again = github.client.ensure_repository(github.organization, "user-ada", description="")
    assert await again is None
    with pytest.raises(Unavailable, match="not yet its first commit"):
        await made


async def test_a_branch_that_was_just_pushed_is_found(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    is_late(github)
    sha = await github.pushed_branch(repository, tmp_path / "work", BRANCH)

    assert await github.client.branch_head(repository.full_name, BRANCH) is None
    assert await github.client.branch_head(repository.full_name, BRANCH, written_at=now()) == sha


async def test_a_branch_that_was_just_pushed_gets_its_pull_request(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    is_late(github)
    sha = await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    opening = {"head": BRANCH, "base": "main", "title": "T", "body": "B"}

    with pytest.raises(Refused, match="head"):
        await github.client.ensure_pull_request(repository, **opening)
    opened = await github.client.ensure_pull_request(repository, **opening, commit=sha)

    assert opened is not None
    assert len(await github.server.pull_requests(repository.full_name)) == 1


async def test_that_a_branch_has_nothing_new_is_believed_only_of_what_was_pushed(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    opening = {"head": BRANCH, "base": "main", "title": "T", "body": "B"}
    await git("-C", work, "push", "--quiet", "origin", f"HEAD:{BRANCH}", login=github.client)
    main = await git("-C", work, "rev-parse", "HEAD")
    is_late(github)
    sha = await commit(work, "primes.py", "print(2, 3, 5)\n")
    await git("-C", work, "push", "--quiet", "origin", f"HEAD:{BRANCH}", login=github.client)

    assert await github.client.ensure_pull_request(repository, **opening, commit=main) is None
    assert await github.client.ensure_pull_request(repository, **opening, commit=sha) is not None


async def test_a_refusal_from_before_the_push_was_shown_is_not_believed_after_it(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    is_late(github)
    sha = await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    github.server.faults.add("/pulls$", method="POST", delay_seconds=LATE_SECONDS + 0.5)

    opening = {"head": BRANCH, "base": "main", "title": "T", "body": "B", "commit": sha}
    assert await github.client.ensure_pull_request(repository, **opening) is not None
    assert posts(github, "/pulls") == [422, 201]


@pytest.mark.slow
async def test_a_push_that_is_never_shown_is_told(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    is_late(github, 600)
    sha = await github.pushed_branch(repository, tmp_path / "work", BRANCH)

    with pytest.raises(Unavailable, match="does not show yet what was just pushed"):
        await github.client.ensure_pull_request(repository, head=BRANCH, base="main", title="T", body="B", commit=sha)


async def test_a_pull_request_that_another_has_just_opened_is_found(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    sha = await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    opening = {"head": BRANCH, "base": "main", "title": "T", "body": "B", "commit": sha}
    is_late(github)
    opened = await github.client.ensure_pull_request(repository, **opening)

    assert await github.client.ensure_pull_request(repository, **opening) == opened
    assert set(posts(github, "/pulls")) == {201, 422}
    assert len(await github.server.pull_requests(repository.full_name)) == 1
