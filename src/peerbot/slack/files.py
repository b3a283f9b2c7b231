"""Reads the files that people share from Slack, so that the bot's token goes to Slack alone (decision 0027).

Slack's `files.info` is asked about each file first: it knows the address also if an event brought a stub of the file,
and it says in words if the app may not read files.

What Slack calls a file's address can be anybody's, and an address may redirect. So an address is asked only if it is
one of Slack's own, and redirects are followed by hand. Nothing else is asked, with or without the token: the gateway is
in a network where other things answer.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from peerbot.conversation.documents import SharedFile
from peerbot.conversation.notes import FileLoss
from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.slack.api import refusal_code
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.shared import described

MOST_BYTES = 20 * 1024 * 1024
"""The largest file that is read."""

MOST_FILES = 10
"""How many files of one message are read."""

LONGEST_WAIT_SECONDS = 10.0
"""A longer wait, if Slack asks for one (429), is no use: somebody waits for the answer."""

_MOST_REDIRECTS = 3
_SLACKS = ("slack.com", "slack-gov.com")
_SILENT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=15.0)
_PIECE_BYTES = 64 * 1024
_LOOKED_AT = 512  # a page says what it is within its first bytes
_MODES = {
    "tombstone": FileLoss.DELETED,
    "hidden_by_limit": FileLoss.HIDDEN,
    "external": FileLoss.EXTERNAL,
    "canvas": FileLoss.CANVAS,
    "list": FileLoss.CANVAS,
    "quip": FileLoss.CANVAS,
}
_CODES = {
    "missing_scope": FileLoss.NO_SCOPE,
    "file_not_found": FileLoss.DELETED,
    "file_deleted": FileLoss.DELETED,
    "not_visible": FileLoss.NOT_VISIBLE,
    "template_not_visible": FileLoss.NOT_VISIBLE,
    "access_denied": FileLoss.NOT_VISIBLE,
    "canvas_disabled_file_team": FileLoss.CANVAS,
    "canvas_disabled_user_team": FileLoss.CANVAS,
    "canvas_globally_disabled": FileLoss.CANVAS,
    "slack_connect_canvas_sharing_blocked": FileLoss.CANVAS,
}
"""Slack's refusals of `files.info`, and what they mean for a file."""


class NotRead(Refused):
    """A file can't be read. `why` is the reason."""

    def __init__(self, why: FileLoss) -> None:
        super().__init__(f"A shared file can't be read: {why.value}.")
        self.why = why


class ComeBack(Unavailable):
    """Slack said when to ask for a file again, in seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__("Slack did not hand a file over now.")
        self.seconds = seconds


def own_addresses(api_url: str) -> Callable[[URL], bool]:
    """Make the check whether an address is Slack's own, so that it may get the token.

    If the API is at Slack, these are Slack's domain and all below it, over https on its usual port. If it is anywhere
    else (a local Slack), it is exactly the API's own server.
    """
    api = URL(api_url)
    domain = next((each for each in _SLACKS if api.host and f".{api.host}".endswith(f".{each}")), None)

    def check(url: URL) -> bool:
        if url.user is not None or url.password is not None:
            return False
        if domain is None:
            return (url.scheme, url.host, url.port) == (api.scheme, api.host, api.port)
        return url.scheme == "https" and url.port == 443 and f".{url.host}".endswith(f".{domain}")

    return check


class SharedFiles:
    """Reads files from one workspace's Slack. It holds nothing."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self._is_slacks = own_addresses(outbound.client.base_url)

    @asynccontextmanager
    async def opened(self, file: SharedFile) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a file for reading, and yield its bytes, piece by piece.

        Raises `NotRead` if it can't be read, while it is opened or read; and `Unavailable`, also as `ComeBack`, if
        another try may help. The caller sets the deadline.
        """
        _check(file)
        shown = await self._described(file.id)
        now = described(shown, file.id)
        _check(now)
        if shown.get("is_external"):
            raise NotRead(FileLoss.EXTERNAL)
        if not now.size and "size" in shown:
            raise NotRead(FileLoss.EMPTY)
        address = shown.get("url_private_download") or shown.get("url_private")
        if not isinstance(address, str) or not address:
            raise NotRead(FileLoss.NOT_VISIBLE)
        reply = await self._asked(address)
        try:
            yield _pieces(reply, now)
        finally:
            reply.close()

    async def _described(self, identity: str) -> Mapping[str, Any]:
        try:
            reply = await self._outbound.call("a file", "files.info", Urgency.FIRST, {"file": identity})
        except Refused as refused:
            raise NotRead(_CODES.get(refusal_code(refused), FileLoss.FAILED)) from refused
        file = reply.get("file")
        return file if isinstance(file, Mapping) else {}

    async def _asked(self, address: str) -> aiohttp.ClientResponse:
        """Ask for the address, and for those that it redirects to, as long as they are Slack's own."""
        client = self._outbound.client
        assert client.session is not None
        headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": "identity"}
        url = _address(address)
        for _ in range(_MOST_REDIRECTS + 1):
            if not self._is_slacks(url):
                raise NotRead(FileLoss.ELSEWHERE)
            try:
                reply = await client.session.get(
                    url, headers=headers, allow_redirects=False, proxy=client.proxy, timeout=_SILENT
                )
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unavailable("Slack did not answer (a file).") from error
            if reply.status == 200:
                return reply
            reply.close()
            if not 300 <= reply.status < 400 or "Location" not in reply.headers:
                raise _failure(reply)
            url = url.join(_address(reply.headers["Location"]))
        raise NotRead(FileLoss.ELSEWHERE)


