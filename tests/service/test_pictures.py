"""The agent reads a picture, which makes a very long line of the CLI: the worker takes it, and the turn goes on."""

import json
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp import web
from relay_world import BODY, serve
from scripted_api import Script, calls
from system import System

from peerbot.local.model.replies import Reply

DRAW = r"""python3 - <<'END'
import os, struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = b"".join(b"\0" + os.urandom(2400) for _ in range(800))
head = struct.pack(">IIBBBBB", 800, 800, 8, 2, 0, 0, 0)
picture = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")
open("shot.png", "wb").write(b"\x89PNG\r\n\x1a\n" + picture)
print("it has", os.path.getsize("shot.png"))
END"""


async def test_a_picture_of_almost_two_megabytes_does_not_end_the_turn(tmp_path: Path) -> None:
    script = Script()
    script.steps = [calls("Bash", command=DRAW), calls("Read", file_path="shot.png"), Reply("I saw the picture.")]
    bodies: list[bytes] = []

    async def api(request: web.Request) -> web.StreamResponse:
        request[BODY] = await request.content.read()
        bodies.append(request[BODY])
        return await script.answer(request)

    async with AsyncExitStack() as stack:
        url = await serve(stack, api)
        system = await stack.enter_async_context(System(tmp_path, {"ANTHROPIC_BASE_URL": url}))
        await system.start()
        turn = await system.ask("Draw, and look at it")
    assert turn.status == "done"
    assert turn.text == "I saw the picture."
    results = [block for message in json.loads(bodies[-1])["messages"] for block in message["content"]]
    said = json.dumps([block for block in results if isinstance(block, dict) and block["type"] == "tool_result"])
    assert "it has 192" in said, "the file has almost two megabytes"
    assert '"type": "image"' in said
