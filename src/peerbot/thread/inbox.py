"""Reads a conversation's inputs: finds those that need no agent, and makes the others readable for it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from peerbot.conversation.documents import Input, TurnStatus
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.conversation.notes import Note, NothingAsked, Refused
from peerbot.conversation.policy import admit
from peerbot.journal.answers import unanswered
from peerbot.journal.journal import Journal
from peerbot.protocol.documents import PersonInput
from peerbot.slack.events import Us
from peerbot.slack.history import earlier_messages
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.render import turn_words
from peerbot.slack.text import ThreadMessage, as_context, mentioned_users, readable

_NEVER = "9999999999.999999"
_MOST_TURNS = 30
_OURSELVES = "PeerBot (you)"


Overtaken = Callable[[Input, str], Awaitable[bool]]
"""Records messages of the input's thread after that `ts` that have not arrived; True: read the journal again."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The kinds of channels in which people may use the bot."""

    allow_direct_messages: bool
    allow_private_channels: bool


class Inbox:
    """Reads inputs from the journal and makes them readable. Holds only caches."""

    def __init__(
        self,
        *,
        journal: Journal,
        people: People,
        outbound: Outbound,
        us: Us,
        admission: Admission,
        overtaken: Overtaken,
    ) -> None:
        self._journal = journal
        self._people = people
        self._outbound = outbound
        self._us = us
        self._admission = admission
        self._overtaken = overtaken

    async def fixed_answer(self, item: Input) -> Note | None:
        """Find the note that answers `item` without the agent, if any: a refusal, or help for an empty message.

        It also refuses a person about whom Slack tells us nothing.
        """
        refusal = admit(
            person=await self._people.person(item.user, item.team),
            channel=await self._people.channel(item.channel),
            allow_direct_messages=self._admission.allow_direct_messages,
            allow_private_channels=self._admission.allow_private_channels,
        )
        if refusal:
            return Refused(why=refusal)
        began_thread = item.ts == item.thread_ts
        return NothingAsked() if began_thread and not await self._text(item) else None

    async def waiting(self, conversation: Conversation) -> list[PersonInput]:
        """Read the inputs that the agent has to answer now, oldest first, in the form that it reads."""
        found = await self._in_order(conversation)
        items = [i for i in found if await self.fixed_answer(i) is None]
        if not items:
            return []
        context = await self._context(items[0]) if items[0].ts != items[0].thread_ts else ""
        names = await self._people.names({i.user for i in items})
        return [
            PersonInput(
                id=item.id,
                user=item.user,
                name=names.get(item.user, item.user),
                text=await self._text(item) or "(This message has no words of its own. It is about those above.)",
                context=context if item is items[0] else "",
            )
            for item in items
        ]

    async def _in_order(self, conversation: Conversation) -> list[Input]:
        """Read the unanswered inputs, with no earlier message missing: Slack's events may overtake each other."""
        found = await unanswered(self._journal, conversation)
        if not found:
            return found
        newest, turn = found[-1], await self._journal.newest_turn(conversation)
        since = max(map(input_ts, turn.inputs)) if turn and turn.inputs else found[0].ts
        if newest.ts <= since or not await self._overtaken(newest, since):
            return found
        return [i for i in await unanswered(self._journal, conversation) if i.ts <= newest.ts]

    async def text(self, item: Input) -> str:
        """Make an input's text readable, without the mention of us."""
        return await self._text(item)

    async def thread(self, conversation: Conversation) -> str:
        """Read the thread up to the first unanswered input: people's messages and our answers, marked as such."""
        waiting = await unanswered(self._journal, conversation)
        said = await earlier_messages(
            self._outbound, conversation, waiting[0].ts if waiting else _NEVER, bot_user=self._us.bot_user
        )
        for k in (await self._journal.turn_numbers(conversation))[-_MOST_TURNS:]:
            turn = await self._journal.turn(conversation, k)
            if turn and (words := turn_words(turn.text, turn.notes)):
                said.append(ThreadMessage(f"{turn.ended_at.timestamp():.6f}", _OURSELVES, words))
        said.sort(key=lambda message: float(message.ts))
        people = {message.author for message in said}.union(*(mentioned_users(message.text) for message in said))
        names = await self._people.names(people - {_OURSELVES})
        return as_context(said, names=names, bot_user=self._us.bot_user)

    async def _text(self, item: Input) -> str:
        names = await self._people.names(mentioned_users(item.text) - {self._us.bot_user})
        return readable(item.text, names=names, bot_user=self._us.bot_user, trigger_phrase=self._us.trigger_phrase)

    async def _context(self, first: Input) -> str:
        """Read people's messages in the thread that the agent has not heard yet, marked as theirs.

        These are all messages before they called us, and later ones from turns that failed without the agent.
        """
        after = await self._heard_until(first.conversation)
        if after is None:
            return ""
        earlier = await earlier_messages(
            self._outbound, first.conversation, first.ts, bot_user=self._us.bot_user, after_ts=after
        )
        people = {message.author for message in earlier}.union(*(mentioned_users(message.text) for message in earlier))
        names = await self._people.names(people)
        return as_context(earlier, names=names, bot_user=self._us.bot_user) if earlier else ""

    async def _heard_until(self, conversation: Conversation) -> str | None:
        """Find the `ts` of the last input that the agent heard (`0`: none); None if it heard all the answered ones."""
        missed = False
        for k in reversed(await self._journal.turn_numbers(conversation)):
            turn = await self._journal.turn(conversation, k)
            if turn and turn.session:
                return max(input_ts(i) for i in turn.inputs) if missed else None
            # If the turn has a run, an agent answered it, and its session could not be kept.
            missed = missed or (turn is not None and (turn.status is TurnStatus.FAILED or turn.run is not None))
        return "0"
