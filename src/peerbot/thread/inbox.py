"""Reads a conversation's inputs: finds those that need no agent, and makes the others readable for it.

A message that was refused never reaches the agent, not even as a part of the thread: the agent reads that it was
refused. That holds for what its author wrote to the bot, also if they may use the bot later.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace

from peerbot.conversation.choices import act_of
from peerbot.conversation.documents import Input, SharedFile, TurnStatus
from peerbot.conversation.edits import with_edits
from peerbot.conversation.keys import Conversation, input_id, input_kind, input_ts
from peerbot.conversation.notes import Note, NothingAsked, Refusal, Refused
from peerbot.conversation.questions import is_question_id, told, wants_plan
from peerbot.errors import Refused as NotAllowed
from peerbot.errors import Unavailable
from peerbot.journal import apps
from peerbot.journal.answers import SAID, taken_back, unanswered
from peerbot.journal.chosen_settings import ChosenSettings
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.journal.questions import question, question_settled
from peerbot.protocol.documents import EarlierFiles, PersonFile, PersonInput
from peerbot.protocol.prompt import one_name
from peerbot.slack.events import Us, addresses_us
from peerbot.slack.files import named
from peerbot.slack.history import earlier_message, earlier_messages
from peerbot.slack.outbound import Outbound
from peerbot.slack.people import People
from peerbot.slack.render import turn_words
from peerbot.slack.text import OURSELVES, ThreadMessage, as_context, escaped, mentioned_users, readable
from peerbot.thread.admission import Admissions
from peerbot.thread.afford import Afford
from peerbot.thread.asked import asked

_NEVER = "9999999999.999999"
_MOST_TURNS = 30
_EARLIER_FILES, _EARLIER_BYTES, _TURNS_WITH_FILES = 10, 50_000_000, 10
_REFUSED = "[PeerBot refused this message: its author may not use PeerBot.]"
_NO_WORDS = "(This message has no words of its own. It is about those above.)"
_ONLY_FILES = "(This message has no words of its own, only the files that are named below it.)"
_UNSURE = (Refusal.UNKNOWN_PERSON, Refusal.UNKNOWN_CHANNEL)


Overtaken = Callable[[Input, str], Awaitable[bool]]
"""Records messages of the input's thread after that `ts` that have not arrived; True: read the journal again."""


