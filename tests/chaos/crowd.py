"""People who write to the bot, as a plan says, and wait for their answers: on one machine, or on a cluster."""

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol

from doors import Notes
from hands import PRESSES, Hands, buttons
from plan import CHANNELS, MENU_CHANNELS, PEOPLE, Act, Blow, Message, Plan, Talk

from peerbot.conversation.keys import Conversation, input_id, input_kind, input_ts
from peerbot.journal.answers import settled
from peerbot.journal.journal import Journal
from peerbot.local.slack import LocalSlack, NotOk
from peerbot.local.slack.narrate import answered_turn
from peerbot.slack.controls import STOP

CONVERSATIONS_AT_ONCE = 16
CARD_SECONDS = 10.0  # people wait so long for a card with a button
BOUND_SECONDS = 180.0
"""From the last fault until a conversation has ended: an answer whose poster died is followed after a minute, a sweep
comes each minute, and a turn takes its time."""


@dataclass
class Said:
    """A message that was sent."""

    message: Message
    identity: str
    at: float


@dataclass
class Course:
    """How a conversation went."""

    talk: Talk
    conversation: Conversation | None = None
    said: list[Said] = field(default_factory=list)
    answered: dict[str, float] = field(default_factory=dict)  # by input's id: when its answer was seen
    turns: dict[int, set[str]] = field(default_factory=dict)  # whose answer was seen, and what they answer
    ended: float | None = None
    acts: list[asyncio.Task[None]] = field(default_factory=list)


class Strikes(Protocol):
    """Something that makes faults."""

    @property
    def last_fault(self) -> float:
        """When the last fault ended; seconds since 1970."""

    def strike(self, blow: Blow) -> None:
        """Let a fault happen when it is due."""


