"""Files in the local Slack: what people share, and what an app uploads and shares.

An app asks for an address, sends the bytes there, and shares the file. Nobody sees a file before it is shared. A file
that nobody shares is forgotten when the process ends. An app that may read files (`files:read`) downloads them with its
token; any other gets a page that asks to sign in, with status 200, as from Slack.

The world keeps the contents, so they are for small files, as people and apps write them into threads.
"""

import asyncio
import base64
import contextlib
import mimetypes
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from peerbot.local.slack.arguments import Arguments
from peerbot.local.slack.faults import Fault, Faults
from peerbot.local.slack.shapes import BOT_USER, TEAM, Object
from peerbot.local.slack.store import Store
from peerbot.local.slack.world import NotOk, World

MOST_BYTES = 32 * 1024 * 1024
UPLOAD, DOWNLOAD = "upload", "download"
"""The names that faults of an upload and of a download have. Neither is a method."""

SIGN_IN = b"<!DOCTYPE html><html><head><title>Sign in | Slack</title></head><body>Sign in to see it.</body></html>"
"""The page that Slack hands out instead of a file, with status 200."""

_TYPES = {
    "md": ("text/markdown", "markdown", "Markdown (raw)"),
    "txt": ("text/plain", "text", "Plain Text"),
    "log": ("text/plain", "text", "Plain Text"),
    "diff": ("text/plain", "diff", "Diff"),
    "py": ("text/plain", "python", "Python"),
}
_UNKNOWN_TYPE = ("application/octet-stream", "binary", "Binary")
_SNIPPET_BYTES = 1_000_000
_SNIPPETS = ("text", "diff", "python", "markdown")


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file that a person shares, and what Slack says of it if that is not what is so."""

    name: str
    data: bytes = b""
    said: Object | None = None
    """Fields of Slack's description that are otherwise: `size`, `mode`, `url_private`, `is_external`, …"""


