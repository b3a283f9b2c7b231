"""An API in Claude's place that gives one answer after the other, as a test says: real tools are called by it."""

import json
import os
import struct
import zlib
from typing import Any

from aiohttp import web
from relay_world import BODY

from peerbot.local.model import replies
from peerbot.local.model.replies import Reply, ToolCall
from peerbot.local.model.requests import is_aside

Document = dict[str, Any]


def png(side: int) -> bytes:
    """A picture of noise, which can't be packed: about three bytes a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + os.urandom(side * 3) for _ in range(side))
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def calls(name: str, **values: Any) -> Reply:
    return Reply("I go.", (ToolCall(name, values),))


class Script:
    """An API that gives one answer after the other; requests beside the conversation get a title."""

    def __init__(self) -> None:
        self.steps: list[Reply | Document] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(request[BODY])
        if request.path.endswith("count_tokens"):
            return web.json_response({"input_tokens": 100})
        reply = Reply("A title") if is_aside(body) else self.steps.pop(0) if self.steps else Reply("Done.")
        document = (reply if isinstance(reply, dict) else replies.message(body, reply)) | {"model": body["model"]}
        if not body.get("stream"):
            return web.json_response(document)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events(document):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await response.write_eof()
        return response


def events(document: Document) -> list[Document]:
    """The events of an answer, thinking included."""
    plain = [block for block in document["content"] if block["type"] in ("text", "tool_use")]
    found = list(replies.events(document | {"content": plain}))
    thought = [block for block in document["content"] if block not in plain]
    for index, block in enumerate(thought, start=len(plain)):
        whole = [{"type": "content_block_start", "index": index, "content_block": block}]
        found[-2:-2] = [*whole, {"type": "content_block_stop", "index": index}]
    return found
