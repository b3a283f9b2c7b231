"""What people do on the chat page. It goes the way that tests go, so that what Slack would refuse is refused here."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, MultipartReader

from peerbot.local.slack.files import MOST_BYTES, FilePart
from peerbot.local.slack.shapes import Object
from peerbot.local.slack.world import NotOk, World
from peerbot.slack.controls import COMMAND

if TYPE_CHECKING:
    from peerbot.local.slack.server import LocalSlack

MOST_FILES = 10


class Acts:
    """Each act is a document with `as`, the person who does it, and returns one.

    Raises `NotOk` with Slack's word, and `LookupError` with a sentence if there is no such button or field (or a field
    is empty).
    """

    def __init__(self, slack: "LocalSlack", world: World, touch: Callable[[], None]) -> None:
        self._slack = slack
        self._touch = touch
        self._world = world
        self._all: dict[str, Callable[[str, Object], Awaitable[Object | None]]] = {
            "say": self._say,
            "edit": self._edit,
            "delete": self._delete,
            "react": self._react,
            "press": self._press,
            "press_in_view": self._press_in_view,
            "submit": self._submit,
            "close": self._close,
            "home": self._home,
            "command": self._command,
            "stop": self._stop,
        }

    async def do(self, act: str, asked: Object) -> Object | None:
        """Do what was asked."""
        if act not in self._all:
            raise NotOk("unknown_method")
        return await self._all[act](self._person(asked["as"]), asked)

    async def upload(self, parts: MultipartReader) -> Object:
        """Share files with a message: the fields come first, then the files."""
        fields: dict[str, str] = {}
        files: list[FilePart] = []
        async for part in parts:
            if not isinstance(part, BodyPartReader):
                raise NotOk("invalid_arguments")
            if part.filename is None:
                fields[str(part.name)] = await part.text()
                continue
            data = bytearray()
            while piece := await part.read_chunk(64 * 1024):
                data += piece
                if len(data) > MOST_BYTES:
                    raise NotOk("file_upload_size_restricted")
            files.append(FilePart(part.filename, bytes(data)))
            if len(files) > MOST_FILES:
                raise NotOk("too_many_files")
        if not files:
            raise NotOk("no_file_data")
        user, thread_ts = self._person(fields["as"]), fields.get("thread_ts") or None
        ts = self._slack.share_files(user, fields["channel"], fields.get("text", ""), files, thread_ts=thread_ts)
        return {"ts": ts}

    def _person(self, user: Any) -> str:
        if user not in self._world.users or self._world.users[user]["is_bot"]:
            raise NotOk("user_not_found")
        return str(user)

    async def _say(self, user: str, asked: Object) -> Object:
        thread_ts = asked.get("thread_ts") or None
        text, me = str(asked["text"]), bool(asked.get("me"))
        return {"ts": await self._slack.say(user, asked["channel"], text, thread_ts=thread_ts, me=me)}

    async def _edit(self, user: str, asked: Object) -> None:
        if not asked["text"]:
            raise NotOk("no_text")
        await self._slack.edit(user, asked["channel"], asked["ts"], str(asked["text"]))

    async def _delete(self, user: str, asked: Object) -> None:
        await self._slack.delete(user, asked["channel"], asked["ts"])

    async def _react(self, user: str, asked: Object) -> None:
        channel, ts, name = asked["channel"], asked["ts"], str(asked["name"])
        there = self._world.message(channel, ts).get("reactions", [])
        if any(user in sign["users"] for sign in there if sign["name"] == name):
            self._world.unreact(channel, user, ts, name)
        else:
            await self._slack.react(user, channel, ts, name)

    async def _press(self, user: str, asked: Object) -> None:
        filled = {str(name): list(values) for name, values in asked.get("filled", {}).items()}
        channel, value = asked["channel"], str(asked.get("value", ""))
        whispered = [each for each in self._slack.whispers(user) if each["ts"] == asked["ts"]]
        if whispered:
            await self._slack.press_shown(user, channel, whispered[0], asked["action"], value, **filled)
        else:
            await self._slack.press(user, channel, asked["ts"], asked["action"], value, **filled)

    async def _press_in_view(self, user: str, asked: Object) -> None:
        await self._slack.client.press(user, self._view(user, asked["view"]), asked["action"])

    async def _submit(self, user: str, asked: Object) -> Object:
        # What is submitted is the modal on top, which has to be the one that the person saw.
        if not self._slack.views.opened(user) or self._slack.views.opened(user)[-1]["id"] != asked["view"]:
            raise NotOk("view_not_found")
        reply = await self._slack.client.fill_in(user, asked["values"])
        return {"errors": (reply or {}).get("errors", {})}

    async def _close(self, user: str, asked: Object) -> None:
        self._slack.views.close(self._view(user, asked["view"]))
        self._touch()

    async def _home(self, user: str, _: Object) -> None:
        direct = self._world.direct(user)
        await self._slack.client.open_home(user, direct)

    async def _command(self, user: str, asked: Object) -> None:
        name, text, channel = asked["command"], str(asked.get("text", "")), asked["channel"]
        if name != COMMAND:
            raise LookupError(f"{name} is not a command here. There is {COMMAND}: try {COMMAND} help.")
        reply = await self._slack.command(user, channel, name, text) or {}
        if said := reply.get("text"):
            more = {"blocks": reply["blocks"]} if reply.get("blocks") else {}
            self._world.whisper(channel, user, str(said), **more)

    async def _stop(self, user: str, asked: Object) -> None:
        self._slack.stop_session(user, asked["channel"], asked["thread_ts"])

    def _view(self, user: str, identity: str) -> Object:
        home = self._slack.views.home(user)
        for view in [*self._slack.views.opened(user), *([home] if home else [])]:
            if view["id"] == identity:
                return view
        raise NotOk("view_not_found")
