"""The words for people, the kept work, and how a thread goes on, if Claude's API, the CLI or a tool fails."""

import asyncio
import contextlib
import gzip
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from system import System, below, eventually, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.protocol.documents import SessionPart, SessionWhole
from peerbot.protocol.sessions import LONGEST_TO_GO_ON_BYTES, pack, unpack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
QUESTION = "what is in this repository?"
TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
NO_CREDIT = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."
SHORT = {"SESSION_TIMEOUT_MINUTES": "0.15", "WORKER_IDLE_SECONDS": "0"}

COMPACTION_REQUESTS = 7
"""How often Claude Code asks before it gives up: the request itself, and for ever shorter summaries."""

slow = pytest.mark.slow


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("system"), {"WORKER_IDLE_SECONDS": "3"}) as system:
        await system.start()
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def system(module_system: System) -> AsyncIterator[System]:
    """The module's system. Whatever a test broke is mended for the next."""
    yield module_system
    module_system.model.faults.clear()


def causes(system: System, conversation: Conversation) -> str:
    """Return the operator's log lines about a conversation's failed turns."""
    lines = [line for line in system.logged("turn_failed") if line["conversation"] == str(conversation)]
    return " ".join(line["cause"] for line in lines)


def agents(system: System) -> list[psutil.Process]:
    """The Claude Code processes of this system's runs."""
    found: dict[int, psutil.Process] = {}
    for pid in system.worker_pids():
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(pid).children(recursive=True)
            found |= {process.pid: process for process in below if _name(process) == "claude"}
    return list(found.values())


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def running(system: System, mark: str) -> bool:
    """Whether this system's sandboxes have a process with `mark` in its command line."""
    me = os.getpid()
    mine = str(system.directory)
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if process.info["pid"] != me and mark in line and mine not in line:
            return True
    return False


async def goes_on(system: System, conversation: Conversation, failed: Turn) -> Turn:
    """The next message is answered in the session of the turn that failed."""
    system.model.faults.clear()
    after = await system.ask(QUESTION, thread=conversation, mention=False)
    assert after.status == "done"
    assert after.session
    assert failed.session
    assert after.session.id == failed.session.id
    return after


# --- Claude's API


@pytest.mark.parametrize(
    ("breaking", "sentence", "cause"),
    [
        (lambda faults: faults.error(400, NO_CREDIT, times=20), "the account has no credit left", "billing_error"),
        pytest.param(
            lambda faults: faults.error(403, times=20), "Claude's API did not allow the request", "HTTP 403", marks=slow
        ),
        pytest.param(
            lambda faults: faults.error(404, "model: claude-x", times=20),
            "check `PEERBOT_MODEL`",
            "model_not_found",
            marks=slow,
        ),
        pytest.param(
            lambda faults: faults.run_out_of_tokens(times=20),
            "was too long, so it was cut off",
            "max_output_tokens",
            marks=slow,
        ),
        pytest.param(
            lambda faults: faults.error(429, times=20, retry_after_seconds=1200),
            "Claude's rate limit is reached. Write here again in a few minutes",
            "HTTP 429",
            marks=slow,
        ),
    ],
    ids=["credit", "403", "404", "max_tokens", "429 for longer than a turn"],
)
async def test_what_claude_does_not_do_is_told_at_once_and_the_session_goes_on(
    system: System, breaking: Callable[[Any], None], sentence: str, cause: str
) -> None:
    breaking(system.model.faults)
    conversation, identity = await system.say(SCRIPT)
    failed = await system.answer(conversation, identity)

    assert failed.status == "failed"
    assert sentence in full_text(failed)
    assert (
        "rite here again" in full_text(failed)
        or "smaller parts" in full_text(failed)
        or "check the key" in full_text(failed)
    )
    assert cause in causes(system, conversation)
    await eventually(lambda: system.reactions(conversation, identity) == {"warning"})
    await goes_on(system, conversation, failed)


@slow
@pytest.mark.parametrize(
    "breaking",
    [lambda faults: faults.cut(inside="tool_use"), lambda faults: faults.run_out_of_tokens()],
    ids=["cut in a tool call", "max_tokens once"],
)
async def test_an_answer_that_breaks_off_once_is_taken_up_again(
    system: System, breaking: Callable[[Any], None]
) -> None:
    breaking(system.model.faults)

    turn = await system.ask(SCRIPT)

    assert turn.status == "done"
    assert "2 3 5 7" in full_text(turn)
    assert [file.path for file in turn.files] == ["primes.py"]


