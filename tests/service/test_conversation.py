"""A conversation through its users' doors: Slack, GitHub and the answer, on a dispatcher in production mode."""

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from system import System, eventually, full_text

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


async def test_a_mention_ends_with_a_branch_a_pull_request_and_one_answer(system: System) -> None:
    conversation, identity = await system.say(SCRIPT)
    turn = await system.answer(conversation, identity)

    assert "2 3 5 7 11 13 17 19 23 29" in turn.text
    [pull_request] = await system.github.pull_requests(turn.repository or "")
    assert pull_request["number"] == turn.pull_request.number if turn.pull_request else False
    assert pull_request["head"]["ref"] == conversation.branch
    assert await _run_from_branch(system, turn.repository or "", conversation.branch, "primes.py") == (
        "2 3 5 7 11 13 17 19 23 29"
    )
    [(message, _)] = system.answers(conversation)
    assert f"Pull request #{pull_request['number']}" in str(message["blocks"])
    await eventually(lambda: system.reactions(conversation, identity) == {"white_check_mark"})


async def test_the_agents_commits_are_ours_and_those_of_repositories_that_it_makes_are_their_own(
    system: System,
) -> None:
    """A project's tests make repositories, and name an author there in the way that git's configuration has."""
    turn = await system.ask(
        "run `git commit -q --allow-empty -m Ours && git log -1 --format='one %an %cn' && git init -q /tmp/other && "
        "cd /tmp/other && git config user.name Project && git config user.email project@example.com && "
        "git commit -q --allow-empty -m Theirs && git log -1 --format='two %an %cn'`"
    )

    assert "one PeerBot PeerBot\ntwo Project Project" in full_text(turn)


async def test_the_first_message_says_worker_repository_branch_and_limit(system: System) -> None:
    conversation, identity = await system.say(SCRIPT)
    turn = await system.answer(conversation, identity)
    await eventually(lambda: "Worked for" in str(system.cards(conversation)))

    [card] = system.cards(conversation)
    [context] = [block for block in card["blocks"] if block["type"] == "context"]
    facts = context["elements"][0]["text"]
    for fact in (conversation.job_name(1), turn.repository, conversation.branch, "limit 5 min", "Ada Lovelace"):
        assert fact in facts
    [plan] = [block for block in card["blocks"] if block["type"] == "plan"]
    assert {task["status"] for task in plan["tasks"]} == {"complete"}


async def test_each_event_delivered_twice_is_answered_once(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "20"}) as system:
        system.slack.faults.duplicate_events = True
        await system.start()
        conversation, first = await system.say(SCRIPT)
        await system.answer(conversation, first)
        _, second = await system.say("what is in this repository?", thread=conversation, mention=False)
        await system.answer(conversation, second)

        await eventually(lambda: system.slack.undelivered == 0)
        answered = [(await system.journal.turn(conversation, k)) for _, k in system.answers(conversation)]
        assert [turn.inputs for turn in answered if turn] == [[first], [second]]
        await system.settled(conversation)


async def test_a_follow_up_is_served_by_the_run_that_waits(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "20"}) as system:
        await system.start()
        conversation, first = await system.say(SCRIPT)
        await system.answer(conversation, first)
        turn = await system.ask("what is in this repository?", thread=conversation, mention=False)

        assert "Earlier in this thread you asked" in turn.text
        assert [record.n for record in await system.journal.runs(conversation)] == [1]