class Files:
    """Files: `files.getUploadURLExternal`, the upload, `files.completeUploadExternal`, `files.info`, the download."""

    def __init__(self, world: World, store: Store, faults: Faults) -> None:
        self._world = world
        self._store = store
        self._faults = faults
        self._begun: dict[str, tuple[str, int, bool]] = {}  # name, length, and whether it is a snippet, by id
        self._tickets: dict[str, str] = {}  # id by the ticket in the upload's address
        self._sent: dict[str, bytes] = {}
        self.may_read: Callable[[str], bool] = lambda _: False
        """Whether the bearer of a token may download files."""
        self.bearers: list[tuple[str, str]] = []
        """The `Authorization` header of each download, with the address."""

    def routes(self) -> list[web.RouteDef]:
        """Where bytes are sent, and fetched."""
        return [
            web.post("/upload/v1/{ticket}", self.receive),
            web.get("/files-pri/{file}/{name:.*}", self.download),
        ]

    def get_upload_url(self, args: Arguments) -> Object:
        """`files.getUploadURLExternal`."""
        name, length, snippet = args.text("filename"), args.number("length", 0), args.text("snippet_type")
        if not name or length < 1:
            raise NotOk("invalid_arguments")
        if length > MOST_BYTES:
            raise NotOk("file_upload_size_restricted")
        if snippet and snippet not in _SNIPPETS:
            raise NotOk("unknown_snippet_type")
        if snippet and length > _SNIPPET_BYTES:
            raise NotOk("snippet_too_large")
        identity, ticket = _new_id(), secrets.token_urlsafe(32)
        self._begun[identity] = (name, length, bool(snippet))
        self._tickets[ticket] = identity
        return {"upload_url": f"{self._world.url}upload/v1/{ticket}", "file_id": identity}

    async def receive(self, request: web.Request) -> web.Response:
        """Take the bytes from any client that has the address."""
        fault = self._faults.take(UPLOAD) or Fault()
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        identity = self._tickets.get(request.match_info["ticket"])
        if identity is None or fault.status != 200:
            return web.Response(status=404 if identity is None else fault.status)
        data = bytearray()
        while (piece := await request.content.read(64 * 1024)) and len(data) <= MOST_BYTES:
            data += piece
        if len(data) != self._begun[identity][1]:
            return web.Response(status=400, text="the length is not what was said")
        self._sent[identity] = bytes(data)
        return web.Response(text=f"OK - {len(data)}")

    def complete_upload(self, args: Arguments) -> Object:
        """`files.completeUploadExternal`: one message for all files. Without a channel the files stay the app's own."""
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
        for file, made in zip(wanted, shown, strict=True):
            self._keep(made, self._sent.pop(file["id"]))
            del self._begun[file["id"]]
        return {"files": [{"id": file["id"], "title": file["title"]} for file in shown]}

    def info(self, args: Arguments) -> Object:
        """`files.info`."""
        kept = self._store.all("file").get(args.text("file"))
        if kept is None:
            raise NotOk("file_not_found")
        if kept.get("deleted"):
            raise NotOk("file_deleted")
        if kept["shown"].get("mode") == "not_visible":
            raise NotOk("not_visible")
        shown = {name: value for name, value in kept["shown"].items() if name != "file_access"}
        return {"file": shown, "comments": [], "response_metadata": {"next_cursor": ""}}

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Hand a file out to an app that may read files; any other gets a page, with status 200."""
        fault = self._faults.take(DOWNLOAD) or Fault()
        given = request.headers.get("Authorization", "")
        self.bearers.append((given, str(request.url)))
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault.status != 200 or fault.location:
            return _refusal(fault)
        if not self.may_read(given.removeprefix("Bearer ")):
            return web.Response(body=SIGN_IN, content_type="text/html")
        kept = self._store.all("file").get(request.match_info["file"].partition("-")[2])
        if kept is None or kept.get("deleted"):
            return web.Response(status=404)
        data = base64.b64decode(kept["content"]) if fault.content is None else fault.content
        if fault.lost:
            return await _cut(request, data)
        if fault.endless:
            return await _endless(request)
        kind = fault.content_type or kept["shown"].get("mimetype") or "application/octet-stream"
        return web.Response(body=data, content_type=kind)

    def made(self, user: str, channel: str, part: FilePart) -> Object:
        """Keep a file that a person shares; returns it as a message shows it."""
        identity = _new_id()
        shown = self._shown(identity, part.name, user, channel, len(part.data)) | (part.said or {})
        self._keep(shown, part.data)
        if shown.get("mode") == "tombstone":
            self.delete(identity)
        return shown

    def delete(self, identity: str) -> None:
        """Delete a file: it has no content any more."""
        kept = self._store.all("file")[identity]
        self._store.put("file", identity, kept | {"content": "", "deleted": True})

    def _keep(self, shown: Object, data: bytes) -> None:
        self._store.put("file", shown["id"], {"content": base64.b64encode(data).decode(), "shown": shown})

    def content(self, identity: str) -> bytes:
        """Return a shared file's content. Raises `NotOk` if there is no such file."""
        kept = self._store.all("file").get(identity)
        if kept is None:
            raise NotOk("file_not_found")
        return base64.b64decode(kept["content"])

    def opened(self, identity: str) -> tuple[str, str, bytes]:
        """Return a shared file's type, name and content, for a person. Raises `NotOk` if there is no such file."""
        kept = self._store.all("file").get(identity)
        if kept is None or kept.get("deleted"):
            raise NotOk("file_not_found")
        data = base64.b64decode(kept["content"])
        return str(kept["shown"].get("mimetype", "")), str(kept["shown"].get("name", "file")), data

    def _shown(self, identity: str, name: str, user: str, channel: str, size: int) -> Object:
        mimetype, filetype, pretty = _kind(name)
        kind = self._world.channel(channel, seen_by=BOT_USER)["kind"] if channel else ""
        is_text = mimetype.startswith("text/")
        snippet = self._begun[identity][2] if identity in self._begun else is_text
        slug = re.sub(r"[^a-z0-9.-]+", "_", name.lower())
        private = f"{self._world.url}files-pri/{TEAM}-{identity}"
        return {
            "id": identity,
            "created": int(time.time()),
            "name": name,
            "title": name,
            "mimetype": mimetype,
            "filetype": filetype,
            "pretty_type": pretty,
            "user": user,
            "user_team": TEAM,
            "editable": is_text,
            "size": size,
            "mode": "snippet" if snippet else "hosted",
            "is_external": False,
            "external_type": "",
            "is_public": True,
            "public_url_shared": False,
            "display_as_bot": False,
            "username": "",
            "url_private": f"{private}/{slug}",
            "url_private_download": f"{private}/download/{slug}",
            "channels": [channel] if kind == "public" else [],
            "groups": [channel] if kind == "private" else [],
            "ims": [channel] if kind in ("im", "mpim") else [],
            "permalink": f"{self._world.url}files/{user}/{identity}/{name}",
            "has_rich_preview": False,
            "file_access": "visible",
        }

    METHODS: ClassVar[dict[str, Callable[["Files", Arguments], Object]]] = {
        "files.getUploadURLExternal": get_upload_url,
        "files.completeUploadExternal": complete_upload,
        "files.info": info,
    }


def _refusal(fault: Fault) -> web.Response:
    """Answer a download with a redirect, or with another status."""
    if fault.location:
        return web.Response(status=302, headers={"Location": fault.location})
    waits = {} if fault.retry_after_seconds is None else {"Retry-After": str(fault.retry_after_seconds)}
    return web.Response(status=fault.status, headers=waits)


async def _cut(request: web.Request, data: bytes) -> web.StreamResponse:
    """Send half of a file, and break the connection."""
    response = web.StreamResponse(headers={"Content-Length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if request.transport:
        request.transport.abort()
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    """Send bytes until the other side has enough."""
    response = web.StreamResponse()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        while True:
            await response.write(bytes(64 * 1024))
    return response


def _kind(name: str) -> tuple[str, str, str]:
    """Say what Slack takes a file of this name for: its media type, its type and the words for it."""
    ending = name.rpartition(".")[2].lower()
    if ending in _TYPES:
        return _TYPES[ending]
    guessed = mimetypes.guess_type(name)[0]
    return (guessed, ending, ending.upper()) if guessed else _UNKNOWN_TYPE


def _new_id() -> str:
    return "F0" + secrets.token_hex(5).upper()[:9]