@slow
@pytest.mark.parametrize(
    ("breaking", "sentence"),
    [
        (lambda faults: faults.error(529, times=50), "Claude is overloaded or does not answer. I tried for 0.15 min"),
        (lambda faults: faults.error(500, times=50), "Claude does not answer. I tried for 0.15 min"),
        (lambda faults: faults.error(429, times=50), "Claude's rate limit is reached. I tried for 0.15 min"),
        (lambda faults: faults.cut(times=50), "Claude does not answer. I tried for 0.15 min"),
    ],
    ids=["529", "500", "429", "cut"],
)
async def test_a_model_that_stays_away_for_all_of_a_turn_is_told_and_another_run_goes_on(
    tmp_path: Path, breaking: Callable[[Any], None], sentence: str
) -> None:
    async with System(tmp_path, SHORT) as system:
        await system.start()
        breaking(system.model.faults)
        conversation, identity = await system.say(SCRIPT)
        await eventually(lambda: any("Waiting for Claude" in str(card) for card in system.cards(conversation)), 20)
        failed = await system.answer(conversation, identity)

        assert failed.status == "failed"
        assert full_text(failed).startswith(sentence)
        assert full_text(failed).endswith("Write here again in a few minutes to go on.")
        assert "turn limit" in causes(system, conversation)
        await eventually(lambda: system.logged("run_closed"))
        assert (await goes_on(system, conversation, failed)).run == 2


@slow
@pytest.mark.timeout(300)
async def test_a_silent_stream_and_an_api_that_is_down_for_minutes_end_by_themselves(tmp_path: Path) -> None:
    async def silent() -> None:
        async with System(tmp_path / "silent", {"WORKER_IDLE_SECONDS": "0"}) as system:
            await system.start()
            system.model.faults.stall()
            conversation, identity = await system.say(SCRIPT)
            turn = await system.answer(conversation, identity, 100)  # a minute of silence, and the rest
            assert turn.status == "done"
            assert "2 3 5 7" in full_text(turn)
            assert [line["cause"] for line in system.logged("model_broke")] == ["TimeoutError"]

    async def down() -> None:
        async with System(tmp_path / "down", {"WORKER_IDLE_SECONDS": "0"}) as system:
            await system.start()
            system.model.faults.error(500, times=50)
            conversation, identity = await system.say(SCRIPT)
            failed = await system.answer(conversation, identity, 240)  # ten tries, about three minutes
            assert full_text(failed).startswith("Claude's API has a problem. Write here again")
            await goes_on(system, conversation, failed)

    async with asyncio.TaskGroup() as both:  # most of the time they wait
        both.create_task(silent())
        both.create_task(down())


@slow
async def test_a_budget_that_is_used_up_is_told_and_the_next_turn_has_a_new_one(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_RUN_BUDGET_USD": "0.01", "WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        conversation, identity = await system.say(SCRIPT)
        failed = await system.answer(conversation, identity)

        assert full_text(failed).startswith("This turn's budget of $0.01 is used up. Write here again")
        await eventually(lambda: system.logged("run_closed"))
        asked = system.model.requests
        after = await system.ask(QUESTION, thread=conversation, mention=False)
        assert after.run == 2
        assert system.model.requests > asked
        assert after.session
        assert failed.session
        assert after.session.id == failed.session.id


@slow
async def test_a_full_context_is_compacted_and_the_compacted_session_goes_on_in_another_run(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "1"}) as system:
        await system.start()
        first = await system.ask(SCRIPT)
        conversation = Conversation(system.slack.team, system.slack.general, first.inputs[0].partition("-")[0])
        system.model.faults.error(400, TOO_LONG)
        full = await system.ask("run `echo compacted`", thread=conversation, mention=False)

        assert full.status == "done"
        assert "compacted" in full.text
        await eventually(lambda: system.logged("run_closed"))
        after = await system.ask("run `echo after`", thread=conversation, mention=False)
        assert after.run
        assert full.run
        assert after.run > full.run
        assert after.session
        assert first.session
        assert after.session.id == first.session.id
        assert "prints the first ten primes" in full_text(after), "the first that was asked is remembered"
        last = str(system.model.seen[-1]["messages"])
        assert "This session is being continued" in last
        assert "'name': 'Write'" not in last, "what was compacted is not sent again"


