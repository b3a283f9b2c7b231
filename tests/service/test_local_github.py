"""The local GitHub with the real git: what it serves, keeps, refuses and leaves alone."""

import asyncio
import base64
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import psutil
import pytest
from github_world import GitError, World, commit, git, made_repository, world

from peerbot.errors import Refused, SettingsError
from peerbot.local.github import LocalGitHub


@pytest.fixture
async def github() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def until(holds: Callable[[], bool], *, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 (another process is looked at: it has no event for us)
            await asyncio.sleep(0.01)


def git_processes() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if each.name().startswith("git")]


async def test_what_one_checkout_pushes_another_clones(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    sha = await github.pushed_branch(repository, tmp_path / "one", "peerbot/x")
    await github.checkout(repository, tmp_path / "two", "--branch", "peerbot/x")
    assert await git("-C", tmp_path / "two", "rev-parse", "HEAD") == sha
    assert (tmp_path / "two/primes.py").read_text() == "print(2, 3, 5)\n"
    assert (tmp_path / "two/README.md").read_text() == "# user-ada\n\nAda's\n"


async def test_a_blobless_clone_brings_no_file_until_it_is_looked_at(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "full")
    await commit(work, "old.txt", "an old content")
    old = await git("-C", work, "rev-parse", "HEAD:old.txt")
    await commit(work, "old.txt", "a new content")
    await git("-C", work, "push", "--quiet", "origin", "main", login=github.client)

    partial = await github.checkout(repository, tmp_path / "partial", "--filter=blob:none")
    missing = await git("-C", partial, "rev-list", "--objects", "--all", "--missing=print")
    assert f"?{old}" in missing
    assert await git("-C", partial, "show", "HEAD~1:old.txt", login=github.client) == "an old content"


async def test_a_large_push_of_unknown_length_arrives_whole(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    content = os.urandom(12 * 2**20)
    await commit(work, "large.bin", content)
    printed = await git("-C", work, "push", "origin", "main", login=github.client, trace=True)
    assert "Transfer-Encoding: chunked" in printed
    again = await github.checkout(repository, tmp_path / "again")
    assert hashlib.sha256((again / "large.bin").read_bytes()).digest() == hashlib.sha256(content).digest()


async def test_a_gzipped_request_is_understood(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    stream = "".join(
        f"commit refs/heads/local-{n}\ncommitter A <a@b.c> {4_000_000_000 + n} +0000\ndata 1\nx\n\n" for n in range(60)
    )
    (tmp_path / "stream").write_text(stream)
    await git("-C", work, "-c", f"alias.load=!git fast-import --quiet <{tmp_path / 'stream'}", "load")
    await github.pushed_branch(repository, tmp_path / "other", "peerbot/news")
    printed = await git(*("-c", "protocol.version=0", "-C", work, "fetch", "origin"), login=github.client, trace=True)
    assert "Content-Encoding: gzip" in printed
    assert "peerbot/news" in await git("-C", work, "branch", "--remotes")


async def test_an_answer_begins_before_the_request_ends(github: World) -> None:
    """A body is handed on as it comes. If the server collected it first, nobody would ever answer this one."""
    repository = await github.repository()
    answered = asyncio.Event()
    command = f"{'0' * 40} {'1' * 40} refs/heads/x\0 report-status\n"

    async def body() -> AsyncIterator[bytes]:
        yield f"{len(command) + 4:04x}{command}0000this is no pack".encode()
        await answered.wait()

    async with (
        asyncio.timeout(10),
        github.session.post(
            f"{repository.clone_url}/git-receive-pack",
            data=body(),
            headers={
                "Authorization": github.client.git_authorization(),
                "Content-Type": "application/x-git-receive-pack-request",
            },
        ) as response,
    ):
        assert b"unpack " in await response.content.readany()
        answered.set()


async def test_a_slow_reader_makes_git_wait_and_one_that_leaves_ends_it(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    sha = await commit(work, "large.bin", os.urandom(16 * 2**20))
    await git("-C", work, "push", "--quiet", "origin", "main", login=github.client)
    await until(lambda: not git_processes())

    line = f"want {sha}\n"
    fetch = f"0011command=fetch0001{len(line) + 4:04x}{line}0009done\n0000"
    response = await github.session.post(
        f"{repository.clone_url}/git-upload-pack",
        data=fetch.encode(),
        headers={
            "Authorization": github.client.git_authorization(),
            "Content-Type": "application/x-git-upload-pack-request",
            "Git-Protocol": "version=2",
        },
    )
    try:
        assert await response.content.readexactly(100_000)
        assert git_processes()  # the rest of the pack is still with git, not in our memory
    finally:
        response.close()
    await until(lambda: not git_processes())


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_git_needs_the_token(github: World, tmp_path: Path, password: str) -> None:
    repository = await github.repository()
    with pytest.raises(GitError, match=r"Authentication failed|could not read Username"):
        await git("clone", repository.clone_url.replace("://", f"://x:{password}@"), tmp_path / "work")
    assert not (tmp_path / "work").exists()


async def test_the_token_opens_git_under_any_name(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    address = repository.clone_url.replace("://", f"://anybody:{github.server.token}@")
    await git("clone", "--quiet", address, tmp_path / "work")


@pytest.mark.parametrize("authorization", [None, "token wrong", "Bearer wrong", "Basic eDp5", "nonsense"])
async def test_rest_needs_the_token(github: World, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    for path in ("/user", "/repos/a/b", "/orgs/peerbot-community", "/nowhere"):
        async with github.session.get(github.server.api_url + path, headers=headers) as response:
            assert response.status == 401


async def test_a_path_that_leaves_the_directory_leads_nowhere(github: World) -> None:
    for path in (
        "/..%2f..%2fetc/passwd/info/refs?service=git-upload-pack",
        "/a/..git/info/refs?service=git-upload-pack",
    ):
        headers = {"Authorization": github.client.git_authorization()}
        async with github.session.get(github.server.url + path, headers=headers) as response:
            assert response.status == 404
    with pytest.raises(Refused):
        github.server.repository_path("../../etc")


async def test_a_repository_that_is_not_there_is_not_found(github: World, tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not found"):
        await git("clone", f"{github.server.url}/a/b.git", tmp_path / "x", login=github.client)


async def test_a_push_can_be_declined_as_by_a_hook(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    await commit(work, "large.bin", os.urandom(2 * 2**20))  # large enough that git asks first
    github.server.faults.refuse_push("main is protected")
    with pytest.raises(GitError, match="remote: main is protected"):
        await git("-C", work, "push", "origin", "main", login=github.client)
    await git("-C", work, "push", "--quiet", "origin", "main", login=github.client)


async def test_a_fault_meets_git_too(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    github.server.faults.add(r"/info/refs$", status=503)
    with pytest.raises(GitError, match="503"):
        await github.checkout(repository, tmp_path / "work")
    await github.checkout(repository, tmp_path / "work")


async def test_started_again_on_its_directory_everything_is_as_it_was(tmp_path: Path) -> None:
    async with world(tmp_path / "github") as before:
        repository = await before.repository()
        await before.pushed_branch(repository, tmp_path / "work", "peerbot/x")
        opening = {"head": "peerbot/x", "base": "main", "title": "T", "body": "B"}
        pull = await before.client.ensure_pull_request(repository, **opening)
        token = before.server.token
    async with world(tmp_path / "github") as after:
        assert await after.client.repository(repository.full_name) == repository
        assert await after.client.ensure_pull_request(repository, **opening) == pull
        assert after.server.token != token


async def test_a_taken_port_does_not_keep_it_from_starting_again(tmp_path: Path) -> None:
    async with LocalGitHub(tmp_path) as first, LocalGitHub(tmp_path) as second:
        assert first.url != second.url


async def test_without_a_directory_nothing_is_left(tmp_path: Path) -> None:
    async with world() as github:
        path = github.server.repository_path((await github.repository()).full_name)
        assert path.exists()
    assert not path.exists()


def snapshot(directory: Path) -> dict[str, tuple[int, int, str]]:
    """Every file below `directory`: its mode, change time and content."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(directory.rglob("*"))
        if stat.S_ISREG(path.stat().st_mode)
    }


async def imported(github: World, source: Path, into: Path) -> Path:
    """Import a repository, and clone what became of it."""
    await github.server.import_repository("ada/project", source)
    repository = await github.client.repository("ada/project")
    assert repository is not None
    return await github.checkout(repository, into)


async def test_a_dirty_repository_is_copied_as_it_is_committed_and_left_untouched(
    github: World, tmp_path: Path
) -> None:
    source = await made_repository(tmp_path / "source")
    await git("-C", source, "branch", "other")
    (source / "app.py").write_text("dirty")
    (source / "new.py").write_text("untracked")
    (source / "staged.py").write_text("staged")
    await git("-C", source, "add", "staged.py")
    before = snapshot(source)

    work = await imported(github, source, tmp_path / "work")
    assert sorted(path.name for path in work.iterdir()) == [".git", "app.py"]
    assert (work / "app.py").read_text() == "print('hello')\n"
    assert await git("-C", work, "branch", "--show-current") == "work"
    assert "origin/other" in await git("-C", work, "branch", "--remotes")
    await commit(work, "more.py", "1")
    await git("-C", work, "push", "--quiet", "origin", "work", login=github.client)
    assert snapshot(source) == before
    links = [path for path in github.server.repository_path("ada/project").rglob("*") if path.stat().st_nlink > 1]
    assert [path for path in links if path.is_file()] == []


@pytest.mark.parametrize("branch", ["peerbot/x", "peerbot-2/x", "bots/x"])
async def test_a_copy_is_brought_up_to_date_and_keeps_what_was_pushed_to_it(
    github: World, tmp_path: Path, branch: str
) -> None:
    source = await made_repository(tmp_path / "source")
    work = await imported(github, source, tmp_path / "work")
    await git("-C", work, "checkout", "--quiet", "-b", branch)
    mine = await commit(work, "mine.py", "1")
    await git("-C", work, "push", "--quiet", "origin", branch, login=github.client)
    await git("-C", source, "branch", branch)  # as it was before
    theirs = await commit(source, "theirs.py", "2")

    prefix = branch.partition("/")[0].removesuffix("-2")
    await github.server.import_repository("ada/project", source, branch_prefix=prefix)
    assert await github.client.branch_head("ada/project", branch) == mine
    assert await github.client.branch_head("ada/project", "work") == theirs


async def test_a_shallow_clone_can_be_worked_on(github: World, tmp_path: Path) -> None:
    source = await made_repository(tmp_path / "source")
    await commit(source, "b.py", "2")
    await git("clone", "--quiet", "--depth", "1", source.as_uri(), tmp_path / "shallow")
    work = await imported(github, tmp_path / "shallow", tmp_path / "work")
    await git("-C", work, "checkout", "--quiet", "-b", "peerbot/x")
    sha = await commit(work, "c.py", "3")
    await git("-C", work, "push", "--quiet", "origin", "peerbot/x", login=github.client)
    assert await github.client.branch_head("ada/project", "peerbot/x") == sha
    await github.server.import_repository("ada/project", tmp_path / "shallow")


async def test_a_worktree_a_subdirectory_and_a_detached_checkout_will_do(github: World, tmp_path: Path) -> None:
    source = await made_repository(tmp_path / "source")
    await git("-C", source, "worktree", "add", "--quiet", "-b", "feature", tmp_path / "tree")
    await commit(tmp_path / "tree", "feature.py", "1")
    await github.server.import_repository("ada/tree", tmp_path / "tree")
    found = await github.client.repository("ada/tree")
    assert found is not None
    assert (found.default_branch, found.empty) == ("feature", False)

    (source / "below").mkdir()
    await github.server.import_repository("ada/below", source / "below")
    found = await github.client.repository("ada/below")
    assert found is not None
    assert found.default_branch == "work"

    await commit(source, "later.py", "2")
    await git("-C", source, "checkout", "--quiet", "--detach", "HEAD~1")
    await github.server.import_repository("ada/detached", source)
    found = await github.client.repository("ada/detached")
    assert found is not None
    assert (found.default_branch, found.empty) == ("detached", False)


async def test_a_copy_borrows_nothing_from_a_source_that_borrows(github: World, tmp_path: Path) -> None:
    await made_repository(tmp_path / "source")
    await git("clone", "--quiet", "--shared", tmp_path / "source", tmp_path / "borrower")
    await github.server.import_repository("ada/project", tmp_path / "borrower")
    alternates = github.server.repository_path("ada/project") / "objects/info/alternates"
    assert not alternates.exists()


async def test_what_can_not_be_copied_is_told_in_a_sentence(github: World, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(SettingsError, match="not a git repository"):
        await github.server.import_repository("ada/project", tmp_path / "plain")
    with pytest.raises(SettingsError, match="No such file or directory"):
        await github.server.import_repository("ada/project", tmp_path / "absent")
    source = await made_repository(tmp_path / "source")
    await git("-C", source, "config", "uploadpack.allowFilter", "true")
    await git("clone", "--quiet", "--filter=blob:none", source.as_uri(), tmp_path / "partial")
    with pytest.raises(SettingsError, match="partial clone"):
        await github.server.import_repository("ada/project", tmp_path / "partial")
    assert await github.client.repository("ada/project") is None


async def test_the_machines_git_configuration_has_no_say(tmp_path: Path, github: World) -> None:
    """A repository that runs programs by its own configuration runs none here."""
    source = await made_repository(tmp_path / "source")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "uploadpack.packObjectsHook", "core.sshCommand"):
        await git("-C", source, "config", key, str(trap))
    (source / ".git/hooks/post-checkout").write_text(trap.read_text())
    await github.server.import_repository("ada/project", source)
    assert not (tmp_path / "sprung").exists()


async def test_two_names_that_differ_in_case_alone_are_one(github: World) -> None:
    repository = await github.repository("user-ada")
    assert await github.client.repository("Peerbot-Community/User-Ada") == repository


async def test_concurrent_creations_make_one_repository(github: World) -> None:
    made = await asyncio.gather(*(github.repository() for _ in range(5)))
    assert len(set(made)) == 1


async def test_a_request_of_the_dumb_protocol_is_refused(github: World) -> None:
    repository = await github.repository()
    headers = {"Authorization": "Basic " + base64.b64encode(f":{github.server.token}".encode()).decode()}
    async with github.session.get(f"{repository.clone_url}/info/refs", headers=headers) as response:
        assert response.status == 403


async def test_a_body_that_is_no_json_is_refused(github: World) -> None:
    headers = {"Authorization": f"token {github.server.token}"}
    for data, status in ((b"{", 400), (b"[]", 400), (b"{}", 422), (b'{"name": 1}', 422), (b'{"name": ".."}', 422)):
        async with github.session.post(f"{github.server.api_url}/user/repos", data=data, headers=headers) as response:
            assert response.status == status
            assert (await response.json())["message"]


async def test_a_client_that_leaves_in_the_middle_of_a_push_leaves_no_process(github: World) -> None:
    repository = await github.repository()
    begun = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"00a0"
        begun.set()
        await asyncio.Event().wait()

    async def push() -> None:
        headers = {
            "Authorization": github.client.git_authorization(),
            "Content-Type": "application/x-git-receive-pack-request",
        }
        async with github.session.post(
            f"{repository.clone_url}/git-receive-pack", data=body(), headers=headers
        ) as response:
            await response.read()

    pushing = asyncio.create_task(push())
    await until(lambda: begun.is_set() and bool(git_processes()))
    pushing.cancel()
    with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
        await pushing
    await until(lambda: not git_processes())
