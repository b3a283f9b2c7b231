"""git's push protocol, as far as the relay must understand it. Pure: no I/O.

A push begins with a list of commands ("move this ref from here to there") in pkt-lines, then a flush, then a pack.
The relay reads that list, and nothing after it, to decide whether the push may pass. It refuses every list that is not
exactly in git's own form, so that the forge can never read another list than we did (gitprotocol-pack(5)).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.errors import Refused

FLUSH = b"0000"
MAX_LIST_BYTES = 64 * 1024
MAX_COMMANDS = 100
_MAX_PKT = 65520
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_OID = r"(?:[0-9a-f]{40}|[0-9a-f]{64})"
_SHALLOW = re.compile(rf"shallow {_OID}")
_COMMAND = re.compile(rf"({_OID}) ({_OID}) (refs/[^\s\x00-\x1f\x7f]+)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a push: move `ref` from commit `old` to commit `new`. All zeros stand for no commit."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        """Whether the command deletes the ref."""
        return not self.new.strip("0")


@dataclass(frozen=True, slots=True)
class Push:
    """All commands of a push. A push without commands is git's probe before a large upload."""

    commands: tuple[Command, ...]


class CommandReader:
    """Reads a push's list of commands from chunks of any size.

    `received` is all that was fed, so that the relay can pass it on as it came. `capabilities` holds the client's
    capabilities as soon as they are known, so that even a refusal of the rest can be in a form that it reads.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.capabilities: frozenset[str] = frozenset()
        self._position = 0
        self._commands: list[Command] = []

    def feed(self, data: bytes) -> Push | None:
        """Take the next chunk; returns the list once it is complete, None before.

        Raises `Refused` if git would not write such a list, or if it is too long (64 KiB, 100 commands).
        """
        self.received += data
        while len(head := bytes(self.received[self._position : self._position + 4])) == 4:
            if head == FLUSH:
                return Push(tuple(self._commands))
            length = int(head, 16) if _LENGTH.fullmatch(head) else 0
            end = self._position + length
            if not 4 < length <= _MAX_PKT:
                raise Refused("this push is not in a form that PeerBot can read")
            if end > MAX_LIST_BYTES:
                raise Refused("this push names too many refs")
            if len(self.received) < end:
                break
            self._line(bytes(self.received[self._position + 4 : end]))
            self._position = end
        return None

    def _line(self, line: bytes) -> None:
        try:
            text = line.removesuffix(b"\n").decode()
        except UnicodeDecodeError as error:
            raise Refused("this push names a ref that is not UTF-8") from error
        if text.startswith("push-cert"):
            raise Refused("PeerBot does not support signed pushes (git push --signed)")
        # Only the first command has capabilities behind it; git's server would take them from any line.
        if not self._commands and text.count("\0") == 1:
            text, _, capabilities = text.partition("\0")
            self.capabilities = frozenset(capabilities.split())
            if "push-options" in self.capabilities:
                raise Refused("PeerBot does not support push options (git push -o)")
        if not self._commands and _SHALLOW.fullmatch(text):
            return
        command = _COMMAND.fullmatch(text)
        if not command:
            raise Refused("this push is not in a form that PeerBot can read")
        if len(self._commands) == MAX_COMMANDS:
            raise Refused("this push names too many refs")
        self._commands.append(Command(*command.groups()))


def pkt_line(data: bytes) -> bytes:
    """Frame one line; raises `ValueError` if `data` has more than 65516 bytes."""
    if len(data) > _MAX_PKT - 4:
        raise ValueError(f"{len(data)} bytes do not fit into one pkt-line")
    return b"%04x" % (len(data) + 4) + data


def error_reply(sentence: str) -> bytes:
    """Make the reply to a fetch that git shows as `fatal: remote error: …`."""
    return pkt_line(f"ERR {sentence}\n".encode())


def push_reply(capabilities: frozenset[str], sentence: str, reasons: Sequence[tuple[str, str]]) -> bytes | None:
    """Make the reply to a push that did not happen, in the form that the client negotiated.

    The client shows `sentence` as a `remote:` line if it has a side band. `reasons` says for each ref why it did not
    move; if it is empty, the whole push failed. Returns None if the client understands neither form.
    """
    report = b""
    if capabilities & {"report-status", "report-status-v2"}:
        report = pkt_line(b"unpack ok\n" if reasons else f"unpack {sentence}\n".encode())
        report += b"".join(pkt_line(f"ng {ref} {reason}\n".encode()) for ref, reason in reasons) + FLUSH
    if "side-band-64k" in capabilities:
        size = _MAX_PKT - 5
    elif "side-band" in capabilities:
        size = 1000 - 5
    else:
        return report or None
    reply = _banded(2, f"{sentence}\n".encode(), size) + _banded(1, report, size)
    return reply + FLUSH


def _banded(band: int, data: bytes, size: int) -> bytes:
    return b"".join(pkt_line(bytes([band]) + data[at : at + size]) for at in range(0, len(data), size))
