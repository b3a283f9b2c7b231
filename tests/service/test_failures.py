"""The words for people, and the lines for the operator, if Claude, git, GitHub, Slack or the journal fail."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from system import System, eventually, full_text

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.journal import choices
from peerbot.local.slack import Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
QUESTION = "what is in this repository?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(
        tmp_path_factory.mktemp("system"),
        {"WORKER_IDLE_SECONDS": "3", "SESSION_TIMEOUT_MINUTES": "0.6", "PEERBOT_REPOSITORIES": "somebody/empty"},
    ) as system:
        await system.start()
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def system(module_system: System) -> AsyncIterator[System]:
    """The module's system. Whatever a test broke is mended for the next."""
    yield module_system
    module_system.model.faults.clear()
    module_system.slack.faults.clear()
    module_system.github.faults.planned.clear()
    module_system.github.faults.push_refusals.clear()


async def _warned(system: System, conversation: Conversation, identity: str) -> None:
    """The person's message carries the warning, and nothing else."""
    await eventually(lambda: system.reactions(conversation, identity) == {"warning"})


def _card_titles(system: System, conversation: Conversation) -> list[str]:
    return [card["blocks"][0]["title"] for card in system.cards(conversation)]


def _causes(system: System, conversation: Conversation, turn: Turn) -> str:
    """Return the operator's log lines about a turn."""
    lines = [line for line in system.logged("turn_failed") if line["conversation"] == str(conversation)]
    return " ".join(line["cause"] for line in lines if (line["run"], line["turn"]) == (turn.run, turn.k))


# --- Claude


@pytest.mark.parametrize(
    ("breaking", "sentence", "cause"),
    [
        (lambda faults: faults.error(400, times=20), "Claude did not accept the request. Say it in other words", "400"),
        (lambda faults: faults.error(401, times=20), "Claude's API refused the key. Ask your PeerBot operator", "401"),
        (lambda faults: faults.refuse(times=4), "Claude declined to go on with this. Say what you need", "refusal"),
    ],
    ids=["400", "401", "refusal"],
)
async def test_what_claude_refuses_is_told_in_a_sentence_and_the_session_goes_on(
    system: System, breaking: Callable[[Any], None], sentence: str, cause: str
) -> None:
    breaking(system.model.faults)
    conversation, identity = await system.say(SCRIPT)
    failed = await system.answer(conversation, identity)

    assert failed.status == "failed"
    assert full_text(failed).startswith(sentence)
    assert cause in _causes(system, conversation, failed)
    await _warned(system, conversation, identity)

    system.model.faults.clear()
    after = await system.ask(QUESTION, thread=conversation, mention=False)
    assert after.status == "done"
    assert after.session
    assert failed.session
    assert after.session.id == failed.session.id


async def test_a_wrong_key_is_not_tried_again_and_again(system: System) -> None:
    system.model.faults.error(401, times=20)
    before = system.model.requests

    await system.ask(SCRIPT)

    assert system.model.requests - before == 1


async def test_a_rate_limit_that_passes_is_waited_for(system: System) -> None:
    system.model.faults.error(429, retry_after_seconds=1)

    turn = await system.ask(SCRIPT)

    assert turn.status == "done"
    assert "2 3 5 7" in full_text(turn)


async def test_a_stream_that_is_cut_once_is_taken_up_again(system: System) -> None:
    system.model.faults.cut(inside="text")

    turn = await system.ask(SCRIPT)

    assert turn.status == "done"
    assert "2 3 5 7" in full_text(turn)


async def test_a_turn_that_takes_too_long_ends_with_what_it_made_and_the_next_goes_on(tmp_path: Path) -> None:
    async with System(tmp_path, {"SESSION_TIMEOUT_MINUTES": "0.1", "WORKER_IDLE_SECONDS": "10"}) as system:
        await system.start()
        command = "import time, pathlib; pathlib.Path('half.txt').write_text('half'); time.sleep(30)"
        conversation, identity = await system.say(f'run ```\npython3 -c "{command}"\n```')
        turn = await system.answer(conversation, identity)

        assert turn.status == "failed"
        assert full_text(turn).startswith(
            "This turn reached its limit of 0.1 min, so I stopped. Write here again to go"
        )
        assert "**Left:** Run the command as it was written" in full_text(turn)
        assert "The last thing I said:" in full_text(turn)
        assert full_text(turn).endswith("I'll run it.")
        assert 6 <= (turn.seconds or 0) < 20
        assert [file.path for file in turn.files] == ["half.txt"]
        assert _git(system, turn.repository or "", "show", f"{conversation.branch}:half.txt") == "half"
        assert "turn limit" in _causes(system, conversation, turn)
        await _warned(system, conversation, identity)

        after = await system.ask("run `cat half.txt`", thread=conversation, mention=False)
        assert after.status == "done"
        assert "half" in full_text(after)
        assert after.session
        assert turn.session
        assert after.session.id == turn.session.id


