"""The session page in the browser, with the real dispatcher, worker and CLI: live, later, and refused."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import pytest
import pytest_asyncio
from browsing import PHONE, Theme, chromium, stumbles, visiting
from playwright.async_api import Browser, Page, expect
from session_viewers import with_page
from system import System

from peerbot.conversation.keys import Conversation
from peerbot.journal import paths

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

expect.set_options(timeout=45_000)  # a machine that is busy with other tests takes many times as long as a quiet one

BOB = "U0BOB000001"
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script> \u202eevil\u202c **bold**"
SIGN_IN = "Failed to load resource: the server responded with a status of 401"
NONE = "Failed to load resource: the server responded with a status of 404"
CUT = ("net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_REFUSED", "net::ERR_EMPTY_RESPONSE")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("page")) as system:
        with_page(system).settings["SLACK_ALLOW_PRIVATE_CHANNELS"] = "true"
        system.slack.add_user(BOB, "Bob")
        members = [system.slack.person, system.slack.bot_user]
        system.slack.add_channel("C0PRIVATE01", "secret", kind="private", members=members)
        await system.start()
        yield system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worked(system: System) -> Conversation:
    conversation, identity = await system.say("fix the failing test")
    await system.answer(conversation, identity)
    return conversation


DRAWN = """() => [...document.querySelectorAll(".step")].filter(
    (step) => step.checkVisibility({contentVisibilityAuto: true})
).length"""
"""How many steps the browser draws: the rest waits until it comes into view."""

SCROLL = """async () => {
    const frames = [];
    for (let n = 0; n < 60; n++) {
        scrollBy(0, 1500);
        await new Promise((next) => requestAnimationFrame(next));
        const began = performance.now();
        document.getElementById("page").getBoundingClientRect();
        const channel = new MessageChannel();
        const painted = new Promise((next) => channel.port1.onmessage = next);
        channel.port2.postMessage(0);
        await painted;
        frames.push(Math.round(performance.now() - began));
    }
    return frames;
}"""
"""Scrolls on and on; returns how many milliseconds each frame took for its layout and painting."""


@asynccontextmanager
async def at(
    system: System,
    browser: Browser,
    conversation: Conversation,
    name: str = "Ada Lovelace",
    *,
    theme: Theme = "light",
    size: tuple[int, int] = (1280, 900),
    expected: tuple[str, ...] = (),
) -> AsyncIterator[Page]:
    """Open a session's page, and sign in as people do."""
    address = f"http://127.0.0.1:{await system.port()}/sessions/{conversation}"
    slack = system.slack.url
    also = (SIGN_IN, f"asked another host: {slack}", *expected)
    async with visiting(browser, address, theme=theme, size=size, expected=also) as page:
        await page.get_by_role("link", name="Sign in with Slack").click()
        await page.get_by_label("Key").fill(system.slack.page.key)
        await page.get_by_role("button", name="Let me in").click()
        await page.get_by_role("button", name=name).click()
        yield page


async def test_it_is_live_and_then_the_same_from_the_journal_alone(system: System, browser: Browser) -> None:
    conversation, identity = await system.say("run `echo the first line; sleep 15; echo the last line`")
    async with at(system, browser, conversation) as page:
        turn = page.get_by_role("region", name="Turn 1")
        await expect(page.get_by_role("status").get_by_text("The agent is at work")).to_be_visible()
        await expect(turn.locator("summary", has_text="Bash")).to_be_visible()
        assert not system.answers(conversation), "told while it works"
        await expect(turn.get_by_text("no result")).to_be_visible()
        await system.answer(conversation, identity)
        await expect(turn.get_by_text("no result")).to_have_count(0)
        await expect(turn.get_by_text("Answer posted")).to_be_visible()
        await turn.locator("summary", has_text="Bash").click()
        await expect(turn.get_by_label("Output", exact=True)).to_contain_text("the last line")
        live = await turn.inner_text()
    async with at(system, browser, conversation) as page:
        turn = page.get_by_role("region", name="Turn 1")
        await turn.locator("summary", has_text="Bash").click()
        await expect(turn.get_by_label("Output", exact=True)).to_contain_text("the last line")
        assert _words(await turn.inner_text()) == _words(live)


