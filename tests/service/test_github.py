"""The production client of GitHub, against the local one: its results, its tries after faults, and its words."""

import asyncio
import logging
import re
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from github_world import World, git, world

from peerbot.conversation.documents import PullRequest
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.github.client import Owner

BRANCH = "peerbot/2026-01-01-abc"


@pytest.fixture
async def github() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def requests(github: World, method: str, ending: str) -> list[int]:
    """The statuses of the REST calls so far whose path ends so."""
    return [call.status for call in github.server.calls if call.method == method and call.path.endswith(ending)]


async def test_an_organization_owns_the_repositories_and_is_looked_up_once(github: World) -> None:
    for _ in range(3):
        assert await github.client.owner("peerbot-community") == Owner("peerbot-community", is_organization=True)
    assert requests(github, "GET", "/orgs/peerbot-community") == [200]


async def test_where_there_is_no_such_organization_the_tokens_own_account_owns_them(github: World) -> None:
    owner = await github.client.owner("somebody")
    assert owner == Owner("peerbot", is_organization=False)
    made = await github.client.ensure_repository(owner, "user-x", description="")
    assert made is not None
    assert made.full_name == "peerbot/user-x"


async def test_a_repository_is_made_private_with_a_first_commit_and_then_found(github: World) -> None:
    made = await github.client.ensure_repository(github.organization, "user-ada", description="Ada's\nwork \x07")
    assert made is not None
    assert (made.full_name, made.private, made.empty) == ("peerbot-community/user-ada", True, False)
    assert await github.client.ensure_repository(github.organization, "user-ada", description="other") == made
    assert requests(github, "POST", "/repos") == [201]
    assert await github.client.repository(made.full_name) == made
    assert await github.client.branch_head(made.full_name, made.default_branch) is not None


async def test_what_is_not_there_is_none(github: World) -> None:
    repository = await github.repository()
    assert await github.client.repository("peerbot-community/nothing") is None
    assert await github.client.branch_head("peerbot-community/nothing", "main") is None
    assert await github.client.branch_head(repository.full_name, "peerbot/no#such?branch") is None


async def test_a_repository_without_a_commit_is_empty(github: World, tmp_path: Path) -> None:
    await git("init", "--quiet", "--bare", tmp_path / "nothing")
    await github.server.import_repository("ada/nothing", tmp_path / "nothing")
    found = await github.client.repository("ada/nothing")
    assert found is not None
    assert found.empty