async def test_a_worker_that_dies_again_and_again_is_told_without_its_log(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        conversation, identity = await system.say("take 30 seconds")
        for run in (1, 2, 3):
            await eventually(lambda n=run: len(system.logged("run_started")) == n and system.worker_pids(), 20)
            system.kill_workers()
            await eventually(lambda n=run: len(system.logged("run_died")) == n, 20)
        turn = await system.answer(conversation, identity)

        assert (turn.status, turn.run) == ("failed", None)
        assert full_text(turn).startswith(
            "The worker ended several times before it could answer. The last time, it crashed."
        )
        assert "{" not in full_text(turn)
        await _warned(system, conversation, identity)
        assert "SIGKILL" in system.logged("run_died")[-1]["detail"]
        await eventually(lambda: _card_titles(system, conversation) == ["Ended without an answer"])


# --- git and GitHub


async def test_a_repository_that_cannot_be_cloned_is_told_and_tried_again(system: System) -> None:
    system.github.faults.add("git-upload-pack$", status=500, count=50)
    conversation, identity = await system.say("run `echo cloned`")
    turn = await system.answer(conversation, identity)

    assert full_text(turn) == (
        "The repository could not be checked out: the git server has a problem (HTTP 500). Try again in a minute. "
        "Write here again, and I try once more."
    )
    assert "git clone" in _causes(system, conversation, turn)
    await _warned(system, conversation, identity)

    system.github.faults.planned.clear()
    again = await system.ask("please try again", thread=conversation, mention=False)
    assert again.status == "done"
    assert "run `echo cloned`" in system.read_by_model(), "what failed before the agent heard it is brought along"


async def test_a_clone_that_fails_once_is_tried_again_unnoticed(system: System) -> None:
    system.github.faults.add("git-upload-pack", status=502, count=1)

    turn = await system.ask(QUESTION)

    assert turn.status == "done"


async def test_a_push_that_is_refused_is_told_with_the_forges_words_and_made_up_for(system: System) -> None:
    system.github.faults.refuse_push("GH013: Repository rule violations found")
    conversation, identity = await system.say(SCRIPT)
    turn = await system.answer(conversation, identity)

    assert "2 3 5 7" in full_text(turn)
    assert "could not push them:** GH013: Repository rule violations found. When that is fixed" in full_text(turn)
    assert "127.0.0.1" not in full_text(turn)
    assert "rejected" in _causes(system, conversation, turn)
    assert (turn.commit, turn.pull_request) == (None, None)

    after = await system.ask(QUESTION, thread=conversation, mention=False)
    assert after.commit
    assert after.pull_request


async def test_an_empty_repository_gets_its_first_commit(system: System, tmp_path: Path) -> None:
    make = ["git", "init", "-q", "-b", "trunk", str(tmp_path / "empty")]
    await asyncio.to_thread(subprocess.run, make, check=True)
    await system.github.import_repository("somebody/empty", tmp_path / "empty")
    channel = "C0EMPTY0001"
    system.slack.add_channel(channel, "empty")
    choice = Choice(repository="somebody/empty", chosen_by=system.slack.person)
    await choices.choose(system.journal, "channel", f"{system.slack.team}-{channel}", choice)
    ts = await system.slack.say(system.slack.person, channel, f"{system.slack.mention()} {SCRIPT}")
    conversation = Conversation(system.slack.team, channel, ts)

    turn = await system.answer(conversation, f"{ts}-message")

    assert (turn.status, turn.repository) == ("done", "somebody/empty")
    assert turn.pull_request is None  # there is nothing to compare with
    assert "primes.py" in _git(system, "somebody/empty", "ls-tree", "--name-only", conversation.branch)


async def test_a_pull_request_that_somebody_opened_is_found_and_not_doubled(system: System) -> None:
    system.github.faults.add("/pulls", method="POST", status=500, count=50)
    conversation, identity = await system.say(SCRIPT)
    turn = await system.answer(conversation, identity)
    assert "The work is on the branch, but there is no pull request yet" in full_text(turn)
    system.github.faults.planned.clear()
    number = await _open_pull_request(system, turn.repository or "", conversation.branch)

    after = await system.ask(QUESTION, thread=conversation, mention=False)

    assert after.pull_request
    assert after.pull_request.number == number
    heads = [pull["head"]["ref"] for pull in await system.github.pull_requests(turn.repository or "")]
    assert heads.count(conversation.branch) == 1


async def test_a_pull_request_whose_creation_was_not_answered_is_found_and_not_doubled(system: System) -> None:
    system.github.faults.add("/pulls", method="POST", status=502, served=True)
    conversation, identity = await system.say(SCRIPT)
    turn = await system.answer(conversation, identity)

    assert turn.pull_request
    heads = [pull["head"]["ref"] for pull in await system.github.pull_requests(turn.repository or "")]
    assert heads.count(conversation.branch) == 1


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"status": 401, "message": "Bad credentials"}, "GitHub refused the token: it is wrong, expired or revoked."),
        (
            {"method": "POST", "status": 403, "message": "Resource not accessible by personal access token"},
            "It needs the right to create repositories there",
        ),
    ],
    ids=["401", "creation forbidden"],
)
async def test_a_token_that_github_refuses_is_told_and_the_conversation_can_begin_later(
    system: System, fault: dict[str, Any], sentence: str
) -> None:
    name = f"U0NEW{fault['status']}"
    person = system.add_person(name, f"Newcomer {fault['status']}")
    system.github.faults.add("/api/v3/", **fault)
    conversation, identity = await system.say("run `echo begun`", user=person)
    turn = await system.answer(conversation, identity)

    assert (turn.status, turn.run) == ("failed", None)
    assert sentence in full_text(turn)
    assert full_text(turn).endswith("Tell your PeerBot operator. When the problem is fixed, write here again.")
    await _warned(system, conversation, identity)

    after = await system.ask("please try again", thread=conversation, user=person, mention=False)
    assert after.status == "done"
    assert "run `echo begun`" in system.read_by_model()