def _words(text: str) -> list[str]:
    return [word for word in text.split() if word not in ("just", "now", "minute", "ago", "1")]


async def test_a_new_turn_and_a_restart_come_to_an_open_page(system: System, browser: Browser) -> None:
    conversation, identity = await system.say("run `echo one`")
    await system.answer(conversation, identity)
    async with at(system, browser, conversation, expected=CUT) as page:
        await expect(page.get_by_role("heading", name="Turn 1")).to_be_visible()
        again, identity = await system.say("run `echo two`", thread=conversation)
        await system.answer(again, identity)
        turn = page.get_by_role("region", name="Turn 2")
        await expect(turn.get_by_text("Answer posted")).to_be_visible()
        await expect(turn.locator("summary", has_text="Bash")).to_have_count(1)
        await page.reload()
        await expect(turn.locator("summary", has_text="Bash")).to_have_count(1)
        await expect(page.get_by_text("Secrets of known formats are masked")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_a_finished_turn_shows_its_diff_and_links_and_nobody_stumbles(
    system: System, browser: Browser, worked: Conversation, theme: Theme
) -> None:
    async with at(system, browser, worked, theme=theme) as page:
        turn = page.get_by_role("region", name="Turn 1")
        await expect(turn.get_by_role("link", name="Pull request #1")).to_be_visible()
        link = turn.get_by_role("link", name="Pull request #1")
        assert await link.get_attribute("rel") == "noopener noreferrer"
        await turn.locator(".file summary", has_text="test_calc.py").click()
        await turn.locator(".file summary").first.click()
        await expect(turn.locator(".diff-row.added").first).to_contain_text("+")
        await expect(turn.locator(".diff-row.removed").first).to_contain_text("-    return sum(numbers)")
        for moment in ("Recorded", "Placed", "Worker up", "Cloned", "First request", "Pushed", "Answer posted"):
            await expect(turn.locator(".times").get_by_text(moment)).to_be_visible()
        await turn.locator(".requests summary").click()
        replies = turn.get_by_role("group", name="Requests to the model").get_by_role("row")
        await expect(replies.filter(has_text="Bash").first).to_contain_text("peerbot-demo")
        await turn.locator(".settings summary").click()
        await expect(turn.locator(".settings")).to_contain_text("$10.00")
        await expect(turn.locator(".settings")).to_contain_text("whatever this machine reaches")
        await turn.locator(".step.tool summary").first.click()
        await turn.locator(".costs summary").click()
        await expect(turn.get_by_role("cell", name="peerbot-demo").first).to_be_visible()
        assert await stumbles(page) == []
        await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
        assert await stumbles(page) == []
        for name in ("Download transcript", "Download for claude --resume"):
            async with page.expect_download() as started:
                await turn.get_by_role("link", name=name).click()
            assert (await (await started.value).path()).stat().st_size > 1000


async def test_steps_are_found_by_keyboard(system: System, browser: Browser, worked: Conversation) -> None:
    async with at(system, browser, worked) as page:
        await expect(page.locator(".step").nth(5)).to_be_visible()
        await page.keyboard.press("/")
        await page.keyboard.type("divides by one number")
        await expect(page.locator(".step")).to_have_count(1)
        await expect(page.get_by_text("1 step with")).to_be_visible()
        await page.keyboard.press("Control+a")
        await page.keyboard.press("Delete")
        await expect(page.locator(".step").nth(5)).to_be_visible()
        step = page.locator(".step.tool summary").first
        await step.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".step.tool[open]")).to_have_count(1)


