"""People at browsers, for the tests of the session page's server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
from system import System

from peerbot.conversation.keys import Conversation


def with_page(system: System) -> System:
    """Give the system what its session page needs."""
    system.settings |= {
        "PEERBOT_PUBLIC_URL": "http://127.0.0.1:0",
        "SLACK_CLIENT_ID": system.slack.page.openid.client_id,
        "SLACK_CLIENT_SECRET": system.slack.page.openid.client_secret,
    }
    return system


class Viewer:
    """Somebody's browser."""

    def __init__(self, system: System, http: aiohttp.ClientSession, base: str) -> None:
        self.system = system
        self.http = http
        self.base = base

    async def begin(self, to: str = "/sessions/") -> dict[str, str]:
        """Ask to sign in; returns what Slack is asked."""
        async with self.http.get(f"{self.base}/sessions/sign-in", params={"to": to}, allow_redirects=False) as reply:
            assert reply.status == 303
            address = urlsplit(reply.headers["Location"])
            assert f"{address.scheme}://{address.netloc}/" == self.system.slack.url
            return {name: values[0] for name, values in parse_qs(address.query).items()}

    async def back(self, asked: dict[str, str], **answer: str) -> tuple[int, str]:
        """Come back from Slack; returns the status, and where it leads or what it says."""
        async with self.http.get(asked["redirect_uri"], params=answer, allow_redirects=False) as reply:
            return reply.status, reply.headers.get("Location") or await reply.text()

    async def sign_in(self, user: str, to: str = "/sessions/") -> tuple[int, str]:
        """Sign in as somebody."""
        asked = await self.begin(to)
        code = self.system.slack.page.openid.approve(user, asked["redirect_uri"], asked["nonce"])
        return await self.back(asked, code=code, state=asked["state"])

    async def get(self, path: str, **headers: str) -> tuple[int, Any]:
        """Ask for something; returns the status and the JSON, or the bytes of anything else."""
        async with self.http.get(f"{self.base}{path}", headers=headers, allow_redirects=False) as reply:
            if reply.content_type == "application/json":
                return reply.status, await reply.json()
            return reply.status, await reply.read()

    async def sees(self, conversation: Conversation) -> int:
        """Try to read a session; returns the status."""
        return (await self.get(f"/sessions/{conversation}/overview"))[0]


@asynccontextmanager
async def viewing(system: System, user: str | None = None) -> AsyncIterator[Viewer]:
    """Open a browser, signed in if a user is named."""
    base = f"http://127.0.0.1:{await system.port()}"
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        viewer = Viewer(system, http, base)
        if user:
            status, to = await viewer.sign_in(user)
            assert (status, to) == (303, "/sessions/")
        yield viewer
