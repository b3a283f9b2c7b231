"""The key with which a person's browser or terminal is let in by a server of this machine.

Loopback is no protection, since the agent's sandbox reaches it, too. Nor is a cookie: a browser sends it to every port
of this machine, also to a server that the agent has started. So a page brings the key in a header, and keeps it where
the browser keeps it for this port alone. A link brings it behind its `#`, which no browser sends on.
"""

import hashlib
import hmac
import secrets
from pathlib import Path
from typing import Self

from aiohttp import web


class Key:
    """A key; without a `secret` it is a new one."""

    def __init__(self, secret: str = "") -> None:
        self.secret = secret or secrets.token_urlsafe(32)

    @classmethod
    def kept_in(cls, file: Path) -> Self:
        """The key in a file, so that a browser that was let in before a restart still is. It is made if missing."""
        if not file.exists():
            new = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
            new.touch(mode=0o600)
            new.write_text(secrets.token_urlsafe(32))
            new.replace(file)
        return cls(file.read_text().strip())

    def opens_for(self, request: web.Request) -> bool:
        """Whether the request brings the key."""
        return _same(request.headers.get("Authorization", ""), f"Bearer {self.secret}")

    def pass_for(self, name: str) -> str:
        """A word that opens one thing alone, for an address to which a page can add no header: that of a picture."""
        return hmac.new(self.secret.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]

    def passes(self, given: str, name: str) -> bool:
        """Whether what is given opens the thing of this name."""
        return _same(given, self.pass_for(name))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())
