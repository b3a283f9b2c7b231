"""The modules that all pages share, in the browser, on a page with the policy that production has."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from browsing import chromium, stumbles, visiting
from playwright.async_api import Browser, Page

from peerbot.web.assets import Assets, guarded

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

HOSTILE = """# Hello <script>alert(1)</script>
<img src=x onerror=alert(2)> **bold** [go](javascript:alert(3)) ![pixel](https://example.com/p.png "x")
<style>body{display:none}</style>

#### Deeper

- [x] done
- [ ] <b onclick=alert(4)>open</b>

| a | b |
|---|--:|
| 1 | `<i>` |

```python
print("<script>alert(5)</script>")  # 😀
```
[ok](https://example.com/?a=1&b="2")
"""

DIFF = """diff --git a/old.py b/new.py
similarity index 90%
rename from old.py
rename to new.py
--- a/old.py
+++ b/new.py
@@ -1,3 +1,4 @@ def f():
 same
---gone
+++come <script>alert(1)</script>
+more
 end
\\ No newline at end of file
diff --git a/bin b/bin
new file mode 100644
Binary files /dev/null and b/bin differ
"""

_DRAW = """async ({place, module, name, props}) => {
  const {h, show} = Object.assign({}, await import(`${place}html.js`), await import(`${place}page.js`));
  const component = (await import(`${place}${module}`))[name];
  show(h("main", null, h("h1", null, "Specimen"), h(component, props)));
}"""
_LINKS = "links => links.map((a) => [a.textContent, a.getAttribute('href'), a.target, a.rel])"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address() -> AsyncIterator[str]:
    assets = Assets()
    app = web.Application(middlewares=[guarded({"127.0.0.1"})])
    app.router.add_routes(assets.routes())

    async def page(request: web.Request) -> web.Response:
        return assets.page("Specimen", "page.js", theme=request.query.get("theme", ""))

    async def post(_: web.Request) -> web.Response:
        return web.json_response({})

    app.router.add_get("/", page)
    app.router.add_post("/", post)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}/"


async def draw(page: Page, module: str, name: str, props: dict[str, object]) -> None:
    place = str(await page.locator("script").get_attribute("src")).removesuffix("page.js")
    await page.evaluate(_DRAW, {"place": place, "module": module, "name": name, "props": props})


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_markdown_is_drawn_and_does_no_harm(browser: Browser, address: str, theme: str) -> None:
    async with visiting(browser, f"{address}?theme={theme}") as page:
        await draw(page, "markdown.js", "Markdown", {"text": HOSTILE, "level": 2})
        await page.locator(".hljs-string").wait_for()
        main = page.locator("main")
        text = await main.text_content() or ""
        for shown in (
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(2)>",
            "display:none",
            "alert(5)",
            "☑",
            "pixel",
        ):
            assert shown in text, shown
        assert await main.locator("script, img, style, input, [onclick], [onerror]").count() == 0
        links = await main.locator("a").evaluate_all(_LINKS)
        assert ["ok", 'https://example.com/?a=1&b="2"', "_blank", "noopener noreferrer"] in links
        assert await main.locator("h2").text_content() == "Hello <script>alert(1)</script>"
        assert await main.locator("h3").text_content() == "Deeper", "no level is skipped"
        assert ["go", None, "_blank", "noopener noreferrer"] in links
        assert await stumbles(page) == []


@pytest.mark.parametrize("beside", [False, True])
async def test_a_diff_is_drawn_both_ways(browser: Browser, address: str, beside: bool) -> None:
    async with visiting(browser, address) as page:
        await draw(page, "diff.js", "Diff", {"text": DIFF, "beside": beside})
        text = await page.locator("main").text_content() or ""
        for shown in (
            "old.py → new.py",
            "+++come <script>alert(1)</script>",
            "---gone",
            "Binary files",
            "@@ -1,3 +1,4 @@",
        ):
            assert shown in text, shown
        assert await page.locator(".added[data-new], .added[data-line]").count() == 2
        assert await stumbles(page) == []


@pytest.mark.parametrize("beside", [False, True])
async def test_a_long_hunk_is_several_blocks_and_its_lines_have_their_colours(
    browser: Browser, address: str, beside: bool
) -> None:
    lines = ["-x = 1", "+x = 2  # two", " y = None"] * 400
    text = "\n".join(["diff --git a/x.py b/x.py", "--- a/x.py", "+++ b/x.py", "@@ -1,800 +1,800 @@", *lines])
    async with visiting(browser, address) as page:
        await draw(page, "diff.js", "Diff", {"text": text, "beside": beside})
        await page.locator(".added .hljs-comment").first.wait_for()
        assert await page.locator(".diff-hunk").count() == 3
        for kind, number in (("removed", 799), ("added", 799)):
            last = page.locator(f".{kind}:is(.diff-row, .diff-cell)").last
            told = await last.evaluate("e => e.dataset.line || (e.dataset.old + e.dataset.new)")
            assert told.strip() == str(number)
        removed = page.locator(".removed:is(.diff-row, .diff-cell)").first
        assert await removed.text_content() == "-x = 1"
        await removed.locator(".hljs-number").wait_for()


async def test_only_our_own_pages_are_answered(address: str) -> None:
    port = address.split(":")[2].strip("/")
    async with aiohttp.ClientSession() as web_client:

        async def status(method: str, **headers: str) -> int:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with web_client.request(method, address, headers=named) as answer:
                return answer.status

        assert await status("GET") == 200
        assert await status("GET", Host=f"rebound.example:{port}") == 421
        assert await status("GET", Host="[::1") == 421
        assert await status("POST", Origin=f"http://127.0.0.1:{port}") == 200
        assert await status("POST", Origin="http://evil.example") == 403
        assert await status("POST", Origin="null") == 403
        assert await status("POST", Sec_Fetch_Site="cross-site") == 403
        assert await status("GET", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image") == 403
        assert (
            await status("GET", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
            == 200
        )
        assert (
            await status("GET", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="iframe") == 403
        )


async def test_files_are_kept_and_small(address: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as web_client:
        async with web_client.get(address) as page:
            assert "'unsafe" not in page.headers["Content-Security-Policy"]
            body = await page.text()
        sheet = body.partition('stylesheet" href="')[2].partition('"')[0]
        async with web_client.get(address.rstrip("/") + sheet) as file:
            assert "immutable" in file.headers["Cache-Control"]
            assert file.headers["Content-Encoding"] == "gzip"
        async with web_client.get(address.rstrip("/") + sheet.replace("/static/", "/static/0")) as other:
            assert other.status == 404
