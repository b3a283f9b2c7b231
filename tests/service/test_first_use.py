"""People use the bot for the first time, all at once, on two dispatchers and a GitHub that shows its writes late."""

import asyncio
from pathlib import Path

import pytest
from system import System, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation

# They take their time: `make slow`.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

MANY = 20
LATE_SECONDS = 3.0
CHANGE = "run ```\necho done > done.txt\n```"
Said = tuple[Conversation, str]


async def answers(system: System, said: list[Said]) -> list[Turn]:
    turns = await asyncio.gather(*(system.answer(*one, 300) for one in said))
    await asyncio.gather(*(system.settled(conversation) for conversation, _ in said))
    return list(turns)


def made(system: System) -> dict[str, int]:
    """How often each repository was made: an answer of 201 to a creation."""
    found: dict[str, int] = {}
    for call in system.github.calls:
        if call.method == "POST" and call.path.endswith("/repos") and call.status == 201:
            found[call.response["full_name"]] = found.get(call.response["full_name"], 0) + 1
    return found


async def both(system: System) -> None:
    """Two dispatchers; events come to either."""
    system.github.faults.late_seconds = LATE_SECONDS
    await system.start()
    await system.start()


async def test_twenty_first_threads_of_one_person_share_one_new_repository(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        await both(system)
        said = await asyncio.gather(*(system.say(CHANGE) for _ in range(MANY)))
        turns = await answers(system, said)

        assert [full_text(turn) for turn in turns if turn.status != "done"] == []
        assert made(system) == {"peerbot-community/user-ada-lovelace": 1}
        assert {turn.repository for turn in turns} == set(made(system))
        assert len({turn.branch for turn in turns}) == MANY
        assert [full_text(turn) for turn in turns if not turn.pull_request] == []
        assert sorted(turn.pull_request.number for turn in turns if turn.pull_request) == list(range(1, MANY + 1))
        assert [len(system.answers(conversation)) for conversation, _ in said] == [1] * MANY


async def test_twenty_people_who_begin_at_once_get_a_repository_each(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        people = [system.add_person(f"U0PERSON{number:03}", f"Person {number}") for number in range(MANY)]
        await both(system)
        said = await asyncio.gather(*(system.say(CHANGE, user=user) for user in people))
        turns = await answers(system, said)

        assert [full_text(turn) for turn in turns if turn.status != "done"] == []
        assert made(system) == {f"peerbot-community/user-person-{number}": 1 for number in range(MANY)}
        assert [turn.repository for turn in turns] == [
            f"peerbot-community/user-person-{number}" for number in range(MANY)
        ]
        assert all(turn.pull_request for turn in turns)


async def test_twenty_people_of_one_name_get_a_repository_each(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        people = [system.add_person(f"U0PERSON{number:03}", "Kim") for number in range(MANY)]
        await both(system)
        said = await asyncio.gather(*(system.say(CHANGE, user=user) for user in people))
        turns = await answers(system, said)

        assert [full_text(turn) for turn in turns if turn.status != "done"] == []
        assert set(made(system).values()) == {1}
        assert len({turn.repository for turn in turns}) == len(made(system)) == MANY


async def test_a_new_repository_that_is_not_shown_for_long_is_waited_for_and_not_made_again(tmp_path: Path) -> None:
    """Its number is in the journal from the moment of its creation, so nobody gives its name away meanwhile."""
    async with System(tmp_path) as system:
        await both(system)
        system.github.faults.late_seconds = 25.0
        said = [await system.say("what is in this repository?") for _ in range(2)]
        turns = await answers(system, said)

        assert [turn.status for turn in turns] == ["done", "done"]
        assert {turn.repository for turn in turns} == set(made(system)) == {"peerbot-community/user-ada-lovelace"}


async def test_a_branch_that_is_not_shown_yet_is_not_taken_for_one_that_was_deleted(tmp_path: Path) -> None:
    """The token may not open pull requests, so the turn ends before its push is shown. A reply comes at once."""
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "30"}) as system:
        await system.start()
        system.github.faults.add("/pulls$", method="POST", status=403, message="Resource not accessible", count=10**6)
        thread, identity = await system.say("hello")
        await system.answer(thread, identity)
        system.github.faults.late_seconds = 6.0
        _, identity = await system.say(CHANGE, thread=thread)
        first = await system.answer(thread, identity)
        _, identity = await system.say("run ```\necho more > more.txt\n```", thread=thread)
        second = await system.answer(thread, identity)

        assert first.commit
        assert (second.repository, second.branch) == (first.repository, first.branch)
        assert "new branch" not in full_text(second)