class Crowd(Hands):
    """People in their channels. A subclass brings `slack`, `journal` and `blows`, and runs `ring()` in a task."""

    slack: LocalSlack
    journal: Journal
    blows: Strikes

    def __init__(self) -> None:
        Hands.__init__(self)
        self.notes = Notes()
        self.courses: list[Course] = []
        self.channels = [f"C{number:09d}" for number in range(CHANNELS)]
        self.menu_channels = [f"CMENU{number:05d}" for number in range(MENU_CHANNELS)]
        self.crowd = [f"U{number:09d}" for number in range(PEOPLE)]
        self._bells: dict[str, asyncio.Event] = {}
        self._dropped: set[str] = set()

    def populate(self) -> None:
        """Make the people and their channels, all in all of them."""
        for number, user in enumerate(self.crowd):
            self.slack.add_user(user, f"person-{number}", kind="member")
        members = [self.slack.person, self.slack.bot_user, *self.crowd]
        for number, channel in enumerate([*self.channels, *self.menu_channels]):
            self.slack.add_channel(channel, f"team-{number}", members=members)

    def answers(self, conversation: Conversation) -> list[tuple[dict[str, Any], int]]:
        """The final answers in the thread, with their turn."""
        messages = self.slack.thread(conversation.channel, conversation.thread_ts)
        found = [(message, answered_turn(message)) for message in messages]
        return [(message, turn[1]) for message, turn in found if turn]

    async def play(self, plan: Plan) -> None:
        """Carry out a plan, until every message has its answer or the bound after the last fault is over."""
        turns = asyncio.Semaphore(CONVERSATIONS_AT_ONCE)
        begun = 0
        due: dict[int, list[Blow]] = {}
        for blow in plan.blows:
            due.setdefault(blow.after, []).append(blow)

        async def one(talk: Talk) -> None:
            nonlocal begun
            async with turns:
                begun += 1
                for blow in due.get(begun, ()):
                    self.blows.strike(blow)
                course = Course(talk)
                self.courses.append(course)
                await self.converse(course)

        await asyncio.gather(*(one(talk) for talk in plan.talks))

    async def converse(self, course: Course) -> None:
        channels = self.menu_channels if course.talk.pick else self.channels
        channel = channels[course.talk.number % len(channels)]
        for message in course.talk.messages:
            await self._moment(course, message)
            thread = course.conversation.thread_ts if course.conversation else None
            text = escape(message.text, quote=False)
            said = text if thread else f"{self.slack.mention()} {text}"
            ts = await self.slack.say(self.crowd[message.person], channel, said, thread_ts=thread)
            course.conversation = course.conversation or Conversation(self.slack.team, channel, ts)
            self.talks[course.conversation] = course.talk
            self._bells.setdefault(course.conversation.thread_ts, asyncio.Event())
            said_now = Said(message, input_id(ts, "message"), time.time())
            course.said.append(said_now)
            self.written[message.token] = message
            if message.act:
                course.acts.append(asyncio.create_task(self._act(course, said_now, message.act, said)))
            if message.choice:
                course.acts.append(asyncio.create_task(self._choose(course, said_now)))
        await asyncio.gather(*course.acts)
        if await self._answered(course):
            course.ended = time.time()

    async def _act(self, course: Course, said: Said, act: Act, text: str) -> None:
        """Do what a person does with their message afterwards. Slack refuses it if the message is gone."""
        assert course.conversation
        await asyncio.sleep(said.message.act_seconds)
        user, channel = self.crowd[said.message.person], course.conversation.channel
        ts, thread_ts = input_ts(said.identity), course.conversation.thread_ts
        with contextlib.suppress(NotOk):
            match act:
                case "stop: the word":
                    await self.slack.say(user, channel, "stop", thread_ts=thread_ts)
                case "stop: a sign":
                    await self.slack.react(user, channel, ts, "x")
                case "stop: the button":
                    await self._press(user, course.conversation)
                case "edit":
                    await self.slack.edit(user, channel, ts, f"{text}\n(please)")
                case "delete":
                    await self.slack.delete(user, channel, ts)
                    self._dropped.add(said.identity)

    async def _choose(self, course: Course, said: Said) -> None:
        """Press something below the answer to a message, and wait until that has had its effect, or its reason."""
        assert course.conversation
        while said.identity not in course.answered:
            if said.identity in self._dropped or not await self._waits(course):
                return
            await self._look(course)
        await asyncio.sleep(said.message.choice_seconds)
        k = max(k for k, inputs in course.turns.items() if said.identity in inputs)
        shown = [message for message, turn in self.answers(course.conversation) if turn == k][-1]
        if await self.choose(course.conversation, shown, said.message, self.crowd):
            while await self._chosen_and_open(course.conversation) and await self._waits(course):
                pass

    async def _chosen_and_open(self, conversation: Conversation) -> bool:
        """Whether a recorded choice has neither its effect nor its reason yet."""
        chosen = [i for i in await self.journal.pending_in(conversation) if input_kind(i) == "choice"]
        return any([await self.journal.input(conversation, identity) for identity in chosen])

    async def _press(self, user: str, conversation: Conversation) -> None:
        """Press the newest Stop as soon as there is one, and again if Slack shows an error, as people do."""
        until = time.monotonic() + CARD_SECONDS
        while time.monotonic() < until:
            for message in reversed(self.slack.thread(conversation.channel, conversation.thread_ts)):
                if any(element["action_id"] == STOP for element in buttons(message)):
                    for _ in range(PRESSES):
                        with contextlib.suppress(NotOk, LookupError):
                            await self.slack.press_shown(user, conversation.channel, message, STOP)
                            return
                    return
            await asyncio.sleep(0.2)

    async def _moment(self, course: Course, message: Message) -> None:
        """Wait until it is time for a message."""
        if message.when == "during":
            began = self.notes.began(course.said[-1].message.token)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(began.wait(), 30)
        elif message.when == "after":
            await self._answered(course)
        if message.when != "first":
            await asyncio.sleep(message.seconds)

    async def _answered(self, course: Course) -> bool:
        """Wait until all messages are answered in Slack; False if the time after the last fault is over."""
        while True:
            await self._look(course)
            left_over = [said for said in course.said if said.identity not in course.answered]
            if not [said for said in left_over if not await self._is_dropped(course, said)]:
                return True
            if not await self._waits(course):
                return False

    async def _look(self, course: Course) -> None:
        """Note which answers are in the thread."""
        assert course.conversation
        self._bells[course.conversation.thread_ts].clear()
        for k in {k for _, k in self.answers(course.conversation)} - course.turns.keys():
            if turn := await self.journal.turn(course.conversation, k):
                course.turns[k] = set(turn.inputs)
                for identity in turn.inputs:
                    course.answered.setdefault(identity, time.time())

    async def _waits(self, course: Course) -> bool:
        """Wait until the thread changes, or for some seconds; False if the time after the last fault is over."""
        assert course.conversation
        left = self.since(course) + BOUND_SECONDS - time.time()
        if left <= 0:
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._bells[course.conversation.thread_ts].wait(), min(left, 2))
        return True

    def since(self, course: Course) -> float:
        """Say from when on a conversation has its time to end: the last fault, or what people did last."""
        did = [did.at for did in self.did if did.conversation == course.conversation]
        return max([self.blows.last_fault, *(said.at for said in course.said), *did])

    async def _is_dropped(self, course: Course, said: Said) -> bool:
        """Whether its author took a message back before anybody began."""
        assert course.conversation
        if said.identity not in self._dropped:
            return False
        return await settled(self.journal, course.conversation, said.identity) is not None

    async def ring(self) -> None:
        """Tell a conversation that its thread has changed, and let people answer what the agent asks."""
        async for change in self.slack.watch():
            if change.kind == "posted" and (bell := self._bells.get(change.thread_ts or change.ts)):
                bell.set()
                self.asked(Conversation(self.slack.team, change.channel, change.thread_ts or change.ts), change.ts)
