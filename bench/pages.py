"""The pages in the browser: their weight and first paint, an event's way to the pixels, long threads and sessions.

Debian's Chromium looks at the real pages: the local Slack's, the local GitHub's, and a dispatcher's session page. Bare
pages of the same servers stand beside them. `bench/viewers.py` says what the viewers of a session cost.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from browsing import CHROMIUM, chromium, visiting
from playwright.async_api import Browser, Locator, Page
from session_viewers import with_page
from system import System

from bench import viewers
from bench.figures import Figure, Section, Table, milliseconds, percentile
from bench.in_browser import MARK, Frames, clock_of, files, first_paint, mark_seen, scroll, watch_marks
from peerbot.conversation.keys import Conversation
from peerbot.conversation.progress import Progress, Step, StepStatus
from peerbot.journal import paths
from peerbot.local.workspace import furnish
from peerbot.slack.api import open_client
from peerbot.slack.card import card_message

MESSAGES, STEPS = 500, 3000
LONG = "C0ENGINEER1"  # the channel that has many messages
PIXELS_A_SECOND = 6000  # a quick hand
LARGEST_BYTES = 300_000
NOT_THERE = "Failed to load resource: the server responded with a status of 404"
SIGN_IN = "Failed to load resource: the server responded with a status of 401"


@dataclass
class _Scene:
    """What is measured, the browser that looks at it, and the cookies of somebody who has signed in."""

    system: System
    browser: Browser
    session: Conversation  # one that has a finished turn
    pull: str  # its pull request's address …
    file: str  # … and that of a file that it changed
    cookies: Any = None
    long_thread: str = ""  # the `ts` of its first message

    @asynccontextmanager
    async def chat(self, place: str = "") -> AsyncIterator[Page]:
        """Open the chat page at a place."""
        address = self.system.slack.page.address
        async with visiting(self.browser, address.replace("#", f"#{place}&") if place else address) as page:
            yield page

    @asynccontextmanager
    async def at(self, conversation: Conversation) -> AsyncIterator[Page]:
        """Open a session's page."""
        address = f"{self.dispatcher}sessions/{conversation}"
        async with visiting(self.browser, address, storage_state=self.cookies) as page:
            yield page

    @asynccontextmanager
    async def empty(self, server: str) -> AsyncIterator[Page]:
        """Open a page of a server with nothing on it but a line."""
        async with visiting(self.browser, f"{server}no/page", expected=(NOT_THERE,)) as page:
            yield page

    @property
    def dispatcher(self) -> str:
        return f"http://127.0.0.1:{self.system.logged('dispatcher_started')[-1]['port']}/"


async def measure(directory: Path, *, quick: bool) -> Section:
    section = Section("The pages")
    if CHROMIUM is None:
        section.notes.append("There is no Chromium here, so nothing is measured in a browser.")
    else:
        async with System(directory / "seen") as system, chromium() as browser:
            scene = await _scene(system, browser)
            section.tables.append(await _weight(scene))
            section.figures += await _paints(scene, 2 if quick else 5)
            section.figures += await _events(scene, 10 if quick else 40, "a short thread")
            table = await _long(scene, quick=quick)
            section.figures += await _events(scene, 10 if quick else 40, f"{MESSAGES} messages in thread and channel")
            section.tables.append(table)
    section.tables.append(await viewers.cost(directory / "viewers", quick=quick))
    return section


async def _scene(system: System, browser: Browser) -> _Scene:
    """Start everything, let the agent work once, and sign in."""
    with_page(system)
    furnish(system.slack)
    await system.start()
    conversation, identity = await system.say("fix the failing test")
    turn = await system.answer(conversation, identity)
    assert turn.pull_request is not None
    pull = turn.pull_request.url
    file = f"{pull.rpartition('/pull/')[0]}/blob/{turn.branch}/{turn.files[0].path}"
    scene = _Scene(system, browser, conversation, pull, file)
    address = f"{scene.dispatcher}sessions/{conversation}"
    also = (SIGN_IN, f"asked another host: {system.slack.url}")
    async with visiting(browser, address, expected=also) as page:
        await page.get_by_role("link", name="Sign in with Slack").click()
        await page.get_by_label("Key").fill(system.slack.page.key)
        await page.get_by_role("button", name="Let me in").click()
        await page.get_by_role("button", name="Ada Lovelace").click()
        await page.get_by_role("heading", name="Turn 1").wait_for()
        scene.cookies = await page.context.storage_state()
    return scene


# Weight