async def test_who_may_not_see_it_is_told_so_and_an_ended_sign_in_asks_again(
    system: System, browser: Browser, worked: Conversation
) -> None:
    conversation, identity = await system.say("run `echo private`", channel="C0PRIVATE01")
    await system.answer(conversation, identity)
    async with at(system, browser, conversation, "Bob", expected=(NONE,)) as page:
        await expect(page.get_by_role("heading", name="Nothing to see here")).to_be_visible()
        assert await stumbles(page) == []
        await page.goto(page.url.replace("C0PRIVATE01", "C0NOCHANNEL"))
        await expect(page.get_by_role("heading", name="Nothing to see here")).to_be_visible()
        await page.goto(f"http://127.0.0.1:{await system.port()}/sessions/{worked}")
        await expect(page.get_by_role("heading", name="Turn 1")).to_be_visible()
        await page.context.clear_cookies()
        await page.reload()
        await expect(page.get_by_role("heading", name="Sign in to see this session")).to_be_visible()
        assert await stumbles(page) == []


async def test_nothing_hostile_runs(system: System, browser: Browser, worked: Conversation) -> None:
    conversation, identity = await system.say(f"what about {HOSTILE}")
    await system.answer(conversation, identity)
    blocks = [
        {"type": "text", "text": HOSTILE},
        {"type": "thinking", "thinking": HOSTILE},
        {"type": "tool_use", "id": HOSTILE, "name": HOSTILE, "input": {"description": HOSTILE, "x": HOSTILE}},
        {"type": HOSTILE},
    ]
    patch = {"oldStart": 1, "newStart": 1, "lines": [f"+{HOSTILE}"]}
    result = {"filePath": HOSTILE, "type": "create", "structuredPatch": [patch]}
    entries = [
        {"type": "assistant", "uuid": "h1", "timestamp": HOSTILE, "message": {"content": blocks}},
        {
            "type": "user", "uuid": "h2", "toolUseResult": result,
            "message": {"content": [{"type": "tool_result", "tool_use_id": HOSTILE, "content": HOSTILE * 20_000}]},
        },
        {"type": HOSTILE},
    ]  # fmt: skip
    part = {"schema": 1, "project": "workspace", "session_id": "x", "subpath": f"subagents/agent-{HOSTILE}"}
    data = json.dumps(part | {"entries": entries}).encode()
    assert await system.journal.put(paths.session_part(conversation, 1, 800, 1), data)
    async with at(system, browser, conversation) as page:
        turn = page.get_by_role("region", name="Turn 1")
        await expect(turn.locator(".step.tool").last).to_contain_text("<img")
        for summary in await turn.locator(".step summary").all():
            await summary.click()
        await expect(turn.locator(".diff-row.added").first).to_contain_text("<script>alert(2)</script>")
        assert await page.locator("main img, main script, main [onerror]").count() == 0


async def test_three_thousand_steps_open_and_scroll(system: System, browser: Browser) -> None:
    conversation, identity = await system.say("what is in this repository?")
    await system.answer(conversation, identity)
    for number in range(1, 301):
        entries = [
            {"type": "assistant", "uuid": f"u{number}-{n}", "message": {"content": [
                {"type": "tool_use", "id": f"c{number}-{n}", "name": "Bash", "input": {"command": f"step {number}-{n}"}}
            ]}}
            for n in range(10)
        ]  # fmt: skip
        part = {"schema": 1, "project": "workspace", "session_id": "x", "subpath": "", "entries": entries}
        await system.journal.put(paths.session_part(conversation, 1, 700, number), json.dumps(part).encode())
    began = time.monotonic()
    async with at(system, browser, conversation) as page:
        await expect(page.locator(".step.tool").first).to_be_visible()
        first = time.monotonic() - began
        await expect(page.get_by_text("step 300-9", exact=True)).to_have_count(1)
        whole = time.monotonic() - began
        drawn = await page.evaluate(DRAWN)
        frames = await page.evaluate(SCROLL)
        # The same way down a page of bare lines: what this machine takes for a frame today.
        await page.evaluate("""() => {
            const line = (n) => Object.assign(document.createElement("p"), {textContent: n});
            const lines = Array.from({length: 3000}, (_, n) => line(n));
            document.getElementById("page").replaceChildren(...lines);
            scrollTo(0, 0);
        }""")
        bare = await page.evaluate(SCROLL)
        told = f"first step after {first:.1f} s, all after {whole:.1f} s, {drawn} drawn, frames {frames}, bare {bare}"
        assert drawn < 150, told
        assert median(frames) < max(50, 6 * median(bare)), told
