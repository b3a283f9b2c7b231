"""The facts about people and channels that decide whether to admit somebody, and people's names.

It keeps answers for a while, but no failures. A failure comes out as None, which admits nobody.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, Literal, TypeVar

from peerbot.conversation.policy import Channel, Person
from peerbot.errors import PeerBotError, Refused
from peerbot.logs import logger
from peerbot.slack.api import refusal_code
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound

log = logger(__name__)

_KEPT_SECONDS = 300.0
_KEPT_MOST = 2_000
_AT_ONCE = 5

_T = TypeVar("_T")


class _Recent(Generic[_T]):
    """The last look-ups. If there are too many, the oldest goes first."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, _T]] = OrderedDict()

    def get(self, key: str) -> _T | None:
        until, value = self._kept.get(key, (0.0, None))
        return value if until > time.monotonic() else None

    def keep(self, key: str, value: _T) -> None:
        self._kept[key] = (time.monotonic() + self._seconds, value)
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT_MOST:
            self._kept.popitem(last=False)


class People:
    """Looks up people and channels of one workspace. An answer holds for `kept_seconds`."""

    def __init__(self, outbound: Outbound, *, kept_seconds: float = _KEPT_SECONDS) -> None:
        self._outbound = outbound
        self._users: _Recent[Mapping[str, Any]] = _Recent(kept_seconds)
        self._channels: _Recent[Channel] = _Recent(kept_seconds)
        self._groups: _Recent[frozenset[str]] = _Recent(kept_seconds)

    async def person(self, user: str, team: str, *, groups: Iterable[str] = ()) -> Person | None:
        """Find out who `user` is, seen from workspace `team`, and in which of these groups; None if that fails."""
        known = await self._user(user)
        members = {group: await self._members(group) for group in groups}
        if known is None or None in members.values():
            return None
        theirs = frozenset(group for group, users in members.items() if users and user in users)
        return replace(_person(known, team), groups=theirs)

    async def channel(self, channel: str) -> Channel | None:
        """Find out what kind of channel this is; None if that fails."""
        if (kept := self._channels.get(channel)) is not None:
            return kept
        try:
            reply = await self._outbound.call(
                "a channel's description", "conversations.info", Urgency.FIRST, {"channel": channel}
            )
            found = _channel(reply["channel"])
        except (PeerBotError, KeyError, TypeError) as error:
            log.warning("channel_unknown", channel=channel, reason=str(error))
            return None
        self._channels.keep(channel, found)
        return found

    async def name(self, user: str) -> str:
        """Find a person's name; their id if Slack does not tell it."""
        return (await self.names([user])).get(user, user)

    async def names(self, users: Iterable[str]) -> dict[str, str]:
        """Find people's names, by id; leaves out those that it can't find."""
        few = asyncio.Semaphore(_AT_ONCE)

        async def name_of(user: str) -> tuple[str, str]:
            async with few:
                known = await self._user(user)
            return user, _name(known) if known is not None else ""

        return {user: name for user, name in await asyncio.gather(*map(name_of, set(users))) if name}

    async def _members(self, group: str) -> frozenset[str] | None:
        """List the members of a user group; None if Slack does not tell. An unknown or disabled group has none."""
        if (kept := self._groups.get(group)) is not None:
            return kept
        asked = {"usergroup": group}
        try:
            reply = await self._outbound.call("a user group", "usergroups.users.list", Urgency.FIRST, asked)
            found = frozenset(map(str, reply["users"]))
        except Refused as refused:
            log.warning("group_unknown", group=group, reason=str(refused))
            if refusal_code(refused) not in ("no_such_subteam", "subteam_not_found"):
                return None
            found = frozenset()
        except (PeerBotError, KeyError, TypeError) as error:
            log.warning("group_unknown", group=group, reason=str(error))
            return None
        self._groups.keep(group, found)
        return found

    async def _user(self, user: str) -> Mapping[str, Any] | None:
        if (kept := self._users.get(user)) is not None:
            return kept
        try:
            if user.startswith("B"):
                found: Mapping[str, Any] = await self._bot(user)
            else:
                reply = await self._outbound.call("a user's description", "users.info", Urgency.FIRST, {"user": user})
                found = dict(reply["user"])
        except (PeerBotError, KeyError, TypeError) as error:
            log.warning("user_unknown", user=user, reason=str(error))
            return None
        self._users.keep(user, found)
        return found

    async def _bot(self, bot: str) -> Mapping[str, Any]:
        """Describe an app's bot as a user is described: it need not have one. Slack knows those of this workspace."""
        reply = await self._outbound.call("an app's description", "bots.info", Urgency.FIRST, {"bot": bot})
        known = reply["bot"]
        return {
            "id": bot,
            "name": known.get("name") or bot,
            "deleted": known.get("deleted"),
            "is_bot": True,
            "is_ours": True,
        }


def _person(user: Mapping[str, Any], team: str) -> Person:
    teams = {user.get("team_id"), *((user.get("enterprise_user") or {}).get("teams") or ())}
    return Person(
        id=str(user.get("id", "")),
        name=_name(user),
        is_bot=bool(user.get("is_bot") or user.get("is_workflow_bot")),
        is_guest=bool(user.get("is_restricted") or user.get("is_ultra_restricted")),
        is_outsider=not user.get("is_ours") and bool(user.get("is_stranger") or team not in teams),
        is_deactivated=bool(user.get("deleted")),
    )


def _channel(channel: Mapping[str, Any]) -> Channel:
    def any_of(*flags: str) -> bool:
        return any(channel.get(flag) for flag in flags)

    kind: Literal["public", "private", "direct"] = "private" if any_of("is_private", "is_group") else "public"
    return Channel(
        id=str(channel["id"]),
        kind="direct" if any_of("is_im", "is_mpim") else kind,
        # `is_shared` alone can also mean that workspaces of one organisation share it.
        is_shared_outside=any_of("is_ext_shared", "is_pending_ext_shared", "pending_connected_team_ids")
        or (any_of("is_shared") and not any_of("is_org_shared")),
    )


def _name(user: Mapping[str, Any]) -> str:
    profile = user.get("profile") or {}
    names = (profile.get("real_name"), user.get("real_name"), profile.get("display_name"), user.get("name"))
    name = next((str(name) for name in names if name), "")
    return name.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")  # Slack escapes names, too
