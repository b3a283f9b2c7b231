"""What the chat page draws of messages and views, whatever is written in them, and how it answers strangers."""

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from browsing import PHONE, Theme, chromium, stumbles, visiting
from playwright.async_api import Browser, expect

from peerbot.local.slack import LocalSlack
from peerbot.local.slack.files import FilePart
from peerbot.local.slack.shapes import BOT_USER, DIRECT, GENERAL, PERSON

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'


def text(words: str, kind: str = "plain_text") -> dict[str, Any]:
    return {"type": kind, "text": words}


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": list(elements)}]}


MARKDOWN = "# Title\n\n| a | b |\n|--|--|\n| one | two |\n\n```python\nprint(1)\n```\n- [x] done"
OPTIONS = [{"text": text(f"Option {n}"), "value": f"o{n}", "description": text(f"About {n}")} for n in (1, 2)]
BUTTON = {"type": "button", "text": text("Press :tada:"), "action_id": "press", "value": "p"}
SPECIMENS: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"type": "header", "text": text("A headline")}, {"type": "divider"}], ["A headline"]),
    (
        [{"type": "section", "text": text("*bold* _it_ ~gone~ `code` <https://example.com|a link> <@U0ADA000001> "
         "<#C0GENERAL01> &lt;b&gt; :tada:\n> quoted\n```let x = 1```", "mrkdwn"), "accessory": BUTTON}],
        ["bold it gone code a link @ada #general <b> 🎉", "quoted", "let x = 1", "Press 🎉"],
    ),
    ([{"type": "section", "fields": [text("One", "mrkdwn"), text("Two", "mrkdwn")]}], ["One", "Two"]),
    ([{"type": "context", "elements": [text("small print", "mrkdwn"), text("plain")]}], ["small print", "plain"]),
    (
        [{"type": "actions", "elements": [
            BUTTON | {"style": "primary", "action_id": "a1"},
            BUTTON | {"style": "danger", "action_id": "a2", "text": text("Remove")},
            BUTTON | {"action_id": "a3", "url": "https://example.com/x", "text": text("Open it")},
            {"type": "static_select", "action_id": "a4", "options": OPTIONS, "placeholder": text("Which one")},
            {"type": "overflow", "action_id": "a5", "options": OPTIONS},
            {"type": "radio_buttons", "action_id": "a6", "options": OPTIONS},
            {"type": "checkboxes", "action_id": "a7", "options": OPTIONS},
        ]}],
        ["Press 🎉", "Remove", "Open it", "Which one", "Option 1", "About 2", "⋯"],
    ),
    (
        [{"type": "context_actions", "elements": [{"type": "feedback_buttons", "action_id": "f",
          "positive_button": {"text": text(":+1:"), "value": "y", "accessibility_label": "Good"},
          "negative_button": {"text": text(":-1:"), "value": "n", "accessibility_label": "Bad"}}]}],
        ["👍", "👎"],
    ),
    (
        [{"type": "markdown", "text": MARKDOWN}],
        ["Title", "one", "two", "print(1)", "☑ done"],
    ),
    (
        [{"type": "plan", "title": "The plan", "tasks": [
            {"type": "task_card", "task_id": str(n), "title": f"Task {state}", "status": state,
             "details": rich({"type": "text", "text": f"about {state}"})}
            for n, state in enumerate(("pending", "in_progress", "complete", "error"))]}],
        ["The plan", "1 of 4", "Task pending, to do", "Task in_progress, at work", "Task complete, done",
         "Task error, failed", "about error"],
    ),
    (
        [{"type": "rich_text", "elements": [
            {"type": "rich_text_section", "elements": [
                {"type": "text", "text": "plain "}, {"type": "text", "text": "bold", "style": {"bold": True}},
                {"type": "link", "url": "https://example.com", "text": "link"}, {"type": "user", "user_id": PERSON},
                {"type": "channel", "channel_id": GENERAL}, {"type": "emoji", "name": "tada"}]},
            {"type": "rich_text_list", "style": "ordered",
             "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "an item"}]}]},
            {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "fixed"}]},
            {"type": "rich_text_quote", "elements": [{"type": "text", "text": "said"}]}]}],
        ["plain boldlink@ada#general🎉", "an item", "fixed", "said"],
    ),
]  # fmt: skip


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


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_block_and_element_is_drawn(browser: Browser, slack: LocalSlack, theme: Theme) -> None:
    for blocks, _ in SPECIMENS:
        await api(slack, "chat.postMessage", channel=GENERAL, text="words", blocks=blocks)
    slack._world.post(GENERAL, BOT_USER, "words", blocks=[{"type": "carousel", "block_id": "x"}])
    async with visiting(browser, slack.page.address, theme=theme) as page:
        await expect(page.get_by_role("button", name="Press tada").first).to_be_visible()
        articles = page.get_by_role("article")
        for n, (_, shown) in enumerate(SPECIMENS):
            found = seen(await articles.nth(n).text_content() or "")
            for words in shown:
                assert words in found, (words, found)
        await expect(page.get_by_text("This page can't draw “carousel”.")).to_be_visible()
        await expect(page.get_by_role("link", name="Open it")).to_have_attribute("href", "https://example.com/x")
        await expect(page.get_by_role("button", name="Good")).to_be_visible()
        assert await page.locator(".hljs-built_in, .hljs-keyword").count() >= 1
        assert await stumbles(page) == []


async def test_a_modal_has_every_input_and_shows_the_apps_errors(browser: Browser, slack: LocalSlack) -> None:
    def field(name: str, **element: Any) -> dict[str, Any]:
        return {"type": "input", "block_id": name, "label": text(f"Field {name}"), "optional": True, "element": element}

    blocks = [
        {"type": "section", "text": text("Before the fields", "mrkdwn")},
        field("a", type="plain_text_input", action_id="a", initial_value="there"),
        field("b", type="plain_text_input", action_id="b", multiline=True, placeholder=text("Say more")),
        field("c", type="number_input", action_id="c", is_decimal_allowed=True),
        field("d", type="static_select", action_id="d", options=OPTIONS),
        field("e", type="checkboxes", action_id="e", options=OPTIONS),
        field("f", type="multi_users_select", action_id="f"),
    ]
    view = {"type": "modal", "title": text("A form"), "submit": text("Send it"), "close": text("No"), "blocks": blocks}
    async with visiting(browser, slack.page.address, theme="dark", size=PHONE, expected=("400",)) as page:
        await api(slack, "views.open", trigger_id=slack.views.trigger(PERSON), view=view)
        form = page.get_by_role("dialog", name="A form")
        await expect(form.get_by_label(re.compile("Field a"))).to_have_value("there")
        for words in ("Before the fields", "Field b", "Field c", "Field d", "Option 1", "About 2", "Ada Lovelace"):
            assert words in seen(await form.text_content() or ""), words
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
    await slack.say(PERSON, GENERAL, "a" * 39_000 + " the end")
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


async def test_specimens_are_of_everything_that_slack_takes() -> None:
    """The kinds that the local Slack takes from the app are the kinds that are looked at here."""
    from peerbot.local.slack import blocks

    kinds = set(re.findall(r"type: Literal\[\"(\w+)\"\]", inspect.getsource(blocks)))
    assert kinds <= set(re.findall(r'"type": "(\w+)"', json.dumps(SPECIMENS))) | {"url"}
