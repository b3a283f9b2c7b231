"""The words that people read, and the fate of their work, if GitHub fails or somebody else uses the repository, too."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from system import System, below, eventually, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]  # turns by the dozen: `make slow`

QUESTION = "what is in this repository?"
EVERYTHING = 10**6
SHORT = {"SESSION_TIMEOUT_MINUTES": "0.6"}  # GitHub is asked again for a quarter of it


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["30", "0"], ids=["same run", "new run"])
async def each_way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """A system whose runs wait for follow-ups, and one whose follow-ups each get a run of their own."""
    settings = {"WORKER_IDLE_SECONDS": request.param, **SHORT}
    async with System(tmp_path_factory.mktemp("system"), settings) as system:
        await system.start()
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def system(each_way: System) -> AsyncIterator[System]:
    yield each_way
    each_way.github.faults.planned.clear()
    each_way.github.faults.push_refusals.clear()


class Thread:
    """A conversation and its repository, a new one for each test."""

    def __init__(self, system: System, number: int, *, answer_seconds: float = 45.0) -> None:
        self.system = system
        self.answer_seconds = answer_seconds
        self.user = system.add_person(f"U0FAULT{number:04}", f"Person {number}")
        self.conversation: Conversation
        self.repository = ""

    async def run(self, command: str) -> Turn:
        """Have a command run in a turn. The turn before is over, and its run, too, if follow-ups get new ones."""
        return await self.say(f"run ```\n{command}\n```")

    async def say(self, text: str) -> Turn:
        if not self.repository:
            self.conversation, identity = await self.system.say(text, user=self.user)
        else:
            await self.at_rest()
            _, identity = await self.system.say(text, user=self.user, thread=self.conversation, mention=False)
        turn = await self.system.answer(self.conversation, identity, self.answer_seconds)
        self.repository = turn.repository or self.repository
        return turn

    async def elsewhere(self, command: str) -> Turn:
        """Have a command run in the first turn of another thread of the same person."""
        return await self.system.ask(f"run ```\n{command}\n```", user=self.user)

    async def at_rest(self) -> None:
        """If runs do not wait, wait until the last one is closed."""
        if self.system.settings["WORKER_IDLE_SECONDS"] == "0":
            closed = self.system.directory / "journal" / "conversations" / str(self.conversation) / "runs"
            await eventually(lambda: len(list(closed.glob("*.closed"))) == len(list(closed.glob("*.json"))), 20)

    async def said(self, turn: Turn) -> str:
        """Return the part of a turn's prompt that PeerBot wrote: the newest messages."""
        return self.system.read_by_model(8)

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.system.github.repository_path(self.repository)), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def files(self, branch: str) -> set[str]:
        return set(self.git("ls-tree", "--name-only", branch).split())

    def person_commits(self, branch: str, name: str, text: str, *, amend: bool = False) -> None:
        """Push a commit to a branch as somebody else; with `amend` it replaces the branch's last commit."""
        place = self.system.directory / f"clone-{len(list(self.system.directory.glob('clone-*')))}"
        path = str(self.system.github.repository_path(self.repository))
        git = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.com"]
        subprocess.run([*git, "clone", "-q", "-b", branch, path, str(place)], check=True, capture_output=True)
        (place / name).write_text(text)
        for arguments in (
            ["add", "--all"],
            ["commit", "-q", "-m", f"Bob's {name}", *(["--amend"] if amend else [])],
            ["push", "-q", "--force", "origin", f"HEAD:{branch}"],
        ):
            subprocess.run([*git, "-C", str(place), *arguments], check=True, capture_output=True)


@pytest_asyncio.fixture(loop_scope="module")
async def thread(system: System) -> Thread:
    return Thread(system, len(system.people))


