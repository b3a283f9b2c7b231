"""The local GitHub's pages as a person uses them, from the thread's link to the merge that git has."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from browsing import PHONE, chromium, stumbles, visiting
from github_world import AUTHOR, World, commit, git
from github_world import world as github_world
from playwright.async_api import Browser, expect

from peerbot.github.client import Repository
from peerbot.github.repositories import branch_url

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

BRANCH = "peerbot/odd#name%25-<img/src=x>"
EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'
README = """# Primes <!-- a note to oneself -->

See [the docs](docs/how.md), [the root](/primes.py) and ![plot](plot.png).

```python
print(2)
```

<script>window.pwned=1</script>
"""
NAMES = (
    "<img src=x onerror=alert(1)>.py",
    "\u202egnp.exe",
    "\u05e9\u05dc\u05d5\u05dd.txt",
    os.fsdecode(b"\xff\xfe.txt"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


class Place:
    """A local GitHub with one repository that has a bit of everything in it, and one pull request."""

    def __init__(self, github: World, repository: Repository, work: Path) -> None:
        self.github, self.repository, self.work = github, repository, work
        self.sha = ""  # of the newest commit of main at first

    def at(self, path: str) -> str:
        """The address of a page of the repository, with the key."""
        return f"{self.repository.html_url}{path}#key={self.github.server.door_secret}"

    async def checkout(self, branch: str) -> None:
        """Begin a branch at what main is now."""
        await git("-C", self.work, "fetch", "--quiet", "origin", login=self.github.client)
        await git("-C", self.work, "checkout", "--quiet", "-B", branch, "origin/main")

    async def pull_request(self, branch: str, files: dict[str, str], *, title: str = "Primes", body: str = "") -> int:
        """Push a branch that begins at main, and open its pull request."""
        await self.checkout(branch)
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        await git("-C", self.work, "add", "--all")
        await git("-C", self.work, *AUTHOR, "commit", "--quiet", "--message", f"{title}: {EVIL}")
        await git("-C", self.work, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}", login=self.github.client)
        opened = await self.github.client.ensure_pull_request(
            self.repository, head=branch, base="main", title=title, body=body
        )
        assert opened is not None
        return opened.number


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    directory = tmp_path_factory.mktemp("github")
    async with github_world(directory / "kept") as github:
        repository = await github.repository()
        work = await github.checkout(repository, directory / "work")
        (work / "docs").mkdir()
        (work / "docs/how.md").write_text("# How\n")
        (work / "README.md").write_text(README)
        for name in NAMES:
            (work / name).write_text("access = 'user\u202e \u2066# admin'\n")
        await git("-C", work, "add", "--all")
        await commit(work, "primes.py", "def prime(n):\n    return n == 2\n")
        await git("-C", work, "push", "--quiet", "origin", "main", login=github.client)
        place = Place(github, repository, work)
        place.sha = await git("-C", work, "rev-parse", "HEAD")
        changes = dict.fromkeys(NAMES, "print('<script>alert(1)</script>')\n") | {"new.py": "print(3)\n"}
        assert await place.pull_request(BRANCH, changes, title=EVIL, body=f"{README}\n{EVIL}") == 1
        for name, state in (("build", "success"), (EVIL, "failure"), ("slow", "in_progress")):
            await github.server.check(repository.full_name, 1, name, state)  # type: ignore[arg-type]
        yield place


async def main_of(place: Place) -> str:
    return await git("-C", place.github.server.repository_path(place.repository.full_name), "rev-parse", "main")


@pytest.mark.parametrize(("theme", "size"), [("light", (1280, 900)), ("dark", PHONE)])
async def test_every_page_is_whole_and_nothing_in_it_runs(
    browser: Browser, place: Place, theme: str, size: tuple[int, int]
) -> None:
    branch = branch_url(place.repository, BRANCH).removeprefix(place.repository.html_url)
    pages = {
        "": "primes.py",
        branch: "new.py",
        "/blob/main/primes.py": "def prime(n):",
        "/blob/main/docs/how.md": "How",
        "/blob/main/%FF%FE.txt": "turn the direction of writing",
        "/commits/main": "Add primes.py",
        f"/commit/{place.sha}": "7 files changed",
        f"/compare/main...{branch.removeprefix('/tree/')}": "Unified",
        "/pulls": EVIL,
        "/pull/1": "No conflicts with main.",
        "/pull/1/commits": EVIL,
        "/pull/1/files": "\\u202egnp.exe",
    }
    async with visiting(browser, place.at(""), theme=theme, size=size) as page:  # type: ignore[arg-type]
        for path, words in pages.items():
            await page.goto(place.repository.html_url + path)
            await expect(page.locator("main")).to_contain_text(words)
            assert await page.evaluate("() => window.pwned") is None, path
            assert await page.locator("main [onerror], main script, main [style*=color]").count() == 0, path
            assert await page.evaluate("() => document.documentElement.scrollWidth") <= size[0], path
            if size == PHONE:  # axe looks at both themes, and takes a second for it
                assert await stumbles(page) == [], path
        await page.goto(f"{place.github.server.url}/")
        await page.get_by_role("link", name="user-ada").click()
        shown = await page.get_by_role("list", name="Files").aria_snapshot()
    for name in ("<img src=x onerror=alert(1)>.py", "u202egnp.exe", "\u05e9\u05dc\u05d5\u05dd.txt", "\ufffd\ufffd.txt"):
        assert name in shown, name


async def test_a_readme_s_links_lead_to_files_and_a_file_has_its_lines(browser: Browser, place: Place) -> None:
    async with visiting(browser, place.at("")) as page:
        readme = page.get_by_role("region", name="README.md")
        await expect(readme).to_contain_text("See the docs")
        assert "a note to oneself" not in str(await readme.text_content())
        home = place.repository.html_url
        for name, path in (("the docs", "docs/how.md"), ("the root", "primes.py"), ("plot", "plot.png")):
            assert await readme.get_by_role("link", name=name).get_attribute("href") == f"{home}/blob/main/{path}"
        await page.goto(f"{home}/blob/main/primes.py#L2")
        await expect(page.locator(".hljs-keyword").first).to_have_text("def")
        await expect(page.locator(".marked")).to_be_visible()
        await page.get_by_label("Branch").select_option(label=BRANCH)
        await expect(page.get_by_role("heading", level=1)).to_have_text(f"primes.py at {BRANCH}")


async def test_both_ways_to_show_lines_and_it_is_remembered(browser: Browser, place: Place) -> None:
    async with visiting(browser, place.at("/pull/1/files")) as page:
        lines = page.get_by_role("group", name="Lines of <img src=x onerror=alert(1)>.py")
        await expect(lines.locator(".diff-row.added")).to_have_text("+print('<script>alert(1)</script>')")
        await expect(lines.locator(".diff-row.removed")).to_contain_text("-access")
        await page.get_by_role("button", name="Side by side").press("Enter")
        await expect(lines.locator(".diff-cell.removed + .diff-cell.added")).to_contain_text("+print")
        assert await stumbles(page) == []
        await page.reload()
        await expect(lines.locator(".diff-cell.added")).to_contain_text("+print")
        await expect(page.get_by_role("button", name="Side by side")).to_have_attribute("aria-pressed", "true")


async def test_a_comment_a_close_and_a_conflict_by_the_keyboard(browser: Browser, place: Place) -> None:
    number = await place.pull_request("peerbot/y", {"clash.py": "theirs\n"}, title="Clash")
    async with visiting(browser, place.at(f"/pull/{number}"), expected=("409",)) as page:
        await page.get_by_label("Write a comment").fill(f"Looks **good** {EVIL}")
        await page.keyboard.press("Control+Enter")
        said = page.get_by_role("article", name="ada wrote")
        await expect(said.locator("strong")).to_have_text("good")
        assert await said.locator("img, script").count() == 0
        await page.get_by_role("button", name="Close without merging").press("Enter")
        await expect(page.get_by_role("status").filter(has_text="Closed without merging.")).to_be_focused()
        await page.get_by_role("button", name="Open again").press("Enter")
        merge = page.get_by_role("button", name="Merge", exact=True)
        await merge.wait_for()
        await place.checkout("main")
        await commit(place.work, "clash.py", "ours\n")
        await git("-C", place.work, "push", "--quiet", "origin", "main", login=place.github.client)
        before = await main_of(place)
        await merge.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("change the same lines in clash.py")
        await expect(merge).to_have_count(0)
        assert await main_of(place) == before
        assert await stumbles(page) == []


async def test_a_page_that_is_open_follows_what_others_do(browser: Browser, place: Place) -> None:
    number = await place.pull_request("peerbot/z", {"z.py": "z\n"}, title="Z")
    async with visiting(browser, place.at(f"/pull/{number}")) as page:
        await page.get_by_label("Write a comment").fill("a draft")
        await place.github.server.merge(place.repository.full_name, number)
        await page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.get_by_text("Merged into main.")).to_be_visible()
        assert await page.get_by_label("Write a comment").input_value() == "a draft"


async def test_a_long_diff_is_laid_out_as_it_comes_into_view(browser: Browser, place: Place) -> None:
    long = "".join(f"line {n}\n" for n in range(4_000))
    number = await place.pull_request("peerbot/long", {"long.txt": long, "wide.js": "y" * 50_000}, title="Long")
    async with visiting(browser, place.at(f"/pull/{number}/files")) as page:
        lines = page.get_by_role("group", name="Lines of long.txt")
        await expect(lines.locator(".diff-row").first).to_be_visible()
        assert await lines.locator("*").count() < 3_020, "a line is one element"
        await expect(page.get_by_text("Cut here: this file has 4,000 changed lines.")).to_be_visible()
        await expect(page.get_by_role("group", name="Lines of wide.js")).to_contain_text("(49,001 more characters)")
        hidden = await lines.locator(".diff-hunk").first.evaluate("e => getComputedStyle(e).contentVisibility")
        assert hidden == "auto"


async def test_who_comes_without_the_key_or_to_nothing_is_told_what_to_do(browser: Browser, place: Place) -> None:
    home, secret = place.repository.html_url, place.github.server.door_secret
    async with visiting(browser, f"{home}/pull/1", expected=("401", "404")) as page:
        await expect(page.get_by_role("heading", name="This browser has not been let in yet")).to_be_visible()
        assert EVIL not in await page.content()
        assert await stumbles(page) == []
        await page.get_by_label("Key, or that address").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="This browser has not been let in yet")).to_be_visible()
        await page.get_by_label("Key, or that address").fill(f"{place.github.server.url}/#key={secret}")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("No conflicts with main.")).to_be_visible()
        await page.goto(f"{home}/pull/99")
        await expect(page.get_by_role("heading", name="Nothing is here")).to_be_visible()
        assert await stumbles(page) == []
        await page.get_by_role("link", name=f"To {place.repository.full_name}").click()
        await expect(page.get_by_role("list", name="Files")).to_be_visible()


async def test_a_server_that_is_gone_is_said_and_can_be_tried_again(browser: Browser, place: Place) -> None:
    async with visiting(browser, place.at("/pull/1"), expected=("503", "ERR_")) as page:
        await page.get_by_text("No conflicts with main.").wait_for()
        place.github.server.faults.add("/-/data/.*/pull/1$", status=503)
        await page.reload()
        await expect(page.get_by_role("heading", name="This did not work")).to_be_visible()
        await page.get_by_role("button", name="Try again").click()
        await expect(page.get_by_text("No conflicts with main.")).to_be_visible()
        await page.route("**/-/data/**", lambda route: route.abort())
        await page.reload()
        await expect(page.get_by_role("heading", name="No answer")).to_be_visible()
        assert await stumbles(page) == []