async def _weight(scene: _Scene) -> Table:
    """Open each page with something on it that has colours, and add up what it has loaded."""
    loaded: dict[str, dict[str, tuple[int, int]]] = {}
    thread = f"{scene.session.channel}/{scene.session.thread_ts}"
    await scene.system.slack.say(scene.system.slack.person, scene.session.channel, "code :tada: ```let x = 1```")
    async with scene.chat(thread) as page:
        await page.get_by_role("region", name="Thread").locator("article").nth(2).wait_for()
        loaded["chat page"] = await _settled(page)
    async with scene.at(scene.session) as page:
        await page.locator(".step.tool summary").first.wait_for()
        for summary in await page.locator(".step.tool summary, .file summary").all():
            await summary.click()
        loaded["session page"] = await _settled(page)
    github = scene.system.github
    hub: dict[str, tuple[int, int]] = {}
    async with visiting(scene.browser, f"{github.url}/#key={github.door_secret}") as page:
        for address in (scene.pull.rpartition("/pull/")[0], scene.file, f"{scene.pull}/files"):
            await page.goto(address)
            hub |= await _settled(page)
    loaded["GitHub's pages"] = hub
    loaded["all of them"] = {name: size for each in loaded.values() for name, size in each.items()}
    rows = []
    for name, found in loaded.items():
        served, whole = (sum(size[n] for size in found.values()) for n in (0, 1))
        target = f"< {LARGEST_BYTES // 1000} KB" if name == "all of them" else ""
        rows.append([name, _kilobytes(served), _kilobytes(whole), f"×{served / whole:.2f}", target, str(len(found))])
    head = ["page", "as served", "not compressed", "ratio", "target", "files"]
    return Table("The bytes of scripts and styles, the colours for code among them:", head, rows)


async def _settled(page: Page) -> dict[str, tuple[int, int]]:
    """Wait until a page loads nothing more; returns its files. A stream never ends, so there is no other sign."""
    before: dict[str, tuple[int, int]] = {}
    while (now := await files(page)) != before or not now:
        before = now
        await asyncio.sleep(1)
    return now


def _kilobytes(size: float) -> str:
    return f"{size / 1000:.0f} KB"


# First paint


async def _paints(scene: _Scene, rounds: int) -> list[Figure]:
    """Open pages by turns, each with a browser that knows nothing."""
    slack, ours = scene.system.slack.url, scene.dispatcher
    times: dict[str, list[float]] = {"chat": [], "empty chat": [], "session": [], "empty session": []}
    for _ in range(rounds):
        async with scene.empty(slack) as page:
            times["empty chat"].append(await first_paint(page))
        async with scene.chat() as page:
            times["chat"].append(await first_paint(page))
        async with scene.empty(ours) as page:
            times["empty session"].append(await first_paint(page))
        async with scene.at(scene.session) as page:
            times["session"].append(await first_paint(page))
    return [
        Figure(
            f"first paint of the {name} page, nothing in the browser's cache", milliseconds(median(times[name])),
            "an empty page of the same server", milliseconds(median(times[f"empty {name}"])),
            f"×{median(times[name]) / median(times[f'empty {name}']):.1f}", "", rounds,
        )
        for name in ("chat", "session")
    ]  # fmt: skip


# An event's way


async def _events(scene: _Scene, count: int, where: str) -> list[Figure]:
    """Let the bot post and edit in an open thread, by turns; the figures are from the call to the frame after it."""
    slack = scene.system.slack
    long = where.startswith(str(MESSAGES))
    channel = LONG if long else slack.general
    root = scene.long_thread if long else await slack.say(slack.person, channel, "work")
    posted: list[float] = []
    edited: list[float] = []
    async with (
        open_client(slack.api_url, slack.bot_token) as client,
        scene.chat(f"{channel}/{root}") as page,
    ):
        await page.get_by_role("region", name="Thread").locator("article").last.wait_for()
        await watch_marks(page)
        began = await clock_of(page)
        for number in range(0, 2 * count, 2):
            message = f"Some words, `code` and **more**: {MARK}{_number(number, long=long)}"
            called = time.time()
            card = await client.chat_postMessage(
                channel=channel, thread_ts=root, text=message, blocks=[{"type": "markdown", "text": message}]
            )
            posted.append(await _on_screen(page, _number(number, long=long), began) - called)
            await asyncio.sleep(0.1)
            shown = _card(_number(number + 1, long=long))
            called = time.time()
            await client.chat_update(channel=channel, ts=card["ts"], text=shown.text, blocks=shown.blocks)
            edited.append(await _on_screen(page, _number(number + 1, long=long), began) - called)
            await asyncio.sleep(0.1)
    return [
        Figure(
            f"{what} → visible, p95; {where}", milliseconds(percentile(found, 95)), "its median",
            milliseconds(median(found)), f"longest {milliseconds(max(found))}", "p95 < 100 ms", count,
        )
        for what, found in (("chat.postMessage", posted), ("chat.update of a card", edited))
    ]  # fmt: skip


