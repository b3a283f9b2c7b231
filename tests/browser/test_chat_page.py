"""The chat page as a person uses it, with the real dispatcher, worker and Claude Code, and the demo model."""

import asyncio
import os
import pty
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from browsing import chromium, stumbles, visiting
from child_process import started
from github_world import git
from playwright.async_api import Browser, Locator, Page, expect

from peerbot.local.chat import serve_page
from peerbot.local.workspace import ADMIN, GUEST
from peerbot.local.world import World

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

ANSWER = 90_000.0  # milliseconds
RED = re.compile(r"\bRed\b")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with World(tmp_path_factory.mktemp("world")) as world:
        assert await serve_page(world, lambda _: None)
        yield world


async def begin(page: Page, text: str, channel: str = "general") -> None:
    """Write to the bot in a channel; the thread opens."""
    await page.get_by_role("button", name=re.compile(rf"^{channel}")).click()
    await page.get_by_role("textbox", name=re.compile("^Message")).fill(f"@peerbot {text}")
    await page.keyboard.press("Enter")
    await page.get_by_role("region", name="Thread").wait_for()


def thread(page: Page) -> Locator:
    return page.get_by_role("region", name="Thread")


async def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until the thing has the focus."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {wanted}")


async def test_a_first_conversation_from_a_suggestion_to_a_merge_that_git_has(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, expected=(world.github.url,)) as page:
        assert "key=" not in page.url
        await page.get_by_role("button", name="engineering").click()  # where no other test writes
        await expect(page.get_by_role("heading", name="Ask PeerBot in #engineering")).to_be_visible()
        await expect(page.get_by_text("The demo model answers").first).to_be_visible()
        assert await stumbles(page) == []

        await page.get_by_role("button", name="Write a script").click()

        await expect(thread(page).get_by_text("Check out the repository").last).to_be_visible(timeout=ANSWER)
        link = thread(page).get_by_role("link", name=re.compile("Pull request #"))
        await expect(link).to_be_visible(timeout=ANSWER)
        await expect(thread(page).get_by_text("2 3 5 7 11 13 17 19 23 29")).to_be_visible()
        await expect(thread(page).get_by_text("🟢 open")).to_be_visible(timeout=ANSWER)
        assert await stumbles(page) == []

        await page.keyboard.press("Alt+u")
        hood = page.get_by_role("complementary", name="Under the hood")
        for step in ("receive", "record", "place", "work", "present", "keep", "answer", "watch"):
            await expect(hood.get_by_text(step, exact=True)).to_be_visible()
        await hood.get_by_text(re.compile("objects in the journal")).click()
        await hood.get_by_text("turns/1.json").click()
        await expect(hood.get_by_text('"status": "done"')).to_be_visible()
        assert await stumbles(page) == []

        assert "key=" not in str(await link.get_attribute("href"))
        async with page.context.expect_page() as opened:
            await link.click()
        await _merge(await opened.value, world)
        await expect(thread(page).get_by_text("🔀 merged")).to_be_visible(timeout=ANSWER)


async def _merge(pull: Page, world: World) -> None:
    """Look at a pull request on the local GitHub's pages, and merge it there."""
    await expect(pull.get_by_text("No conflicts with main.")).to_be_visible()
    assert "key=" not in pull.url
    await expect(pull.get_by_text("Ada Lovelace asked in this thread")).to_be_visible()
    await expect(pull.get_by_text("What PeerBot writes")).to_have_count(0)
    await pull.get_by_role("link", name=re.compile("^Files \\d")).click()
    await expect(pull.get_by_role("group", name=re.compile(r"Lines of .*\.py")).first).to_contain_text("+")
    await expect(pull.locator(".diff-row .hljs-keyword").first).to_be_visible()
    await pull.get_by_role("link", name=re.compile("^Conversation")).click()
    await pull.get_by_role("button", name="Merge", exact=True).click()
    await expect(pull.get_by_text("Merged into main.")).to_be_visible()
    await expect(pull.get_by_role("status").filter(has_text="Merged")).to_be_focused()
    await expect(pull.get_by_text(re.compile(r"brought 1 commit of \S+ into main, "))).to_be_visible()
    assert await stumbles(pull) == []
    full_name = "/".join(pull.url.split("/")[3:5])
    (merged,) = await world.github.pull_requests(full_name)
    assert merged["merged"]
    on_main = await git("-C", world.github.repository_path(full_name), "log", "--format=%H", "main")
    assert {merged["head"]["sha"], merged["merge_commit_sha"]} <= set(on_main.split())


