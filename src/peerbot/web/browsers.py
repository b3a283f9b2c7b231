"""Signed cookies: who a browser belongs to, for some hours, on every replica.

The key is made from the Slack app's client secret, which every replica has. An operator who gives the app a new secret
ends all sessions of browsers. A cookie holds no secret, and nothing that its owner may not read.
"""

import base64
import hashlib
import hmac
import secrets
import time
from typing import Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

SESSION_SECONDS = 10 * 3600.0
SIGN_IN_SECONDS = 600.0
"""How long somebody may take to sign in."""

_LONGEST = 2000


class Signed(BaseModel):
    """What a cookie of ours holds; `until` is in seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    until: float


class Browser(Signed):
    """A browser whose person has signed in."""

    kind: Literal["browser"] = "browser"
    team: str
    user: str
    id: str = Field(default_factory=lambda: secrets.token_hex(8))


class SigningIn(Signed):
    """A sign-in under way: what Slack has to bring back, and the path to go on to."""

    kind: Literal["signing-in"] = "signing-in"
    state: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    nonce: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    to: str


_S = TypeVar("_S", bound=Signed)


class Cookies:
    """Writes and reads our cookies. `secret` is the app's client secret. `secure`: people come by https."""

    def __init__(self, secret: str, *, secure: bool) -> None:
        self._key = hmac.digest(secret.encode(), b"peerbot browsers 1", "sha256")
        self._secure = secure

    def put(self, reply: web.StreamResponse, signed: Signed) -> None:
        """Give a browser a cookie."""
        reply.set_cookie(
            self._name(type(signed)),
            self._sealed(signed),
            max_age=max(0, round(signed.until - time.time())),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Lax",  # Strict would be missing when Slack sends people back
        )

    def drop(self, reply: web.StreamResponse, kind: type[Signed]) -> None:
        """Take a cookie away."""
        reply.del_cookie(self._name(kind), path="/", secure=self._secure, httponly=True, samesite="Lax")

    def read(self, request: web.Request, kind: type[_S]) -> _S | None:
        """Read the cookie of a kind; None if there is none that holds."""
        body, _, seal = request.cookies.get(self._name(kind), "")[:_LONGEST].partition(".")
        if not body or not hmac.compare_digest(seal.encode(), self._seal(body).encode()):
            return None
        try:
            found = kind.model_validate_json(base64.urlsafe_b64decode(body))
        except (ValueError, ValidationError):
            return None
        return found if found.until > time.time() else None

    def _name(self, kind: type[Signed]) -> str:
        # A cookie is for a host whatever the port: another PeerBot on this machine has names of its own.
        name = f"peerbot-{'session' if kind is Browser else 'sign-in'}-{self._key.hex()[:8]}"
        return f"__Host-{name}" if self._secure else name

    def _sealed(self, signed: Signed) -> str:
        body = base64.urlsafe_b64encode(signed.model_dump_json().encode()).decode()
        return f"{body}.{self._seal(body)}"

    def _seal(self, body: str) -> str:
        return base64.urlsafe_b64encode(hmac.new(self._key, body.encode(), hashlib.sha256).digest()).decode()
