"""The local Slack as an OpenID provider: who somebody is, for the session page (Sign in with Slack).

A browser may say who it is only with the chat page's key, which it has if a person has opened that page in it, or which
they paste from the terminal (`local/key.py`). So what one comes to is a page of the chat's origin, and its module asks.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

from peerbot.local.key import Key
from peerbot.local.slack.shapes import TEAM, Object
from peerbot.local.slack.world import World
from peerbot.web.assets import PAGE_HEADERS

CODE_SECONDS = 600.0
TOKEN_SECONDS = 300
_PATH = "/openid/connect/authorize"
_ASKED = ("client_id", "redirect_uri", "state", "nonce", "scope", "response_type", "team")
_MOST_CODES = 100


@dataclass(frozen=True, slots=True)
class _Code:
    """Who signed in, and for what."""

    user: str
    back: str
    nonce: str
    until: float


class OpenId:
    """Slack's OpenID Connect, for the one app of this workspace. Its keys are new with each start."""

    def __init__(self, world: World, key: Key, shell: Callable[[web.Request, str, str], web.Response]) -> None:
        self.client_id = "1000000000001.1000000000002"
        self.client_secret = secrets.token_hex(16)
        self._world = world
        self._browsers_key = key
        self._shell = shell
        self._codes: dict[str, _Code] = {}
        self._made: rsa.RSAPrivateKey | None = None
        self.sign: Callable[[Object], str] = self.signed
        """Makes the token of somebody's claims; another function is a fault."""

    def routes(self) -> list[web.RouteDef]:
        """The paths of the provider. They come before those of the Web API."""
        return [
            web.post("/api/openid.connect.token", self._token),
            web.get(_PATH, self._authorize),
            web.post(_PATH, self._answer),
            web.get("/openid/connect/keys", self._keys),
            web.get("/.well-known/openid-configuration", self._configuration),
        ]

    def approve(self, user: str, back: str, nonce: str) -> str:
        """Let somebody sign in, and return the code with which they go back."""
        now = time.monotonic()
        self._codes = {code: kept for code, kept in self._codes.items() if kept.until > now}
        while len(self._codes) >= _MOST_CODES:
            del self._codes[next(iter(self._codes))]
        code = secrets.token_urlsafe(24)
        self._codes[code] = _Code(user, back, nonce, now + CODE_SECONDS)
        return code

    async def _token(self, request: web.Request) -> web.Response:
        """`openid.connect.token`: trade a code, once."""
        form = await request.post()
        given = {name: str(form.get(name, "")) for name in ("code", "client_id", "client_secret", "redirect_uri")}
        known = hmac.compare_digest(given["client_secret"].encode(), self.client_secret.encode())
        if given["client_id"] != self.client_id:
            return web.json_response({"ok": False, "error": "invalid_client_id"})
        if not known:
            return web.json_response({"ok": False, "error": "bad_client_secret"})
        kept = self._codes.pop(given["code"], None)
        if kept is None or kept.until < time.monotonic():
            return web.json_response({"ok": False, "error": "invalid_code"})
        if kept.back != given["redirect_uri"]:
            return web.json_response({"ok": False, "error": "bad_redirect_uri"})
        access = f"xoxp-{secrets.token_hex(16)}"
        token = self.sign(self._claims(kept, access))
        return web.json_response({"ok": True, "access_token": access, "token_type": "Bearer", "id_token": token})

    def signed(self, claims: Object) -> str:
        """Sign claims as Slack does."""
        return jwt.encode(claims, self._key, algorithm="RS256", headers={"kid": self._kid})

    def _claims(self, code: _Code, access: str) -> Object:
        user, now = self._world.users[code.user], int(time.time())
        half = hashlib.sha256(access.encode()).digest()[:16]
        return {
            "iss": self._world.url.rstrip("/"),
            "sub": code.user,
            "aud": self.client_id,
            "exp": now + TOKEN_SECONDS,
            "iat": now,
            "auth_time": now,
            "nonce": code.nonce,
            "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
            "https://slack.com/team_id": user.get("team_id", TEAM),
            "https://slack.com/user_id": code.user,
            "name": user["real_name"],
        }

    async def _authorize(self, request: web.Request) -> web.Response:
        """The page to which an app sends a browser. Nothing of the workspace is in it."""
        return self._shell(request, "Sign in", "chat/sign_in.js")

    async def _answer(self, request: web.Request) -> web.Response:
        """Answer the page: with the people of the workspace, or, if it names one of them, where their browser goes."""
        if not self._browsers_key.opens_for(request):
            return _said({"error": "no_key", "words": "This is not the key."}, 401)
        asked = {name: request.query[name] for name in _ASKED if name in request.query}
        if asked.get("client_id") != self.client_id or not _is_here(asked.get("redirect_uri", "")):
            words = "This app is not known here: its address or its ID is wrong."
            return _said({"error": "unknown_app", "words": words}, 400)
        people = {name: each for name, each in self._world.users.items() if not each["is_bot"] and not each["deleted"]}
        user = await _chosen(request)
        if user in people:
            code = self.approve(user, asked["redirect_uri"], asked.get("nonce", ""))
            back = urlencode({"code": code, "state": asked.get("state", "")})
            return _said({"to": f"{asked['redirect_uri']}?{back}"}, 200)
        listed = [
            {"id": name, "name": each["real_name"], "guest": each["is_restricted"]} for name, each in people.items()
        ]
        return _said({"people": listed}, 200)

    async def _keys(self, _: web.Request) -> web.Response:
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**public, "kid": self._kid, "alg": "RS256", "use": "sig"}]})

    async def _configuration(self, _: web.Request) -> web.Response:
        issuer = self._world.url.rstrip("/")
        return web.json_response(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}{_PATH}",
                "token_endpoint": f"{issuer}/api/openid.connect.token",
                "jwks_uri": f"{issuer}/openid/connect/keys",
                "scopes_supported": ["openid", "profile", "email"],
                "response_types_supported": ["code"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        if self._made is None:
            self._made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._made

    @property
    def _kid(self) -> str:
        return f"local-{self._key.public_key().public_numbers().n % 10**12}"


def _is_here(address: str) -> bool:
    try:
        return urlsplit(address).hostname in ("127.0.0.1", "localhost")
    except ValueError:
        return False


async def _chosen(request: web.Request) -> str:
    try:
        return str((await request.json()).get("user", ""))
    except (ValueError, AttributeError):
        return ""


def _said(document: Object, status: int) -> web.Response:
    return web.json_response(document, headers=PAGE_HEADERS, status=status)
