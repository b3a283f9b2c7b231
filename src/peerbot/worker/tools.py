"""The tools of PeerBot's own that the agent has beside Claude Code's: an MCP server within the worker's process.

Importing this takes nothing that the SDK has not imported by itself.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from claude_agent_sdk import McpSdkServerConfig, create_sdk_mcp_server, tool

from peerbot.errors import PeerBotError
from peerbot.files import opening
from peerbot.logs import logger
from peerbot.worker.gateway import GatewayClient, NotDone

log = logger(__name__)

SERVER = "peerbot"
LARGEST_SENT_BYTES = 10 * 1024 * 1024

_SEND_FILE = """\
Send a file to the people in the Slack thread: a picture, a report, a log, a diff. Use it if they should see or keep
the file itself. The path is in the workspace or in the temporary folder, and no part of it may be a link. At most 5
files of 10 MiB each in a turn, 25 MiB together. Sending the same file twice sends it once."""


def own_tools(gateway: GatewayClient, workspace: Path, turn: Callable[[], int]) -> McpSdkServerConfig:
    """Make the server with the tools. `turn` says which turn is at work."""

    @tool("send_file", _SEND_FILE, {"file_path": str})
    async def send_file(arguments: dict[str, Any]) -> dict[str, Any]:
        path = Path(str(arguments.get("file_path", "")))
        try:
            data = await asyncio.to_thread(_read, workspace, path)
            await gateway.send_file(turn(), path.name, data)
        except (_NotReadable, NotDone) as error:
            return _said(f"The file was not sent. {error}", failed=True)
        except PeerBotError as error:
            log.warning("file_not_sent", reason=str(error), exc_info=error)
            return _said("The file could not be sent now. Say so in your answer if people need it.", failed=True)
        return _said(f"{path.name} is in the thread now.")

    return create_sdk_mcp_server(SERVER, tools=[send_file])


class _NotReadable(Exception):
    """The file can't be sent; the text says why."""


def _read(workspace: Path, path: Path) -> bytes:
    """Read a file of the workspace or the temporary folder. Raises `_NotReadable`."""
    root, name = _place(workspace, path)
    try:
        with opening.opened(root, name) as file:
            size = os.fstat(file).st_size
    except OSError as error:
        raise _NotReadable("It is not there, or it is no regular file, or a part of its path is a link.") from error
    data = opening.read(root, name, most_bytes=LARGEST_SENT_BYTES) if size <= LARGEST_SENT_BYTES else None
    if data is None:
        raise _NotReadable(f"It has more than {LARGEST_SENT_BYTES // 1024**2} MiB, or it can't be read.")
    if not data:
        raise _NotReadable("It is empty.")
    return data


def _place(workspace: Path, path: Path) -> tuple[Path, Path]:
    """Say in which of the two folders a path is, and its name there. Raises `_NotReadable`."""
    whole = path if path.is_absolute() else workspace / path
    for root in (workspace, *map(Path, dict.fromkeys((os.environ.get("TMPDIR", "/tmp"), "/tmp")))):  # noqa: S108
        if whole.is_relative_to(root) and whole != root and ".." not in whole.parts:
            return root, whole.relative_to(root)
    raise _NotReadable("It is neither in the workspace nor in the temporary folder.")


def _said(text: str, *, failed: bool = False) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "is_error": failed}
