"""Ends of runs, and whose fault they are: what uses a message up, what only delays it, and what its thread reads."""

import signal
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from system import System, eventually, full_text

from peerbot.conversation.documents import Input, Run, RunClosed, RunStarted, now
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation

SAID = "run `echo all is well`"
ENDS_ITS_SUPERVISOR = """run ```
python3 - <<'END'
import os, pathlib, signal, time
pid, line = os.getppid(), b''
while b'peerbot.worker' not in line:
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    pid = int(stat.rpartition(')')[2].split()[1])
    line = pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
os.kill(pid, signal.SIGTERM)
time.sleep(600)
END
```"""
KILLS, THREADS = 30, 3


async def left(
    system: System, *ends: RunClosed, minutes: float = 0, apart_minutes: float = 0, parts: tuple[int, ...] = ()
) -> tuple[Conversation, str]:
    """Leave a message in the journal, said `minutes` ago, and the runs for it that ended, the last one a minute ago.

    `parts`: how many parts of the transcript each of them has saved.
    """
    words = f"{system.slack.mention()} {SAID}"
    seconds = minutes * 60 + 120
    ts = await system.slack.remember(system.slack.person, system.slack.general, words, seconds_ago=seconds)
    conversation = Conversation(system.slack.team, system.slack.general, ts)
    item = Input(
        team=conversation.team,
        channel=conversation.channel,
        thread_ts=ts,
        ts=ts,
        user=system.slack.person,
        text=words,
        event_id="Ev1",
    )
    await system.journal.mark(item)
    await system.journal.record(item)
    place = {"repository": "peerbot/of-somebody", "default_branch": "main", "branch": conversation.branch}
    for n, closed in enumerate(ends, start=1):
        at = now() - timedelta(minutes=1 + (len(ends) - n) * apart_minutes)
        run = Run(n=n, serves=[item.id], secret_hash="x", reserved_by="somebody", reserved_at=at, **place)
        assert await system.journal.reserve(conversation, run)
        started = RunStarted(supervisor_hash="x", agent_hash="x", started_at=at)
        await system.journal.run_started(conversation, n, started)
        for part in range(1, (parts[n - 1] if parts else 0) + 1):
            await system.journal.write_session_part(conversation, 1, n, part, b"{}")
        await system.journal.close_run(conversation, n, closed.model_copy(update={"closed_at": at}))
    return conversation, item.id


def card_texts(system: System, conversation: Conversation) -> set[str]:
    return {str(card.get("text", "")) for card in system.cards(conversation)}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_dispatcher_that_crashes_in_a_loop_uses_no_message_up(tmp_path: Path) -> None:
    """Each time as soon as a run has started, or after three seconds, if none may start yet."""
    async with System(tmp_path) as system:
        dispatcher = await system.start()
        asked = [await system.say(SAID if i else "take 30 seconds") for i in range(THREADS)]
        told: set[str] = set()
        for _ in range(KILLS):
            before = len(system.logged("run_started"))
            with suppress(TimeoutError):
                await eventually(lambda n=before: len(system.logged("run_started")) > n, 3)
            await system.end(dispatcher, signal.SIGKILL)
            for conversation, _ in asked:
                told |= {text for text in card_texts(system, conversation) if "in a row" in text}
            dispatcher = await system.start()
        turns = [await system.answer(*one, seconds=180) for one in asked]

        assert {turn.status for turn in turns} == {"done"}
        ends = [await _ends(system, conversation) for conversation, _ in asked]
        assert sum(map(len, ends)) > KILLS / 3, "it came to runs that it could have counted"
        assert told
        for text in told:
            assert "workers in a row were stopped, and not because of your task." in text
            assert "The last time, PeerBot was restarted. The next one starts within " in text


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_an_agent_that_ends_its_supervisor_three_times_is_given_up_with_the_reason(tmp_path: Path) -> None:
    """Nobody asked for these drains, however far the agent got before them."""
    async with System(tmp_path) as system:
        await system.start()
        conversation, identity = await system.say(ENDS_ITS_SUPERVISOR)
        turn = await system.answer(conversation, identity, 120)

        assert (turn.status, turn.run) == ("failed", None)
        assert full_text(turn).startswith(
            "The worker ended several times before it could answer. The last time, it was stopped by a signal "
            "(SIGTERM) that PeerBot did not send."
        )
        assert await _ends(system, conversation) == ["crashed"] * 3
        assert all(run.closed and run.closed.by_signal for run in await system.journal.runs(conversation))


@pytest.mark.parametrize("reason", [RunEnd.DISPATCHER_ENDED, RunEnd.DRAINED, RunEnd.NODE_LOST])
async def test_a_message_that_many_runs_left_through_nobodys_fault_is_answered(tmp_path: Path, reason: RunEnd) -> None:
    """As the release before left it, which gave a message up after ten ends of any kind."""
    async with System(tmp_path) as system:
        asked = await left(system, *[RunClosed(reason=reason)] * 20)
        await system.start()
        turn = await system.answer(*asked)

        assert (turn.status, turn.run) == ("done", 21)


CRASH = RunClosed(reason=RunEnd.CRASHED)


@pytest.mark.parametrize(
    ("ends", "parts", "answered"),
    [
        ([CRASH] * 3, (2, 2, 2), False),
        ([CRASH] * 3, (9, 2, 2), False),
        ([CRASH] * 3, (9, 2, 5), True),
        ([CRASH] * 9, (9,) * 9, True),
        ([CRASH] * 10, (9,) * 10, False),
        ([CRASH.model_copy(update={"by_signal": True})] * 3, (9, 9, 9), False),
    ],
    ids=["only asked", "first", "further", "nine times further", "ten times further", "further, by a signal"],
)
async def test_a_run_that_got_further_starts_the_count_of_three_again(
    tmp_path: Path, ends: list[RunClosed], parts: tuple[int, ...], answered: bool
) -> None:
    async with System(tmp_path) as system:
        asked = await left(system, *ends, parts=parts)
        await system.start()
        turn = await system.answer(*asked)

        if answered:
            assert (turn.status, turn.run) == ("done", len(ends) + 1)
        else:
            assert (turn.status, turn.run) == ("failed", None)
            assert "The worker ended several times before it could answer. The last time, it crashed." in full_text(
                turn
            )


async def test_runs_that_kept_ending_for_two_hours_through_nobodys_fault_are_told_and_not_gone_on_with(
    tmp_path: Path,
) -> None:
    async with System(tmp_path) as system:
        lost = [RunClosed(reason=RunEnd.NODE_LOST)] * 10
        asked = await left(system, *lost, minutes=140, apart_minutes=14)
        await system.start()
        turn = await system.answer(*asked)

        assert (turn.status, turn.run) == ("failed", None)
        assert full_text(turn).startswith(
            "Workers were stopped again and again for 2 hours, and not because of your task. The last time, its node "
            "was lost."
        )
        after = await system.ask("go on", thread=asked[0], mention=False)
        assert (after.status, after.run) == ("done", 11)


async def test_runs_that_kept_ending_for_less_than_two_hours_are_gone_on_with(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        lost = [RunClosed(reason=RunEnd.NODE_LOST)] * 8
        asked = await left(system, *lost, minutes=140, apart_minutes=14)
        await system.start()

        assert (await system.answer(*asked)).run == 9


async def _ends(system: System, conversation: Conversation) -> list[Any]:
    """How its runs ended that did not answer."""
    closed = [run.closed.reason.value for run in await system.journal.runs(conversation) if run.closed]
    return [reason for reason in closed if reason != "finished"]
