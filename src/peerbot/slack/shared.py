"""The files that a message brings: those shared with it, and those of the messages that it forwards. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from peerbot.conversation.documents import SharedFile

MOST_KEPT = 30
"""How many files of a message the journal names. Slack lets people share ten at once; a forward brings its own."""

_LONGEST = 255  # characters of a name


def shared_files(message: Mapping[str, Any]) -> list[SharedFile]:
    """Read the files of a message or an event, in order and each once. Nothing here raises, whatever Slack sends."""
    found: dict[str, SharedFile] = {}
    for file in _files(message):
        identity = _text(file.get("id"))
        if identity and identity not in found and len(found) < MOST_KEPT:
            found[identity] = described(file, identity)
    return list(found.values())


def described(file: Mapping[str, Any], identity: str) -> SharedFile:
    """Read what Slack says of a file. (A stub, `file_access: check_file_info`, has its id alone.)"""
    size = file.get("size")
    return SharedFile(
        id=identity,
        name=_text(file.get("name") or file.get("title")),
        size=size if isinstance(size, int) and size > 0 else 0,
        type=_text(file.get("mimetype")),
        mode=_text(file.get("mode")),
    )


def _files(message: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    forwarded = (each for each in _list(message.get("attachments")) if isinstance(each, Mapping))
    for holder in (message, *forwarded):
        yield from (file for file in _list(holder.get("files")) if isinstance(file, Mapping))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    """A string that UTF-8 can hold, at most 255 characters of it."""
    return value[:_LONGEST].encode("utf-8", "replace").decode() if isinstance(value, str) else ""
