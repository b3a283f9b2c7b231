"""`make screenshots`: the pictures of the documentation, from a world of their own, as a person would see it.

Each is made with the product at work, so that no picture shows what the code no longer does. Look at them before you
commit them.
"""

import asyncio
import re
import sys
from pathlib import Path

from browsing import PHONE, Theme, chromium, visiting
from playwright.async_api import Browser, Page, expect

from peerbot.local.chat import serve_page
from peerbot.local.world import World

PICTURES = Path(__file__).parents[2] / "docs/pictures"
ANSWER = 120_000.0  # milliseconds
SIZE = (1280, 760)


async def main() -> None:
    """Make all of them."""
    PICTURES.mkdir(exist_ok=True)
    async with World() as world, chromium() as browser:
        if not await serve_page(world, lambda _: None):
            sys.exit("screenshots: run `make web` first.")
        await _first_conversation(browser, world)
        await _question(browser, world)
        await _home(browser, world)


async def _first_conversation(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, size=SIZE) as page:
        await expect(page.get_by_role("heading", name=re.compile("Ask PeerBot"))).to_be_visible()
        await _taken(page, "first-run")
        await page.get_by_role("button", name="Write a script").click()
        thread = page.get_by_role("region", name="Thread")
        await expect(thread.locator(".task.complete").first).to_be_visible(timeout=ANSWER)
        await _taken(page, "working")
        await expect(thread.get_by_role("link", name=re.compile("Pull request #"))).to_be_visible(timeout=ANSWER)
        await expect(thread.get_by_text(re.compile("^Worked for"))).to_be_visible(timeout=ANSWER)
        await expect(thread.locator(".working")).to_have_count(0, timeout=ANSWER)
        await _taken(page, "finished")
        address = page.url
        await page.keyboard.press("Alt+u")
        await expect(page.get_by_text("in Slack, with its receipt")).to_be_visible()
        await _taken(page, "under-the-hood")
        state = await page.context.storage_state()
    themes: tuple[tuple[str, Theme, tuple[int, int]], ...] = (("dark", "dark", SIZE), ("phone", "light", PHONE))
    for name, theme, size in themes:
        async with visiting(browser, address, theme=theme, size=size, storage_state=state) as page:
            await expect(page.get_by_role("link", name=re.compile("Pull request #"))).to_be_visible()
            await _taken(page, name)


async def _question(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, size=SIZE) as page:
        await page.get_by_role("button", name="engineering").click()
        await page.get_by_role("button", name="Be asked first").click()
        thread = page.get_by_role("region", name="Thread")
        await expect(thread.get_by_role("button", name=re.compile("Red")).first).to_be_visible(timeout=ANSWER)
        await _taken(page, "needs-you")


async def _home(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, size=SIZE) as page:
        await page.get_by_role("button", name="Home").click()
        await expect(page.get_by_text("My settings").first).to_be_visible()
        await _taken(page, "home-tab")
        await page.get_by_role("button", name="Edit").first.click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await _taken(page, "modal")


async def _taken(page: Page, name: str) -> None:
    await page.mouse.move(0, 0)
    await page.evaluate("() => document.fonts.ready.then(() => document.activeElement?.blur())")
    await page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


if __name__ == "__main__":
    asyncio.run(main())
