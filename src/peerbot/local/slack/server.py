"""The local Slack: one object that is a whole workspace, on a port of its own (on loopback, unless told otherwise).

`peerbot local` and the tests run it in Slack's place: the dispatcher is the same, with another `SLACK_API_URL`. Read
`world.py` for the state, `webapi.py` for the calls that an app may make, and `socketmode.py` and `events.py` for the
events that an app gets.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

from peerbot.errors import PeerBotError, Unavailable
from peerbot.local import ports
from peerbot.local.slack import events, interactions, shapes
from peerbot.local.slack.changes import Change, Changes
from peerbot.local.slack.client import Client
from peerbot.local.slack.door import Door
from peerbot.local.slack.faults import Call, Faults
from peerbot.local.slack.files import FilePart, Files
from peerbot.local.slack.page import Page
from peerbot.local.slack.shapes import BOT_USER, ChannelKind, Object, UserKind
from peerbot.local.slack.socketmode import Ack, SocketMode
from peerbot.local.slack.store import Store
from peerbot.local.slack.views import Views
from peerbot.local.slack.webapi import WebApi
from peerbot.local.slack.world import NotOk, World

T = TypeVar("T")


class LocalSlack:
    """A Slack workspace with one app in it, PeerBot, and one person, Ada.

    `directory` keeps the world when the process ends, even by SIGKILL, and its port. Without it the world is in memory.
    Tokens are new with each start. The caller that starts it closes it (or uses it as an async context manager).

    Methods that act as a person raise `NotOk` with the error that Slack would give.
    """

    team = shapes.TEAM
    bot_user, bot = BOT_USER, shapes.BOT
    person = shapes.PERSON
    general, direct = shapes.GENERAL, shapes.DIRECT

    def __init__(self, directory: Path | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.faults = Faults()
        self._host, self._port = host, port
        self._remembered = directory / "port" if directory else None
        self._changes = Changes()
        self._store = Store(directory)
        self._sockets = SocketMode(self._store, self.faults, self._changes.touch)
        self._world = World(self._store, self._changed)
        self._files = Files(self._world, self._store, self.faults)
        self.views = Views()
        self._api = WebApi(self._world, self._files, self.views, self.faults, self._new_socket_url, self._changes.touch)
        self._files.may_read = self._api.may_read_files
        self.client = Client(self._world, self._sockets, self.views, self.send_event)
        self._door = Door(self)
        self.page = Page(self, self._world, self._files, self._changes, directory)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, and go on sending the events that were on their way. Raises `Unavailable` if the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                *self.page.routes(),
                web.route("*", "/api/{method}", self._api.handle),
                web.get("/link/", self._sockets.handle),
                *self._files.routes(),
                *self._door.routes(),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.SockSite(self._runner, ports.listening(self._host, self._port, self._remembered)).start()
        except OSError as error:
            await self.close()
            raise Unavailable(f"The local Slack can't listen on port {self._port}: it is taken.") from error
        self._port = self._runner.addresses[0][1]
        self._world.url = self.url
        self._sockets.start()

    async def close(self) -> None:
        """Stop. Events on their way are sent when a world with the same directory starts. Idempotent."""
        await self._sockets.close()
        self.page.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._changes.close()
        self._store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Its addresses and secrets

    @property
    def url(self) -> str:
        """The workspace's address, with a slash at its end."""
        if self._runner is None:
            raise PeerBotError("The local Slack is not started.")
        return f"http://{self._host}:{self._port}/"

    @property
    def api_url(self) -> str:
        """The base URL for the Slack SDK."""
        return f"{self.url}api/"

    @property
    def bot_token(self) -> str:
        """The app's token for the Web API."""
        return self._api.bot_token

    @property
    def app_token(self) -> str:
        """The app's token for Socket Mode."""
        return self._api.app_token

    @property
    def door_secret(self) -> str:
        """The secret that lets another process act as a person. The agent must never see it."""
        return self._door.secret

    def _new_socket_url(self) -> str:
        return f"ws://{self._host}:{self._port}/link/?ticket={self._sockets.new_ticket()}"

    # Making the world

    def add_user(self, user: str, name: str, *, kind: UserKind = "member") -> None:
        """Add somebody to the workspace."""
        self._world.add_user(user, name, kind)

    def add_channel(
        self,
        channel: str,
        name: str,
        *,
        kind: ChannelKind = "public",
        members: Sequence[str] = (shapes.PERSON, BOT_USER),
        shared: bool = False,
    ) -> None:
        """Add a channel; `shared`: another organisation shares it (Slack Connect)."""
        self._world.add_channel(channel, name, kind, members, shared=shared)

    def add_group(self, group: str, members: Sequence[str]) -> None:
        """Add a user group, or set its members."""
        self._world.groups[group] = list(members)

    def archive_channel(self, channel: str) -> None:
        """Close a channel."""
        self._world.archive(channel, archived=True)

    def unarchive_channel(self, channel: str) -> None:
        """Open a channel again."""
        self._world.archive(channel, archived=False)

    def remove_bot(self, channel: str) -> None:
        """Take the bot out of a channel."""
        self._world.set_members(channel, [m for m in self._world.channel(channel)["members"] if m != BOT_USER])

    def invite_bot(self, channel: str) -> None:
        """Put the bot into a channel."""
        self.remove_bot(channel)
        self._world.set_members(channel, [*self._world.channel(channel)["members"], BOT_USER])

    def grant(self, scopes: Sequence[str]) -> None:
        """Set the bot token's scopes. At first it has those of PeerBot's manifest."""
        self._api.scopes = list(scopes)

    def lack_blocks(self, *types: str) -> None:
        """Refuse these types of blocks from now on, and no others, as a workspace does that does not have them yet."""
        self._world.lacking_blocks = set(types)

    def agent_status(self, channel: str, thread_ts: str) -> str:
        """Return the status that people see in a thread: `processing`, or the like; empty if it never had one."""
        return self._world.agent_status.get((channel, thread_ts), "")

    # Acting as a person

    def mention(self) -> str:
        """Return the bot's mention, for the text of a message."""
        return events.MENTION

    async def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        thread_ts: str | None = None,
        metadata: Object | None = None,
        me: bool = False,
    ) -> str:
        """Write a message and return its `ts`. `text` is escaped as Slack escapes it (`&amp; &lt; &gt;`).

        `metadata`: what an app that posts as `user` says of the message to programs. `me`: written with `/me`.
        """
        if user not in self._world.users:
            raise NotOk("user_not_found")
        if not text:
            raise NotOk("no_text")
        more: Object = {"metadata": metadata} if metadata else {}
        if me:
            more["subtype"] = "me_message"
        message = self._world.post(channel, user, text, thread_ts=thread_ts, **more)
        return str(message["ts"])

    async def forward(
        self, user: str, origin: str, ts: str, channel: str, text: str = "", *, thread_ts: str | None = None
    ) -> str:
        """Forward a message of the channel `origin` into another channel, with or without words; returns its `ts`."""
        seen, message = self._world.channel(origin, seen_by=user), self._world.message(origin, ts)
        author = self._world.users.get(message.get("user", ""))
        named = author or {"id": message["bot_id"], "real_name": message["username"], "name": message["username"]}
        address = f"{self.url}archives/{origin}/p{ts.replace('.', '')}"
        attachments = [shapes.forwarded(message, named, seen, address)]
        posted = self._world.post(channel, user, text, thread_ts=thread_ts, attachments=attachments)
        return str(posted["ts"])

    async def app_says(
        self, channel: str, text: str = "", *, name: str = "Alerts", thread_ts: str | None = None, **more: Any
    ) -> str:
        """Write a message as another app, which has a webhook and no user; `more`: blocks, attachments."""
        return str(self._world.post_as_app(channel, name, text, thread_ts=thread_ts, **more)["ts"])

    async def remember(self, user: str, channel: str, text: str, *, seconds_ago: float) -> str:
        """Put a message into the past and return its `ts`: Slack has long given up sending its events."""
        return self._world.remember(channel, user, text, seconds_ago)

    async def share_file(self, user: str, channel: str, name: str, data: bytes, *, thread_ts: str | None = None) -> str:
        """Share a file and return its message's `ts`."""
        return self.share_files(user, channel, "", [FilePart(name, data)], thread_ts=thread_ts)

    def share_files(
        self, user: str, channel: str, text: str, parts: Sequence[FilePart], *, thread_ts: str | None = None
    ) -> str:
        """Write a message with files and return its `ts`. `text` may be empty, and is escaped as in `say`."""
        files = [self._files.made(user, channel, part) for part in parts]
        return str(self._world.post(channel, user, text, thread_ts=thread_ts, files=files)["ts"])

    def remember_files(self, user: str, channel: str, text: str, parts: Sequence[FilePart], seconds_ago: float) -> str:
        """Put a message with files into the past, as `remember` does."""
        files = [self._files.made(user, channel, part) for part in parts]
        return self._world.remember(channel, user, text, seconds_ago, files=files)

    def delete_file(self, identity: str) -> None:
        """Delete a file that somebody shared. Its message stays."""
        self._files.delete(identity)

    async def edit(self, user: str, channel: str, ts: str, text: str) -> None:
        """Change the text of one's own message."""
        self._world.update(channel, user, ts, {"text": text}, edited=True)

    async def delete(self, user: str, channel: str, ts: str) -> None:
        """Delete one's own message."""
        self._world.delete(channel, user, ts)

    async def react(self, user: str, channel: str, ts: str, name: str) -> None:
        """Put a sign on a message. An app that may read reactions hears of it."""
        self._world.react(channel, user, ts, name)
        item_user = self._world.message(channel, ts).get("user")
        if "reactions:read" in self._api.scopes:
            event = {"type": "reaction_added", "user": user, "reaction": name, "item_user": item_user}
            item = {"type": "message", "channel": channel, "ts": ts}
            self.send_event(channel, event | {"item": item, "event_ts": self._world.new_ts()})

    def stop_session(self, user: str, channel: str, thread_ts: str) -> None:
        """Press Slack's own Stop. People see it while the agent's status is `processing`; a client may lag behind."""
        event = {"type": "agent_session_stopped", "channel": channel, "user": user, "thread_ts": thread_ts}
        self.send_event(channel, event | {"streaming_message_ts": [], "event_ts": self._world.new_ts()})

    async def press(
        self, user: str, channel: str, ts: str, action_id: str, value: str = "", **filled: Sequence[str]
    ) -> Object | None:
        """Press a message's button, and return the content of the ack. `value`: as in `interactions.pressed`.

        `filled`: what the person chose in the message's fields, by action.
        Raises `LookupError` if there is no such button, and `NotOk` as `SocketMode.ask` does.
        """
        self._world.channel(channel, seen_by=user)
        return await self.press_shown(user, channel, self._world.message(channel, ts), action_id, value, **filled)

    async def press_shown(
        self, user: str, channel: str, message: Object, action_id: str, value: str = "", **filled: Sequence[str]
    ) -> Object | None:
        """Press a button of a message as a client shows it, which may lag behind. Otherwise as `press`."""
        seen = self._world.channel(channel, seen_by=user)
        trigger, at = self.views.trigger(user), self._world.new_ts()
        made = interactions.pressed(
            self._world.users[user], seen, message, action_id, at, trigger, value=value, filled=filled
        )
        return await self._sockets.ask("interactive", made)

    async def submit(self, user: str, view: Object, values: Object) -> Object | None:
        """Submit a modal, and return the content of the ack. Raises `NotOk` as `SocketMode.ask` does.

        `view` need not have been opened: it has the form that an app gives to `views.open`. `values` are by block and
        action.
        """
        made = interactions.submitted(self._world.users[user], view, values, self.views.trigger(user))
        return await self._sockets.ask("interactive", made)

    async def command(self, user: str, channel: str, command: str, text: str) -> Object | None:
        """Use a slash command, and return the content of the ack. Raises `NotOk` as `SocketMode.ask` does."""
        seen = self._world.channel(channel, seen_by=user)
        return await self._sockets.ask(
            "slash_commands",
            interactions.command(self._world.users[user], seen, command, text, self.views.trigger(user)),
        )

    def redeliver(self, channel: str, ts: str) -> None:
        """Send a message's events again, as Slack does when an ack gets lost on its way."""
        message = {key: value for key, value in self._world.message(channel, ts).items() if key != "reactions"}
        change = Change("posted", channel, ts, message.get("thread_ts"), message)
        for payload in events.payloads(change, self._world.channel(channel), self._world.new_ts):
            self._sockets.deliver(payload)

    def send_event(self, channel: str, event: Object) -> None:
        """Send an event that no message of this world caused: a join, another app's message."""
        self._sockets.deliver(events.wrapped(event, self._world.channel(channel)))

    # Looking at it

    def thread(self, channel: str, thread_ts: str) -> list[Object]:
        """List a thread's messages in order, with reactions, metadata and blocks; empty if there is no such thread."""
        return self._world.thread(channel, thread_ts)

    def whispers(self, user: str) -> list[Object]:
        """List the messages that `user` alone sees, oldest first; a page that is loaded again does not have them."""
        return [message for message in self._world.whispers if message["user"] == user]

    def message(self, channel: str, ts: str) -> Object:
        """Return one message, with reactions, metadata and blocks."""
        return self._world.message(channel, ts)

    def file(self, identity: str) -> bytes:
        """Return the content of a file that was uploaded."""
        return self._files.content(identity)

    @property
    def downloads(self) -> Sequence[tuple[str, str]]:
        """The `Authorization` header and the address of each download of a file, oldest first."""
        return self._files.bearers

    def watch(self) -> AsyncIterator[Change]:
        """Yield every change from this call on, until the local Slack is closed."""
        return self._changes.watch()

    async def wait_for(self, condition: Callable[[], T | None], timeout_seconds: float) -> T:
        """Wait until `condition` returns something other than None or False. Every change asks it again.

        Calls, connections and acks count as changes here. Raises `TimeoutError`.
        """
        return await self._changes.wait_for(condition, timeout_seconds)

    @property
    def calls(self) -> Sequence[Call]:
        """The last calls of the Web API, oldest first."""
        return self._api.calls

    @property
    def connections(self) -> int:
        """The number of open Socket Mode connections."""
        return self._sockets.connections

    @property
    def undelivered(self) -> int:
        """The number of events that are neither acknowledged nor given up."""
        return self._sockets.undelivered

    @property
    def acks(self) -> Sequence[Ack]:
        """The last acknowledged events, each with the time that its ack took, oldest first."""
        return self._sockets.acks

    async def disconnect_sockets(self, reason: str = "refresh_requested") -> None:
        """Ask every client to connect again, as Slack does every few hours."""
        await self._sockets.disconnect(reason)

    def drop_sockets(self) -> None:
        """Break every connection without a word, as a network does."""
        self._sockets.drop()

    def silence_sockets(self) -> None:
        """Keep every connection open but pass nothing on, as a network that loses packets does."""
        self._sockets.silence()

    def _changed(self, change: Change) -> None:
        for payload in events.payloads(change, self._world.channel(change.channel), self._world.new_ts):
            self._sockets.deliver(payload)
        self._changes.publish(change)
