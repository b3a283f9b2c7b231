"""What the chat page draws of messages and views, whatever is written in them, and how it answers strangers."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from browsing import PHONE, chromium, stumbles, visiting
from playwright.async_api import Browser, expect
from specimens import MESSAGES, MODAL, text

from peerbot.local.slack import LocalSlack
from peerbot.local.slack.files import FilePart
from peerbot.local.slack.shapes import BOT_USER, DIRECT, GENERAL, PERSON

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def slack(tmp_path: Path) -> AsyncIterator[LocalSlack]:
    async with LocalSlack(tmp_path / "slack") as slack:
        yield slack


async def api(slack: LocalSlack, method: str, **arguments: Any) -> dict[str, Any]:
    """Call the Web API as the app does; it has to be taken."""
    async with (
        aiohttp.ClientSession() as web,
        web.post(
            f"{slack.api_url}{method}", json=arguments, headers={"Authorization": f"Bearer {slack.bot_token}"}
        ) as reply,
    ):
        answer: dict[str, Any] = await reply.json()
    assert answer["ok"], answer
    return answer


def seen(words: str) -> str:
    return re.sub(r"\s+", " ", words)


async def test_every_block_and_element_is_drawn(browser: Browser, slack: LocalSlack) -> None:
    for blocks, _ in MESSAGES:
        await api(slack, "chat.postMessage", channel=GENERAL, text="words", blocks=blocks)
    slack._world.post(GENERAL, BOT_USER, "words", blocks=[{"type": "carousel", "block_id": "x"}])
    async with visiting(browser, slack.page.address) as page:
        await expect(page.get_by_role("button", name="Press tada").first).to_be_visible()
        articles = page.get_by_role("article")
        for n, (_, shown) in enumerate(MESSAGES):
            found, at = seen(await articles.nth(n).text_content() or ""), 0
            for words in shown:
                at = found.find(words, at)
                assert at >= 0, (words, found)
                at += len(words)
        await expect(page.get_by_text("This page can't draw “carousel”.")).to_be_visible()
        await expect(page.get_by_role("link", name="Open it")).to_have_attribute("href", "https://example.com/x")
        for name in ("Good", "Bad", "Take away"):
            await expect(page.get_by_role("button", name=name)).to_be_visible()
        await expect(page.get_by_label("Which one")).to_have_value("o2")
        await expect(page.get_by_role("radio", checked=True)).to_have_count(1)
        await expect(page.get_by_role("checkbox", checked=True)).to_have_count(2)
        assert await page.locator(".hljs-built_in, .hljs-keyword").count() >= 1
        assert await stumbles(page) == []


async def test_a_modal_has_every_input_and_shows_the_apps_errors(browser: Browser, slack: LocalSlack) -> None:
    async with visiting(browser, slack.page.address, theme="dark", size=PHONE, expected=("400",)) as page:
        await api(slack, "views.open", trigger_id=slack.views.trigger(PERSON), view=MODAL)
        form = page.get_by_role("dialog", name="A form")
        await expect(form.get_by_label(re.compile("Field a"))).to_have_value("there")
        await expect(form.get_by_label(re.compile("Field c"))).to_have_value("7")
        await expect(form.get_by_label(re.compile("Field d"))).to_have_value("o1")
        await expect(form.get_by_placeholder("Say more")).to_be_visible()
        found, at = seen(await form.text_content() or ""), 0
        for words in ("Before the fields", "Field a", "Hint a", "Field b", "Field c", "Field d", "Option 2", "Field e",
                      "Option 1", "About 1", "Field f", "Ada Lovelace", "No", "Send it"):  # fmt: skip
            at = found.find(words, at)
            assert at >= 0, (words, found)
        await expect(form.get_by_role("checkbox", name="Ada Lovelace")).to_be_checked()
        assert await stumbles(page) == []
        await form.get_by_role("button", name="Send it").click()
        await expect(form.get_by_text("The app is not connected")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(form).to_have_count(0)


async def test_nothing_that_is_written_does_harm(browser: Browser, slack: LocalSlack) -> None:
    name = f"{EVIL}.txt"
    slack.add_user("U0EVIL00001", EVIL)
    slack.add_channel(GENERAL, "general", members=[PERSON, BOT_USER, "U0EVIL00001"])
    await slack.say("U0EVIL00001", GENERAL, f"{EVIL} <javascript:window.pwned=1|go> <https://x|{EVIL}>")
    await slack.say(PERSON, GENERAL, "a" * 39_992 + " the end")
    await slack.say(PERSON, GENERAL, "\u202eright to left \u05e9\u05dc\u05d5\u05dd\u202c and back")
    slack.share_files(PERSON, GENERAL, "", [FilePart(name, b"<script>window.pwned=1</script>")])
    fifty = [{"type": "section", "text": text(f"{n} {EVIL}", "mrkdwn")} for n in range(50)]
    await api(slack, "chat.postMessage", channel=GENERAL, text=EVIL, blocks=fifty)
    markdown = f"{EVIL}\n\n[go](javascript:window.pwned=1)\n\n```html\n{EVIL}\n```\n\n![x](https://example.com/x.png)"
    await api(slack, "chat.postMessage", channel=GENERAL, text=EVIL, blocks=[{"type": "markdown", "text": markdown}])
    async with visiting(browser, slack.page.address, size=PHONE) as page:
        await expect(page.get_by_text(f"49 {EVIL}")).to_be_visible()
        assert "the end" in (await page.get_by_role("article").nth(1).text_content() or "")
        assert await page.evaluate("() => window.pwned") is None
        assert await page.locator("article img, article script, a[href^='javascript']").count() == 0
        wide = await page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"the page is {wide} px wider than the screen"
        address = str(await page.get_by_role("link", name=name).get_attribute("href"))
        got = await page.request.get(slack.url.rstrip("/") + address.replace("&download", ""))
        assert got.headers["content-type"] == "application/octet-stream"
        assert "attachment" in got.headers["content-disposition"]


async def test_it_goes_on_where_it_was_when_the_server_comes_back(browser: Browser, tmp_path: Path) -> None:
    first = LocalSlack(tmp_path / "slack")
    await first.start()
    port = int(first.url.rstrip("/").rpartition(":")[2])
    cut = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    async with visiting(browser, first.page.address, expected=cut) as page:
        await first.say(PERSON, GENERAL, "before")
        await expect(page.get_by_text("before")).to_be_visible()
        await page.get_by_role("textbox", name=re.compile("^Message")).fill("a draft")
        began = asyncio.get_running_loop().time()
        await first.close()
        assert asyncio.get_running_loop().time() - began < 3, "an open stream kept the server from stopping"
        await expect(page.get_by_text("Not connected. Trying again …")).to_be_visible()
        async with LocalSlack(tmp_path / "slack", port=port) as second:
            await second.say(PERSON, GENERAL, "meanwhile")
            await expect(page.get_by_text("meanwhile")).to_be_visible()
            await expect(page.get_by_text("Not connected. Trying again …")).to_have_count(0)
            assert await page.get_by_role("textbox", name=re.compile("^Message")).input_value() == "a draft"


async def test_messages_come_change_and_go_and_closed_plans_stay_closed(browser: Browser, slack: LocalSlack) -> None:
    async with visiting(browser, slack.page.address) as page:
        tasks = [{"type": "task_card", "task_id": "1", "title": "Look", "status": "in_progress"}]
        plan = {"type": "plan", "title": "Working", "tasks": tasks, "block_id": "plan"}
        posted = await api(slack, "chat.postMessage", channel=GENERAL, text="x", blocks=[plan])
        await page.get_by_text("Working").click()
        await expect(page.get_by_text("Look")).to_be_hidden()
        done = plan | {"title": "Worked", "tasks": [tasks[0] | {"status": "complete"}]}
        await api(slack, "chat.update", channel=GENERAL, ts=posted["ts"], text="x", blocks=[done])
        await expect(page.get_by_text("Worked")).to_be_visible()
        await expect(page.get_by_text("Look")).to_be_hidden()
        await api(slack, "reactions.add", channel=GENERAL, timestamp=posted["ts"], name="eyes")
        await page.get_by_role("button", name=re.compile("eyes 1 ?, by")).click()
        await expect(page.get_by_role("button", name=re.compile("eyes 2 ?, by .*Ada"))).to_be_visible()
        await api(slack, "chat.delete", channel=GENERAL, ts=posted["ts"])
        await expect(page.get_by_text("Worked")).to_have_count(0)
        await slack.say(BOT_USER, DIRECT, "elsewhere")
        await expect(page.get_by_label("1 new")).to_be_visible()


async def test_many_messages_come_as_one_scrolls_up(browser: Browser, slack: LocalSlack) -> None:
    for n in range(500):
        await slack.say(PERSON, GENERAL, f"number {n}.")
    async with visiting(browser, slack.page.address) as page:
        await expect(page.get_by_text("number 499.")).to_be_in_viewport()
        assert await page.get_by_role("article").count() == 60
        await page.get_by_role("button", name="Earlier messages").click()
        await expect(page.get_by_role("article")).to_have_count(120)


async def test_two_tabs_show_the_same_and_what_one_does_is_seen_in_the_other(
    browser: Browser, slack: LocalSlack
) -> None:
    async with visiting(browser, slack.page.address) as one:
        two = await one.context.new_page()
        await two.goto(slack.url)
        for page, words in ((one, "from the first"), (two, "from the second")):
            await page.get_by_role("textbox", name=re.compile("^Message")).fill(words)
            await page.keyboard.press("Enter")
            for seen_in in (one, two):
                await expect(seen_in.get_by_role("article").filter(has_text=words)).to_have_count(1)
        await api(slack, "views.open", trigger_id=slack.views.trigger(PERSON), view=MODAL)
        await one.get_by_role("dialog", name="A form").get_by_role("button", name="No").click()
        await expect(two.get_by_role("dialog", name="A form")).to_have_count(0)
        await two.get_by_label("You write as").select_option(PERSON)
        await expect(one.get_by_label("You write as")).to_have_value(PERSON)


@pytest.mark.parametrize(("off", "shown"), [(-3, "Last just now"), (3, "Last 3 days ago")])
async def test_a_clock_that_is_off_shows_odd_times_and_does_no_other_harm(
    browser: Browser, slack: LocalSlack, off: int, shown: str
) -> None:
    top = await slack.say(PERSON, GENERAL, "first")
    await slack.say(PERSON, GENERAL, "a reply", thread_ts=top)
    async with visiting(browser, slack.page.address) as page:
        await page.clock.install(time=datetime.now(UTC) + timedelta(days=off))
        await page.reload()
        await expect(page.get_by_text(shown)).to_be_visible()
        await page.get_by_role("textbox", name=re.compile("^Message")).fill("second")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("article").last).to_contain_text("second")
        assert "first" in (await page.get_by_role("article").first.text_content() or "")
