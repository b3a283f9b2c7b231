"""The local Slack's world: its people, channels and messages, and every change to them.

The Web API and a person's door both act on it. Each change goes to one listener, which makes events and tells the
watchers. So it does not matter which part writes a message.
"""

import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from peerbot.errors import Refused
from peerbot.local.slack import shapes
from peerbot.local.slack.changes import Change
from peerbot.local.slack.shapes import BOT, BOT_USER, DIRECT, GENERAL, PERSON, TEAM, ChannelKind, Object, UserKind
from peerbot.local.slack.store import Store

TEXT_LIMIT = 40_000  # characters; a longer text is cut, as Slack does


class NotOk(Refused):
    """Slack's `ok: false`: `error` is Slack's own word for the reason, `more` has the other fields of its answer."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(f"Slack refuses this: {error}.")
        self.error = error
        self.more = more


class World:
    """One workspace. Every method is a single step: it has kept its change when it returns.

    Methods raise `NotOk` with the error that Slack would give.
    """

    def __init__(self, store: Store, listener: Callable[[Change], None]) -> None:
        self._store = store
        self._listener = listener
        self.url = ""
        """The base of the workspace's page addresses; ends with a slash. Known once the server listens."""
        self.lacking_blocks: set[str] = set()
        """The types of blocks that this workspace does not have."""
        self.other_app = "Alerts"  # its name, as its last message had it
        self.users: dict[str, Object] = store.all("user")
        self.channels: dict[str, Object] = store.all("channel")
        self._messages: dict[str, dict[str, Object]] = {channel: {} for channel in self.channels}
        self._replies: dict[tuple[str, str], list[str]] = {}  # by channel and thread_ts, in order
        self._last_ts = 0  # microseconds
        self.groups: dict[str, list[str]] = {}  # user groups, by id
        self.agent_status: dict[tuple[str, str], str] = {}  # by channel and thread_ts
        self.whispers: deque[Object] = deque(maxlen=1000)  # the last messages that one person alone sees
        for key, message in store.all("message").items():
            channel, _, ts = key.partition("/")
            self._place(channel, message)
            self._last_ts = max(self._last_ts, int(ts.replace(".", "")))
        if not self.users:
            self._begin()

    def _begin(self) -> None:
        with self._store.together():
            self.add_user(BOT_USER, "peerbot", "bot")
            self.add_user(PERSON, "Ada Lovelace", "member")
            self.add_channel(GENERAL, "general", "public", (PERSON, BOT_USER))
            self.add_channel(DIRECT, "", "im", (PERSON, BOT_USER))

    def new_ts(self) -> str:
        """Return the present as Slack writes it: always later than the time before."""
        self._last_ts = max(time.time_ns() // 1000, self._last_ts + 1)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    # People and channels

    def add_user(self, user: str, name: str, kind: UserKind) -> None:
        """Add a person, or change what they are."""
        self.users[user] = shapes.user(user, name, kind, int(time.time()))
        self._store.put("user", user, self.users[user])

    def add_channel(
        self, channel: str, name: str, kind: ChannelKind, members: Sequence[str], *, shared: bool = False
    ) -> None:
        """Add a channel with its members."""
        kept = shapes.channel(channel, name, kind, list(members), shared=shared, created=int(time.time()))
        self._messages.setdefault(channel, {})
        self._keep_channel(kept)

    def archive(self, channel: str, *, archived: bool) -> None:
        """Close a channel, or open it again."""
        self._keep_channel(self.channel(channel) | {"archived": archived})

    def set_members(self, channel: str, members: Sequence[str]) -> None:
        """Set the members of a channel."""
        self._keep_channel(self.channel(channel) | {"members": list(members)})

    def _keep_channel(self, kept: Object) -> None:
        self.channels[kept["id"]] = kept
        self._store.put("channel", kept["id"], kept)

    def channel(self, channel: str, *, seen_by: str | None = None) -> Object:
        """Look a channel up. People who are not in it see it only if it is public."""
        kept = self.channels.get(channel)
        if kept is None or (seen_by and kept["kind"] != "public" and seen_by not in kept["members"]):
            raise NotOk("channel_not_found")
        return kept

    def direct(self, channel: str) -> str:
        """Return the channel itself, or of a person's id the direct message with them."""
        found = (kept for kept in self.channels.values() if kept["kind"] == "im" and channel in kept["members"])
        return str(next(found, {"id": channel})["id"]) if channel in self.users else channel

    def writable(self, channel: str, user: str) -> Object:
        """Look up a channel that `user` wants to write to."""
        kept = self.channel(channel, seen_by=user)
        if user not in kept["members"]:
            raise NotOk("not_in_channel")
        if kept["archived"]:
            raise NotOk("is_archived")
        return kept

    # Messages

    def message(self, channel: str, ts: str) -> Object:
        """Return one message, with the fields that its thread adds to it."""
        kept = self._messages[self.channel(channel)["id"]].get(ts)
        if kept is None:
            raise NotOk("message_not_found")
        return self._with_thread(channel, kept)

    def thread(self, channel: str, thread_ts: str) -> list[Object]:
        """Return a message and its replies, in order. If the message itself is gone, return the replies alone."""
        messages = self._messages[self.channel(channel)["id"]]
        stamps = [thread_ts, *self._replies.get((channel, thread_ts), [])]
        return [self._with_thread(channel, messages[ts]) for ts in stamps if ts in messages]

    def history(self, channel: str) -> list[Object]:
        """Return the messages of the channel itself (no replies), oldest first."""
        messages = self._messages[self.channel(channel)["id"]]
        return [self._with_thread(channel, kept) for kept in messages.values() if "thread_ts" not in kept]

    def _with_thread(self, channel: str, kept: Object) -> Object:
        # Made when read, not kept: a reply is one write then, and its parent can't disagree with it.
        stamps = self._replies.get((channel, kept["ts"]))
        if not stamps:
            return dict(kept)
        replies = (self._messages[channel][ts] for ts in stamps)
        people = list(dict.fromkeys(reply.get("user") or reply["bot_id"] for reply in replies))
        return kept | {
            "thread_ts": kept["ts"],
            "reply_count": len(stamps),
            "reply_users_count": len(people),
            "latest_reply": stamps[-1],
            "reply_users": people[:5],
            "is_locked": False,
            "subscribed": BOT_USER in people,
        }

    def post(self, channel: str, user: str, text: str, *, thread_ts: str | None = None, **more: Any) -> Object:
        """Write a message; `more` has the other fields that Slack keeps (blocks, metadata)."""
        kept = self.writable(channel, user)
        message: Object = {"type": "message", "user": user, "text": text[:TEXT_LIMIT], "team": TEAM} | more
        message |= self._in_thread(channel, thread_ts)
        if message.get("subtype") == "me_message":
            del message["team"]
        elif user == BOT_USER:
            message |= {"bot_id": BOT, "app_id": shapes.APP, "bot_profile": shapes.bot_profile(kept["created"])}
        else:
            message["client_msg_id"] = str(uuid.uuid4())
            message["team"] = self.users[user]["team_id"]
        return self._post(channel, message)

    def post_as_app(self, channel: str, name: str, text: str, *, thread_ts: str | None = None, **more: Any) -> Object:
        """Write a message of another app that has no user here, as an incoming webhook does."""
        self.other_app = name
        message: Object = {"type": "message", "subtype": "bot_message", "text": text, "username": name}
        message |= {"bot_id": shapes.OTHER_BOT} | more | self._in_thread(self.channel(channel)["id"], thread_ts)
        message.pop("parent_user_id", None)
        return self._post(channel, message)

    def _in_thread(self, channel: str, thread_ts: str | None) -> Object:
        if thread_ts is None:
            return {}
        parent = self._messages[channel].get(thread_ts)
        if parent is None:
            raise NotOk("thread_not_found")
        if "thread_ts" in parent:
            raise NotOk("cannot_reply_to_message")
        return {"thread_ts": thread_ts} | ({"parent_user_id": parent["user"]} if "user" in parent else {})

    def _post(self, channel: str, message: Object) -> Object:
        message["ts"] = self.new_ts()
        self._keep("posted", channel, message)
        return self.message(channel, message["ts"])

    def whisper(self, channel: str, user: str, text: str, **more: Any) -> str:
        """Show a message to one person; returns its `ts`. It is gone when this process ends."""
        ts = self.new_ts()
        message: Object = {"channel": channel, "user": user, "text": text[:TEXT_LIMIT], "ts": ts} | more
        self.whispers.append(message)
        self._listener(Change("whispered", channel, ts, message.get("thread_ts"), message))
        return ts

    def remember(self, channel: str, user: str, text: str, seconds_ago: float, **more: Any) -> str:
        """Put a message at its place in the past, without an event; returns its `ts`."""
        self.writable(channel, user)
        at = time.time_ns() // 1000 - round(seconds_ago * 1_000_000)
        ts = f"{at // 1_000_000}.{at % 1_000_000:06d}"
        message: Object = {"type": "message", "user": user, "text": text, "team": TEAM, "ts": ts} | more
        self._store.put("message", f"{channel}/{ts}", message)
        self._place(channel, message)
        self._messages[channel] = dict(sorted(self._messages[channel].items()))
        return ts

    def update(self, channel: str, user: str, ts: str, changes: Object, *, edited: bool) -> Object:
        """Change a message that `user` wrote. A field that is changed to None is removed."""
        kept = self._own(channel, user, ts, "cant_update_message")
        message = {key: value for key, value in (kept | changes).items() if value is not None}
        message["text"] = message["text"][:TEXT_LIMIT]
        if edited:
            message["edited"] = {"user": user, "ts": self.new_ts()}
        self._keep("updated", channel, message, previous=kept)
        return self.message(channel, ts)

    def delete(self, channel: str, user: str, ts: str) -> None:
        """Remove a message. If it has replies, a tombstone stands for it."""
        kept = self._own(channel, user, ts, "cant_delete_message")
        if "reply_count" in self.message(channel, ts):
            tombstone = {
                "type": "message",
                "subtype": "tombstone",
                "user": "USLACKBOT",
                "text": "This message was deleted.",
                "hidden": True,
                "ts": ts,
            }
            self._keep("deleted", channel, tombstone, previous=kept)
            return
        del self._messages[channel][ts]
        if "thread_ts" in kept:
            self._replies[channel, kept["thread_ts"]].remove(ts)
        with self._store.together():
            self._store.delete("message", f"{channel}/{ts}")
            self._listener(Change("deleted", channel, ts, kept.get("thread_ts"), kept, kept))

    def _own(self, channel: str, user: str, ts: str, refusal: str) -> Object:
        self.writable(channel, user)
        kept = self._messages[channel].get(ts)
        if kept is None:
            raise NotOk("message_not_found")
        if kept.get("user") != user:
            raise NotOk(refusal)
        return kept

    def react(self, channel: str, user: str, ts: str, name: str) -> None:
        """Put a reaction on a message."""
        reactions = self._reactions(channel, user, ts)
        if user in reactions.get(name, []):
            raise NotOk("already_reacted")
        self._keep_reactions(channel, ts, reactions | {name: [*reactions.get(name, []), user]})

    def unreact(self, channel: str, user: str, ts: str, name: str) -> None:
        """Take one's reaction off a message."""
        reactions = self._reactions(channel, user, ts)
        if user not in reactions.get(name, []):
            raise NotOk("no_reaction")
        reactions[name].remove(user)
        self._keep_reactions(channel, ts, reactions)

    def _reactions(self, channel: str, user: str, ts: str) -> dict[str, list[str]]:
        self.writable(channel, user)
        return {
            reaction["name"]: list(reaction["users"]) for reaction in self.message(channel, ts).get("reactions", [])
        }

    def _keep_reactions(self, channel: str, ts: str, reactions: dict[str, list[str]]) -> None:
        shown = [{"name": name, "users": users, "count": len(users)} for name, users in reactions.items() if users]
        kept = {key: value for key, value in self._messages[channel][ts].items() if key != "reactions"}
        self._keep("reaction", channel, kept | ({"reactions": shown} if shown else {}))

    def _keep(self, kind: Any, channel: str, message: Object, previous: Object | None = None) -> None:
        ts = message["ts"]
        with self._store.together():
            self._place(channel, message)
            self._store.put("message", f"{channel}/{ts}", message)
            now = self._with_thread(channel, message)
            self._listener(Change(kind, channel, ts, message.get("thread_ts"), now, previous))

    def _place(self, channel: str, message: Object) -> None:
        ts, thread_ts = message["ts"], message.get("thread_ts")
        if thread_ts and ts not in self._messages[channel]:
            self._replies.setdefault((channel, thread_ts), []).append(ts)
        self._messages[channel][ts] = message
