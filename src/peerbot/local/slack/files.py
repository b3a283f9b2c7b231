"""Files in the local Slack: an app asks for an address, sends the bytes there, and shares what it sent.

Nobody sees a file before it is shared, and one that is not shared is forgotten with the process. Contents are kept in
the world, so they are for small files: what an app writes into a thread.
"""

import base64
import secrets
import time
from collections.abc import Callable
from typing import ClassVar

from aiohttp import web

from peerbot.local.slack.arguments import Arguments
from peerbot.local.slack.faults import Fault, Faults
from peerbot.local.slack.shapes import BOT_USER, Object
from peerbot.local.slack.store import Store
from peerbot.local.slack.world import NotOk, World

MOST_BYTES = 8 * 1024 * 1024
UPLOAD = "upload"
"""The name for faults of an upload, which is not a method."""

_TYPES = {"md": ("text/markdown", "markdown", "Markdown (raw)"), "txt": ("text/plain", "text", "Plain Text")}
_UNKNOWN_TYPE = ("application/octet-stream", "binary", "Binary")


class Files:
    """The three steps of a shared file: `files.getUploadURLExternal`, the upload, `files.completeUploadExternal`."""

    def __init__(self, world: World, store: Store, faults: Faults) -> None:
        self._world = world
        self._store = store
        self._faults = faults
        self._begun: dict[str, tuple[str, int]] = {}  # name and length by id
        self._tickets: dict[str, str] = {}  # id by the ticket in the upload's address
        self._sent: dict[str, bytes] = {}

    def get_upload_url(self, args: Arguments) -> Object:
        """`files.getUploadURLExternal`."""
        name, length = args.text("filename"), args.number("length", 0)
        if not name or length < 1:
            raise NotOk("invalid_arguments")
        if length > MOST_BYTES:
            raise NotOk("file_upload_size_restricted")
        identity, ticket = _new_id(), secrets.token_urlsafe(32)
        self._begun[identity] = (name, length)
        self._tickets[ticket] = identity
        return {"upload_url": f"{self._world.url}upload/v1/{ticket}", "file_id": identity}

    async def receive(self, request: web.Request) -> web.Response:
        """Take the bytes from any client that has the address."""
        fault = self._faults.take(UPLOAD) or Fault()
        identity = self._tickets.get(request.match_info["ticket"])
        if identity is None or fault.status != 200:
            return web.Response(status=404 if identity is None else fault.status)
        data = await request.content.read(MOST_BYTES + 1)
        if len(data) != self._begun[identity][1]:
            return web.Response(status=400, text="the length is not what was said")
        self._sent[identity] = data
        return web.Response(text=f"OK - {len(data)}")

    def complete_upload(self, args: Arguments) -> Object:
        """`files.completeUploadExternal`: one message for all files; without a channel they stay the app's own."""
        wanted = args.structure("files", "invalid_arguments")
        well_formed = isinstance(wanted, list) and all(
            isinstance(f, dict) and isinstance(f.get("id"), str) for f in wanted
        )
        if not wanted or not well_formed:
            raise NotOk("invalid_arguments")
        if any(file.get("id") not in self._sent for file in wanted):
            raise NotOk("file_not_found")
        channel = args.text("channel_id")
        shown = [
            self._shown(file["id"], self._begun[file["id"]][0], BOT_USER, channel, len(self._sent[file["id"]]))
            | ({"title": str(file["title"])} if file.get("title") else {})
            for file in wanted
        ]
        if channel:
            text, thread_ts = args.text("initial_comment"), args.text("thread_ts") or None
            self._world.post(channel, BOT_USER, text, thread_ts=thread_ts, files=shown)
        for file in wanted:
            self._keep(file["id"], self._sent.pop(file["id"]))
            del self._begun[file["id"]]
        return {"files": [{"id": file["id"], "title": file["title"]} for file in shown]}

    def share(self, user: str, channel: str, name: str, data: bytes, *, thread_ts: str | None) -> str:
        """Share a file as a person; returns the message's `ts`."""
        identity = _new_id()
        self._keep(identity, data)
        shown = self._shown(identity, name, user, channel, len(data))
        ts: str = self._world.post(channel, user, "", thread_ts=thread_ts, files=[shown])["ts"]
        return ts

    def _keep(self, identity: str, data: bytes) -> None:
        self._store.put("file", identity, {"content": base64.b64encode(data).decode()})

    def content(self, identity: str) -> bytes:
        """Return a shared file's content. Raises `NotOk` if there is no such file."""
        kept = self._store.all("file").get(identity)
        if kept is None:
            raise NotOk("file_not_found")
        return base64.b64decode(kept["content"])

    def _shown(self, identity: str, name: str, user: str, channel: str, size: int) -> Object:
        mimetype, filetype, pretty = _TYPES.get(name.rpartition(".")[2], _UNKNOWN_TYPE)
        kind = self._world.channel(channel, seen_by=BOT_USER)["kind"] if channel else ""
        return {
            "id": identity,
            "created": int(time.time()),
            "name": name,
            "title": name,
            "mimetype": mimetype,
            "filetype": filetype,
            "pretty_type": pretty,
            "user": user,
            "editable": filetype != "binary",
            "size": size,
            "mode": "snippet" if filetype != "binary" else "hosted",
            "is_external": False,
            "external_type": "",
            "is_public": True,
            "public_url_shared": False,
            "display_as_bot": False,
            "username": "",
            "channels": [channel] if kind == "public" else [],
            "groups": [channel] if kind == "private" else [],
            "ims": [channel] if kind in ("im", "mpim") else [],
            "permalink": f"{self._world.url}files/{user}/{identity}/{name}",
            "has_rich_preview": False,
        }

    METHODS: ClassVar[dict[str, Callable[["Files", Arguments], Object]]] = {
        "files.getUploadURLExternal": get_upload_url,
        "files.completeUploadExternal": complete_upload,
    }


def _new_id() -> str:
    return "F0" + secrets.token_hex(5).upper()[:9]
