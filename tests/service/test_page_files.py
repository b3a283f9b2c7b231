"""What the pages load, as it is served: all of it is little, and a page names at once what it needs to begin."""

import re
from collections.abc import AsyncIterator
from posixpath import dirname, join, normpath

import pytest
import pytest_asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from peerbot.web.assets import Assets

LARGEST_BYTES = 300_000
MODULES = ("chat/app.js", "chat/sign_in.js", "github/main.js", "session/main.js")
STYLES = ("chat/chat.css", "github/github.css", "session/session.css")


@pytest_asyncio.fixture
async def http() -> AsyncIterator[ClientSession]:
    assets = Assets()

    async def page(request: web.Request) -> web.Response:
        return assets.page("A page", request.query["module"], styles=STYLES)

    app = web.Application()
    app.router.add_routes(assets.routes())
    app.router.add_get("/", page)
    async with TestServer(app) as server, ClientSession(server.make_url("/"), auto_decompress=False) as http:
        yield http


async def named(http: ClientSession, module: str) -> list[str]:
    """The files that a page names, itself among them."""
    async with http.get("/", params={"module": module}) as reply:
        return re.findall(r'(?:href|src)="(/static/[^"]+)"', await reply.text())


async def source(http: ClientSession, address: str) -> str:
    async with http.get(address, headers={"Accept-Encoding": "identity"}) as reply:
        assert reply.status == 200, address
        return await reply.text()


@pytest.mark.parametrize("module", MODULES)
async def test_a_page_names_every_module_that_it_can_not_begin_without(http: ClientSession, module: str) -> None:
    there = await named(http, module)
    assert len(there) == len(set(there))
    for address in there:
        for path in re.findall(r'\bfrom ?"(\.[^"]+)"', await source(http, address)):
            assert normpath(join(dirname(address), path)) in there, (address, path)
    assert not [address for address in there if "highlight" in address], "it waits until there is code to colour"


async def test_all_that_the_pages_load_is_less_than_300_kilobytes_as_served(http: ClientSession) -> None:
    there = {address for module in MODULES for address in await named(http, module)}
    place = next(iter(there)).rsplit("/static/")[1].partition("/")[0]
    grammars = re.search(r'"(bash [a-z ]+)"', await source(http, f"/static/{place}/highlight.js"))
    assert grammars
    colours = [f"highlight/{name}.mjs" for name in ("core", *grammars[1].split())]
    later = ["highlight.js", *(f"vendor/{name}" for name in ("emoji.json", *colours))]
    size = 0
    for address in [*there, *(f"/static/{place}/{name}" for name in later)]:
        async with http.get(address, headers={"Accept-Encoding": "gzip"}) as reply:
            assert reply.headers["Content-Encoding"] == "gzip"
            size += len(await reply.read())
    assert 100_000 < size < LARGEST_BYTES
