"""Names and texts out of a repository, made fit for a page: any bytes, any direction, nothing hidden.

A file's name is bytes. `shown` makes a text of it that a person can read, and `quoted` an address that leads back to
exactly these bytes. Inside Python such a name is a string as `os.fsdecode` makes it.
"""

import os
import unicodedata
from urllib.parse import quote, unquote_to_bytes

_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def shown(name: str) -> str:
    """Write a name for people: bytes that are no UTF-8 become �, and characters that nobody sees become escapes."""
    text = os.fsencode(name).decode(errors="replace")
    return "".join(_escaped(each) if unicodedata.category(each) in ("Cc", "Cf", "Zl", "Zp") else each for each in text)


def quoted(name: str) -> str:
    """Write a path for an address."""
    return quote(os.fsencode(name), safe="/")


def unquoted(raw: str) -> str:
    """Read a path out of an address."""
    return os.fsdecode(unquote_to_bytes(raw))


def turns(text: str) -> bool:
    """Whether there are characters in `text` that change the direction of writing, and so what a reader sees."""
    return not _TURNING.isdisjoint(text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
