"""Who may look at the local GitHub's pages and act there: whoever has the door's secret.

Loopback is no protection, since the agent's sandbox reaches it, too, and merging is for people. Nor is a cookie: a
browser sends it to every port of this machine, also to a server that the agent has started. So a page brings the secret
in a header, and keeps it where the browser keeps it for this port alone. A link brings it behind its `#`, which no
browser sends on.
"""

import hmac
import secrets
from pathlib import Path

from aiohttp import web


class Door:
    """Keeps the secret in `kept`, so that a browser that was let in before a restart still is."""

    def __init__(self, kept: Path) -> None:
        if not kept.exists():
            new = kept.with_name(f"{kept.name}.{secrets.token_hex(4)}")
            new.touch(mode=0o600)
            new.write_text(secrets.token_urlsafe(32))
            new.replace(kept)
        self.secret = kept.read_text().strip()

    def opens_for(self, request: web.Request) -> bool:
        """Whether the request brings the secret."""
        given = request.headers.get("Authorization", "").encode()
        return hmac.compare_digest(given, f"Bearer {self.secret}".encode())
