"""Opens modals, and publishes people's Home tabs."""

from typing import Any

from peerbot.slack.blocks import Block
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound


class Screens:
    """Shows views. All methods raise as `Outbound.call` does."""

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound

    async def open(self, trigger: str, view: Block) -> str:
        """Open a modal for the person whose click or command gave `trigger`, within three seconds; returns its id."""
        reply = await self._call("views.open", {"trigger_id": trigger, "view": view})
        return str((reply.get("view") or {}).get("id") or "")

    async def replace(self, identity: str, view: Block) -> None:
        """Put another view in the place of an open modal."""
        await self._call("views.update", {"view_id": identity, "view": view})

    async def home(self, user: str, view: Block) -> None:
        """Publish a person's Home tab. It is made whole each time, so the newest holds."""
        await self._call("views.publish", {"user_id": user, "view": view})

    async def _call(self, method: str, arguments: dict[str, Any]) -> Any:
        return await self._outbound.call("a view", method, Urgency.FIRST, arguments)
