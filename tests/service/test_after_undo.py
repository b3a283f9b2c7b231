"""People press Undo and Retry below an answer: the branch goes back, nothing is lost, and everyone is told."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from after import COMMIT, controls, press, told, turn_after
from system import System, eventually, full_text

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, undone_branch
from peerbot.local.slack import Fault

BOB = ("-c", "user.name=Bob", "-c", "user.email=bob@example.org")


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as system:
        await system.start()
        yield system


def git(system: System, turn: Turn, *arguments: str) -> str:
    path = system.github.repository_path(turn.repository or "")
    return subprocess.run(("git", "-C", path, *arguments), check=True, text=True, capture_output=True).stdout.strip()


def head(system: System, turn: Turn, branch: str | None = None) -> str:
    return git(system, turn, "rev-parse", "--verify", f"refs/heads/{branch or turn.branch}")


def somebody_pushes(system: System, turn: Turn, message: str) -> str:
    """A person commits on the branch, through GitHub."""
    before = head(system, turn)
    commit = git(system, turn, *BOB, "commit-tree", f"{before}^{{tree}}", "-p", before, "-m", message)
    git(system, turn, "update-ref", f"refs/heads/{turn.branch}", commit, before)
    return commit


async def two_turns(system: System) -> tuple[Conversation, Turn, Turn]:
    conversation, identity = await system.say(COMMIT.format("one"))
    first = await system.answer(conversation, identity)
    _, identity = await system.say(COMMIT.format("two"), thread=conversation, mention=False)
    second = await system.answer(conversation, identity)
    await system.settled(conversation)
    assert second.before == first.commit
    return conversation, first, second


async def test_undo_puts_the_branch_back_and_keeps_what_was_there(system: System) -> None:
    conversation, first, second = await two_turns(system)
    await press(system, conversation, 2, Act.UNDO)
    said = await turn_after(system, conversation, 2)
    kept_on = undone_branch(second.branch or "", 2)
    assert head(system, second) == first.commit
    assert head(system, second, kept_on) == second.commit
    assert kept_on in full_text(said)
    assert "Ada Lovelace undid turn 2" in full_text(said)
    assert controls(system, conversation, 3) == set()

    system.model.seen.clear()
    turn = await system.ask("run `ls`", thread=conversation, mention=False)
    assert "\none.txt" in turn.text
    assert "\ntwo.txt" not in turn.text
    assert "Ada Lovelace has undone your turn 2" in system.read_by_model()
    assert turn.session
    assert second.session
    assert turn.session.id == second.session.id
    assert head(system, second) == first.commit, "the undone commits stay undone"


async def test_undo_of_the_first_turn_begins_again_at_the_default_branch(system: System) -> None:
    conversation, identity = await system.say(COMMIT.format("one"))
    first = await system.answer(conversation, identity)
    await system.settled(conversation)
    await press(system, conversation, 1, Act.UNDO)
    await turn_after(system, conversation, 1)
    assert head(system, first) == first.before == head(system, first, "main")
    turn = await system.ask(COMMIT.format("two"), thread=conversation, mention=False)
    assert turn.pull_request
    assert [file.path for file in turn.files] == ["two.txt"]
    assert "one.txt" not in git(system, turn, "ls-tree", "--name-only", turn.branch or "")


async def test_retry_does_the_same_again_from_before_the_turn(system: System) -> None:
    conversation, first, _ = await two_turns(system)
    system.model.seen.clear()
    await press(system, conversation, 2, Act.RETRY)
    third = await turn_after(system, conversation, 2)
    assert third.run
    assert third.before == first.commit
    assert third.commit
    assert head(system, third) == third.commit
    assert "asked me to do turn 2 again" in full_text(third)
    read = system.read_by_model(1)
    assert read.count("echo two > two.txt") == 1, "it does not remember its first try"
    assert "echo one > one.txt" in read, "and remembers what came before"
    _ = await system.ask("run `true`", thread=conversation, mention=False)
    assert system.read_by_model(1).count("echo two > two.txt") == 1


async def test_retry_of_a_first_turn_and_again_and_again(system: System) -> None:
    conversation, identity = await system.say("run `touch x; false`")
    first = await system.answer(conversation, identity)
    await system.settled(conversation)
    for k in (1, 2):
        system.model.seen.clear()
        await press(system, conversation, k, Act.RETRY)
        turn = await turn_after(system, conversation, k)
        assert system.read_by_model(1).count("touch x; false") == 1, system.read_by_model(1)
        assert turn.before == first.before
        assert turn.forgets == k


async def test_two_people_and_two_replicas_undo_once(system: System) -> None:
    await system.start()
    bob = system.add_person("U0BOB", "Bob")
    conversation, first, second = await two_turns(system)
    ada = system.slack.person
    await asyncio.gather(*(press(system, conversation, 2, Act.UNDO, user) for user in (ada, bob, ada, bob)))
    said = await turn_after(system, conversation, 2)
    await eventually(lambda: len(system.slack.whispers(ada)) + len(system.slack.whispers(bob)) == 3)
    assert len(said.inputs) == 1
    assert head(system, second) == first.commit
    assert len(system.answers(conversation)) == 3


async def test_commits_of_people_are_never_dropped(system: System) -> None:
    conversation, _, second = await two_turns(system)
    theirs = somebody_pushes(system, second, "Bob's own work")
    for act in (Act.UNDO, Act.RETRY):
        await press(system, conversation, 2, act)
    words = await told(system, system.slack.person, 2)
    assert all("commits that are not mine" in said for said in words), words
    assert all("Bob's own work" in said for said in words)
    assert head(system, second) == theirs
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 2


async def test_commits_of_people_that_the_turn_brought_in_are_never_dropped(system: System) -> None:
    conversation, identity = await system.say(COMMIT.format("one"))
    first = await system.answer(conversation, identity)
    _, identity = await system.say(
        "run `echo t > t; git add -A; git commit -qm t; touch begun.txt; sleep 4`", thread=conversation, mention=False
    )
    await eventually(lambda: system.work_file("begun.txt"), 60)
    somebody_pushes(system, first, "Bob's own work")
    second = await system.answer(conversation, identity)
    await system.settled(conversation)
    await press(system, conversation, 2, Act.UNDO)
    [said] = await told(system, system.slack.person)
    assert "Bob's own work" in said
    assert head(system, second) == second.commit


async def test_a_merged_pull_request_is_not_undone(system: System) -> None:
    conversation, _, second = await two_turns(system)
    assert second.pull_request
    await system.github.merge(second.repository or "", second.pull_request.number)
    await press(system, conversation, 2, Act.UNDO)
    [said] = await told(system, system.slack.person)
    assert "is merged" in said
    assert head(system, second) == second.commit


@pytest.mark.slow  # a minute passes before another posts the answer
async def test_an_undo_whose_dispatcher_dies_is_finished_by_the_next(system: System) -> None:
    conversation, first, second = await two_turns(system)
    # The branch moves; then its dispatcher can't say so in Slack, and dies.
    system.slack.faults.add("chat.postMessage", Fault(error="internal_error"), times=3)
    await press(system, conversation, 2, Act.UNDO)
    await eventually(lambda: head(system, second) == first.commit)
    system.dispatchers[0].kill()
    await system.dispatchers[0].wait()
    system.slack.faults.clear()
    await system.start()
    await eventually(lambda: system.posted_file(conversation, 3).exists(), 120)
    await system.settled(conversation)
    assert len(system.answers(conversation)) == 3
    assert head(system, second) == first.commit


async def test_if_github_refuses_the_push_the_person_reads_why(system: System) -> None:
    conversation, _, second = await two_turns(system)
    await system.github.archive(second.repository or "")
    await press(system, conversation, 2, Act.UNDO)
    [said] = await told(system, system.slack.person)
    assert "I changed nothing" in said
    assert head(system, second) == second.commit
    await system.github.archive(second.repository or "", archived=False)
    await press(system, conversation, 2, Act.UNDO)
    await turn_after(system, conversation, 2)
    assert head(system, second) == second.before


async def test_a_worker_that_waits_does_not_bring_undone_work_back(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "60"}) as system:
        await system.start()
        conversation, first, second = await two_turns(system)
        assert first.run == second.run == 1
        await press(system, conversation, 2, Act.UNDO)
        await turn_after(system, conversation, 2)
        turn = await system.ask(COMMIT.format("three"), thread=conversation, mention=False)
        assert turn.run == 2, "the run that waited is closed"
        assert [file.path for file in turn.files] == ["three.txt"]
        names = git(system, turn, "ls-tree", "--name-only", turn.branch or "").split()
        assert "two.txt" not in names
        await system.settled(conversation)
        await press(system, conversation, 4, Act.RETRY)
        again = await turn_after(system, conversation, 4)
        assert (again.run, again.before) == (3, first.commit)
        assert git(system, turn, "log", "--format=%s", f"{first.commit}..{turn.branch}").split() == ["three"]


async def test_an_undo_and_a_message_in_the_same_moment_agree(system: System) -> None:
    conversation, first, second = await two_turns(system)
    _, (_, identity) = await asyncio.gather(
        press(system, conversation, 2, Act.UNDO), system.say("run `ls`", thread=conversation, mention=False)
    )
    turn = await system.answer(conversation, identity)
    await system.settled(conversation)
    written = [await system.journal.turn(conversation, k) for k in await system.journal.turn_numbers(conversation)]
    undone = any(each.undoes for each in written if each)
    assert head(system, second) == (first.commit if undone else second.commit)
    assert undone != bool(system.slack.whispers(system.slack.person))
    assert ("\ntwo.txt" in turn.text) != (undone and turn.k == 4)


async def test_if_github_is_away_the_person_knows_and_it_goes_on_later(system: System) -> None:
    conversation, first, second = await two_turns(system)
    system.github.faults.add("", status=503, count=1000)
    await press(system, conversation, 2, Act.UNDO)
    assert "GitHub does not answer" in (await told(system, system.slack.person))[0]
    system.github.faults.planned.clear()
    said = await turn_after(system, conversation, 2)
    assert "Ada Lovelace undid turn 2" in full_text(said)
    assert head(system, second) == first.commit
    assert len(system.slack.whispers(system.slack.person)) == 1, "once"