# --- the pull request is merged or closed, the branch deleted


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("merged", "Pull request #1 was merged"),
        ("squashed, branch deleted", "Pull request #1 was merged"),
        ("closed", "Pull request #1 was closed"),
        ("branch deleted", "Pull request #1 was closed"),
    ],
)
async def test_after_the_work_was_merged_or_closed_a_new_branch_begins_at_the_default_one(
    thread: Thread, how: str, says: str
) -> None:
    github = thread.system.github
    first = await thread.run("echo one > one.txt")
    branch = thread.conversation.branch
    assert (first.branch, first.pull_request and first.pull_request.number) == (branch, 1)
    match how:
        case "merged":
            await github.merge(thread.repository, 1)
        case "squashed, branch deleted":
            await github.merge(thread.repository, 1, squash=True, delete_branch=True)
        case "closed":
            await github.close_pull_request(thread.repository, 1)
        case "branch deleted":
            thread.git("update-ref", "-d", f"refs/heads/{branch}")
    thread.person_commits("main", "bobs.txt", "Bob's")

    second = await thread.run(
        "sleep 3; echo two > two.txt; ls; git branch --show-current; git log --oneline -1 --format=%s"
    )

    new = f"{branch}-2"
    assert (second.branch, second.pull_request and second.pull_request.number) == (new, 2)
    assert f"_{says}, so this turn began a new branch from the default branch: `{new}`._" in full_text(second)
    assert {"bobs.txt", new, "Bob's bobs.txt"} <= set(second.text.replace("`", " ").split("\n"))
    assert ("one.txt" in thread.files(new)) == how.startswith(("merged", "squashed"))
    assert [file.path for file in second.files] == ["two.txt"]
    assert f"{says}. So this turn is on a new branch, {new}" in await thread.said(second)
    await eventually(lambda: new in str(thread.system.cards(thread.conversation)[-1:]), 20)

    third = await thread.run("cat two.txt")
    assert (third.branch, third.pull_request and third.pull_request.number) == (new, 2)
    assert "new branch" not in full_text(third)
    assert ("two" in full_text(third)) is True


async def test_a_branch_without_a_pull_request_that_was_deleted_is_followed_by_a_new_one(thread: Thread) -> None:
    thread.system.github.faults.add("/pulls", method="POST", status=422, count=50)
    first = await thread.run("echo one > one.txt")
    assert (bool(first.commit), first.pull_request) == (True, None)
    thread.system.github.faults.planned.clear()
    thread.git("update-ref", "-d", f"refs/heads/{thread.conversation.branch}")

    second = await thread.run("echo two > two.txt")

    assert second.branch == f"{thread.conversation.branch}-2"
    assert f"The branch `{thread.conversation.branch}` was deleted, so this turn began" in full_text(second)
    assert thread.files(second.branch) == {"README.md", "two.txt"}


