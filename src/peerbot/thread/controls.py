"""Our controls in a thread: which work somebody means, and the word to them if what they did had no effect."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from peerbot.conversation.documents import Input, Settled
from peerbot.conversation.keys import Conversation, input_id
from peerbot.conversation.notes import Refusal
from peerbot.conversation.steps import NoEffect
from peerbot.errors import PeerBotError, Unavailable
from peerbot.journal import chosen
from peerbot.journal.answers import answered, claim_telling_again, settle, taken_back
from peerbot.journal.journal import Journal
from peerbot.journal.questions import question, question_settled
from peerbot.logs import logger
from peerbot.slack.blocks import link
from peerbot.slack.choice_words import no_effect
from peerbot.slack.control_words import DELETED_TOO_LATE, ENDED, NOTHING_AT_WORK, already_stopped, may_not
from peerbot.slack.marks import Mark
from peerbot.slack.people import People
from peerbot.slack.post import Poster
from peerbot.slack.question_words import NO_QUESTION, TOOK_BACK, answered_before, not_theirs
from peerbot.slack.questions import plainly
from peerbot.thread.present import CARD_EVENT

log = logger(__name__)

TELL_WITHIN_SECONDS = 15.0
"""How long the replica that settled an input has to tell its author …"""

TELLING = timedelta(seconds=25)
"""… and for how long no other replica does. After that one other claims it, as answers are claimed."""

_MOST_TURNS = 10_000_000

MOST_TELLING = 10
"""How often we try to tell somebody, if Slack does not answer."""


class Controls:
    """Reads and tells. It holds nothing."""

    def __init__(self, *, journal: Journal, poster: Poster, people: People) -> None:
        self._journal = journal
        self._poster = poster
        self._people = people

    async def meant(self, conversation: Conversation, ts: str, mark: Mark | None) -> tuple[int | None] | None:
        """Find the work that a sign on message `ts` means: the turn, or None as its number for what is at work.

        Returns None if the message is neither a card nor one that somebody wrote to us. `mark`: what the message says
        of itself. A card says of which turn it is, also if the dispatcher that posted it has not noted it yet.
        """
        if mark and mark.event == CARD_EVENT and mark.payload.get("conversation") == str(conversation):
            turn = mark.payload.get("turn")
            return (turn,) if isinstance(turn, int) and 0 < turn < _MOST_TURNS else None
        identity = input_id(ts, "message")
        if await self._journal.input(conversation, identity) is None:
            return None
        return ((await answered(self._journal, conversation, [identity])).get(identity),)

    async def no_effect(self, item: Input, why: NoEffect | Refusal, *, said: str = "") -> bool:
        """Tell the author of an input, and nobody else, that it had no effect and why. Then it is settled.

        `said` is the sentence for them, if `why` alone does not say it. Returns False if another replica tells them.
        The journal is told first, so that every replica says the same. If a replica dies before the marker is gone, or
        Slack does not answer it, one other tells them a little later.
        """
        if item.kind == "delete" and await taken_back(self._journal, item):
            await self.dropped(item.conversation, [item.id])  # it came before its message, and has had its effect
            return True

        async def sentence(settled: Settled) -> str:
            log.info("no_effect", conversation=str(item.conversation), input=item.id, why=settled.why)
            return settled.said or await self._sentence(item.conversation, item, settled.why)

        return await self._told(item, Settled(why=why.value, said=said), sentence)

    async def show(self, item: Input, said: str, *, commands: bool = False) -> bool:
        """Show the author of an input, and nobody else, what they asked for. Otherwise as `no_effect`.

        `commands`: it is mrkdwn of our own, with commands to copy.
        """

        async def sentence(_: Settled) -> str:
            return said

        return await self._told(item, Settled(why=NoEffect.SHOWN.value), sentence, commands=commands)

    async def whisper(self, item: Input, said: str) -> None:
        """Tell an input's author something, and nobody else. A failure is only logged."""
        try:
            await self._poster.whisper(item.channel, item.user, said, thread_ts=item.thread_ts)
        except PeerBotError as error:
            log.warning("not_shown", conversation=str(item.conversation), input=item.id, reason=str(error))

    async def _told(
        self, item: Input, wanted: Settled, sentence: Callable[[Settled], Awaitable[str]], *, commands: bool = False
    ) -> bool:
        """Settle an input, tell its author, and drop its marker; False if another replica does so, or must try again.

        The create that settles it says who tells; if that one may have died, the create of a claim says who is next.
        """
        holds, tries = await settle(self._journal, item.conversation, item.id, wanted), 0
        if holds.nonce != wanted.nonce:
            tries = await claim_telling_again(self._journal, item, holds.settled_at, TELLING)
            if not tries:
                return False
        try:
            async with asyncio.timeout(TELL_WITHIN_SECONDS):
                said = await sentence(holds)
                await self._poster.whisper(item.channel, item.user, said, thread_ts=item.thread_ts, as_it_is=commands)
        except (Unavailable, TimeoutError) as error:
            log.warning("told_later", conversation=str(item.conversation), input=item.id, reason=str(error))
            if tries < MOST_TELLING:
                return False
        except PeerBotError as error:  # they left the channel, or the thread is gone
            log.warning("not_told", conversation=str(item.conversation), input=item.id, reason=str(error))
        await self._journal.unmark(item.conversation, item.id)
        return True

    async def name(self, user: str) -> str:
        """Find a person's name; their id if Slack does not tell it."""
        return await self._people.name(user)

    async def dropped(self, conversation: Conversation, inputs: Sequence[str]) -> None:
        """Settle messages that their author took back, the deletion last. Nobody is told: they see that it is gone."""
        for identity in inputs:
            await settle(self._journal, conversation, identity, Settled(why=NoEffect.DELETED.value))
            await self._journal.unmark(conversation, identity)
        log.info("messages_taken_back", conversation=str(conversation), inputs=list(inputs))

    async def line(self, conversation: Conversation, items: Sequence[Input]) -> str:
        """Describe a conversation at work in one line: the person who asked, and the thread."""
        name = await self._people.name(items[0].user)
        address = await self._poster.permalink(conversation.channel, conversation.thread_ts)
        return f"• {link(address or '', 'a thread')}, asked by {name}"

    async def _about_question(self, conversation: Conversation, item: Input, why: str) -> str:
        """Say why an answer had no effect, or what a stop did to a question; empty if it is about neither."""
        if why == NoEffect.TOOK_BACK:
            return TOOK_BACK
        if item.kind != "answer":
            return ""
        asked = await question(self._journal, conversation, item.of)
        settled = await question_settled(self._journal, conversation, item.of) if asked else None
        if asked and settled:
            return answered_before(asked, settled, plainly(settled.settled_at))
        if asked and why == NoEffect.NOT_THEIRS:
            return not_theirs(await self._people.name(asked.asker))
        return NO_QUESTION

    async def _sentence(self, conversation: Conversation, item: Input, why: str) -> str:
        if why in list(Refusal) and item.kind != "choice":
            return may_not(Refusal(why))
        if item.kind == "choice":
            return no_effect(item.act, why, await self._first(item))
        if about := await self._about_question(conversation, item, why):
            return about
        if item.kind == "delete":
            return DELETED_TOO_LATE
        before = await self._journal.turn(conversation, item.turn) if item.turn else None
        before = before or await self._journal.newest_turn(conversation)
        if before and before.stopped and before.stopped.name:
            return already_stopped(before.stopped.name)
        return ENDED if why == NoEffect.TURN_ENDED else NOTHING_AT_WORK

    async def _first(self, choice: Input) -> tuple[str, str] | None:
        """Find who chose before, in words, and what; None if nobody did, or nothing came of it."""
        if choice.turn is None:
            return None
        _, first = await chosen.holds(self._journal, choice.conversation, choice.turn)
        if first is None or first.input == choice.id:
            return None
        name = "You" if first.user == choice.user else await self._people.name(first.user)
        return name, first.act
