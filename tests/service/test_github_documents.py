"""The documents behind the local GitHub's pages, what people do there, and who may."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from github_world import AUTHOR, World, commit, git, world

from peerbot.github.client import Repository
from peerbot.github.repositories import branch_url

HOSTILE = {
    b"<img src=x onerror=alert(1)>.txt": "<img src=x onerror=alert(1)>.txt",
    "\u202egnp.exe".encode(): "\\u202egnp.exe",
    "\u05e9\u05dc\u05d5\u05dd.txt".encode(): "\u05e9\u05dc\u05d5\u05dd.txt",
    b"\xff\xfe.txt": "\ufffd\ufffd.txt",
    b"new\nline.txt": "new\\x0aline.txt",
    b"100%25#?.md": "100%25#?.md",
    b"a b/c d.py": "a b/c d.py",
    b"-n": "-n",
    b":(top)*": ":(top)*",
    b'quote".txt': 'quote".txt',
}
"""Names of files by their bytes, and as a page shows them."""


@pytest.fixture
async def github(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "github") as made:
        yield made


async def ask(
    github: World, path: str, body: Any = None, *, key: str | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Ask for what a page asks for; with `body` it is what a page posts."""
    given = {"Authorization": f"Bearer {github.server.door_secret if key is None else key}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    method, address = ("GET" if body is None else "POST"), f"{github.server.url}/-/data{path}"
    async with github.session.request(method, address, json=body, headers=given) as response:
        if response.content_type != "application/json":
            return response.status, {}
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return response.status, await response.json()


async def shown(github: World, path: str) -> dict[str, Any]:
    status, document = await ask(github, path)
    assert status == 200, (path, document)
    return document


async def pull_request(github: World, repository: Repository, directory: Path, branch: str = "peerbot/x") -> str:
    """Make a pull request with one new file; returns the newest commit of its branch."""
    sha = await github.pushed_branch(repository, directory, branch)
    opened = await github.client.ensure_pull_request(
        repository, head=branch, base="main", title="Primes <b>", body="As asked"
    )
    assert opened is not None
    return sha


async def push(github: World, work: Path, ref: str) -> None:
    await git("-C", work, "push", "--quiet", "origin", f"HEAD:{ref}", login=github.client)


async def test_each_link_of_an_answer_has_a_page_and_its_document(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    branch = "peerbot/odd#name%25-<b>"
    sha = await pull_request(github, repository, tmp_path / "work", branch)
    name = repository.full_name
    links = {
        repository.html_url: ("entries", ["README.md"]),
        branch_url(repository, branch): ("entries", ["README.md", "primes.py"]),
        f"{repository.html_url}/blob/{sha}/primes.py": ("file", "primes.py"),
        f"{repository.html_url}/commits": ("commits", ["Initial commit"]),
        f"{repository.html_url}/commit/{sha}": ("commit", "Add primes.py"),
        f"{repository.html_url}/compare/main...{sha}": ("commits", ["Add primes.py"]),
        f"{repository.html_url}/pulls": ("pulls", ["Primes <b>"]),
        f"{repository.html_url}/pull/1": ("pull", "Primes <b>"),
        f"{github.server.url}/{github.organization.login}": ("repositories", [name.partition("/")[2]]),
    }
    for address, (what, expected) in links.items():
        path = urlsplit(address)
        assert (path.fragment, path.query) == ("", ""), address
        async with github.session.get(address) as page:  # a shell, with nothing of the repository in it
            text = await page.text()
            assert page.status == 200, address
            assert "require-trusted-types-for" in page.headers["Content-Security-Policy"]
            assert "primes.py" not in text
            assert "As asked" not in text
        found = (await shown(github, path.path))[what]
        names = found if isinstance(found, list) else [found]
        said = [each.get("title") or each.get("subject") or each.get("name") for each in names]
        assert (said if isinstance(found, list) else said[0]) == expected, address
    document = await shown(github, urlsplit(branch_url(repository, branch)).path)
    assert (document["at"]["ref"], document["pull"]["number"]) == (branch, 1)
    assert document["beside_default"] == {"ahead": 1, "behind": 0}
    for missing in (
        "pull/2",
        "tree/none",
        "blob/main/none",
        "commit/0123456789",
        "compare/main...none",
        "commits/none",
    ):
        assert (await ask(github, f"/{name}/{missing}"))[0] == 404, missing
    assert (await ask(github, "/a/b"))[0] == (await ask(github, "/nobody"))[0] == 404


async def test_without_the_secret_or_from_another_site_nothing_is_told_or_done(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await pull_request(github, repository, tmp_path / "work")
    path, heads = f"/{repository.full_name}/pull/1", github.server.repository_path(repository.full_name)
    before = await git("-C", heads, "rev-parse", "main")
    host = urlsplit(github.server.url).netloc
    for key in ("", "wrong", github.server.token):
        for asked in (path, f"/{repository.full_name}", f"{path}/merge"):
            status, document = await ask(github, asked, {} if asked.endswith("merge") else None, key=key)
            assert (status, set(document)) == (401, {"error"})
    for headers, refused in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),  # another port of this machine, which may be the agent's
        ({"Host": f"evil.example:{host.partition(':')[2]}"}, 421),
    ):
        for action in ("", "/merge", "/close", "/comments"):
            body = {"body": "x"} if action else None
            assert (await ask(github, path + action, body, **headers))[0] == refused, (headers, action)
    document = await shown(github, path)
    assert (document["pull"]["state"], document["comments"]) == ("open", [])
    assert await git("-C", heads, "rev-parse", "main") == before
    assert (await ask(github, f"{path}/merge", {}, Origin=f"http://{host}"))[0] == 200


async def test_the_secret_outlives_a_restart(tmp_path: Path) -> None:
    async with world(tmp_path) as first:
        secret = first.server.door_secret
        assert (tmp_path / "door").stat().st_mode & 0o077 == 0
    async with world(tmp_path) as second:
        assert second.server.door_secret == secret


async def test_a_merge_is_in_git_once_and_says_why_not_twice(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    head = await pull_request(github, repository, tmp_path / "work")
    path = f"/{repository.full_name}/pull/1"
    document = await shown(github, path)
    assert (document["pull"]["can_merge"], document["pull"]["conflicts"]) == (True, [])
    both = await asyncio.gather(*(ask(github, f"{path}/merge", {"seen": head}) for _ in range(2)))
    assert sorted(status for status, _ in both) == [200, 409]
    assert [each["error"] for _, each in both if "error" in each] == ["Pull request #1 is merged already."]
    for action in ("merge", "close", "reopen"):
        status, refused = await ask(github, f"{path}/{action}", {})
        assert status == 409
        assert "merged" in refused["error"]
    document = await shown(github, path)
    assert (document["pull"]["state"], document["pull"]["ended_by"]) == ("merged", "ada")
    bare = github.server.repository_path(repository.full_name)
    assert await git("-C", bare, "rev-list", "--parents", "-1", "main") == " ".join(
        [document["pull"]["merge_sha"], document["pull"]["base_sha"], head]
    )
    assert (await shown(github, f"{path}/files"))["diff"]["files"][0]["patch"].endswith("+print(2, 3, 5)")


async def test_close_then_merge_then_open_again(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await pull_request(github, repository, tmp_path / "work")
    path = f"/{repository.full_name}/pull/1"
    status, document = await ask(github, f"{path}/close", {})
    assert (status, document["pull"]["state"], document["pull"]["can_reopen"]) == (200, "closed", True)
    for action, said in (
        ("merge", "Pull request #1 is closed already. Open it again to merge it."),
        ("close", "Pull request #1 is closed already."),
    ):
        assert await ask(github, f"{path}/{action}", {}) == (409, {"error": said})
    assert (await ask(github, f"{path}/reopen", {}))[1]["pull"]["state"] == "open"
    await github.server.draft(repository.full_name, 1)
    status, document = await ask(github, f"{path}/merge", {})
    assert status == 409
    assert "is a draft" in document["error"]
    assert (await ask(github, f"{path}/ready", {}))[1]["pull"]["can_merge"]
    await github.server.archive(repository.full_name)
    for action in ("merge", "close", "comments"):
        status, document = await ask(github, f"{path}/{action}", {"body": "x"})
        assert status == 409
        assert "is archived" in document["error"]
    await github.server.archive(repository.full_name, archived=False)
    assert (await ask(github, f"{path}/merge", {"squash": True}))[0] == 200
    assert await git("-C", github.server.repository_path(repository.full_name), "log", "-1", "--format=%s", "main") == (
        "Primes <b> (#1)"
    )


async def test_a_conflict_and_an_unseen_commit_are_told_in_a_sentence(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    head = await pull_request(github, repository, tmp_path / "work")
    path = f"/{repository.full_name}/pull/1"
    await commit(tmp_path / "work", "more.py", "more\n")
    await push(github, tmp_path / "work", "peerbot/x")
    status, document = await ask(github, f"{path}/merge", {"seen": head})
    assert (status, document["error"]) == (
        409,
        "peerbot/x has new commits since you looked. Look at them, then merge.",
    )
    await git("-C", tmp_path / "work", "checkout", "--quiet", "main")
    await commit(tmp_path / "work", "primes.py", "print('others')\n")
    await push(github, tmp_path / "work", "main")
    document = await shown(github, path)
    assert (document["pull"]["can_merge"], document["pull"]["conflicts"]) == (False, ["primes.py"])
    status, document = await ask(github, f"{path}/merge", {})
    assert (status, document["error"]) == (
        409,
        "main and peerbot/x change the same lines in primes.py. "
        "Ask PeerBot in the thread to bring in main, or merge by hand.",
    )
    assert (await shown(github, path))["pull"]["state"] == "open"


async def test_a_comment_is_kept_and_github_s_api_has_it(tmp_path: Path) -> None:
    async with world(tmp_path / "github") as github:
        repository = await github.repository()
        await pull_request(github, repository, tmp_path / "work")
        path = f"/{repository.full_name}/pull/1"
        assert (await ask(github, f"{path}/comments", {"body": "Looks <b>good</b>"}))[0] == 200
        for body in ("", "  \n", "x" * 65_537):
            status, document = await ask(github, f"{path}/comments", {"body": body})
            assert status == 409
            assert "comment" in document["error"]
        assert (await ask(github, f"{path}/comments", ["x"]))[0] == 409
    async with world(tmp_path / "github") as github:
        ours = f"{github.server.api_url}/repos/{repository.full_name}/issues/1/comments"
        login = {"Authorization": f"token {github.server.token}"}
        async with github.session.post(ours, json={"body": "Thanks"}, headers=login) as response:
            assert response.status == 201
        async with github.session.post(ours, json={"body": ""}, headers=login) as response:
            assert response.status == 422
        async with github.session.get(ours, headers=login) as response:
            listed = await response.json()
        kept = (await shown(github, path))["comments"]
    said = [("ada", "Looks <b>good</b>"), ("peerbot", "Thanks")]
    assert [(each["user"]["login"], each["body"]) for each in listed] == said
    assert [(each["author"], each["body"]) for each in kept] == said
    assert [each["id"] for each in listed] == [1, 2]


async def test_hostile_names_are_text_and_lead_to_their_files(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    for name in HOSTILE:
        path = work / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"content of " + name.replace(b"\n", b" ") + b"\n")
    (work / "turned.py").write_text("access = 'user\u202e \u2066# admin'\n")
    (work / "link").symlink_to("/etc/passwd")
    await git("-C", work, "add", "--all")
    await git("-C", work, *AUTHOR, "commit", "--quiet", "--message", "<script>\u202e")
    await push(github, work, "main")
    home = f"/{repository.full_name}"
    document = await shown(github, home)
    assert document["newest"]["subject"] == "<script>\\u202e"
    files = (await shown(github, f"{home}/commit/{document['newest']['sha']}"))["diff"]["files"]
    assert {each["filename"] for each in files} == {*HOSTILE.values(), "turned.py", "link"}
    for each in files:
        found = (await shown(github, f"{home}/blob/main/{each['href']}"))["file"]
        assert found["path"] == each["filename"]
        assert each["patch"].split("\n")[1] == "+" + found["text"].rstrip("\n"), each["filename"]
        history = await shown(github, f"{home}/commits/main/{each['href']}")
        assert [commit["subject"] for commit in history["commits"]] == ["<script>\\u202e"], each["filename"]
    read = {each["filename"]: each for each in files}
    assert read["turned.py"]["turns"]
    assert not read["-n"]["turns"]
    link = (await shown(github, f"{home}/blob/main/link"))["file"]
    assert (link["type"], link["text"]) == ("link", "/etc/passwd")
    assert not (await shown(github, f"{home}/blob/main/%FF%FE.txt"))["file"]["utf8"]
    for address in ("../../door", "%2e%2e/%2e%2e/door", "--output=x", "main:README.md", "main~0", "@{0}"):
        assert (await ask(github, f"{home}/tree/{address}"))[0] == 404, address


async def test_what_is_large_or_no_text_is_bounded_and_says_so(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    work = await github.checkout(repository, tmp_path / "work")
    (work / "large.txt").write_text("x" * (1024 * 1024 + 1))
    (work / "bytes.bin").write_bytes(bytes(range(256)))
    (work / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (work / "long.txt").write_text("".join(f"{n}\n" for n in range(4_000)))
    (work / "more.txt").write_text("".join(f"{n}\n" for n in range(6_000)))
    (work / "a-line.js").write_text("y" * 50_000)
    (work / "many").mkdir()
    for n in range(400):
        (work / f"many/{n:03}").write_text(f"{n}\n" * 40)
    await git("-C", work, "add", "--all")
    await git("-C", work, *AUTHOR, "commit", "--quiet", "--message", "Much")
    await push(github, work, "main")
    home = f"/{repository.full_name}"
    assert (await shown(github, f"{home}/blob/main/large.txt"))["file"]["too_big"]
    assert (await shown(github, f"{home}/blob/main/bytes.bin"))["file"]["binary"]
    assert (await shown(github, f"{home}/blob/main/picture.png"))["file"]["picture"].startswith(
        "data:image/png;base64,"
    )
    changed = (await shown(github, f"{home}/commit/{await git('-C', work, 'rev-parse', 'HEAD')}"))["diff"]
    files = {each["filename"]: each for each in changed["files"]}
    assert (changed["changed_files"], len(files), changed["cut"]) == (406, 300, True)
    assert files["bytes.bin"]["binary"]
    assert files["large.txt"]["binary"]
    assert not files["bytes.bin"]["patch"]
    assert files["long.txt"]["cut"] is True
    assert files["long.txt"]["additions"] == 4_000
    assert len("\n".join(each["patch"] for each in changed["files"]).split("\n")) < 8_500
    assert len(files["a-line.js"]["patch"]) < 1_200
    assert "(49,001 more characters)" in files["a-line.js"]["patch"]
    assert not files["many/000"]["cut"]
    assert files["many/290"]["cut"]


async def test_a_renamed_repository_leads_on_and_an_empty_one_is_told(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await pull_request(github, repository, tmp_path / "work")
    new = f"{github.organization.login}/renamed"
    await github.server.rename(repository.full_name, new)
    assert await shown(github, f"/{repository.full_name}/pull/1") == {"moved": new}
    login = {"Authorization": f"token {github.server.token}"}
    async with github.session.post(
        f"{github.server.api_url}/user/repos", json={"name": "empty"}, headers=login
    ) as made:
        assert made.status == 201
    document = await shown(github, "/peerbot/empty")
    assert document["empty"] is True
    assert (await ask(github, "/peerbot/empty/tree/main"))[0] == 404


async def test_what_a_push_merged_still_has_its_changes(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await pull_request(github, repository, tmp_path / "work")
    await push(github, tmp_path / "work", "main")
    document = await shown(github, f"/{repository.full_name}/pull/1")
    assert (document["pull"]["state"], document["pull"]["commits"], document["pull"]["additions"]) == ("merged", 1, 1)
    assert len((await shown(github, f"/{repository.full_name}/pull/1/files"))["diff"]["files"]) == 1


async def test_checks_of_the_newest_commit_are_shown(github: World, tmp_path: Path) -> None:
    repository = await github.repository()
    await pull_request(github, repository, tmp_path / "work")
    await github.server.check(repository.full_name, 1, "tests", "failure")
    await github.server.status(repository.full_name, 1, "lint", "pending")
    checks = (await shown(github, f"/{repository.full_name}/pull/1"))["checks"]
    assert [(each["name"], each["kind"], each["words"]) for each in checks] == [
        ("tests", "bad", "failure"),
        ("lint", "running", "pending"),
    ]


async def test_a_page_asks_nothing_of_another_host(github: World) -> None:
    async with aiohttp.ClientSession() as anybody, anybody.get(f"{github.server.url}/a/b/pull/1") as page:
        text = await page.text()
    assert "http://" not in text
    assert "https://" not in text
    assert "<script>" not in text
    assert "style=" not in text