async def test_work_that_was_kept_is_put_on_the_new_branch(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    thread.system.github.faults.refuse_push("no")
    assert (await thread.run("echo two > two.txt")).kept
    await thread.system.github.merge(thread.repository, 1, squash=True, delete_branch=True)
    turn = await thread.say(QUESTION)

    new = f"{thread.conversation.branch}-2"
    assert (turn.branch, turn.kept) == (new, None)
    assert thread.files(new) == {"README.md", "one.txt", "two.txt"}
    assert thread.git("rev-list", "--count", f"main..{new}") == "1"
    assert turn.pull_request


async def test_work_that_was_kept_and_does_not_fit_on_the_new_branch_is_named_to_the_agent(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    thread.system.github.faults.refuse_push("no")
    assert (await thread.run("echo mine > one.txt")).kept
    await thread.system.github.merge(thread.repository, 1, squash=True, delete_branch=True)
    thread.person_commits("main", "one.txt", "Bob's\n")
    found = (
        "git reflog --format=%H | while read c; do git show $c:one.txt | grep -q mine && echo found $c && break; done"
    )
    turn = await thread.run(f"cat one.txt; {found}; git show $({found} | cut -d' ' -f2):one.txt > one.txt")

    [named] = set(re.findall(r"do not apply to this branch: [0-9a-f]{40}\.\.([0-9a-f]{40})", await thread.said(turn)))
    assert {"Bob's", f"found {named}"} <= set(turn.text.split("\n"))
    assert thread.git("show", f"{turn.branch}:one.txt") == "mine"


# --- somebody else pushes to the branch


async def test_what_somebody_pushed_before_a_turn_is_what_it_starts_from(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    thread.person_commits(thread.conversation.branch, "bobs.txt", "of Bob\n")

    turn = await thread.run("cat bobs.txt; echo two > two.txt")

    assert "of Bob" in full_text(turn)
    assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "bobs.txt", "two.txt"}


async def test_what_somebody_pushed_during_a_turn_is_merged(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    await _meanwhile(thread, "echo two > two.txt", lambda: thread.person_commits(thread.conversation.branch, "b", "B"))

    assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "b", "two.txt"}


async def test_what_somebody_rewrote_stays_rewritten_and_our_work_is_put_on_top(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    before = thread.git("rev-parse", thread.conversation.branch)

    def rewritten() -> None:
        thread.person_commits(thread.conversation.branch, "one.txt", "rewritten\n", amend=True)

    await _meanwhile(thread, "echo two > two.txt", rewritten)
    assert thread.git("show", f"{thread.conversation.branch}:one.txt") == "rewritten"
    assert before not in thread.git("log", "--format=%H", thread.conversation.branch)

    thread.person_commits(thread.conversation.branch, "two.txt", "rewritten too\n", amend=True)
    turn = await thread.run("cat one.txt two.txt; echo three > three.txt")
    assert "rewritten\nrewritten too" in full_text(turn)
    assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "two.txt", "three.txt"}


async def test_what_does_not_fit_is_said_and_left_to_the_agent_in_the_next_turn(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    branch = thread.conversation.branch
    failed = await _meanwhile(
        thread, "echo mine > one.txt", lambda: thread.person_commits(branch, "one.txt", "Bob's\n")
    )

    assert "somebody else pushed to the branch, and that conflicts with what I changed (one.txt)." in full_text(failed)
    assert "Write here again, and I bring both together" in full_text(failed)
    assert thread.git("show", f"{branch}:one.txt") == "Bob's"
    theirs = thread.git("rev-parse", branch)

    mended = await thread.run(
        f"git merge -q {theirs}; git checkout -q --ours one.txt; git commit -qam Both; git status"
    )
    assert f"Bring both together first: `git merge {theirs}`" in await thread.said(mended)
    assert mended.commit
    assert thread.git("show", f"{branch}:one.txt") == "mine"
    assert theirs in thread.git("log", "--format=%H", branch)


async def _meanwhile(thread: Thread, command: str, act: object) -> Turn:
    """Have `command` run in a turn, and `act` while it runs."""
    flag = f"flag-{len(await thread.system.journal.turn_numbers(thread.conversation))}"
    waits = (
        f"{command}; touch .git/{flag}; while [ -e .git/{flag} ]; do python3 -c 'import time; time.sleep(0.05)'; done"
    )
    turn = asyncio.create_task(thread.run(waits))

    def found() -> list[Path]:
        return below(thread.system.directory / "data", flag)

    await eventually(lambda: found() or turn.done(), 20)
    [file] = found()
    act()  # type: ignore[operator]
    file.unlink()
    return await turn


# --- GitHub is away, busy, or does not let us


async def test_what_could_not_be_pushed_is_kept_and_pushed_by_the_next_turn(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    thread.system.github.faults.add("", dropped=True, count=EVERYTHING)
    failed = await thread.run("true") if thread.system.settings["WORKER_IDLE_SECONDS"] == "0" else None
    if failed:
        assert full_text(failed).startswith("The repository could not be checked out: ")
        thread.system.github.faults.planned.clear()
        failed = await _meanwhile(
            thread,
            "echo two > two.txt",
            lambda: thread.system.github.faults.add("", dropped=True, count=EVERYTHING),
        )
    else:
        failed = await thread.run("echo two > two.txt")

    assert "could not push them:** " in full_text(failed)
    assert "When that is fixed, write here again, and I push them. Until then I keep them." in full_text(failed)
    assert (failed.commit, bool(failed.kept)) == (None, True)
    assert [file.path for file in failed.files] == ["two.txt"]

    thread.system.github.faults.planned.clear()
    after = await thread.say(QUESTION)
    assert (bool(after.commit), after.kept) == (True, None)
    assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "two.txt"}
    assert "⚠️" not in full_text(after)


async def test_a_github_that_is_away_for_a_moment_delays_a_turn_and_no_more(thread: Thread) -> None:
    faults = thread.system.github.faults
    await thread.run("echo one > one.txt")
    faults.add("", dropped=True, count=4)  # at the checkout, or when it is caught up with
    turn = await _meanwhile(thread, "echo two > two.txt", lambda: faults.add("receive-pack", dropped=True, count=2))

    assert (turn.status, bool(turn.commit), "⚠️" in full_text(turn)) == ("done", True, False)
    assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "two.txt"}


async def test_a_connection_that_breaks_at_any_fetch_of_a_checkout_costs_nothing(thread: Thread) -> None:
    """The clone leaves the files' contents out: git asks for them when it writes the files, and asks once."""
    await thread.run("echo one > one.txt")
    github = thread.system.github
    github.calls.clear()
    await thread.elsewhere("true")
    fetches = sum(call.path.endswith("git-upload-pack") for call in github.calls)
    assert fetches >= 2, "the history, and the files"
    for served in range(fetches):
        if served:
            github.faults.add("git-upload-pack$", count=served)  # as they are
        github.faults.add("git-upload-pack$", dropped=True)
        turn = await thread.elsewhere("true")
        assert turn.status == "done", full_text(turn)
        assert not github.faults.planned


async def test_a_push_that_github_took_and_did_not_confirm_is_found_to_be_there(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    thread.system.github.faults.add("git-receive-pack$", method="POST", dropped=True, served=True)
    turn = await thread.run("echo two > two.txt")

    assert (turn.status, bool(turn.commit), "⚠️" in full_text(turn)) == ("done", True, False)
    assert thread.git("rev-parse", thread.conversation.branch) == turn.commit
    assert turn.pull_request


@pytest.mark.parametrize(
    ("status", "headers"),
    [(429, {}), (403, {"Retry-After": "1"}), (403, {"X-RateLimit-Remaining": "0"})],
    ids=["429", "secondary", "primary"],
)
async def test_a_rate_limit_of_git_is_waited_for(thread: Thread, status: int, headers: dict[str, str]) -> None:
    thread.system.github.faults.add("service=|/info/refs$", status=status, headers=headers, count=2)
    turn = await thread.run("echo one > one.txt")

    assert (turn.status, bool(turn.commit)) == ("done", True)


async def test_a_rate_limit_of_the_api_costs_the_pull_request_and_the_next_turn_opens_it(thread: Thread) -> None:
    message = "You have exceeded a secondary rate limit."
    thread.system.github.faults.add("/pulls$", status=403, headers={"Retry-After": "60"}, message=message)
    first = await thread.run("echo one > one.txt")

    assert (bool(first.commit), first.pull_request) == (True, None)
    assert "The work is on the branch, but there is no pull request yet: " in full_text(first)
    assert "GitHub's rate limit is used up. Try again in 60 s." in full_text(first)
    second = await thread.say(QUESTION)
    assert second.pull_request


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 401, "message": "Bad credentials"}, "GitHub does not accept PeerBot's token. Your PeerBot"),
        (
            {"status": 403, "message": "remote: Write access to repository not granted."},
            "Write access to repository not granted. PeerBot's token needs the right to write to the repository",
        ),
        (
            {"status": 404, "message": "Repository not found."},
            "the repository is gone, or PeerBot's token may not see it",
        ),
    ],
    ids=["revoked", "no right to write", "not seen"],
)
async def test_a_token_that_may_not_push_is_told_the_work_is_kept_and_pushed_when_it_is_mended(
    thread: Thread, fault: dict[str, Any], words: str
) -> None:
    await thread.run("echo one > one.txt")
    faults = thread.system.github.faults
    failed = await _meanwhile(
        thread,
        "echo two > two.txt; echo done",
        lambda: faults.add("receive-pack|/info/refs", count=EVERYTHING, **fault),
    )

    assert "done" in full_text(failed)
    assert f"could not push them:** {words}" in full_text(failed)
    assert full_text(failed).endswith("and I push them. Until then I keep them.")
    faults.planned.clear()
    after = await thread.say(QUESTION)
    assert after.commit
    assert "two.txt" in thread.files(thread.conversation.branch)