def _number(number: int, *, long: bool) -> int:
    return number + (100_000 if long else 10_000)


async def _on_screen(page: Page, number: int, began: float) -> float:
    at, shown = await mark_seen(page, number)
    assert shown, f"{MARK}{number} is on the page, and not in view"
    return began + at / 1000


def _card(number: int) -> Any:
    """Make a card as a turn shows it in its middle."""
    steps = [
        Step(id=str(n), title=f"Do thing {n}", status=StepStatus.COMPLETE, output="42 passed in 0.3 s")
        for n in range(7)
    ]
    steps.append(Step(id="7", title=f"Go on with {MARK}{number}", status=StepStatus.IN_PROGRESS))
    return card_message(
        Progress(seq=number, title="Go on", steps=steps, narration="So far so good: `calc.py` has a test.", seconds=9),
        run_name="claude-worker-1", repository_url="http://127.0.0.1/x", repository="x/y", branch="claude/1",
        branch_url="http://127.0.0.1/x/tree/1", limit_minutes=60, state="working", requester="Ada", turn=1,
    )  # fmt: skip


# Much of it

_TEXTS = (
    "A short line.",
    "Two things:\n\n- the first is `calc.py`\n- the second is **bold**, and [a link](https://example.com/x)",
    "It failed, and here is why. " * 8,
    "```python\ndef mean(numbers):\n    return sum(numbers) / len(numbers)\n```\n\nand that is all.",
    "| file | lines |\n| --- | --- |\n| calc.py | 12 |\n| test_calc.py | 30 |\n\nSee above.",
)
_LAST_MESSAGE, _LAST_REPLY, _FIRST_STEP, _LAST_STEP = 1, 2, 3, 4
_EARLIER = """async () => {
    const times = [];
    for (let button; (button = document.querySelector("button.earlier"));) {
        const began = performance.now();
        const before = document.querySelectorAll("main section:first-of-type article").length;
        button.click();
        while (document.querySelectorAll("main section:first-of-type article").length === before) {
            await new Promise((next) => requestAnimationFrame(next));
        }
        const painted = new MessageChannel();
        const ended = new Promise((next) => (painted.port1.onmessage = next));
        painted.port2.postMessage(0);
        await ended;
        times.push(performance.now() - began);
    }
    return times;
}"""
_BARE = """(count) => {
    const line = (n) => Object.assign(document.createElement("p"), {textContent: `line ${n}`});
    document.body.replaceChildren(...Array.from({length: count}, (_, n) => line(n)));
}"""


async def _long(scene: _Scene, *, quick: bool) -> Table:
    """Draw and scroll a thread, a channel and a session that are long, and a page of bare lines beside each."""
    most = 6_000 if quick else 12_000  # pixels
    await _talk_much(scene)
    session = await _work_much(scene)
    rows = []
    async with scene.chat(f"{LONG}/{scene.long_thread}") as page:
        drawn = [await _drawn(page, _LAST_REPLY) for _ in range(1 if quick else 2)]
        frames = await _scrolled(page, page.get_by_role("region", name="Thread").locator(".log"), most)
        rows.append(_row(f"a thread of {MESSAGES} messages", milliseconds(median(drawn)), frames))
    async with scene.chat(LONG) as page:
        drawn = [await _drawn(page, _LAST_MESSAGE) for _ in range(1 if quick else 2)]
        earlier = await page.evaluate(_EARLIER)
        shown = (
            f"{milliseconds(median(drawn))}; earlier ones, 60 at a time, {milliseconds(max(earlier) / 1000)} at most"
        )
        frames = await _scrolled(page, page.locator("main .log").first, most)
        rows.append(_row(f"a channel of {MESSAGES} messages", shown, frames))
    rows.append(_row(f"{MESSAGES} bare lines", "", await _bare(scene, MESSAGES, most)))
    async with scene.at(session) as page:
        times = [
            (await _drawn(page, _FIRST_STEP), await _drawn(page, _LAST_STEP, again=False))
            for _ in range(1 if quick else 2)
        ]
        first, last = (milliseconds(median(each[n] for each in times)) for n in (0, 1))
        frames = await _scrolled(page, page.locator("body"), most)
        rows.append(_row(f"a session of {STEPS:,} steps", f"the first {first}, all {last}", frames))
    rows.append(_row(f"{STEPS:,} bare lines", "", await _bare(scene, STEPS, most)))
    head = ["what", "drawn after", "frame, p95", "longest frame", "frames over 50 ms", "longest task, CPU (≤ 50 ms)"]
    return Table(f"Much on one page, scrolled by {PIXELS_A_SECOND:,} pixels a second up and down:", head, rows)