# --- Claude Code


async def killed(system: System, *, times: int, once_there: Callable[[], bool] = lambda: True) -> None:
    """Kill Claude Code (SIGKILL) this many times, each time another process."""
    gone: set[int] = set()
    for _ in range(times):
        await eventually(lambda: {process.pid for process in agents(system)} - gone and once_there(), 20)
        for process in agents(system):
            gone.add(process.pid)
            process.kill()


async def test_a_cli_that_is_killed_in_the_middle_of_a_tool_goes_on_where_it_was(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        once = "f=pathlib.Path('half.txt'); there=f.exists(); f.write_text('it'); there or time.sleep(7153.25)"
        command = f"import pathlib, time; {once}"
        conversation, identity = await system.say(f'run ```\npython3 -c "{command}" && echo went on\n```')
        await eventually(lambda: below(tmp_path / "data", "half.txt"), 20)
        await killed(system, times=1)
        turn = await system.answer(conversation, identity)

        assert (turn.status, turn.run) == ("done", 1)
        assert "went on" in full_text(turn)
        assert [file.path for file in turn.files] == ["half.txt"]
        assert "Claude Code ended in the middle of this turn and was started again" in system.read_by_model()
        assert not running(system, "sleep(7153"), "what the killed CLI had started is ended before another goes on"


@slow
async def test_a_cli_that_dies_again_is_told_and_the_next_message_goes_on_with_its_session(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "3"}) as system:
        await system.start()
        conversation, identity = await system.say("take 60 seconds")
        await killed(
            system,
            times=2,
            once_there=lambda: "Part 1" in str(system.cards(conversation)),
        )
        failed = await system.answer(conversation, identity)

        assert full_text(failed) == (
            "Claude Code ended unexpectedly, and again after a restart. Write here again to go on."
        )
        assert "ProcessError" in causes(system, conversation)
        await goes_on(system, conversation, failed)


@slow
@pytest.mark.timeout(240)
async def test_a_cli_that_hangs_is_ended_at_the_turns_limit_and_another_goes_on(tmp_path: Path) -> None:
    async with System(tmp_path, {**SHORT, "WORKER_IDLE_SECONDS": "5"}) as system:
        await system.start()
        conversation, identity = await system.say("take 60 seconds")
        await eventually(lambda: "Part 1" in str(system.cards(conversation)), 20)
        [hung] = agents(system)
        hung.send_signal(signal.SIGSTOP)
        failed = await system.answer(conversation, identity, 60)

        assert full_text(failed).startswith("This turn reached its limit of 0.15 min, so I stopped.")
        assert "the CLI did not stop" in causes(system, conversation)
        assert not hung.is_running()
        await goes_on(system, conversation, failed)


# --- its tools


async def test_what_runs_in_the_background_ends_with_its_turn_and_answers_nothing_later(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "5"}) as system:
        await system.start()
        conversation, identity = await system.say(
            "run `python3 -c 'import time; time.sleep(7154.25)'` in the background"
        )
        turn = await system.answer(conversation, identity)
        assert turn.status == "done"
        await eventually(lambda: not running(system, "sleep(7154"))

        after = await system.ask("run `echo of the second turn`", thread=conversation, mention=False)
        assert after.run == 1
        assert "of the second turn" in full_text(after)


@slow
async def test_a_tool_that_never_ends_and_one_that_was_left_behind_end_with_their_turn(tmp_path: Path) -> None:
    async with System(tmp_path, {"SESSION_TIMEOUT_MINUTES": "0.4", "WORKER_IDLE_SECONDS": "5"}) as system:
        await system.start()
        stays = "nohup setsid python3 -c 'import time; time.sleep(7155.25)' > /dev/null 2>&1 &"
        ask = f"run ```\n{stays}\npython3 -c 'import time; time.sleep(7156.25)'\n```"
        conversation, identity = await system.say(ask)
        await eventually(lambda: running(system, "sleep(7155") and running(system, "sleep(7156"), 20)
        failed = await system.answer(conversation, identity)

        assert full_text(failed).startswith("This turn reached its limit of 0.4 min, so I stopped.")
        assert not running(system, "sleep(7155")
        assert not running(system, "sleep(7156")
        await goes_on(system, conversation, failed)


