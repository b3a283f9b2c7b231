"""What people do with the agent's questions, and with the buttons below its answers, as the plan says."""

import asyncio
import contextlib
import json
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from doors import TOKEN
from plan import PEOPLE, REPOSITORIES, Message, Talk

from peerbot.conversation.keys import Conversation, input_id
from peerbot.local.slack import LocalSlack, NotOk
from peerbot.slack.controls import CHOICE
from peerbot.slack.questions import ANSWER
from peerbot.slack.where import PICK
from peerbot.thread.questions import QUESTION_EVENT

PRESSES = 3
PICKED = "pick"  # no input: what somebody picks is settled before Slack's ack
WORDS = "a warm one, please"
_ANSWERED_WITHIN = 300.0
"""People try for so long to answer: Slack shows an error at the button while no dispatcher hears it."""


@dataclass(frozen=True, slots=True)
class Did:
    """Something that somebody did, and Slack showed them no error. `identity`: of words, which are a message."""

    conversation: Conversation
    user: str
    kind: str  # of the input that it has to be
    what: str  # as in the plan
    at: float
    identity: str = ""


class Hands:
    """Presses and answers. `crowd`: the people. `written`: the messages that were sent, by their tokens."""

    slack: LocalSlack
    crowd: list[str]

    def __init__(self) -> None:
        self.did: list[Did] = []
        self.written: dict[str, Message] = {}
        self.talks: dict[Conversation, Talk] = {}
        self._answering: set[asyncio.Task[None]] = set()

    def asked(self, conversation: Conversation, ts: str) -> None:
        """Answer a message that was posted just now, in the background, if the agent asks something with it."""
        with contextlib.suppress(NotOk):
            shown = self.slack.message(conversation.channel, ts)
            if is_menu(shown) and (talk := self.talks[conversation]).pick:
                self._later(self._pick(conversation, ts, talk))
            if is_question(shown) and (token := TOKEN.search(json.dumps(shown["blocks"]))):
                self._later(self._answer(conversation, ts, self.written[token[0]]))

    def _later(self, doing: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(doing)
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def answered(self) -> None:
        """Wait until nobody is about to answer."""
        await asyncio.gather(*self._answering)

    async def _answer(self, conversation: Conversation, ts: str, about: Message) -> None:
        await asyncio.sleep(about.answer_seconds)
        asker, other = self._pair(about)
        match about.answer:
            case "a button":
                doing = [self._answer_with(conversation, ts, asker, 0)]
            case "a button, twice":
                doing = [self._answer_with(conversation, ts, asker, 0), self._answer_with(conversation, ts, asker, 0)]
            case "two people at once":
                doing = [self._answer_with(conversation, ts, asker, 0), self._answer_with(conversation, ts, other, 1)]
            case "words":
                doing = [self._say(conversation, asker)]
            case _:
                doing = [self._say(conversation, asker), self._answer_with(conversation, ts, other, 1)]
        await asyncio.gather(*doing)

    async def _pick(self, conversation: Conversation, ts: str, talk: Talk) -> None:
        """Choose a repository in a menu, or in words."""
        await asyncio.sleep(talk.pick_seconds)
        asker, other = self._pair(talk.messages[0])
        mine, others = REPOSITORIES
        match talk.pick:
            case "a menu":
                doing = [self._pick_with(conversation, ts, asker, mine)]
            case "a menu, twice":
                doing = [self._pick_with(conversation, ts, asker, each) for each in REPOSITORIES]
            case "two people at once":
                doing = [
                    self._pick_with(conversation, ts, asker, mine),
                    self._pick_with(conversation, ts, other, others),
                ]
            case "words":
                doing = [self._say(conversation, asker, mine, "pick: words")]
            case _:
                doing = [
                    self._say(conversation, asker, mine, "pick: words"),
                    self._pick_with(conversation, ts, other, others),
                ]
        await asyncio.gather(*doing)

    async def _pick_with(self, conversation: Conversation, ts: str, user: str, repository: str) -> None:
        """Use a menu, as it was shown first; then again as long as it is there, and Slack has errors."""
        until = time.monotonic() + _ANSWERED_WITHIN
        while time.monotonic() < until:
            shown = self.slack.message(conversation.channel, ts)
            if not is_menu(shown):
                return
            with contextlib.suppress(NotOk):
                await self.slack.press_shown(user, conversation.channel, shown, PICK, value=repository)
                self.did.append(Did(conversation, user, PICKED, f"pick: {repository}", time.time()))
                return
            await asyncio.sleep(1)

    async def _answer_with(self, conversation: Conversation, ts: str, user: str, number: int) -> None:
        """Press a question's button, as it was shown first; then again as long as it is there, and Slack has errors."""
        until = time.monotonic() + _ANSWERED_WITHIN
        while time.monotonic() < until:
            shown = self.slack.message(conversation.channel, ts)
            if not buttons(shown):
                return
            with contextlib.suppress(NotOk):
                await self.slack.press_shown(user, conversation.channel, shown, f"{ANSWER}_{number}")
                self.did.append(Did(conversation, user, "answer", "answer: a button", time.time()))
                return
            await asyncio.sleep(1)

    async def _say(
        self, conversation: Conversation, user: str, words: str = WORDS, what: str = "answer: words"
    ) -> None:
        ts = await self.slack.say(user, conversation.channel, words, thread_ts=conversation.thread_ts)
        identity = input_id(ts, "message")
        self.did.append(Did(conversation, user, "message", what, time.time(), identity))

    async def choose(
        self, conversation: Conversation, shown: dict[str, Any], about: Message, crowd: Sequence[str]
    ) -> bool:
        """Press what the plan says below an answer; False if it is not there, or Slack showed an error each time."""
        assert about.choice
        found = control(shown, about.choice)
        if found is None:
            return False
        user, other = self._pair(about)
        people = {"once": [user], "twice": [user, user], "two people at once": [user, other]}[about.how]

        async def press(who: str) -> bool:
            for _ in range(PRESSES):
                with contextlib.suppress(NotOk):
                    await self.slack.press_shown(who, conversation.channel, shown, *found)
                    self.did.append(Did(conversation, who, "choice", f"choice: {about.choice}", time.time()))
                    return True
            return False

        return any(await asyncio.gather(*map(press, people)))

    def _pair(self, about: Message) -> tuple[str, str]:
        return self.crowd[about.person], self.crowd[(about.person + 1) % PEOPLE]


def is_question(message: dict[str, Any]) -> bool:
    """Whether the agent asks, or asked, something with a message."""
    return bool((message.get("metadata") or {}).get("event_type") == QUESTION_EVENT)


def is_menu(message: dict[str, Any]) -> bool:
    """Whether a message has a menu of repositories."""
    return any(element.get("action_id") == PICK for element in buttons(message))


def buttons(message: dict[str, Any]) -> list[dict[str, Any]]:
    """List what one can press on a message."""
    return list(_elements(message))


def control(message: dict[str, Any], choice: str) -> tuple[str, str] | None:
    """Find the action, and the value, of a choice below an answer; None if the answer does not offer it."""
    for element in _elements(message):
        action = str(element["action_id"])
        if action == f"{CHOICE}{choice}":
            return action, ""
        offered = [option["value"] for option in element.get("options", ())]
        offered += [element[name]["value"] for name in ("positive_button", "negative_button") if name in element]
        for value in offered:
            if value.partition(":")[0] == choice:
                return action, str(value)
    return None


def _elements(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for block in message.get("blocks", ()):
        if block["type"] in ("actions", "context_actions"):
            yield from block["elements"]
        elif "accessory" in block:
            yield block["accessory"]