class Inbox:
    """Reads inputs from the journal and makes them readable. Holds only caches."""

    def __init__(
        self,
        *,
        journal: Journal,
        people: People,
        outbound: Outbound,
        us: Us,
        admission: Admissions,
        overtaken: Overtaken,
        afford: Afford,
        chosen: ChosenSettings,
    ) -> None:
        self._journal = journal
        self._people = people
        self._outbound = outbound
        self._us = us
        self._admission = admission
        self._overtaken = overtaken
        self._afford = afford
        self._chosen = chosen

    async def fixed_answer(self, item: Input) -> Note | None:
        """Find the note that answers `item` without the agent: a refusal, help for an empty message, a spent budget.

        It also refuses a person about whom Slack tells us nothing.
        """
        if refusal := await self._refusal(item.user, item.conversation):
            return Refused(why=refusal)
        if item.is_of_an_app and await apps.place(self._journal, item) > apps.MOST_A_DAY:
            return Refused(why=Refusal.APP_TOO_OFTEN)
        act = act_of(item.act)
        if item.kind in ("stop", "delete") or (item.kind == "choice" and not (act and act.asks)):
            return None
        began_thread = item.ts == item.thread_ts
        if item.kind == "message" and began_thread and not item.files and not await self._text(item):
            return NothingAsked()
        return await self._afford.used_up(item)

    async def admits(self, item: Input) -> bool:
        """Whether the author of `item` may use the bot there. Raises `Unavailable` if Slack does not tell now."""
        refusal = await self._refusal(item.user, item.conversation)
        if refusal in _UNSURE:
            raise Unavailable("Slack does not say who wrote a message. Try again in a moment.")
        return refusal is None

    async def _refusal(self, user: str, conversation: Conversation) -> Refusal | None:
        return await self._admission.refusal(user, conversation.team, conversation.channel)

    async def waiting(self, conversation: Conversation, *, have: Collection[str] = ()) -> list[PersonInput]:
        """Read the inputs that the agent has to answer now, oldest first, in the form that it reads.

        `have`: those that it has already. If there are any, the others come without the thread before them.
        """
        if have and all(i in have or input_kind(i) not in SAID for i in await self._journal.pending_in(conversation)):
            return []
        found = await self._before_a_stop(conversation, await self._in_order(conversation))
        new = with_edits([item for item in found if item.id not in have and await self.has_effect(item)])
        new = await asked([each for each in new if await self.fixed_answer(each[0]) is None], self._journal)
        edits = {item.id: ids[1:] for item, ids in new}
        items = [item for item, _ in new]
        if not items:
            return []
        is_first = not have and items[0].ts != items[0].thread_ts
        unheard = await self._unheard(items[0]) if is_first else []
        context = await self._as_context(unheard)
        if is_first and await (await Memory.of(self._journal, conversation)).forgotten():
            context = await self.thread(conversation)
        names = await self._people.names({i.user for i in items})
        chosen = await self._chosen.both(conversation, items[0].user)
        plan_first = any(choice and choice.plan_first for choice in chosen)
        return [
            PersonInput(
                id=item.id,
                user=item.user,
                name=names.get(item.user, item.user),
                text=await self.words(item) or (_ONLY_FILES if item.files else _NO_WORDS),
                plan=item.kind == "message" and (plan_first or wants_plan(await self._text(item))),
                answers=item.of if item.kind == "answer" else "",
                edits=edits[item.id],
                changes=item.kind == "edit",
                context=context if item is items[0] else "",
                files=await self._shown(item.files),
                earlier=await self._earlier(item.conversation, unheard) if item is items[0] and not have else [],
            )
            for item in items
        ]

    async def has_effect(self, item: Input) -> bool:
        """Whether an input counts: an answer does if it settled its question, a message if nobody took it back."""
        if item.kind != "answer":
            return not await taken_back(self._journal, item)
        settled = await question_settled(self._journal, item.conversation, item.of) if is_question_id(item.of) else None
        return settled is not None and settled.input == item.id

    async def words(self, item: Input) -> str:
        """Make what somebody said readable: an input's text, or what they answered to which question."""
        if item.kind != "answer":
            return await self._text(item)
        asked = await question(self._journal, item.conversation, item.of)
        settled = await question_settled(self._journal, item.conversation, item.of) if asked else None
        return told(asked, settled) if asked and settled else ""

    async def _before_a_stop(self, conversation: Conversation, found: list[Input]) -> list[Input]:
        """Leave out what came after a stop of the first of these messages: that is new work, for the next turn."""
        stops = [
            stop for stop in await unanswered(self._journal, conversation, ["stop"]) if found and stop.ts > found[0].ts
        ]
        return [item for item in found if not stops or item.ts < stops[0].ts]

    async def asker(self, conversation: Conversation) -> str:
        """Find the author of the first input that the agent has to answer now, who pays for it; empty if none waits."""
        for item in await unanswered(self._journal, conversation):
            if await self.has_effect(item) and await self.fixed_answer(item) is None:
                return item.user
        return ""

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

    async def name(self, user: str) -> str:
        """Find a person's name; their id if Slack does not tell it."""
        return await self._people.name(user)

    async def files_of(self, conversation: Conversation, ts: str) -> list[SharedFile]:
        """Read which files a message of the thread has, if the agent may read it: an input, or one of its context.

        Raises `Refused` if the agent may not, or there is none, and as Slack's calls.
        """
        item = await self._journal.input(conversation, input_id(ts, "message"))
        if item is not None:
            if await self.admits(item):
                return item.files
        else:
            found = await earlier_message(self._outbound, conversation, ts, self._us.bot_user)
            for message in await self._without_refused(conversation, found):
                return list(message.files)
        raise NotAllowed("There is no such message in the thread, or its author may not use PeerBot.")

    async def _earlier(self, conversation: Conversation, unheard: Sequence[ThreadMessage]) -> list[EarlierFiles]:
        """List the newest files of the thread before the waiting inputs: of its context, and of earlier turns."""
        found = [
            EarlierFiles(id=input_id(message.ts, "message"), files=await self._shown(message.files), heard=False)
            for message in reversed(unheard)
            if message.files
        ]
        numbers = reversed((await self._journal.turn_numbers(conversation))[-_TURNS_WITH_FILES:])
        turns = await asyncio.gather(*(self._journal.turn(conversation, k) for k in numbers))
        answered = [i for turn in turns if turn and not turn.turned_away for i in reversed(turn.inputs)]
        for item in await asyncio.gather(*(self._journal.input(conversation, i) for i in answered)):
            if item and item.files and item.id not in {each.id for each in found}:
                found.append(EarlierFiles(id=item.id, files=await self._shown(item.files)))
        kept: list[EarlierFiles] = []
        for message in found:
            files = [file for each in (*kept, message) for file in each.files]
            if len(files) <= _EARLIER_FILES and sum(file.size for file in files) <= _EARLIER_BYTES:
                kept.append(message)
        return kept

    async def _shown(self, files: Sequence[SharedFile]) -> list[PersonFile]:
        told = [await named(self._outbound, file) for file in files]
        return [PersonFile(name=file.name, size=file.size, type=file.type) for file in told]

    async def text(self, item: Input) -> str:
        """Make an input's text readable, without the mention of us; if it has none, name its files."""
        files = ", ".join(one_name(file.name) for file in item.files if file.name)
        return await self.words(item) or (f"About {files}" if files else "")

    async def thread(self, conversation: Conversation) -> str:
        """Read the thread up to the first unanswered input: people's messages and our answers, marked as such."""
        waiting = await unanswered(self._journal, conversation)
        said = await earlier_messages(
            self._outbound, conversation, waiting[0].ts if waiting else _NEVER, bot_user=self._us.bot_user
        )
        said = await self._without_refused(conversation, said)
        for k in (await self._journal.turn_numbers(conversation))[-_MOST_TURNS:]:
            turn = await self._journal.turn(conversation, k)
            if turn and (words := turn_words(turn.text, turn.notes)):
                said.append(ThreadMessage(f"{turn.ended_at.timestamp():.6f}", OURSELVES, escaped(words)))
        said.sort(key=lambda message: float(message.ts))
        return await self._as_context(said)

    async def _text(self, item: Input) -> str:
        names = await self._people.names(mentioned_users(item.text) - {self._us.bot_user})
        return readable(item.text, names=names, bot_user=self._us.bot_user, trigger_phrase=self._us.trigger_phrase)

    async def _unheard(self, first: Input) -> list[ThreadMessage]:
        """Read people's messages in the thread that the agent has not heard yet.

        These are all messages before they called us, and later ones from turns that failed without the agent.
        """
        after = await self._heard_until(first.conversation)
        if after is None:
            return []
        earlier = await earlier_messages(
            self._outbound, first.conversation, first.ts, bot_user=self._us.bot_user, after_ts=after
        )
        return await self._without_refused(first.conversation, earlier)

    async def _as_context(self, said: Sequence[ThreadMessage]) -> str:
        people = {message.author for message in said if not message.is_bot}
        people = people.union(*(mentioned_users(message.text) for message in said)) - {OURSELVES}
        return as_context(said, names=await self._people.names(people), bot_user=self._us.bot_user)

    async def _without_refused(self, conversation: Conversation, said: Sequence[ThreadMessage]) -> list[ThreadMessage]:
        """Replace the words of messages that were refused, or would be; mark those of people who may not use the bot.

        The latter talk with people in the thread, and did not write to the bot: their words are context like others'.
        """
        refused: set[str] = set()
        for k in await self._journal.turn_numbers(conversation) if said else ():
            turn = await self._journal.turn(conversation, k)
            if turn and turn.turned_away:
                refused.update(map(input_ts, turn.inputs))
        found = []
        for message in said:
            may_ask = not message.is_bot and await self._refusal(message.author, conversation) is None
            was_refused = message.ts in refused or (not may_ask and addresses_us(message.text, self._us))
            text, files = (_REFUSED, ()) if was_refused else (message.text, message.files)
            found.append(replace(message, text=text, may_ask=may_ask, files=files))
        return found

    async def _heard_until(self, conversation: Conversation) -> str | None:
        """Find the `ts` of the last input that the agent heard (`0`: none); None if it heard all the answered ones."""
        missed = False
        async for turn in (await Memory.of(self._journal, conversation)).remembered():
            if turn.session:
                return max(input_ts(i) for i in turn.inputs) if missed else None
            # If the turn has a run, an agent answered it, and its session could not be kept.
            # So is one that was stopped before a worker kept its session.
            heard_nothing = turn.status is TurnStatus.FAILED or turn.stopped is not None
            missed = missed or heard_nothing or turn.run is not None
        return "0"