async def test_a_token_that_was_revoked_before_a_turn_is_told_and_the_turn_can_be_had_later(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    thread.system.github.faults.add("", status=401, message="Bad credentials", count=EVERYTHING)
    failed = await thread.run("echo two > two.txt; echo done")
    if thread.system.settings["WORKER_IDLE_SECONDS"] == "0":
        assert full_text(failed).startswith("The repository could not be checked out: GitHub ")
        assert "token" in full_text(failed)
    else:
        assert "done" in full_text(failed)
        assert "could not push them:** GitHub does not accept PeerBot's token." in full_text(failed)
    thread.system.github.faults.planned.clear()

    await thread.run("echo two > two.txt")
    assert "two.txt" in thread.files(thread.conversation.branch)


# --- the repository is not what it was


async def test_a_repository_that_was_renamed_is_found_under_its_new_name(thread: Thread) -> None:
    github = thread.system.github
    await thread.run("echo one > one.txt")
    old, new = thread.repository, f"{thread.repository}-renamed"
    await github.rename(old, new)
    turn = await thread.run("echo two > two.txt")

    assert turn.pull_request
    assert turn.pull_request.number == 1
    thread.repository = new
    assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "two.txt"}
    assert (await thread.elsewhere("true")).repository == new


async def test_an_archived_repository_is_read_and_the_work_is_kept_until_it_can_be_written(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    await thread.system.github.archive(thread.repository)
    failed = await thread.run("cat one.txt; echo two > two.txt")

    assert "one" in full_text(failed)
    assert "could not push them:** This repository was archived so it is read-only." in full_text(failed)
    first = await thread.elsewhere("echo three > three.txt")
    assert "could not push them:** This repository was archived so it is read-only." in full_text(first)
    assert first.kept
    await thread.system.github.archive(thread.repository, archived=False)
    await thread.say(QUESTION)
    assert "two.txt" in thread.files(thread.conversation.branch)


async def test_a_default_branch_that_was_renamed_is_the_base_of_what_comes_after(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    await thread.system.github.rename_branch(thread.repository, "main", "trunk")
    await thread.system.github.merge(thread.repository, 1)
    turn = await thread.run("ls; echo two > two.txt")

    assert "one.txt" in full_text(turn)
    pull = (await thread.system.github.pull_requests(thread.repository))[-1]
    assert (pull["number"], pull["base"]["ref"], pull["head"]["ref"]) == (2, "trunk", turn.branch)


async def test_a_repository_that_was_deleted_is_told_and_its_work_kept_until_it_is_restored(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    place = thread.system.github.repository_path(thread.repository)
    saved = place.with_name("restored")
    failed = await _meanwhile(thread, "echo two > two.txt", lambda: place.rename(saved))
    assert "could not push them:** the repository" in full_text(failed)
    assert "Until then I keep them." in full_text(failed)
    again = await thread.run("true")
    if thread.system.settings["WORKER_IDLE_SECONDS"] == "0":
        assert "no longer exists" in full_text(again) or "the repository is gone" in full_text(again)

    saved.rename(place)
    await thread.say(QUESTION)
    assert "two.txt" in thread.files(thread.conversation.branch)


async def test_a_person_whose_repository_was_deleted_gets_another_with_the_next_thread(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    await thread.system.github.delete(thread.repository)
    turn = await thread.elsewhere("echo two > two.txt")

    assert (turn.status, turn.repository) == ("done", thread.repository)
    assert turn.pull_request
    assert thread.files(turn.branch or "") == {"README.md", "two.txt"}


async def test_a_repository_that_was_made_again_and_is_empty_gets_a_new_branch_as_its_first(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    empty = thread.system.directory / f"empty-{thread.user}"
    await asyncio.to_thread(subprocess.run, ["git", "init", "-q", "-b", "main", str(empty)], check=True)
    await thread.system.github.delete(thread.repository)
    await thread.system.github.import_repository(thread.repository, empty)
    turn = await thread.run("echo two > two.txt")

    assert turn.branch == f"{thread.conversation.branch}-2"
    assert f"The branch `{thread.conversation.branch}` was deleted" in full_text(turn)
    assert turn.pull_request is None  # there is nothing to compare with
    assert thread.files(turn.branch) == {"two.txt"}


async def test_what_the_forge_refuses_is_told_in_its_words_kept_and_pushed_later(thread: Thread) -> None:
    await thread.run("echo one > one.txt")
    words = "GH009: Secrets detected! This push failed.\nThis repository is over its data quota."
    thread.system.github.faults.refuse_push(words)
    failed = await thread.run("echo two > two.txt")

    assert "could not push them:** GH009: Secrets detected! This push failed. This repository is over its" in full_text(
        failed
    )
    after = await thread.say(QUESTION)
    assert (bool(after.commit), "two.txt" in thread.files(thread.conversation.branch)) == (True, True)


@pytest.mark.timeout(240)  # twice thirty seconds are twice thirty seconds
async def test_a_github_that_is_away_for_half_a_minute_delays_a_turn_and_no_more(tmp_path: Path) -> None:
    async with System(tmp_path, {"WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        thread = Thread(system, 0, answer_seconds=90)
        await thread.run("echo one > one.txt")

        def away() -> None:
            system.github.faults.add("", dropped=True, count=EVERYTHING)
            asyncio.get_running_loop().call_later(30, system.github.faults.planned.clear)

        away()
        at_the_checkout = await thread.run("echo two > two.txt")
        at_the_push = await _meanwhile(thread, "echo three > three.txt", away)

        for turn in (at_the_checkout, at_the_push):
            assert (turn.status, bool(turn.commit), "⚠️" in full_text(turn)) == ("done", True, False)
            assert (turn.seconds or 0) > 25
        assert thread.files(thread.conversation.branch) == {"README.md", "one.txt", "two.txt", "three.txt"}


async def test_a_github_that_is_away_when_a_conversation_begins_is_told_and_waited_for(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        system.github.faults.add("", dropped=True, count=EVERYTHING)
        conversation, identity = await system.say("run `echo begun`")
        await eventually(lambda: "GitHub does not answer" in str(system.cards(conversation)), 40)
        assert "I begin as soon as it answers; you don't need to write again." in str(system.cards(conversation))
        system.github.faults.planned.clear()
        turn = await system.answer(conversation, identity, 60)

        assert (turn.status, turn.run) == ("done", 1)
        await eventually(lambda: "Worked for" in str(system.cards(conversation)))
        [card] = system.cards(conversation)
        assert "GitHub does not answer" not in str(card)