@asynccontextmanager
async def peerbot_local(directory: Path) -> AsyncIterator[tuple[Process, str]]:
    """`peerbot local` in a terminal, and the address that it prints."""
    leader, follower = pty.openpty()
    command = (sys.executable, "-m", "peerbot", "local", "--no-open", "--in", str(directory))
    async with started(*command, stdin=follower, stdout=-1) as process:
        os.close(follower)
        assert process.stdout
        told = await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C ends everything."), 60)
        found = re.search(r"Chat: (\S+)", told.decode())
        assert found
        yield process, found[1]
    os.close(leader)


async def test_a_reply_goes_on_a_restart_later_on_the_page_that_is_still_open(browser: Browser, tmp_path: Path) -> None:
    cut = ("ERR_CONNECTION", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "ERR_SOCKET_NOT_CONNECTED")
    async with peerbot_local(tmp_path) as (process, address), visiting(browser, address, expected=cut) as page:
        await begin(page, "hello there")
        session = thread(page).get_by_role("link", name="View session")
        await expect(thread(page).get_by_text("I am PeerBot's demo model")).to_be_visible(timeout=ANSWER)
        await expect(thread(page).locator(".working")).to_have_count(0, timeout=ANSWER)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 30) == 130
        waiting = page.get_by_text("Not connected. Trying again …")
        await expect(waiting).to_be_visible()
        async with peerbot_local(tmp_path) as (_, again):
            assert again == address
            await expect(waiting).to_have_count(0)
            await thread(page).get_by_role("textbox", name="Reply …").fill("what did I ask?")
            await page.keyboard.press("Enter")
            await expect(thread(page).get_by_text("Earlier in this thread you asked")).to_be_visible(timeout=ANSWER)
            old = await page.request.get(str(await session.first.get_attribute("href")))
            assert old.status in (200, 401), "a link of before the restart leads to the page still"


async def test_a_question_is_answered_by_its_button(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, theme="dark") as page:
        await begin(page, "ask me which colour")
        choice = thread(page).get_by_role("button", name=RED)
        await choice.first.wait_for(timeout=ANSWER)
        assert await stumbles(page) == []
        await choice.first.click()
        await expect(thread(page).get_by_text("I got an answer")).to_be_visible(timeout=ANSWER)


async def test_stop_ends_the_work_and_a_page_that_is_loaded_again_goes_on(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address) as page:
        await begin(page, "take 60 seconds")
        await expect(thread(page).get_by_text("PeerBot is at work")).to_be_visible(timeout=ANSWER)
        await thread(page).get_by_role("textbox", name="Reply …").fill("a draft")
        await page.reload()
        assert await thread(page).get_by_role("textbox", name="Reply …").input_value() == "a draft"
        working = thread(page).locator(".working")
        await expect(working).to_be_visible(timeout=ANSWER)
        await working.get_by_role("button", name="Stop").click()
        await expect(thread(page).get_by_text(re.compile("topped by Ada|Ada Lovelace stopped")).first).to_be_visible(
            timeout=ANSWER
        )


async def test_a_file_that_is_dropped_goes_to_the_agent_and_can_be_opened(browser: Browser, world: World) -> None:
    name = "a <b>bold</b> name.txt"
    async with visiting(browser, world.slack.page.address) as page:
        await page.get_by_role("button", name="general").click()
        area = page.get_by_role("textbox", name=re.compile("^Message"))
        dropped = await page.evaluate_handle(
            "([name, text]) => { const d = new DataTransfer(); d.items.add(new File([text], name)); return d; }",
            [name, "The door is green.\n"],
        )
        await area.dispatch_event("drop", {"dataTransfer": dropped})
        await expect(page.locator(".chosen-files").get_by_text(name)).to_be_visible()
        await area.fill("@peerbot run `cat ~/shared-files/*/*`")
        await page.keyboard.press("Enter")
        link = thread(page).get_by_role("link", name=name)
        await expect(link).to_be_visible()
        got = await page.request.get(world.slack.url.rstrip("/") + str(await link.get_attribute("href")))
        assert await got.body() == b"The door is green.\n"
        assert "attachment" in got.headers["content-disposition"]
        answer = thread(page).get_by_role("article").filter(has_text="The command ran")
        await expect(answer.get_by_text("The door is green.")).to_be_visible(timeout=ANSWER)


async def test_a_guest_is_refused_with_a_sentence_and_others_see_their_own(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address) as page:
        who = page.get_by_label("You write as")
        await who.select_option(GUEST)
        await expect(page.get_by_role("button", name="founders")).to_have_count(0)
        await page.get_by_role("button", name="general").click()
        await page.get_by_role("textbox", name=re.compile("^Message")).fill("@peerbot hello")
        await page.keyboard.press("Enter")
        refusal = page.get_by_text(re.compile("guest", re.IGNORECASE)).filter(has_not_text="Charles")
        await expect(refusal.last).to_be_visible(timeout=ANSWER)
        await who.select_option(ADMIN)
        await expect(page.get_by_role("button", name="founders")).to_be_visible()


