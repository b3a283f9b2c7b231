"""Says who may read a channel, and with it what the agent did there: people whom Slack lets read it (0033)."""

import time

from peerbot.errors import PeerBotError
from peerbot.logs import logger
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People

log = logger(__name__)

KEPT_SECONDS = 60.0
"""How long an answer of Slack's holds: somebody who leaves a channel may read on for this long."""

_MOST_PAGES = 50  # of a private channel's members, 10,000 people
_MOST_CHANNELS = 500


class Readers:
    """Says who may read what in one workspace. `operators` are people who may read everything."""

    def __init__(self, outbound: Outbound, team: str, operators: frozenset[str] = frozenset()) -> None:
        self.team = team
        self._outbound = outbound
        self._operators = operators
        self._people = People(outbound, kept_seconds=KEPT_SECONDS)
        self._members: dict[str, tuple[float, frozenset[str]]] = {}

    async def may_read(self, user: str, channel: str) -> bool:
        """Whether this full member of the workspace may read the channel. If Slack does not say so: no."""
        person = await self._people.person(user, self.team)
        if person is None or person.is_deactivated or person.is_bot or person.is_guest or person.is_outsider:
            return False
        if user in self._operators:
            return True
        described = await self._people.channel(channel)
        if described is None:
            return False
        if described.kind == "public" and not described.is_shared_outside:
            return True
        return user in await self._members_of(channel)

    async def name(self, user: str) -> str:
        """Find a person's name; their id if Slack does not tell it."""
        return await self._people.name(user)

    async def _members_of(self, channel: str) -> frozenset[str]:
        until, kept = self._members.get(channel, (0.0, frozenset[str]()))
        if time.monotonic() < until:
            return kept
        found = set[str]()
        try:
            asked = {"channel": channel}
            async for page in self._outbound.pages(
                "a channel's members", "conversations.members", Urgency.FIRST, asked, most=_MOST_PAGES
            ):
                found.update(map(str, page.get("members") or ()))
        except PeerBotError as error:
            log.warning("members_unknown", channel=channel, reason=str(error))
            return frozenset()
        now = time.monotonic()
        self._members = {name: kept for name, kept in self._members.items() if kept[0] > now}
        if len(self._members) < _MOST_CHANNELS:
            self._members[channel] = (now + KEPT_SECONDS, frozenset(found))
        return frozenset(found)
