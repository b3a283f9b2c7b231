"""How fast a stop works: from a person's click, or their word, until the agent does nothing more and the thread knows.

The agent writes the time into a file all the while. The newest time in the file says when it was interrupted.
"""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from system import System, eventually

from bench.figures import Section, Table, percentile, seconds
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.slack.controls import STOP

TICK_SECONDS = 0.02
WORK = f"""run ```
python3 - <<'END'
import pathlib, time
file = pathlib.Path('times-NUMBER.txt')
while True:
    with file.open('a') as times:
        print(time.time(), file=times)
    time.sleep({TICK_SECONDS})
END
```"""


@dataclass
class _Stops:
    """Seconds from the click until the agent was interrupted, and until the answer was in the thread."""

    interrupted: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    kept: int = 0


async def measure(directory: Path, *, quick: bool) -> Section:
    """Stop turns, half of them by the button and half by the word, each in the middle of a command."""
    stops = _Stops()
    count = 4 if quick else 100
    async with System(directory, {"WORKER_IDLE_SECONDS": "60"}) as system:
        await system.start()
        conversation: Conversation | None = None
        for number in range(count):
            if number % 20 == 0:
                conversation = None  # a thread of its own: a run takes no new turn after an hour
            conversation = await _stopped(system, conversation, number, stops)
    rows = [
        [what, seconds(median(found)), seconds(percentile(found, 95)), seconds(max(found)), target, str(len(found))]
        for what, found, target in (
            ("click or word → the agent is interrupted", stops.interrupted, "p95 < 2 s"),
            ("click or word → the answer is in the thread, the work on the branch", stops.told, ""),
        )
    ]
    table = Table("Seconds after a stop:", ["what", "median", "p95", "longest", "target", "samples"], rows)
    return Section("A stop", tables=[table], notes=[f"The work was kept in {stops.kept} of {count} stops."])


async def _stopped(system: System, thread: Conversation | None, number: int, stops: _Stops) -> Conversation:
    name = f"times-{number}.txt"
    conversation, identity = await system.say(
        WORK.replace("NUMBER", str(number)), thread=thread, mention=thread is None
    )
    await eventually(lambda: _last(system, name) is not None, 60)
    await eventually(lambda: _button(system, conversation), 60)
    await asyncio.sleep(1)  # people look before they press
    pressed = time.time()
    if number % 2:
        await system.slack.say(system.slack.person, conversation.channel, "stop", thread_ts=conversation.thread_ts)
    else:
        await system.slack.press(system.slack.person, conversation.channel, _button(system, conversation), STOP)
    turn = await system.answer(conversation, identity)
    stops.told.append(float(system.answers(conversation)[-1][0]["ts"]) - pressed)
    last = _last(system, name)
    assert turn.stopped, turn
    assert last is not None
    stops.interrupted.append(max(0.0, last - pressed))
    stops.kept += _has(turn, name)
    await system.settled(conversation)
    return conversation


def _has(turn: Turn, name: str) -> bool:
    return turn.commit is not None and any(file.path == name for file in turn.files)


def _last(system: System, name: str) -> float | None:
    """Read the newest time that the agent wrote."""
    file = system.work_file(name)
    times = file.read_text().split() if file else []
    return float(times[-1]) if times else None


def _button(system: System, conversation: Conversation) -> str:
    """Find the newest card with a Stop button; empty if there is none."""
    for card in reversed(system.cards(conversation)):
        if any(block["type"] == "actions" for block in card.get("blocks", [])):
            return str(card["ts"])
    return ""