async def named(outbound: Outbound, file: SharedFile) -> SharedFile:
    """Ask Slack about a file of which a message has the id alone; as it is if Slack does not tell."""
    if file.name or file.mode in _MODES:
        return file
    try:
        reply = await outbound.call("a file", "files.info", Urgency.FIRST, {"file": file.id})
    except PeerBotError:
        return file
    shown = reply.get("file")
    return described(shown, file.id) if isinstance(shown, Mapping) else file


def _check(file: SharedFile) -> None:
    """Raise `NotRead` if Slack's words about a file are enough to know that it can't be read."""
    if why := _MODES.get(file.mode):
        raise NotRead(why)
    if file.size > MOST_BYTES:
        raise NotRead(FileLoss.TOO_LARGE)


def _address(text: str) -> URL:
    try:
        return URL(text)
    except ValueError as error:
        raise NotRead(FileLoss.ELSEWHERE) from error


def _failure(reply: aiohttp.ClientResponse) -> Refused | Unavailable:
    if reply.status == 429:
        seconds = reply.headers.get("Retry-After", "")
        waits = max(0.1, float(seconds)) if seconds.isdigit() else 1.0
        return ComeBack(waits) if waits <= LONGEST_WAIT_SECONDS else NotRead(FileLoss.FAILED)
    if reply.status >= 500:
        return Unavailable(f"Slack did not hand a file over (HTTP {reply.status}).")
    return NotRead({404: FileLoss.DELETED, 410: FileLoss.DELETED}.get(reply.status, FileLoss.FAILED))


async def _pieces(reply: aiohttp.ClientResponse, file: SharedFile) -> AsyncIterator[bytes]:
    """Yield a reply's bytes, at most `MOST_BYTES`, whatever size it says; and only if they are a file's."""
    size, first = 0, b""
    if (reply.content_length or 0) > MOST_BYTES:
        raise NotRead(FileLoss.TOO_LARGE)
    try:
        async for piece in reply.content.iter_chunked(_PIECE_BYTES):
            size += len(piece)
            if size > MOST_BYTES:
                raise NotRead(FileLoss.TOO_LARGE)
            if len(first) < _LOOKED_AT:
                # The first bytes wait for each other: they say whether this is a page that asks to sign in.
                first += piece
                if len(first) < _LOOKED_AT:
                    continue
                piece = first  # noqa: PLW2901 - what waited goes first
                _check_reply(reply, file, first)
            yield piece
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable("Slack did not hand a whole file over.") from error
    if not size:
        raise NotRead(FileLoss.EMPTY)
    if len(first) < _LOOKED_AT:
        _check_reply(reply, file, first)
        yield first


def _check_reply(reply: aiohttp.ClientResponse, file: SharedFile, first: bytes) -> None:
    """Raise `NotRead` if this is Slack's page for those who may not read the file: it comes with status 200."""
    is_page = reply.content_type == "text/html" or first.lstrip().lower().startswith((b"<!doctype html", b"<html"))
    if not is_page:
        return
    may_be_a_page = file.type.startswith("text/") or file.type in ("", "application/octet-stream")
    if not may_be_a_page or (reply.content_type == "text/html" and reply.content_length != file.size):
        raise NotRead(FileLoss.NO_SCOPE)


def wait_seconds(error: Exception) -> bool | float:
    """Say whether, and after how long, to ask for a file again."""
    return error.seconds if isinstance(error, ComeBack) else isinstance(error, Unavailable)
