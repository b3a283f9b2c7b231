"""What people do that is about PeerBot itself and no conversation: settings, costs and the Home tab.

`Actions` hands these over. What changes something is in the journal before this returns, and so before the ack.
"""

from dataclasses import dataclass

from peerbot.conversation.held import Kind
from peerbot.dispatcher.home import Home
from peerbot.dispatcher.month import Month
from peerbot.dispatcher.picking import Picking
from peerbot.dispatcher.preferences import Preferences
from peerbot.dispatcher.raising import Raising
from peerbot.slack.allow_more import ALLOW_MORE
from peerbot.slack.controls import COMMAND
from peerbot.slack.events import Change, Other
from peerbot.slack.home_view import HOME_EDIT, HOME_HELP
from peerbot.slack.interactions import BlockAction, Command, Interaction, Reply, ViewAction
from peerbot.slack.settings_form import SETTINGS
from peerbot.slack.where import PICK
from peerbot.tasks import Spawn

Incoming = Change | Interaction | Other


@dataclass(slots=True)
class Desk:
    """Takes these. `spawn` starts what need not come before the ack."""

    preferences: Preferences
    raising: Raising
    picking: Picking
    month: Month
    home: Home
    spawn: Spawn

    def takes(self, incoming: Incoming) -> bool:
        """Whether this is one of them."""
        match incoming:
            case Command(command=command, text=text):
                return command == COMMAND and text.strip().lower().split(" ")[0] in ("settings", "cost")
            case BlockAction(action_id=action):
                return action in (ALLOW_MORE, PICK, HOME_EDIT, HOME_HELP)
            case Other(type=event):
                return event == "app_home_opened"
            case ViewAction(submitted=submitted, callback_id=form):
                return submitted and form == SETTINGS
        return False

    async def __call__(self, incoming: Incoming) -> Reply | None:
        """Do what somebody asked for; returns what goes back with the ack. Raises what the journal raises."""
        match incoming:
            case Command(text=text) if text.strip().lower() == "cost":
                return Reply.only_to_them(await self.month.said(incoming.user, incoming.channel))
            case Command():
                self.spawn(self._open(incoming))
            case ViewAction(user=user):
                reply = await self.preferences.submitted(incoming)
                self.spawn(self.home.show(user))
                return reply
            case BlockAction(action_id=action) if action == ALLOW_MORE:
                await self.raising.pressed(incoming)
            case BlockAction(action_id=action) if action == PICK:
                await self.picking.pressed(incoming)
            case BlockAction(action_id=action, user=user, trigger_id=trigger) if action == HOME_EDIT:
                self.spawn(self.preferences.open(trigger, user, "user", user, told_in=""))
            case BlockAction(trigger_id=trigger):
                self.spawn(self.home.help(trigger))
            case Other(user=user):
                self.spawn(self.home.show(user))
        return None

    def stopped(self, user: str) -> None:
        """Show that somebody has stopped work from their Home tab."""
        self.spawn(self.home.show(user))

    async def _open(self, command: Command) -> None:
        """Open the channel's settings; one's own in a direct message, or for `settings me`."""
        said = command.text.strip().lower()
        own = command.channel.startswith("D") or said == "settings me"
        kind: Kind = "user" if own else "channel"
        of = command.user if own else command.channel
        await self.preferences.open(command.trigger_id, command.user, kind, of, told_in=command.channel)
