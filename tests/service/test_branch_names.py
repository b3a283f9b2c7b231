"""A conversation's branch gets a name that git takes, whatever branches the repository has."""

import asyncio
import subprocess
from pathlib import Path

from system import System, full_text

from peerbot.conversation.chosen import Choice
from peerbot.conversation.documents import Turn
from peerbot.journal import choices

REPOSITORY = "somebody/project"
ALLOWED = {"PEERBOT_REPOSITORIES": REPOSITORY}
FILE = "run ```\necho {0} > {0}.txt\n```"


async def use(system: System, *branches: str, default: str = "main") -> None:
    """Have #general work in a repository with these branches. With none it has no commit, but a default branch."""
    source = system.directory / "source"

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=Bob", "-c", "user.email=bob@example.com")
        subprocess.run(["git", "-C", str(source), *who, *arguments], check=True, capture_output=True)

    def make() -> None:
        source.mkdir()
        git("init", "-q", "-b", default)
        if branches:
            git("commit", "-q", "--allow-empty", "-m", "First")
        for branch in branches:
            if branch != default:
                git("branch", branch)

    await asyncio.to_thread(make)
    await system.github.import_repository(REPOSITORY, source)
    channel = f"{system.slack.team}-{system.slack.general}"
    choice = Choice(repository=REPOSITORY, chosen_by=system.slack.person)
    await choices.choose(system.journal, "channel", channel, choice)


async def work(system: System) -> Turn:
    turn = await system.ask(FILE.format("one"))
    assert turn.commit, full_text(turn)
    listed = ["git", "-C", str(system.github.repository_path(REPOSITORY)), "ls-tree", "--name-only", str(turn.branch)]
    shown = await asyncio.to_thread(subprocess.run, listed, check=True, capture_output=True, text=True)
    assert "one.txt" in shown.stdout
    return turn


async def test_beside_a_branch_of_that_name_another_prefix_is_chosen_and_kept(tmp_path: Path) -> None:
    async with System(tmp_path, ALLOWED) as system:
        await use(system, "main", "peerbot", "peerbot-2")
        await system.start()
        thread, identity = await system.say(FILE.format("one"))
        first = await system.answer(thread, identity)
        assert first.pull_request, full_text(first)
        await system.github.merge(REPOSITORY, first.pull_request.number)
        _, identity = await system.say(FILE.format("two"), thread=thread)
        second = await system.answer(thread, identity)

        name = thread.branch.removeprefix("peerbot/")
        assert (first.branch, second.branch) == (f"peerbot-3/{name}", f"peerbot-3/{name}-2")
        assert [pull["head"]["ref"] for pull in await system.github.pull_requests(REPOSITORY)] == [
            first.branch,
            second.branch,
        ]
        assert f"peerbot-3/{name}" in str(system.cards(thread))


async def test_a_default_branch_of_that_name_stays_alone_though_it_has_no_commit(tmp_path: Path) -> None:
    async with System(tmp_path, ALLOWED) as system:
        await use(system, default="peerbot")
        await system.start()

        assert str((await work(system)).branch).startswith("peerbot-2/")


async def test_the_prefix_is_a_setting(tmp_path: Path) -> None:
    async with System(tmp_path, ALLOWED | {"PEERBOT_BRANCH_PREFIX": "bots.ada_1"}) as system:
        await use(system, "main", "peerbot")
        await system.start()

        turn = await work(system)
        assert str(turn.branch).startswith("bots.ada_1/20")
        assert turn.pull_request


async def test_where_no_prefix_is_free_that_is_told(tmp_path: Path) -> None:
    async with System(tmp_path, ALLOWED) as system:
        await use(system, "main", "peerbot", *(f"peerbot-{number}" for number in range(2, 10)))
        await system.start()
        turn = await system.ask(FILE.format("one"))

        assert turn.status == "failed"
        assert "there are branches `peerbot` to `peerbot-9`" in full_text(turn)
        assert "Set PEERBOT_BRANCH_PREFIX to another name" in full_text(turn)


async def test_a_prefix_that_git_would_not_take_is_told_at_start(tmp_path: Path) -> None:
    async with System(tmp_path, ALLOWED | {"PEERBOT_BRANCH_PREFIX": "peerbot/work"}) as system:
        dispatcher = await system.launch()

        assert await asyncio.wait_for(dispatcher.wait(), 60) == 2
        assert "PEERBOT_BRANCH_PREFIX: git takes letters, digits" in system.log_file.read_text()
