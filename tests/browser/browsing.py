"""Debian's Chromium with eyes.

A test fails if its page says anything on the console, breaks the policy, or asks another host for anything. `stumbles`
is what `axe-core` finds that a person with a screen reader, or weak eyes, would stumble over.
"""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, Page, Request, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")  # Debian's, or that of GitHub's machines
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
PHONE = (360, 740)
DESK = (1280, 800)
Theme = Literal["light", "dark"]


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start the browser; one serves all tests of a module."""
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=as_root)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def visiting(
    browser: Browser,
    address: str,
    *,
    theme: Theme = "light",
    size: tuple[int, int] = DESK,
    expected: tuple[str, ...] = (),
    **more: Any,
) -> AsyncIterator[Page]:
    """Open an address in a browser of its own, with no cookie but its own.

    At the end the test fails for each message on the console (but those in which one of `expected` is), each error of
    the page, and each request to another host.
    """
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, reduced_motion="reduce", **more
    )
    context.set_default_timeout(20_000)
    faults: list[str] = []
    home = "/".join(address.split("/")[:3]) + "/"

    def asked(request: Request) -> None:
        if not request.url.startswith((home, "data:", "blob:", "about:")):
            faults.append(f"asked another host: {request.url}")

    context.on("console", lambda message: faults.append(f"console {message.type}: {message.text}"))
    context.on("weberror", lambda error: faults.append(f"error: {error.error}"))
    context.on("request", asked)
    page = await context.new_page()
    try:
        await page.goto(address)
        yield page
    finally:
        await context.close()
    policy = "Content Security Policy"  # nothing that breaks it is ever expected
    left = [fault for fault in faults if policy in fault or not any(words in fault for words in expected)]
    assert not left, "\n".join(left)


async def stumbles(page: Page) -> list[str]:
    """Return what axe finds on a page, in light and in dark colours, one line for each."""
    await page.evaluate(AXE.read_text())
    dark = await page.evaluate("() => matchMedia('(prefers-color-scheme: dark)').matches")
    found: list[str] = []
    themes: tuple[Theme, Theme] = ("light", "dark") if dark else ("dark", "light")
    for theme in themes:  # the page's own comes last, and stays
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        violations = await page.evaluate("async () => (await axe.run()).violations")
        found += [
            f"{theme}: {each['impact']}: {each['help']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for each in violations
            for node in each["nodes"]
        ]
    return found