async def test_a_branch_with_slashes_and_signs_is_found(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    sha = await github.pushed_branch(repository, tmp_path / "work", "a/b#c+d%20é")
    assert await github.client.branch_head(repository.full_name, "a/b#c+d%20é") == sha


async def test_the_loser_of_a_race_to_make_a_repository_finds_the_one_of_the_winner(github: World) -> None:
    first = await github.repository()
    github.server.faults.add("/user-ada$", method="GET", status=404, message="Not Found")
    assert await github.repository() == first
    assert requests(github, "POST", "/repos") == [201, 422]


async def test_a_repository_whose_creation_was_answered_by_nobody_is_found(github: World) -> None:
    github.server.faults.add("/orgs/.*/repos$", method="POST", status=502, served=True)
    assert (await github.repository()).full_name == "peerbot-community/user-ada"
    assert requests(github, "POST", "/repos") == [502, 422]
    assert requests(github, "GET", "/user-ada") == [404, 200]


async def test_a_new_repository_is_waited_for_until_its_first_commit_is_there(github: World) -> None:
    github.server.faults.add("/git/ref/", status=409, message="Git Repository is empty.", count=2)
    assert not (await github.repository()).empty
    assert requests(github, "GET", "/git/ref/heads/main") == [409, 409, 200]


async def test_a_pull_request_is_opened_and_found_again_with_its_title_kept(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)

    opened = await github.client.ensure_pull_request(repository, head=BRANCH, base="main", title="One", body="first")
    assert opened == PullRequest(number=1, url=f"{repository.html_url}/pull/1")
    again = await github.client.ensure_pull_request(repository, head=BRANCH, base="main", title="Two", body="second")
    assert again == opened
    [shown] = await github.server.pull_requests(repository.full_name)
    assert (shown["title"], shown["state"]) == ("One", "open")
    assert re.sub("<!--.*?-->", "", shown["body"]).strip() == "second"


async def test_what_people_wrote_around_our_part_of_a_pull_request_is_kept(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    opening = {"head": BRANCH, "base": "main", "title": "T"}
    await github.client.ensure_pull_request(repository, **opening, body="first")
    [shown] = await github.server.pull_requests(repository.full_name)
    path = f"/repos/{repository.full_name}/pulls/1"
    written = f"Closes #7\r\n\r\n{shown['body']}\r\n- [x] looked at by Bob"
    async with github.session.patch(
        github.server.api_url + path, json={"body": written}, headers={"Authorization": f"Bearer {github.server.token}"}
    ) as changed:
        assert changed.status == 200

    for body in ("second", "third, with `<!-- End of what PeerBot writes. -->` in it", "last"):
        await github.client.ensure_pull_request(repository, **opening, body=body)
    [shown] = await github.server.pull_requests(repository.full_name)
    assert re.sub("<!--.*?-->", "", shown["body"]).split() == [
        "Closes",
        "#7",
        "last",
        "-",
        "[x]",
        "looked",
        "at",
        "by",
        "Bob",
    ]


async def test_a_body_that_a_person_wrote_gets_our_part_at_its_end(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    opening = {"head": BRANCH, "base": "main", "title": "T"}
    async with github.session.post(
        f"{github.server.api_url}/repos/{repository.full_name}/pulls",
        json={**opening, "body": "Bob's own words"},
        headers={"Authorization": f"Bearer {github.server.token}"},
    ) as opened:
        assert opened.status == 201
    for _ in range(2):
        await github.client.ensure_pull_request(repository, **opening, body="ours")
    [shown] = await github.server.pull_requests(repository.full_name)
    assert re.sub("<!--.*?-->", "", shown["body"]).split() == ["Bob's", "own", "words", "ours"]


async def test_each_branch_gets_a_pull_request_of_its_own(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    numbers = []
    for branch in ("peerbot/one", "peerbot/two", "peerbot/one"):
        if branch not in [pull["head"]["ref"] for pull in await github.server.pull_requests(repository.full_name)]:
            await github.pushed_branch(repository, tmp_path / branch, branch)
        opened = await github.client.ensure_pull_request(repository, head=branch, base="main", title=branch, body="B")
        assert opened is not None
        numbers.append(opened.number)
    assert numbers == [1, 2, 1]


async def test_a_body_that_did_not_change_is_not_written_again(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    for body in ("one\n\ntwo\n", "one\r\n\r\ntwo"):
        await github.client.ensure_pull_request(repository, head=BRANCH, base="main", title="T", body=body)
    assert requests(github, "PATCH", "/pulls/1") == []


async def test_two_that_open_the_same_pull_request_at_once_get_one(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    github.server.faults.add("/pulls$", method="GET", count=2, delay_seconds=0.2)  # both see none, then both open
    both = await asyncio.gather(
        *(
            github.another_client().ensure_pull_request(repository, head=BRANCH, base="main", title="T", body="B")
            for _ in range(2)
        )
    )
    assert both[0] == both[1] == PullRequest(number=1, url=f"{repository.html_url}/pull/1")
    assert sorted(requests(github, "POST", "/pulls")) == [201, 422]
    assert len(await github.server.pull_requests(repository.full_name)) == 1


async def test_a_pull_request_whose_opening_was_answered_by_nobody_is_not_doubled(
    github: World, tmp_path: Path
) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    github.server.faults.add("/pulls$", method="POST", status=500, served=True)
    found = await github.client.ensure_pull_request(repository, head=BRANCH, base="main", title="T", body="B")
    assert found == PullRequest(number=1, url=f"{repository.html_url}/pull/1")
    assert len(await github.server.pull_requests(repository.full_name)) == 1


async def test_a_branch_that_changes_nothing_gets_no_pull_request(github: World) -> None:
    repository = await github.repository()
    found = await github.client.ensure_pull_request(repository, head="main", base="main", title="T", body="B")
    assert found is None


async def test_a_pull_request_into_a_branch_that_is_not_there_is_refused_with_githubs_reason(
    github: World, tmp_path: Path
) -> None:
    repository = await github.repository()
    await github.pushed_branch(repository, tmp_path / "work", BRANCH)
    with pytest.raises(Refused, match="base"):
        await github.client.ensure_pull_request(repository, head=BRANCH, base="gone", title="T", body="B")


async def test_a_merged_pull_request_is_followed_by_a_new_one(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = tmp_path / "work"
    await github.pushed_branch(repository, work, BRANCH)
    opening = {"head": BRANCH, "base": "main", "title": "T", "body": "B"}
    await github.client.ensure_pull_request(repository, **opening)
    await git("-C", work, "push", "--quiet", "origin", f"{BRANCH}:main", login=github.client)

    assert await github.client.ensure_pull_request(repository, **opening) is None
    (work / "more.py").write_text("print(7)\n")
    await git("-C", work, "add", "--all")
    await git("-C", work, "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "More")
    await git("-C", work, "push", "--quiet", "origin", BRANCH, login=github.client)
    second = await github.client.ensure_pull_request(repository, **opening)
    assert second is not None
    assert second.number == 2
    assert [(pull["merged"], pull["state"]) for pull in await github.server.pull_requests(repository.full_name)] == [
        (True, "closed"),
        (False, "open"),
    ]


async def test_a_wrong_token_is_told_with_what_to_do_and_never_shown(
    github: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = "ghp_wrong_wrong_wrong"
    with pytest.raises(Refused, match="Set GITHUB_TOKEN") as refused:
        await github.another_client(token=token).repository("a/b")
    assert token not in "".join(traceback.format_exception(refused.value)) + caplog.text
    assert requests(github, "GET", "/repos/a/b") == [401]  # trying again would not help


@pytest.mark.parametrize("status", [403, 404])
async def test_a_missing_right_to_make_repositories_is_named(github: World, status: int) -> None:
    github.server.faults.add("/orgs/.*/repos$", method="POST", status=status, message="Resource not accessible")
    with pytest.raises(Refused, match=r"make the repository peerbot-community/user-ada.*Administration"):
        await github.repository()
    assert requests(github, "POST", "/repos") == [status]


@pytest.mark.parametrize("status", [403, 429])
async def test_a_short_wait_that_github_asks_for_is_kept(github: World, status: int) -> None:
    message = "You have exceeded a secondary rate limit."
    github.server.faults.add("/user-ada$", status=status, message=message, headers={"Retry-After": "1"})
    began = time.monotonic()
    assert await github.client.repository("peerbot-community/user-ada") is None
    assert 1.0 <= time.monotonic() - began < 5.0
    assert requests(github, "GET", "/user-ada") == [status, 404]


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "3600"},
        {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "32503680000"},
        {},
    ],
    ids=["retry-after", "used up", "no time named"],
)
async def test_a_long_wait_is_told_at_once(github: World, headers: dict[str, str]) -> None:
    github.server.faults.add("/user-ada$", status=403, message="API rate limit exceeded", headers=headers, count=9)
    with pytest.raises(Unavailable, match=r"rate limit .* Try again in \d+ s"):
        await github.client.repository("peerbot-community/user-ada")
    assert requests(github, "GET", "/user-ada") == [403]


async def test_a_server_error_is_tried_again(github: World) -> None:
    repository = await github.repository()
    github.server.faults.add("/user-ada$", status=500, count=2)
    assert await github.client.repository(repository.full_name) == repository


async def test_errors_without_end_are_given_up_on(github: World) -> None:
    github.server.faults.add("/user-ada$", status=503, count=100)
    with pytest.raises(Unavailable, match="status 503"):
        await github.client.repository("peerbot-community/user-ada")
    assert requests(github, "GET", "/user-ada") == [503] * 4


async def test_silence_is_waited_out_and_tried_again(github: World) -> None:
    repository = await github.repository()
    github.server.faults.add("/user-ada$", delay_seconds=0.5)
    assert await github.another_client(attempt_seconds=0.2).repository(repository.full_name) == repository


async def test_silence_without_end_is_given_up_on(github: World) -> None:
    github.server.faults.add("/user-ada$", delay_seconds=0.5, count=100)
    with pytest.raises(Unavailable, match="did not answer in time"):
        await github.another_client(attempt_seconds=0.05).repository("peerbot-community/user-ada")


async def test_a_server_that_is_gone_is_unavailable(github: World) -> None:
    await github.server.close()
    with pytest.raises(Unavailable, match="did not answer"):
        await github.client.repository("a/b")


async def test_what_is_no_github_is_told_by_the_setting_to_look_at(github: World) -> None:
    github.server.faults.add("/orgs/", status=200, message="welcome to the proxy")
    with pytest.raises(PeerBotError, match="GITHUB_API_URL"):
        await github.client.owner("peerbot-community")
