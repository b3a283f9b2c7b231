"""What a page tells of itself in the browser: its weight, paints and frames, and when words are on the screen."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Page

MARK = "mark-"
"""Words that begin so, with a number behind, are looked for by `watch_marks`."""

_MARKS = """(() => {
    if (window.marks) return;
    window.marks = {};
    const list = (node) => (node instanceof Element ? node : node.parentElement);
    new MutationObserver((records) => {
        const found = [];
        for (const record of records) {
            for (const node of record.type === "characterData" ? [record.target] : record.addedNodes) {
                const element = list(node);
                if (!element || !element.closest("main") || element.closest("textarea")) continue;
                for (const [mark] of (node.textContent || "").matchAll(/mark-\\d+/g)) {
                    if (mark in window.marks) continue;
                    window.marks[mark] = null;
                    found.push([mark, element]);
                }
            }
        }
        if (!found.length) return;
        requestAnimationFrame(() => {
            const painted = new MessageChannel();
            painted.port1.onmessage = () => {
                const at = performance.now();
                for (const [mark, element] of found) {
                    const box = element.getBoundingClientRect();
                    window.marks[mark] = {at, shown: box.bottom > 0 && box.top < innerHeight && box.height > 0};
                }
            };
            painted.port2.postMessage(0);
        });
    }).observe(document, {subtree: true, childList: true, characterData: true});
})()"""
"""Notes for each mark the end of the first frame in which it is on the page."""

_FRAMES = """() => {
    const frames = [], tasks = [];
    let last = 0, on = true;
    const frame = (at) => {
        if (last) frames.push(at - last);
        last = at;
        if (on) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((each) => each.duration)));
    observer.observe({type: "longtask"});
    window.framesEnded = () => {
        on = false;
        tasks.push(...observer.takeRecords().map((each) => each.duration));
        observer.disconnect();
        return {frames, tasks};
    };
}"""

_PAINTS = """() => new Promise((done) => {
    const first = () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime;
    const wait = () => (first() === undefined ? setTimeout(wait, 10) : done(first()));
    wait();
})"""

_FILES = """() => performance.getEntriesByType("resource").filter((each) => each.name.includes("/static/"))
    .map((each) => [each.name.split("/").slice(5).join("/"), each.encodedBodySize, each.decodedBodySize])"""


@dataclass
class Frames:
    """Milliseconds between frames while something went on, and those of the tasks that held the page up over 50 ms."""

    frames: list[float] = field(default_factory=list)
    tasks: list[float] = field(default_factory=list)

    @property
    def late(self) -> int:
        """How many frames took over 50 ms."""
        return sum(each > 50 for each in self.frames)


async def files(page: Page) -> dict[str, tuple[int, int]]:
    """List the files that a page has loaded: their bytes as served, and unpacked."""
    return {name: (served, whole) for name, served, whole in await page.evaluate(_FILES)}


async def first_paint(page: Page) -> float:
    """Say how many seconds after the navigation the page showed something."""
    return float(await page.evaluate(_PAINTS)) / 1000


async def watch_marks(page: Page, *, after_reload: bool = False) -> None:
    """Look out for marks from now on, or from the beginning of the next load on."""
    await (page.add_init_script(_MARKS) if after_reload else page.evaluate(_MARKS))


async def mark_seen(page: Page, number: int) -> tuple[float, bool]:
    """Wait for a mark; returns the milliseconds since the navigation, and whether it was in view."""
    name = f"{MARK}{number}"
    found = await page.wait_for_function("(name) => window.marks?.[name]", arg=name, polling=5, timeout=60_000)
    value: dict[str, Any] = await found.json_value()
    return float(value["at"]), bool(value["shown"])


async def clock_of(page: Page) -> float:
    """Say at which time, in seconds since the epoch by our own clock, the page's own clock began."""
    best, began = 1e9, 0.0
    for _ in range(20):
        before = time.time()
        now = float(await page.evaluate("() => performance.now()"))
        after = time.time()
        if after - before < best:
            best, began = after - before, (before + after) / 2 - now / 1000
    return began


@asynccontextmanager
async def framed(page: Page) -> AsyncIterator[Frames]:
    """Watch the page's frames meanwhile."""
    found = Frames()
    await page.evaluate(_FRAMES)
    yield found
    told = await page.evaluate("() => window.framesEnded()")
    found.frames, found.tasks = told["frames"], told["tasks"]


async def scroll(page: Page, *, by: int, speed: int, x: int, y: int) -> Frames:
    """Scroll as a hand does at this place, some pixels (up if negative) at so many a second; returns the frames."""
    session = await page.context.new_cdp_session(page)
    async with framed(page) as frames:
        gesture = {"x": x, "y": y, "yDistance": -by, "speed": speed, "gestureSourceType": "mouse"}
        await session.send("Input.synthesizeScrollGesture", gesture)
    await session.detach()
    return frames
