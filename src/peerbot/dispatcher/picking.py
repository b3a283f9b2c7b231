"""Somebody picks the repository for a thread in the menu that we showed: settled once, before Slack's ack."""

from collections.abc import Callable
from dataclasses import dataclass

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.control_words import UNKNOWN_CONTROL
from peerbot.slack.interactions import BlockAction
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.where import BEGUN_BEFORE, MAY_NOT_PICK, picked_before
from peerbot.tasks import Spawn
from peerbot.thread.admission import Admissions
from peerbot.thread.where import Where

log = logger(__name__)


@dataclass(slots=True)
class Picking:
    """Takes choices. `reconcile` places a conversation that waited for one; `team` is our workspace."""

    journal: Journal
    where: Where
    admission: Admissions
    people: People
    poster: Poster
    team: str
    reconcile: Callable[[Conversation], None]
    spawn: Spawn

    async def pressed(self, pressed: BlockAction) -> None:
        """Settle a choice, or tell its author why not. Raises what the journal raises: then there is no ack."""
        try:
            conversation = Conversation(self.team, pressed.channel, pressed.thread_ts)
            known = await self.journal.knows(conversation)
        except ValueError:  # not what Slack makes
            known = False
        if not (known and pressed.value):
            return self._tell(pressed, UNKNOWN_CONTROL)
        if await self.admission.refusal(pressed.user, self.team, pressed.channel):
            return self._tell(pressed, MAY_NOT_PICK)
        if await self.where.picked(conversation) is None and await self.journal.conversation(conversation):
            return self._tell(pressed, BEGUN_BEFORE)
        holds, mine = await self.where.pick(conversation, pressed.value, pressed.user)
        if not mine:
            self._tell(pressed, picked_before(holds.repository, await self.people.name(holds.picked_by)))
        self.spawn(self.where.show(conversation, holds, pressed.message_ts))
        self.reconcile(conversation)
        return None

    def _tell(self, pressed: BlockAction, sentence: str) -> None:
        self.spawn(self._whisper(pressed, sentence))

    async def _whisper(self, pressed: BlockAction, sentence: str) -> None:
        try:
            await self.poster.whisper(pressed.channel, pressed.user, sentence, thread_ts=pressed.thread_ts)
        except PeerBotError as error:
            log.warning("choice_not_told", channel=pressed.channel, reason=str(error))
