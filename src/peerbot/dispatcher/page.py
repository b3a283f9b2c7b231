"""Builds the session page, if the operator gave it what it needs: an address, and a way to sign in."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp

from peerbot.conversation.documents import Input
from peerbot.dispatcher.serve import Server
from peerbot.dispatcher.services import Services
from peerbot.environment import listed
from peerbot.journal.journal import Journal
from peerbot.settings import Settings
from peerbot.slack.readers import Readers
from peerbot.slack.sign_in import SignIn, issuer_of
from peerbot.slack.text import mentioned_users, readable
from peerbot.slack.words import how_it_ended, note_words
from peerbot.way_out import proxy_for
from peerbot.web.health import health_app
from peerbot.web.overview import Words
from peerbot.web.session_page import SessionPage

_KEPT_SECONDS = 300.0
_PATIENCE_SECONDS = 3.0
_MOST = 2_000


async def open_page(settings: Settings, services: Services, stack: AsyncExitStack) -> SessionPage | None:
    """Build it; `stack` closes it. None if it is off. Raises `SettingsError` if its files are not installed."""
    if settings.peerbot_public_url is None or settings.slack_client_id is None or settings.slack_client_secret is None:
        return None
    secret = settings.slack_client_secret.get_secret_value()
    http = await stack.enter_async_context(aiohttp.ClientSession(proxy=proxy_for(settings.slack_api_url)))
    readers = Readers(services.outbound, services.us.team, listed(settings.peerbot_session_operators))
    sign_in = SignIn(http, issuer=issuer_of(settings.slack_api_url), client_id=settings.slack_client_id, secret=secret)
    page = SessionPage(
        services.journal,
        _words(services),
        readers,
        sign_in,
        public_url=settings.peerbot_public_url,
        secret=secret,
    )
    stack.push_async_callback(page.close)
    return page


async def serve_front(server: Server, settings: Settings, journal: Journal, page: SessionPage | None, most: int) -> int:
    """Serve `/health`, `/ready` and the page, for up to `most` connections; returns the port."""
    app = health_app(journal)
    if page:
        page.add_to(app)
    _, port = await server.serve(app, settings.port, "PORT", most)
    if page:
        page.listening(port)
    return port


def _words(services: Services) -> Words:
    name = _Patient(services.people.name, or_else=lambda user: user)

    async def found(full_name: str) -> str:
        repository = await services.repositories.known(full_name)
        return repository.html_url if repository else ""

    async def text(item: Input) -> str:
        users = sorted(mentioned_users(item.text) - {services.us.bot_user})[:20]
        names = dict(zip(users, await asyncio.gather(*map(name, users)), strict=True))
        return readable(
            item.text, names=names, bot_user=services.us.bot_user, trigger_phrase=services.us.trigger_phrase
        )

    address = _Patient(found, or_else=lambda _: "")
    return Words(name=name, text=text, address=address, note=note_words, end=how_it_ended)


class _Patient:
    """A look-up that takes at most a few seconds, so that a page opens while Slack or GitHub is away.

    What it found holds for a while, and so does that it found nothing.
    """

    def __init__(self, find: Callable[[str], Awaitable[str]], *, or_else: Callable[[str], str]) -> None:
        self._find = find
        self._or_else = or_else
        self._kept: dict[str, tuple[float, str]] = {}

    async def __call__(self, wanted: str) -> str:
        until, kept = self._kept.get(wanted, (0.0, ""))
        if time.monotonic() < until:
            return kept
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await self._find(wanted)
        except TimeoutError:
            found = self._or_else(wanted)
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[wanted] = (time.monotonic() + _KEPT_SECONDS, found)
        return found