@slow
async def test_a_tool_that_prints_without_end_is_cut_off_and_its_output_is_not_kept(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        turn = await system.ask("run `head -c 200000000 /dev/zero | tr '\\0' x`")

        assert turn.status == "done"
        assert len(turn.text) < 50_000
    journal = (tmp_path / "journal").rglob("*")
    assert sum(file.stat().st_size for file in journal if file.is_file()) < 1_000_000


# --- a session that can't be taken up


def session_file(system: System, conversation: Conversation, turn: Turn) -> Path:
    folder = system.directory / "journal" / "conversations" / str(conversation) / "sessions"
    return folder / str(turn.k) / str(turn.run) / "whole.json.gz"


def _garbage(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _of_nobody(_: bytes) -> bytes:
    return gzip.compress(b'{"schema": 1, "transcripts": []}')


def _larger(data: bytes) -> bytes:
    [main, *others] = unpack(data).transcripts
    entry = main.entries[-1] | {"padding": "x" * LONGEST_TO_GO_ON_BYTES}
    return pack(SessionWhole(transcripts=[main.model_copy(update={"entries": [*main.entries[:-1], entry]}), *others]))


def _nonsense(data: bytes) -> bytes:
    [main, *_] = unpack(data).transcripts
    entries = [{"type": "user", "uuid": "1", "message": 7}, {"type": "assistant", "uuid": "2", "message": []}]
    part = SessionPart(project=main.project, session_id=main.session_id, entries=entries)
    return pack(SessionWhole(transcripts=[part]))


@pytest.mark.parametrize(
    "damage",
    [
        _garbage,
        pytest.param(_of_nobody, marks=slow),
        pytest.param(_larger, marks=slow),
        pytest.param(_nonsense, marks=slow),
    ],
    ids=["damaged", "gone", "too long", "nonsense"],
)
async def test_a_session_that_cannot_be_taken_up_is_followed_by_a_new_one_that_knows_what_was_said(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        conversation, identity = await system.say(SCRIPT)
        await system.answer(conversation, identity)
        first = await system.ask("run `echo 'List<String> &lt;'`", thread=conversation, mention=False)
        await eventually(lambda: system.logged("run_closed"))
        file = session_file(system, conversation, first)
        file.write_bytes(damage(file.read_bytes()))
        await system.end(system.dispatchers[-1])
        await system.start()  # without the parts that the first has in memory

        after = await system.ask("run `cat primes.py`", thread=conversation, mention=False)
        assert after.status == "done"
        assert full_text(after).startswith("_I could not resume my earlier session in this thread: ")
        assert "I began a new one from the messages here._" in full_text(after)
        assert "print(*primes)" in full_text(after), "the work is there"
        assert after.session
        assert first.session
        assert after.session.id != first.session.id
        read = system.read_by_model()
        assert "Your earlier session in this thread could not be taken up again" in read
        assert f"{SCRIPT}" in read
        assert "PeerBot (you):" in read
        assert "\n  List<String> &lt;\n" in read, "our own answer is read as it was"

        third = await system.ask("run `echo third`", thread=conversation, mention=False)
        assert third.session
        assert third.session.id == after.session.id
        assert "could not resume" not in full_text(third)


@slow
async def test_a_conversation_that_cannot_be_compacted_any_more_goes_on_in_a_new_session(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        first = await system.ask("run `echo one`")
        conversation = Conversation(system.slack.team, system.slack.general, first.inputs[0].partition("-")[0])
        system.model.faults.error(400, TOO_LONG, times=COMPACTION_REQUESTS)
        after = await system.ask("run `echo two`", thread=conversation, mention=False)

        assert after.status == "done"
        assert full_text(after).startswith(
            "_I could not resume my earlier session in this thread: it had become too long for"
        )
        assert "two" in full_text(after)
        assert first.session
        assert after.session
        assert after.session.id != first.session.id