async def test_everything_by_the_keyboard_alone(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address) as page:
        area = page.get_by_role("textbox", name=re.compile("^Message"))
        await tab_to(page, area)
        await page.keyboard.type("@pe")
        await expect(page.get_by_role("option", name="peerbot")).to_be_visible()
        await page.keyboard.press("Enter")
        await page.keyboard.type("hello there")
        assert await area.input_value() == "@peerbot hello there"
        await page.keyboard.press("Enter")
        answer = thread(page).get_by_role("article").filter(has_text="I am PeerBot's demo model")
        await expect(answer).to_be_visible(timeout=ANSWER)
        await tab_to(page, thread(page).get_by_role("textbox", name="Reply …"))
        await page.keyboard.type("a plain line")
        await page.keyboard.press("Enter")
        await expect(thread(page).get_by_role("article").filter(has_text="a plain line")).to_be_visible()
        await page.keyboard.press("ArrowUp")
        edit = thread(page).get_by_role("textbox", name="Edit your message")
        await edit.wait_for()
        await page.keyboard.type(", edited")
        await page.keyboard.press("Enter")
        line = thread(page).get_by_role("article").filter(has_text="a plain line, edited")
        await expect(line.get_by_text("(edited)")).to_be_visible()
        await _puts_a_sign(page, line)
        await page.keyboard.press("Escape")
        await expect(thread(page)).to_have_count(0)
        await expect(area).to_be_focused()


async def _puts_a_sign(page: Page, line: Locator) -> None:
    """Find a sign by its name and put it on a message, with the keyboard."""
    sign = line.get_by_role("button", name="Put a sign on it")
    await tab_to(page, sign)
    await page.keyboard.press("Enter")
    picker = line.get_by_role("dialog", name="Put a sign on it")
    field = picker.get_by_role("textbox", name="Find a sign")
    await expect(field).to_be_focused()
    assert await stumbles(page) == []
    await page.keyboard.press("Escape")
    await expect(picker).to_be_hidden()
    await expect(sign).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(field).to_be_focused()
    await page.keyboard.type("rock")
    await page.keyboard.press("ArrowDown")
    await expect(picker.get_by_role("button", name="rock", exact=True)).to_be_focused()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await expect(line.get_by_role("button", name=re.compile(r"^rocket 1 ?, by Ada"))).to_be_visible()
    await expect(sign).to_be_focused()


async def test_the_home_tab_a_form_and_a_command(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, expected=("400",)) as page:
        await page.get_by_role("button", name="Home").click()
        await page.get_by_role("button", name="Edit").first.click()
        form = page.get_by_role("dialog", name="Your settings")
        await form.get_by_label(re.compile("^Instructions")).fill("Be brief.")
        assert await stumbles(page) == []
        await form.get_by_label(re.compile("^Budget")).fill("-1")
        await form.get_by_role("button", name="Save").click()
        await expect(form.locator(".wrong")).to_be_visible()
        await form.get_by_label(re.compile("^Budget")).fill("12")
        await form.get_by_role("button", name="Save").click()
        await expect(form).to_have_count(0)
        await expect(page.get_by_text("Be brief.")).to_be_visible()
        assert await stumbles(page) == []

        await page.get_by_role("button", name="general").click()
        area = page.get_by_role("textbox", name=re.compile("^Message"))
        await area.fill("/peerbot help")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Only you see this").first).to_be_visible()
        await area.fill("/nothing")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").get_by_text("/nothing is not a command here")).to_be_visible()


async def test_a_worker_that_is_killed_by_the_switch_answers_once_all_the_same(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address) as page:
        await begin(page, "take 8 seconds")
        await expect(thread(page).get_by_text("PeerBot is at work")).to_be_visible(timeout=ANSWER)
        await expect(thread(page).locator(".task.in_progress").first).to_be_visible(timeout=ANSWER)
        await page.keyboard.press("Alt+u")
        hood = page.get_by_role("complementary", name="Under the hood")
        await hood.get_by_role("button", name="Kill the worker").click()
        await expect(hood.get_by_text(re.compile(r"^Killed \d+ worker"))).to_be_visible()
        answers = thread(page).get_by_role("article").filter(has_text="That took 8 seconds")
        await expect(answers).to_have_count(1, timeout=ANSWER)
        await expect(thread(page).locator(".working")).to_have_count(0, timeout=ANSWER)
        await expect(hood.get_by_text("Turn 1: done")).to_be_visible()
        await page.reload()
        await expect(answers).to_have_count(1)
