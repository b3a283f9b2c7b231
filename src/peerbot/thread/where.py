"""Asks in the thread in which repository a conversation should work, if several fit, and takes the choice.

The choice is settled once, by a create (`repository.json`). A message with the menu is posted before the journal says
so: a dispatcher that dies in between leaves it to another to ask once more, and both menus work. Each menu has a note
of its own. Somebody may choose before the note is there, so each side writes first and then looks at what the other
side wrote: one of them sees both, and takes the menu away.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from peerbot.conversation.chosen import Asked, Picked
from peerbot.conversation.documents import Input
from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.slack.lanes import Urgency
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.where import picked, picker

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Where:
    """Asks, and keeps the answer. It holds nothing."""

    journal: Journal
    poster: Poster
    people: People

    async def ask(self, first: Input, repositories: Sequence[str]) -> None:
        """Ask once for `first`, the message that waits. Raises what Slack and the journal raise."""
        conversation, asked = first.conversation, paths.asked_for(first.conversation, first.id)
        if [key async for key in self.journal.keys(asked)]:
            return
        ts = await self.poster.post(conversation, picker(repositories, first.user))
        await self.journal.create(f"{asked}{ts}.json", Asked(channel=conversation.channel, ts=ts))
        log.info("repository_asked", conversation=str(conversation), choices=len(repositories))
        if holds := await self.picked(conversation):
            await self.show(conversation, holds)

    async def was_asked(self, conversation: Conversation) -> bool:
        """Whether we asked."""
        return bool(await self._asked(conversation))

    async def _asked(self, conversation: Conversation) -> list[Asked]:
        keys = [key async for key in self.journal.keys(paths.asked(conversation))]
        return [await self.journal.read_existing(key, Asked) for key in keys]

    async def picked(self, conversation: Conversation) -> Picked | None:
        """Read what somebody picked."""
        return await self.journal.read(paths.picked(conversation), Picked)

    async def pick(self, conversation: Conversation, repository: str, user: str) -> tuple[Picked, bool]:
        """Settle the choice; returns the one that holds, and whether it is this one."""
        mine = Picked(repository=repository, picked_by=user)
        if await self.journal.create(paths.picked(conversation), mine):
            log.info("repository_picked", conversation=str(conversation), repository=repository)
            return mine, True
        return await self.journal.read_existing(paths.picked(conversation), Picked), False

    async def picked_in_words(self, item: Input, repository: str) -> None:
        """Settle a choice that somebody wrote, after we asked, and show it. Raises what the journal raises."""
        holds, _ = await self.pick(item.conversation, repository, item.user)
        await self.show(item.conversation, holds)

    async def show(self, conversation: Conversation, holds: Picked, pressed: str = "") -> None:
        """Show the choice in the place of each menu. A failure is only logged: the card shows the repository, too.

        `pressed`: the `ts` of the message whose menu somebody used. A dispatcher that died may have left no note of it.
        """
        try:
            shown = picked(holds.repository, await self.people.name(holds.picked_by))
            menus = {(each.channel, each.ts) for each in await self._asked(conversation)}
            menus |= {(conversation.channel, pressed)} if pressed else set()
            for channel, ts in sorted(menus):
                await self.poster.update(channel, ts, shown, urgency=Urgency.FIRST)
        except PeerBotError as error:
            log.warning("choice_not_shown", conversation=str(conversation), reason=str(error))
