"""What git says on the wire when it pushes, as far as the relay must understand it: pure, no I/O.

A push begins with a list of commands ("move this ref from here to there") in pkt-lines, then a flush, then a pack.
The relay reads that list, and nothing behind it, to decide whether the push may pass. Whatever is not exactly in
the form that git writes is refused, so that the forge can never read another list than we did (gitprotocol-pack(5)).
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
    """One wish of a push: `ref` shall point to `new` where it pointed to `old`; all zeros means to nothing."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        """Whether the ref shall go."""
        return not self.new.strip("0")


@dataclass(frozen=True, slots=True)
class Push:
    """Everything that a push wants; without commands it is git's probe before a large upload."""

    commands: tuple[Command, ...]


class CommandReader:
    """Reads a push's list of commands from chunks of any size.

    `received` is all that was fed, to be passed on as it came; `capabilities` is what the client said that it
    understands, as soon as that is known, so that even a refusal of the rest can be told in its form.
    """

    def __init__(self) -> None:
        self.received = bytearray()
        self.capabilities: frozenset[str] = frozenset()
        self._position = 0
        self._commands: list[Command] = []

    def feed(self, data: bytes) -> Push | None:
        """Take the next chunk; the list when it is complete, else None.

        Raises `Refused` where this is no list that git would write, or one beyond the bounds (64 KiB, 100 commands).
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
        # Capabilities follow the first command alone; git's server would take them from any line.
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
    """Frame one line; `data` is at most 65516 bytes."""
    if len(data) > _MAX_PKT - 4:
        raise ValueError(f"{len(data)} bytes do not fit into one pkt-line")
    return b"%04x" % (len(data) + 4) + data


def error_reply(sentence: str) -> bytes:
    """The reply to a fetch that git shows as `fatal: remote error: …`."""
    return pkt_line(f"ERR {sentence}\n".encode())


def push_reply(capabilities: frozenset[str], sentence: str, reasons: Sequence[tuple[str, str]]) -> bytes | None:
    """The reply to a push that was not carried out, in the form that the client negotiated.

    `sentence` is shown as a `remote:` line where the client has a side band; `reasons` says of each ref why it did
    not move. Without refs the whole push failed. None when the client understands neither way of telling.
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