async def test_a_github_that_is_down_for_a_while_delays_the_answer_and_no_more(system: System) -> None:
    person = system.add_person("U0DOWN00001", "Downtime")
    system.github.faults.add("/api/v3/", status=503, count=6)  # more than one look has tries

    turn = await system.ask(SCRIPT, user=person)

    assert turn.status == "done"


# --- Slack and the journal


async def test_blocks_that_slack_does_not_take_are_said_in_plain_text(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        system.slack.faults.add("chat.postMessage", Fault(error="invalid_blocks"))
        conversation, identity = await system.say(SCRIPT)
        await system.answer(conversation, identity)

        await system.settled(conversation)
        [card] = system.cards(conversation)
        assert {block["type"] for block in card["blocks"]} <= {"section", "context"}
        [(message, _)] = system.answers(conversation)
        assert "2 3 5 7" in str(message["blocks"])
        assert message["blocks"][0]["type"] == "markdown", "the refusal of one message says nothing about another"
        assert len(system.logged("blocks_refused")) == 1, "the card's edits begin where its first message ended"


async def test_a_rate_limit_of_slack_is_waited_for_and_everything_is_said_once(system: System) -> None:
    system.slack.faults.add("chat.postMessage", Fault(status=429, retry_after_seconds=1), times=2)
    conversation, identity = await system.say(QUESTION)
    await system.answer(conversation, identity)

    assert len(system.answers(conversation)) == 1
    assert len(system.cards(conversation)) <= 1


async def test_a_card_that_slack_keeps_waiting_does_not_come_after_the_end(tmp_path: Path) -> None:
    async with System(tmp_path, {"SLACK_ENABLE_PROGRESS_UPDATES": "false"}) as system:
        dispatcher = await system.start()
        system.slack.faults.add("chat.update", Fault(status=429, retry_after_seconds=3))
        conversation, identity = await system.say(QUESTION)
        await system.answer(conversation, identity)

        def title() -> str:
            return str(system.cards(conversation)[0]["blocks"][0]["title"])

        await eventually(lambda: title() == "Done", 20)
        await system.end(dispatcher)  # it says the rest
        edits = [call.outcome for call in system.slack.calls if call.method == "chat.update"]
        assert (edits[0], edits[-1]) == ("http 429", "ok")
        assert title() == "Done"


async def test_what_could_not_be_recorded_is_sent_again_by_slack_and_answered_once(tmp_path: Path) -> None:
    """The dispatcher that had it in memory is dead, and no other may read the message."""
    async with System(tmp_path) as system:
        system.slack.faults.retry_scale = 0.1
        system.no_history()
        dispatcher = await system.start()
        journal = tmp_path / "journal"
        journal.rename(tmp_path / "away")
        journal.write_text("not a directory")
        conversation, identity = await system.say(SCRIPT)
        await eventually(lambda: system.logged("not_acked"))
        assert system.slack.undelivered > 0
        await eventually(lambda: system.reactions(conversation, identity) == {"hourglass_flowing_sand"})
        await system.end(dispatcher, signal.SIGKILL)
        journal.unlink()
        (tmp_path / "away").rename(journal)

        await system.start()
        turn = await system.answer(conversation, identity)

        assert turn.inputs == [identity]
        await system.delivered()
        assert len(system.answers(conversation)) == 1


def _git(system: System, repository: str, *arguments: str) -> str:
    command = ["git", "-C", str(system.github.repository_path(repository)), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def _open_pull_request(system: System, repository: str, branch: str) -> int:
    """Open a pull request as a person does."""
    wanted = {"title": "Mine", "head": branch, "base": "main"}
    headers = {"Authorization": f"Bearer {system.github.token}"}
    url = f"{system.github.api_url}/repos/{repository}/pulls"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=wanted) as reply:
        assert reply.status == 201
        return int((await reply.json())["number"])
