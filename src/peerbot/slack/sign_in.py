"""Sign in with Slack (OpenID Connect): who the person at a browser is.

The app has a client secret, so its server proves itself, and needs no PKCE (which would make the app a public client).
Slack signs with RS256 alone. People are told apart by workspace and user id, never by e-mail. The access token that
comes with the answer is a person's: it is dropped at once.
"""

import asyncio
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt

from peerbot.errors import Refused, Unavailable
from peerbot.logs import logger

log = logger(__name__)

_SCOPES = "openid profile"  # as the manifest asks for them

BACK = "/sessions/sign-in/back"
"""The path to which Slack sends people back: a redirect URL of the app ends with it."""

_SECONDS = 10.0
_LEEWAY_SECONDS = 30
_KEYS_SECONDS = 3600.0
_LEAST_BETWEEN_KEYS = 10.0  # an unknown key makes us ask again, but a forger can't make us ask all the time
_LONGEST_REPLY = 64 * 1024
_TEAM, _USER = "https://slack.com/team_id", "https://slack.com/user_id"
_CLAIMS = ("iss", "sub", "aud", "exp", "iat", "nonce")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom Slack knows, by its ids."""

    team: str
    user: str


def brought_back(query: Mapping[str, str]) -> tuple[str, str]:
    """Read what a person brings back from Slack: the state, and the code (empty if they did not sign in)."""
    code = query.get("code", "")
    return query.get("state", ""), code if len(code) < 1000 else ""


def issuer_of(api_url: str) -> str:
    """Name the issuer of a Slack whose Web API is at this address: `https://slack.com` for Slack's own."""
    return api_url.rstrip("/").removesuffix("/api")


class SignIn:
    """Asks one Slack who people are. `back` is always the address to which Slack sends them back.

    `http` belongs to its owner. Methods raise `Refused` with a sentence if Slack's answer proves nothing, and
    `Unavailable` if Slack does not answer.
    """

    def __init__(self, http: aiohttp.ClientSession, *, issuer: str, client_id: str, secret: str) -> None:
        self._http = http
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    def address(self, *, back: str, state: str, nonce: str, team: str) -> str:
        """Where a person signs in. Slack always gets a nonce: without one it writes an empty one."""
        asked = {
            "response_type": "code",
            "scope": _SCOPES,
            "client_id": self._client_id,
            "redirect_uri": back,
            "state": state,
            "nonce": nonce,
            "team": team,
        }
        return f"{self._issuer}/openid/connect/authorize?{urlencode(asked)}"

    async def who(self, code: str, *, nonce: str, back: str) -> Person:
        """Trade the code that Slack sent a person back with for who they are. Only the first trade of a code works."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self._client_id,
            "client_secret": self._secret,
            "redirect_uri": back,
        }
        reply = await self._ask("POST", "/api/openid.connect.token", data=form)
        token = reply.get("id_token")
        if not reply.get("ok") or not isinstance(token, str):
            raise Refused(f"Slack did not confirm who you are ({_word(reply.get('error'))}). Sign in again.")
        return _person(await self._claims(token), nonce)

    async def try_app(self, back: str) -> str:
        """Ask Slack about a code that there is not; returns its word for what is wrong: `invalid_code` if all is well.

        Raises `Unavailable`.
        """
        form = {
            "grant_type": "authorization_code",
            "code": "none",
            "client_id": self._client_id,
            "client_secret": self._secret,
            "redirect_uri": back,
        }
        return _word((await self._ask("POST", "/api/openid.connect.token", data=form)).get("error"))

    async def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            name = str(jwt.get_unverified_header(token).get("kid", ""))
            key = await self._key(name)
            if key is None:
                raise Refused("Slack's answer is signed with a key that is not Slack's. Sign in again.")
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._client_id,
                issuer=self._issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": list(_CLAIMS)},
            )
        except jwt.PyJWTError as error:
            log.warning("sign_in_refused", cause=type(error).__name__)
            raise Refused("Slack's answer does not prove who you are. Sign in again.") from error
        if claims["aud"] != self._client_id:
            raise Refused("Slack's answer is for several apps. Sign in again.")
        return claims

    async def _key(self, name: str) -> jwt.PyJWK | None:
        async with self._asking:
            age = time.monotonic() - self._asked_at
            if age > _KEYS_SECONDS or (name not in self._keys and age > _LEAST_BETWEEN_KEYS):
                found = await self._ask("GET", "/openid/connect/keys")
                self._keys = {str(key.key_id): key for key in jwt.PyJWKSet.from_dict(dict(found)).keys}
                self._asked_at = time.monotonic()
            return self._keys.get(name)

    async def _ask(self, method: str, path: str, **how: Any) -> Mapping[str, Any]:
        try:
            async with (
                asyncio.timeout(_SECONDS),
                self._http.request(method, self._issuer + path, allow_redirects=False, **how) as reply,
            ):
                body = await reply.content.read(_LONGEST_REPLY)
                while len(body) < _LONGEST_REPLY and (more := await reply.content.read(_LONGEST_REPLY)):
                    body += more
                found = json.loads(body) if reply.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unavailable("Slack did not answer. Sign in again in a moment.") from error
        if not isinstance(found, dict):
            raise Unavailable("Slack did not answer as it should. Sign in again in a moment.")
        return found


def _person(claims: Mapping[str, Any], nonce: str) -> Person:
    if not nonce or not hmac.compare_digest(str(claims["nonce"]).encode(), nonce.encode()):
        raise Refused("Slack's answer is for another sign-in. Sign in again.")
    team, user = claims.get(_TEAM), claims.get(_USER)
    if not (isinstance(team, str) and isinstance(user, str) and team and user):
        raise Refused("Slack did not say who you are. Ask your PeerBot operator to check the app's user scopes.")
    return Person(team, user)


def _word(error: object) -> str:
    return error if isinstance(error, str) and error.isascii() and len(error) < 50 else "no reason given"