async def test_a_conversation_goes_on_after_everything_local_was_wiped(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        dispatcher = await system.start()
        conversation, first = await system.say(SCRIPT)
        before = await system.answer(conversation, first)
        await system.end(dispatcher)
        shutil.rmtree(tmp_path / "data")
        shutil.rmtree(tmp_path / "home", ignore_errors=True)

        await system.start()
        after = await system.ask("what does primes.py do?", thread=conversation, mention=False)

        assert "Earlier in this thread you asked" in after.text
        assert "primes.py" in after.text
        assert after.session
        assert before.session
        assert after.session.id == before.session.id
        assert len(await system.github.pull_requests(before.repository or "")) == 1


async def test_a_closed_run_is_followed_by_another(system: System) -> None:
    conversation, first = await system.say(SCRIPT)
    await system.answer(conversation, first)
    await eventually(lambda: system.logged("run_closed"))

    await system.ask("what is in this repository?", thread=conversation, mention=False)

    assert [record.n for record in await system.journal.runs(conversation)] == [1, 2]


async def test_a_merged_branch_is_followed_by_a_new_one(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "20"}) as system:
        await system.start()
        conversation, identity = await system.say("run `echo one > one.txt`")
        first = await system.answer(conversation, identity)
        assert first.pull_request
        await system.github.merge(first.repository or "", first.pull_request.number, squash=True, delete_branch=True)
        second = await system.ask("run `echo two > two.txt`", thread=conversation, mention=False)

        assert second.branch == f"{conversation.branch}-2"
        assert (
            f"Pull request #1 was merged, so this turn began a new branch from the default branch: `{second.branch}`"
            in full_text(second)
        )
        pulls = await system.github.pull_requests(second.repository or "")
        assert [(pull["head"]["ref"], pull["commits"]) for pull in pulls[1:]] == [(second.branch, 1)]


async def test_a_worker_that_is_killed_is_followed_by_another_that_answers(system: System) -> None:
    conversation, identity = await system.say("take 6 seconds")
    await eventually(lambda: system.model.requests >= 1 and system.worker_pids(), 20)
    system.kill_workers()
    await eventually(lambda: system.logged("run_died"))
    turn = await system.answer(conversation, identity)

    assert turn.run == 2
    assert len(system.answers(conversation)) == 1


async def test_a_dispatcher_that_is_killed_loses_no_message(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        dispatcher = await system.start()
        conversation, identity = await system.say("take 6 seconds")
        await eventually(lambda: system.model.requests >= 1, 20)
        await system.end(dispatcher, signal.SIGKILL)
        await eventually(lambda: not system.worker_pids(), 5)
        await system.start()
        turn = await system.answer(conversation, identity)

        assert turn.run == 2
        assert len(system.answers(conversation)) == 1


async def test_runs_beyond_the_limit_wait_in_line_and_are_told_their_place(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_MAX_CONCURRENT": "1", "WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        first, first_input = await system.say("take 3 seconds")
        await eventually(lambda: system.logged("run_placed"))
        second, second_input = await system.say(SCRIPT)
        await eventually(lambda: "Queued" in str(system.cards(second)))

        await system.answer(first, first_input)
        await system.answer(second, second_input)
        assert [line["conversation"] for line in system.logged("run_placed")] == [str(first), str(second)]


async def test_health_and_readiness_are_told_apart(system: System, tmp_path: Path) -> None:
    assert await system.get("/health") == (200, {"status": "alive"})
    assert (await system.get("/ready"))[0] == 200
    journal = tmp_path / "journal"
    journal.rename(tmp_path / "away")
    journal.write_text("not a directory")

    assert (await system.get("/ready"))[0] == 503
    assert await system.get("/health") == (200, {"status": "alive"})


async def test_sigterm_ends_the_dispatcher_and_everything_that_it_started(system: System) -> None:
    await system.say("take 30 seconds")
    await eventually(lambda: system.model.requests >= 1 and system.worker_pids(), 20)
    [dispatcher] = system.dispatchers

    assert await system.end(dispatcher) == 0
    assert system.worker_pids() == []


async def _run_from_branch(system: System, repository: str, branch: str, script: str) -> str:
    """Return the output of a script on a branch, run in a fresh clone."""
    clone = system.directory / "clone"
    path = system.github.repository_path(repository)
    await asyncio.to_thread(
        subprocess.run, ["git", "clone", "-q", "-b", branch, str(path), str(clone)], check=True, capture_output=True
    )
    done = await asyncio.to_thread(
        subprocess.run, ["python3", script], cwd=clone, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
