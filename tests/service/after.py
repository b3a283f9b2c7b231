"""What people press below an answer, for the tests of it."""

import asyncio
from typing import Any

from system import System, eventually

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.slack.controls import CHOICE

COMMIT = "run `echo {0} > {0}.txt; git add -A; git commit -qm {0}`"


def answer_of(system: System, conversation: Conversation, k: int) -> dict[str, Any]:
    """The last message of a turn's answer."""
    return [message for message, turn in system.answers(conversation) if turn == k][-1]


async def press(system: System, conversation: Conversation, k: int, act: Act, user: str | None = None) -> None:
    """Use a control below the answer of turn `k`."""
    message = answer_of(system, conversation, k)
    name, value = {
        Act.NEW_SESSION: ("more", f"{act.value}:{k}"),
        Act.TERMINAL: ("more", f"{act.value}:{k}"),
        Act.GOOD: ("feedback", f"{act.value}:{k}"),
        Act.BAD: ("feedback", f"{act.value}:{k}"),
    }.get(act, (act.value, ""))
    await system.slack.press(user or system.slack.person, conversation.channel, message["ts"], f"{CHOICE}{name}", value)


async def turn_after(system: System, conversation: Conversation, k: int) -> Turn:
    """Wait for the answer of turn `k + 1`; nothing is left over."""
    await eventually(lambda: system.posted_file(conversation, k + 1).exists(), 90)
    await system.settled(conversation)
    turn = await system.journal.turn(conversation, k + 1)
    assert turn
    return turn


async def told(system: System, user: str, count: int = 1) -> list[str]:
    """Wait until somebody was told so many things."""
    await eventually(lambda: len(system.slack.whispers(user)) >= count)
    return [message["text"] for message in system.slack.whispers(user)]


def controls(system: System, conversation: Conversation, k: int) -> set[str]:
    """The values and names of the controls below an answer."""
    found = set()
    for block in answer_of(system, conversation, k).get("blocks", ()):
        for element in block.get("elements", ()):
            if element["type"] == "button":
                found.add(element["action_id"].removeprefix(CHOICE))
            if element["type"] == "overflow":
                found |= {option["value"].partition(":")[0] for option in element["options"]}
            if element["type"] == "feedback_buttons":
                found |= {"good", "bad"}
    return found


async def both(*doing: Any) -> None:
    """Do several things at once."""
    await asyncio.gather(*doing)