async def _talk_much(scene: _Scene) -> None:
    """Fill a channel with messages, and a thread of its last one with as many."""
    slack = scene.system.slack
    for last, thread in ((_LAST_MESSAGE, None), (_LAST_REPLY, "replies")):
        async with open_client(slack.api_url, slack.bot_token) as client:
            for number in range(MESSAGES):
                words = _TEXTS[number % len(_TEXTS)] + (f" {MARK}{last}" if number == MESSAGES - 1 else "")
                root = scene.long_thread if thread else None
                if number % 2 or number == MESSAGES - 1:
                    blocks = [{"type": "markdown", "text": words}]
                    made = await client.chat_postMessage(channel=LONG, text=words, blocks=blocks, thread_ts=root)
                    newest = str(made["ts"])
                else:
                    newest = await slack.say(slack.person, LONG, words, thread_ts=root)
        if not thread:
            scene.long_thread = newest


async def _work_much(scene: _Scene) -> Conversation:
    """Make a session with many steps: what the agent says and thinks, and tools with their results."""
    system = scene.system
    conversation, identity = await system.say("what is in this repository?")
    await system.answer(conversation, identity)
    for number in range(STEPS // 10):
        entries = [entry for n in range(10) for entry in _step(number, n)]
        part = {"schema": 1, "project": "workspace", "session_id": "x", "subpath": "", "entries": entries}
        await system.journal.put(paths.session_part(conversation, 1, 700, number + 1), json.dumps(part).encode())
    return conversation


def _step(part: int, n: int) -> list[dict[str, Any]]:
    name = f"{part}-{n}"
    marks = {(0, 0): _FIRST_STEP, (STEPS // 10 - 1, 9): _LAST_STEP}
    about: dict[str, Any] = {"timestamp": "2026-11-30T10:00:00.000Z"}
    if n in (0, 9):
        words = _TEXTS[part % len(_TEXTS)] + (f" {MARK}{marks[part, n]}" if (part, n) in marks else "")
        block = {"type": "text", "text": words}
        return [about | {"type": "assistant", "uuid": name, "message": {"content": [block]}}]
    if n == 5:
        block = {"type": "thinking", "thinking": "This could be it. " * 20}
        return [about | {"type": "assistant", "uuid": name, "message": {"content": [block]}}]
    call = {"type": "tool_use", "id": name, "name": "Bash", "input": {"command": f"make test PART={name}"}}
    result = {"type": "tool_result", "tool_use_id": name, "content": "42 passed in 0.31 s\n" * 20}
    return [
        about | {"type": "assistant", "uuid": name, "message": {"content": [call]}},
        about | {"type": "user", "uuid": f"{name}r", "message": {"content": [result]}},
    ]


async def _drawn(page: Page, mark: int, *, again: bool = True) -> float:
    """Load a page again, with its files in the cache; returns the seconds until a mark is drawn."""
    if again:
        await watch_marks(page, after_reload=True)
        await page.reload()
    return (await mark_seen(page, mark))[0] / 1000


async def _scrolled(page: Page, what: Locator, most: int) -> Frames:
    """Scroll up to the beginning, or so far, and down again."""
    await page.wait_for_timeout(1000)  # for what comes after the last step: colours, a poll
    box = await what.bounding_box()
    assert box is not None
    x, y = int(box["x"] + box["width"] / 2), int(min(box["y"] + box["height"] / 2, 400))
    high = await what.evaluate("(element) => element.scrollHeight")
    at_end = await what.evaluate("(element) => element.scrollTop > 0")
    by = min(most, int(high))
    found = Frames()
    for each in (-by, by) if at_end else (by, -by):
        found.add(await scroll(page, by=each, speed=PIXELS_A_SECOND, x=x, y=y))
    return found


async def _bare(scene: _Scene, count: int, most: int) -> Frames:
    async with scene.empty(scene.system.slack.url) as page:
        await page.evaluate(_BARE, count)
        return await _scrolled(page, page.locator("body"), most)


def _row(what: str, drawn: str, found: Frames) -> list[str]:
    p95, longest = percentile(found.frames, 95), max(found.frames)
    late = f"{found.late} of {len(found.frames)}"
    return [what, drawn, f"{p95:.0f} ms", f"{longest:.0f} ms", late, f"{found.longest_cpu:.0f} ms"]
