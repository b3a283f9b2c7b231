"""What a person does in the views that an app shows: fills in a modal, opens the Home tab, presses a button there."""

from collections.abc import Callable
from typing import Any

from peerbot.local.slack import interactions, shapes, views
from peerbot.local.slack.shapes import Object
from peerbot.local.slack.socketmode import SocketMode
from peerbot.local.slack.views import Views
from peerbot.local.slack.world import World


class Client:
    """Acts as a person. What Slack refuses raises `NotOk`, as `SocketMode.ask` does."""

    def __init__(
        self, world: World, sockets: SocketMode, shown: Views, send_event: Callable[[str, Object], None]
    ) -> None:
        self._world = world
        self._sockets = sockets
        self._views = shown
        self._send_event = send_event

    async def fill_in(self, user: str, values: dict[str, Any]) -> Object | None:
        """Submit the modal that a person sees, with these values by block id; returns the content of the ack.

        It stays open if the reply has errors. Raises as `views.filled` does, too.
        """
        view = self._views.opened(user)[-1]
        filled = views.filled(view, values)
        made = interactions.submitted(self._world.users[user], view, filled, self._views.trigger(user))
        reply = await self._sockets.ask("interactive", made)
        match (reply or {}).get("response_action"):
            case None | "clear":
                self._views.close(view)
            case "update":
                self._views.replace(view, (reply or {})["view"])
        return reply

    async def open_home(self, user: str, channel: str = shapes.DIRECT) -> None:
        """Open the app's Home tab."""
        event = {"type": "app_home_opened", "user": user, "channel": channel, "tab": "home"}
        there = {"view": self._views.home(user)} if self._views.home(user) else {}
        self._send_event(channel, event | there | {"event_ts": self._world.new_ts()})

    async def press(self, user: str, view: Object, action: str) -> Object | None:
        """Press a button of a modal or the Home tab, by its action id or its value."""
        at, trigger = self._world.new_ts(), self._views.trigger(user)
        made = interactions.pressed_in_view(self._world.users[user], view, action, at, trigger)
        return await self._sockets.ask("interactive", made)
