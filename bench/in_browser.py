"""What a page tells of itself in the browser: its weight, paints and frames, and when words are on the screen."""

import json
import time
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
    const frames = [];
    let last = 0, on = true;
    const frame = (at) => {
        if (last) frames.push(at - last);
        last = at;
        if (on) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    window.framesEnded = () => {
        on = false;
        return frames;
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
    """Milliseconds between frames while something went on, and the CPU time of the main thread's longest task.

    The latter is what the page itself needs for a frame, however busy the machine is.
    """

    frames: list[float] = field(default_factory=list)
    longest_cpu: float = 0.0

    def add(self, more: "Frames") -> None:
        """Add what went on later."""
        self.frames += more.frames
        self.longest_cpu = max(self.longest_cpu, more.longest_cpu)

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


async def scroll(page: Page, *, by: int, speed: int, x: int, y: int) -> Frames:
    """Scroll as a hand does at this place, some pixels (up if negative) at so many a second; returns the frames."""
    browser = page.context.browser
    assert browser is not None
    session = await page.context.new_cdp_session(page)
    await page.evaluate(_FRAMES)
    await browser.start_tracing(page=page, categories=["toplevel"])
    gesture = {"x": x, "y": y, "yDistance": -by, "speed": speed, "gestureSourceType": "mouse"}
    await session.send("Input.synthesizeScrollGesture", gesture)
    traced = json.loads(await browser.stop_tracing())["traceEvents"]
    frames = await page.evaluate("() => window.framesEnded()")
    await session.detach()
    return Frames(frames, _longest_cpu(traced))


def _longest_cpu(traced: list[dict[str, Any]]) -> float:
    """Find the milliseconds of CPU of the longest task of a page's main thread."""
    threads = {(each["pid"], each["tid"]): each["args"]["name"] for each in traced if each["name"] == "thread_name"}
    tasks = (each for each in traced if each.get("ph") == "X" and each["name"] == "ThreadControllerImpl::RunTask")
    ours = (each for each in tasks if threads.get((each["pid"], each["tid"])) == "CrRendererMain")
    return max((each.get("tdur", 0) / 1000 for each in ours), default=0.0)
