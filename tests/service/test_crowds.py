"""Many people and many threads at once: everybody is answered, in turn, and Slack's budgets hold."""

import asyncio
import re
from datetime import datetime
from pathlib import Path

import pytest
from system import System, below, eventually

from peerbot.conversation.documents import Input, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation

# They take their time: `make slow`.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

QUESTION = "what is in this repository?"
SECONDS = 300.0
LONG_SECONDS = 45.0
"""A person who waits this long has been told their place: Slack takes a post a second in a channel, answers first."""
Said = tuple[Conversation, str]


async def answers(system: System, said: list[Said]) -> list[Turn]:
    """Wait for all answers, and until nothing is left to do."""
    turns = await asyncio.gather(*(system.answer(*one, SECONDS) for one in said))
    await eventually(lambda: not below(system.directory / "journal" / "pending", "*-message"), 120)
    return list(turns)


def placed(system: System) -> list[str]:
    return [line["conversation"] for line in system.logged("run_placed")]


def waited(system: System) -> dict[str, float]:
    """How long each conversation stood in line, in seconds."""
    since: dict[str, datetime] = {}
    for line in system.logged("queued"):
        since.setdefault(line["conversation"], datetime.fromisoformat(line["timestamp"]))
    until = {line["conversation"]: datetime.fromisoformat(line["timestamp"]) for line in system.logged("run_placed")}
    return {conversation: (until[conversation] - at).total_seconds() for conversation, at in since.items()}


async def test_twenty_messages_during_a_turn_are_answered_once_each_in_order_by_few_turns(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "3"}) as system:
        await system.start()
        thread, first = await system.say("take 5 seconds")
        await eventually(lambda: system.model.requests >= 1, 60)
        said = [(thread, first)]
        said += [await system.say(f"and number {n}?", thread=thread, mention=False) for n in range(20)]
        turns = await answers(system, said)

        assert [turn.k for turn in turns] == sorted(turn.k for turn in turns)
        answered = [identity for turn in {turn.k: turn for turn in turns}.values() for identity in turn.inputs]
        assert answered == [identity for _, identity in said]
        assert turns[-1].k <= 4
        posted = dict.fromkeys(k for _, k in system.answers(thread))  # a long answer has several messages
        assert list(posted) == list(range(1, turns[-1].k + 1))
        # The messages that came meanwhile also have the sign that the agent has read them.
        await eventually(
            lambda: all(system.reactions(*one) - {"heavy_plus_sign"} == {"white_check_mark"} for one in said), 120
        )


async def test_twenty_threads_on_a_machine_for_two_are_all_answered_and_told_their_place(tmp_path: Path) -> None:
    """One person has nineteen messages, another comes last with one; two dispatchers, and Slack's limits hold."""
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "2", "WORKER_IDLE_SECONDS": "0"}) as system:
        bob = system.add_person("U0BOB000001", "Bob")
        system.slack.faults.rate_limits = True
        await system.start()
        await system.start()
        places: dict[str, list[int]] = {}

        async def look() -> None:
            async for change in system.slack.watch():
                if found := re.search(r"Queued · (\d+)", str(change.message)):
                    conversation = Conversation(system.slack.team, system.slack.general, str(change.thread_ts))
                    places.setdefault(str(conversation), []).append(int(found[1]))

        looking = asyncio.create_task(look())
        said = [await system.say("take 4 seconds") for _ in range(19)]  # Slack's budget is a post a second
        last = await system.say(QUESTION, user=bob)
        turns = await answers(system, [*said, last])
        looking.cancel()
        await asyncio.wait([looking])

        order = placed(system)
        assert sorted(order) == sorted(str(conversation) for conversation, _ in [*said, last])
        assert order.index(str(last[0])) <= 8  # not behind nineteen: at most behind runs that were there when he came
        assert [len(system.answers(conversation)) for conversation, _ in [*said, last]] == [1] * 20
        assert {turn.status for turn in turns} == {"done"}
        waits = {conversation for conversation, seconds in waited(system).items() if seconds > LONG_SECONDS}
        assert waits, "nobody had to wait for long: this crowd is none"
        assert waits <= places.keys()
        assert any(told[-1] < told[0] for told in places.values())
        assert sum(call.outcome == "http 429" for call in system.slack.calls) <= len(system.slack.calls) / 10
        assert not system.logged("not_posted")


async def test_one_with_many_threads_does_not_keep_another_waiting_behind_them_all(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "1", "WORKER_IDLE_SECONDS": "0"}) as system:
        bob = system.add_person("U0BOB000001", "Bob")
        await system.start()
        first = await system.say("take 6 seconds")
        await eventually(lambda: placed(system), 60)
        many = [await system.say(QUESTION) for _ in range(4)]
        one = await system.say(QUESTION, user=bob)
        await eventually(lambda: len(system.logged("queued")) >= 5, 60)
        await answers(system, [first, *many, one])

        expected = [first, many[0], one, *many[1:]]
        assert placed(system) == [str(conversation) for conversation, _ in expected]


async def test_a_person_who_lost_a_worker_is_not_put_behind_later_ones(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "1", "WORKER_IDLE_SECONDS": "0"}) as system:
        others = [system.add_person(f"U0OTHER000{number}", f"Person {number}") for number in range(3)]
        await system.start()
        first = await system.say("take 6 seconds")
        await eventually(lambda: system.logged("turn_begun"), 60)
        later = [await system.say(QUESTION, user=other) for other in others]
        await eventually(lambda: len({line["conversation"] for line in system.logged("queued")}) == 3, 60)
        system.kill_workers()
        await answers(system, [first, *later])

        came = [str(conversation) for conversation, _ in (first, *later)]
        # The next in line may have been called up before anybody saw that the worker is dead; nobody after that.
        assert placed(system) in ([came[0], *came], [*came[:2], came[0], *came[2:]])


async def test_an_answer_that_waits_for_slack_is_not_looked_at_whenever_a_run_changes(tmp_path: Path) -> None:
    """Many such answers at once would keep the acks of Slack's events waiting."""
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        waiting = await written_and_not_posted(system)
        await system.start()
        await run_that_ends(system, 1)
        before = looks(system, waiting)
        await run_that_ends(system, 2)
        await run_that_ends(system, 3)
        assert looks(system, waiting) == before > 0


async def written_and_not_posted(system: System) -> Conversation:
    """Somebody else wrote the answer a moment ago, and has a minute to post it."""
    ts = await system.slack.remember(system.slack.person, system.slack.general, "hello", seconds_ago=30)
    conversation = Conversation(system.slack.team, system.slack.general, ts)
    item = Input(
        team=conversation.team,
        channel=conversation.channel,
        thread_ts=ts,
        ts=ts,
        user=system.slack.person,
        text="hello",
        event_id="Ev1",
    )
    await system.journal.mark(item)
    await system.journal.record(item)
    turn = Turn(k=1, run=None, inputs=[item.id], status=TurnStatus.DONE, text="Hello", ended_at=now())
    assert await system.journal.write_turn(conversation, turn)
    return conversation


async def run_that_ends(system: System, number: int) -> None:
    await system.ask("hello")
    await eventually(lambda: len(system.logged("process_ended")) == number, 60)


def looks(system: System, conversation: Conversation) -> int:
    return sum(line["conversation"] == str(conversation) for line in system.logged("step"))
