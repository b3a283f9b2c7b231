"""`make screenshots`: the pictures of the documentation, from a world of their own, as a person would see it.

Each is made with the product at work, so that no picture shows what the code no longer does. Look at them before you
commit them.
"""

import asyncio
import re
import sys
from pathlib import Path

from browsing import PHONE, Theme, chromium, visiting
from playwright.async_api import Browser, Locator, Page, expect

from peerbot.local.chat import serve_page
from peerbot.local.world import World

PICTURES = Path(__file__).parents[2] / "docs/pictures"
ANSWER = 120_000.0  # milliseconds
SIZE = (1280, 760)
OTHERS = ("asked another host: http://127.0.0.1:", "401")  # the pages of GitHub and of sessions, and how one signs in


async def main() -> None:
    """Make all of them."""
    PICTURES.mkdir(exist_ok=True)
    async with World() as world, chromium() as browser:
        if not await serve_page(world, lambda _: None):
            sys.exit("screenshots: run `make web` first.")
        await _first_conversation(browser, world)
        await _question(browser, world)
        await _home(browser, world)
        await _live_session(browser, world)


async def _first_conversation(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, size=SIZE, expected=OTHERS) as page:
        await expect(page.get_by_role("heading", name=re.compile("Ask PeerBot"))).to_be_visible()
        await _taken(page, "first-run")
        await page.get_by_role("button", name="Write a script").click()
        thread = page.get_by_role("region", name="Thread")
        await expect(thread.locator(".task.complete").first).to_be_visible(timeout=ANSWER)
        await _taken(page, "working")
        await expect(thread.get_by_role("link", name=re.compile("Pull request #"))).to_be_visible(timeout=ANSWER)
        await expect(thread.get_by_text(re.compile("^Worked for"))).to_be_visible(timeout=ANSWER)
        await expect(thread.locator(".working")).to_have_count(0, timeout=ANSWER)
        await expect(thread.get_by_text("🟢 open")).to_be_visible(timeout=ANSWER)
        await _taken(page, "finished")
        pull = await _opened(page, thread.get_by_role("link", name=re.compile("Pull request #")))
        await expect(pull.get_by_text("No conflicts with main.")).to_be_visible()
        await pull.get_by_role("link", name=re.compile("^Files \\d")).click()
        await expect(pull.locator(".hljs-keyword").first).to_be_visible()
        await _taken(pull, "pull-request")
        await _signed_in(await _opened(page, thread.get_by_role("link", name="View session").last), "session-finished")
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


async def _live_session(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, size=SIZE, expected=OTHERS) as page:
        await page.get_by_role("button", name="founders").click()
        await page.get_by_role("textbox", name=re.compile("^Message")).fill("@peerbot take 60 seconds")
        await page.keyboard.press("Enter")
        thread = page.get_by_role("region", name="Thread")
        await expect(thread.locator(".task.complete").nth(2)).to_be_visible(timeout=ANSWER)
        await _signed_in(await _opened(page, thread.get_by_role("link", name="View session")), "session-live")
        await thread.locator(".working").get_by_role("button", name="Stop").click()
        await expect(thread.locator(".working")).to_have_count(0, timeout=ANSWER)


async def _opened(page: Page, link: Locator) -> Page:
    async with page.context.expect_page() as opened:
        await link.click()
    return await opened.value


async def _signed_in(session: Page, name: str) -> None:
    """Take a picture of a session's page, once the person has said who they are."""
    step, sign_in = session.locator(".step").first, session.get_by_role("link", name="Sign in with Slack")
    await expect(step.or_(sign_in).first).to_be_visible()
    if await sign_in.is_visible():
        await sign_in.click()
        await session.get_by_role("button", name="Ada Lovelace").click()
    await expect(step).to_be_visible()
    await _taken(session, name)


async def _home(browser: Browser, world: World) -> None:
    async with visiting(browser, world.slack.page.address, size=SIZE) as page:
        await page.get_by_role("button", name="Home").click()
        await expect(page.get_by_text("My settings").first).to_be_visible()
        await _taken(page, "home-tab")
        await page.get_by_role("button", name="Edit").first.click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await _taken(page, "modal")
        await page.keyboard.press("Escape")  # the workspace keeps it open, on every page of this person's
        await expect(page.get_by_role("dialog")).to_have_count(0)


async def _taken(page: Page, name: str) -> None:
    await page.mouse.move(0, 0)
    await page.evaluate("() => document.fonts.ready.then(() => document.activeElement?.blur())")
    await page.screenshot(path=PICTURES / f"{name}.png", animations="disabled")


if __name__ == "__main__":
    asyncio.run(main())
