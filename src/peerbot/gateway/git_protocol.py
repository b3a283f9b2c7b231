"""git's protocols, as far as the relay must understand them. Pure: no I/O.

A push begins with a list of commands ("move this ref from here to there") in pkt-lines, then a flush, then a pack.
The relay reads that list, and nothing after it, to decide whether the push may pass. It refuses every list that is not
exactly in git's own form, so that the forge can never read another list than we did (gitprotocol-pack(5)).

A fetch begins with a command and capabilities (protocol 2), or with capabilities behind the first commit that is wanted
(protocols 0 and 1). The arguments behind them only say which objects of the one repository to send; they pass.

Of capabilities only those pass that are known to change nothing but the form of the exchange
(gitprotocol-capabilities(5), gitprotocol-v2(5)). A name is the part before `=`, as git's servers read it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.errors import Refused

FLUSH = b"0000"
_DELIMITER = b"0001"
MAX_LIST_BYTES = 64 * 1024
MAX_COMMANDS = 100
_MAX_PKT = 65520
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_OID = r"(?:[0-9a-f]{40}|[0-9a-f]{64})"
_SHALLOW = re.compile(rf"shallow {_OID}")
_WANT = re.compile(rf"want {_OID}")
_COMMAND = re.compile(rf"({_OID}) ({_OID}) (refs/[^\s\x00-\x1f\x7f]+)")


_VALUE = re.compile(r"[!-~]{1,256}")
_HASH = re.compile(r"sha1|sha256")
_WITH_VALUES = {"agent": _VALUE, "session-id": _VALUE, "object-format": _HASH}
"""The capabilities that have a value: which program asks, in which session, and how objects are named."""

_OF_A_PUSH = frozenset(
    {
        *("report-status", "report-status-v2"),  # the form of the reply
        *("side-band", "side-band-64k", "quiet"),  # progress
        *("atomic", "ofs-delta", "no-thin", "delete-refs"),  # the last is a client's ability: we refuse each deletion
    }
)
_OF_A_FETCH = frozenset(
    {
        *("multi_ack", "multi_ack_detailed", "no-done"),
        *("side-band", "side-band-64k", "no-progress", "include-tag"),
        *("thin-pack", "ofs-delta", "shallow", "deepen-since", "deepen-not", "deepen-relative", "filter"),
        *("allow-tip-sha1-in-want", "allow-reachable-sha1-in-want"),
    }
)
_COMMANDS = frozenset({"ls-refs", "fetch", "object-info"})
"""The commands of protocol 2. `bundle-uri` is left out: it leads to other servers."""

_WHY_NOT = {
    "push-options": "PeerBot does not support push options (git push -o)",
    "push-cert": "PeerBot does not support signed pushes (git push --signed)",
    "server-option": "PeerBot does not support server options (git fetch -o)",
}
_PROTOCOL = re.compile(r"version=[0-2]")


def git_protocol(header: str | None) -> str | None:
    """Return the header `Git-Protocol` if it names a protocol version and nothing else; otherwise None."""
    return header if header is not None and _PROTOCOL.fullmatch(header) else None


def _checked(words: str, flags: frozenset[str]) -> frozenset[str]:
    """Read capabilities, and raise `Refused` if one of them is not allowed."""
    found = frozenset(filter(None, words.split(" ")))
    for word in found:
        name, equals, value = word.partition("=")
        pattern = _WITH_VALUES.get(name)
        if not (pattern.fullmatch(value) if pattern and equals else word in flags):
            shown = re.sub(r"[^a-z0-9-]", "?", name)[:40]
            raise Refused(_WHY_NOT.get(name, f"PeerBot does not support this capability of git's protocol: {shown}"))
    return found


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
            raise Refused(_WHY_NOT["push-cert"])
        # Only the first command has capabilities behind it; git's server would take them from any line.
        if not self._commands and text.count("\0") == 1:
            text, _, capabilities = text.partition("\0")
            self.capabilities = frozenset(capabilities.split(" "))  # also if we refuse them: the reply's form
            _checked(capabilities, _OF_A_PUSH)
        elif not self._commands and _SHALLOW.fullmatch(text):
            return
        command = _COMMAND.fullmatch(text)
        if not command:
            raise Refused("this push is not in a form that PeerBot can read")
        if len(self._commands) == MAX_COMMANDS:
            raise Refused("this push names too many refs")
        self._commands.append(Command(*command.groups()))


class FetchReader:
    """Reads the head of a fetch from chunks of any size. `received` is all that was fed."""

    def __init__(self) -> None:
        self.received = bytearray()
        self._position = 0
        self._version_2 = False

    def feed(self, data: bytes) -> bool:
        """Take the next chunk; returns whether the head is complete. The rest may then pass unread.

        Raises `Refused` if the command or a capability is not allowed, or if git would not write such a head.
        """
        self.received += data
        while len(head := bytes(self.received[self._position : self._position + 4])) == 4:
            if head == FLUSH or (head == _DELIMITER and self._version_2):
                return True
            length = int(head, 16) if _LENGTH.fullmatch(head) else 0
            end = self._position + length
            if not 4 < length <= _MAX_PKT or end > MAX_LIST_BYTES:
                raise Refused("this fetch is not in a form that PeerBot can read")
            if len(self.received) < end:
                break
            line = bytes(self.received[self._position + 4 : end]).removesuffix(b"\n").decode("latin-1")
            first, self._position = self._position == 0, end
            if self._line(line, first=first):
                return True
        return False

    def _line(self, line: str, *, first: bool) -> bool:
        """Read a line; returns whether it ends the head."""
        if line.startswith("command="):
            if not first or line.removeprefix("command=") not in _COMMANDS:
                raise Refused("PeerBot does not support this command of git's protocol")
            self._version_2 = True
            return False
        if self._version_2:
            _checked(line, frozenset())
            return False
        words = line.split(" ", 2)
        if not _WANT.fullmatch(" ".join(words[:2])):
            raise Refused("this fetch is not in a form that PeerBot can read")
        _checked(words[2] if len(words) > 2 else "", _OF_A_FETCH)
        return True


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
