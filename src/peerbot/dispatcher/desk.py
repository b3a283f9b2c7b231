"""What people do that is about PeerBot itself and no conversation: settings, costs and the Home tab.

`Actions` hands these over. What changes something is in the journal before this returns, and so before the ack.
"""

from dataclasses import dataclass

from peerbot.conversation.held import Kind
from peerbot.dispatcher.preferences import Preferences
from peerbot.slack.controls import COMMAND
from peerbot.slack.events import Change, Other
from peerbot.slack.interactions import Command, Interaction, Reply, ViewAction
from peerbot.slack.settings_form import SETTINGS
from peerbot.tasks import Spawn

Incoming = Change | Interaction | Other


@dataclass(slots=True)
class Desk:
    """Takes these. `spawn` starts what need not come before the ack."""

    preferences: Preferences
    spawn: Spawn

    def takes(self, incoming: Incoming) -> bool:
        """Whether this is one of them."""
        match incoming:
            case Command(command=command, text=text):
                return command == COMMAND and text.strip().lower().split(" ")[0] == "settings"
            case ViewAction(submitted=submitted, callback_id=form):
                return submitted and form == SETTINGS
        return False

    async def __call__(self, incoming: Incoming) -> Reply | None:
        """Do what somebody asked for; returns what goes back with the ack. Raises what the journal raises."""
        match incoming:
            case Command():
                self.spawn(self._open(incoming))
            case ViewAction():
                return await self.preferences.submitted(incoming)
        return None

    async def _open(self, command: Command) -> None:
        """Open the channel's settings; one's own in a direct message, or for `settings me`."""
        said = command.text.strip().lower()
        own = command.channel.startswith("D") or said == "settings me"
        kind: Kind = "user" if own else "channel"
        of = command.user if own else command.channel
        await self.preferences.open(command.trigger_id, command.user, kind, of, told_in=command.channel)
