"""Submodules: those of the same forge are there when a turn begins, to read; the others are named to the agent."""

import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from keep_world import REPOSITORY, SEED, KeepWorld, keep_world, shell
from system import System

from peerbot.github.client import GitHub, Owner
from peerbot.github.submodules import repository_at, submodules_in
from peerbot.local.github import LocalGitHub
from peerbot.worker.prompts import standing_of

ORGANIZATION = REPOSITORY.partition("/")[0]
LIBRARY, SECRET = f"{ORGANIZATION}/lib", f"{ORGANIZATION}/secret"
FORGE = "https://github.com/acme/app.git"


async def make(github: LocalGitHub, *full_names: str) -> None:
    """Make repositories of the organization."""
    async with aiohttp.ClientSession() as session:
        client = GitHub(session, token=github.token, api_url=github.api_url)
        for full_name in full_names:
            await client.ensure_repository(Owner(ORGANIZATION, True), full_name.partition("/")[2], description="")


def person(directory: Path, bare: Path, script: str, branch: str = "main") -> str:
    """A person clones a repository, runs a script on `branch`, commits and pushes; returns the commit."""
    place = directory / f"person-{len(list(directory.glob('person-*')))}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    return shell(
        directory,
        f"set -e; git clone -q -b {branch} {bare} {place}; cd {place}; git config user.name Lib\n"
        f"git config user.email lib@example.com\n{script}\ngit commit -qm Commit; git push -q origin {branch}\n"
        "git rev-parse HEAD",
        environment,
    ).split()[-1]


def added(url: str, path: str, commit: str) -> str:
    """The script that adds a submodule."""
    file = f"git config -f .gitmodules submodule.{path}"
    return (
        f"{file}.path {path}; {file}.url {url}; git add .gitmodules\n"
        f"git update-index --add --cacheinfo 160000,{commit},{path}"
    )


@dataclass
class Libraries:
    """A world, and two more repositories of its organization."""

    world: KeepWorld

    def commit(self, full_name: str, text: str) -> str:
        """A person writes `lib.txt` in a repository; returns the commit."""
        bare = self.world.github.repository_path(full_name)
        return person(self.world.directory, bare, f"echo {text} > lib.txt; git add .")

    def add(self, url: str, path: str, commit: str, branch: str = "main") -> None:
        """A person adds a submodule to the repository."""
        person(self.world.directory, self.world.bare, added(url, path, commit), branch)


@pytest.fixture
async def libraries(tmp_path: Path) -> AsyncIterator[Libraries]:
    async with keep_world(tmp_path, SEED) as world:
        await make(world.github, LIBRARY, SECRET)
        yield Libraries(world)


@pytest.mark.parametrize(
    "address", ["../lib.git", "../../{full_name}", "{forge}/{full_name}.git", "git@{host}:{full_name}"]
)
async def test_a_submodule_of_the_same_forge_is_there(libraries: Libraries, address: str) -> None:
    world = libraries.world
    forge = world.github.url.rstrip("/")
    host = forge.split("://")[1].partition(":")[0]
    url = address.format(forge=forge, host=host, full_name=LIBRARY)
    libraries.add(url, "deps/lib", libraries.commit(LIBRARY, "one"))

    run = await world.run(await world.say())
    standing = await run.begin()

    assert standing.no_submodules == {}
    assert (run.path / "deps/lib/lib.txt").read_text() == "one\n"
    assert (await run.agent("git status --porcelain; git submodule status")).split()[1:2] == ["deps/lib"]
    await run.agent("echo b > b.txt")
    kept = await run.end()
    assert kept.notes == []
    assert world.files(world.branch)["b.txt"] == b"b\n"
    assert world.git("rev-parse", f"{world.branch}:deps/lib") == world.git("rev-parse", "main:deps/lib")


async def test_the_others_are_named_to_the_agent_at_once(libraries: Libraries) -> None:
    world = libraries.world
    commit = libraries.commit(LIBRARY, "one")
    libraries.add("https://elsewhere.example/acme/lib.git", "elsewhere", commit)
    libraries.add("../gone.git", "gone", commit)
    libraries.add("../lib.git", "lost", "1" * 40)
    libraries.add("../lib.git", "lib", commit)

    run = await world.run(await world.say())
    standing = await run.begin()

    assert standing.no_submodules.keys() == {"elsewhere", "gone", "lost"}
    assert standing.no_submodules["elsewhere"] == "it is on another server: https://elsewhere.example/acme/lib.git"
    assert "no longer exists, or PeerBot's GitHub token may not see it" in standing.no_submodules["gone"]
    assert (run.path / "lib/lib.txt").exists()
    assert not (run.path / "elsewhere/.git").exists()
    assert run.begun
    assert '- "elsewhere": it is on another server' in standing_of(run.begun, standing)
    assert (await run.end()).notes == []


async def test_an_agent_can_neither_read_what_the_default_branch_does_not_name_nor_write_a_submodule(
    libraries: Libraries,
) -> None:
    world = libraries.world
    one = libraries.commit(LIBRARY, "one")
    secret = libraries.commit(SECRET, "secret")
    libraries.add("../lib.git", "lib", one)
    run = await world.begun()
    await run.agent("echo b > b.txt")
    modules = run.gateway.url + "/modules"

    said = await run.agent(f"git ls-remote {modules}/{SECRET}")
    assert f"the default branch of {REPOSITORY} names no submodule {SECRET}" in said
    assert "refs/heads/main" in await run.agent(f"git ls-remote {modules}/{LIBRARY}")
    said = await run.agent(f"git -C lib push {modules}/{LIBRARY} HEAD:refs/heads/evil")
    assert "PeerBot does not push to submodules" in said
    assert "refs/heads/evil" not in await run.agent(f"git ls-remote {modules}/{LIBRARY}")

    # Nor does it help to name it on the conversation's branch.
    await run.end()
    libraries.add("../secret.git", "secret", secret, world.branch)
    again = await world.run(await world.say())
    standing = await again.begin()
    assert standing.no_submodules == {"secret": "the default branch does not name it with this address: ../secret.git"}
    assert (again.path / "lib/lib.txt").exists()


async def test_a_submodule_follows_the_branch_between_turns(
    libraries: Libraries,
) -> None:
    world = libraries.world
    one = libraries.commit(LIBRARY, "one")
    libraries.add("../lib.git", "lib", one)
    run = await world.begun()
    await run.agent("echo b > b.txt; echo dirty > lib/new.txt")
    assert (await run.end()).notes == []

    two = libraries.commit(LIBRARY, "two")
    await run.begin()
    assert (run.path / "lib/new.txt").exists()
    await run.agent("echo c > c.txt")
    await run.end()

    world.person(f"git update-index --cacheinfo 160000,{two},lib; git commit -qm 'Use two'")
    await run.begin()
    assert (run.path / "lib/lib.txt").read_text() == "two\n"
    assert (await run.agent("git status --porcelain --ignore-submodules=untracked")) == ""


async def test_a_submodule_is_where_the_agent_had_moved_it_after_its_worker_was_killed(
    libraries: Libraries,
) -> None:
    world = libraries.world
    one, two = libraries.commit(LIBRARY, "one"), libraries.commit(LIBRARY, "two")
    libraries.add("../lib.git", "lib", one)
    run = await world.begun()
    await run.agent(f"git -C lib checkout -q {two}; echo b > b.txt")
    await run.save()

    again = await world.run(run.item)
    await again.begin()
    assert (again.path / "lib/lib.txt").read_text() == "two\n"
    assert (await again.end()).notes == []
    assert world.git("rev-parse", f"{world.branch}:lib") == two


@pytest.mark.slow
async def test_an_agent_in_slack_uses_a_submodule(tmp_path: Path) -> None:
    async with System(tmp_path) as system:
        await system.start()
        first = await system.ask("hello")  # makes the person's repository
        await make(system.github, LIBRARY)
        lib = person(tmp_path, system.github.repository_path(LIBRARY), "echo one > lib.txt; git add .")
        bare = system.github.repository_path(first.repository or "")
        person(tmp_path, bare, added("../lib.git", "lib", lib))

        turn = await system.ask("run ```\ncp lib/lib.txt copied.txt\n```")
        [copied] = [file.path for file in turn.files]
        assert copied == "copied.txt"
        assert not turn.notes


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("../lib.git", "acme/lib"),
        ("../../other/lib", "other/lib"),
        ("https://github.com/acme/lib", "acme/lib"),
        ("https://GitHub.com/acme/lib.git/", "acme/lib"),
        ("https://me:secret@github.com/acme/lib", "acme/lib"),
        ("git@github.com:acme/lib.git", "acme/lib"),
        ("ssh://git@github.com:22/acme/lib.git", "acme/lib"),
        ("git://github.com/acme/lib", "acme/lib"),
        ("./lib", None),
        ("/srv/lib.git", None),
        ("file:///srv/lib.git", None),
        ("https://github.com:8443/acme/lib", None),
        ("https://github.com.evil.example/acme/lib", None),
        ("https://github.com@evil.example/acme/lib", None),
        ("git@evil.example:acme/lib", None),
        ("https://github.com/acme/..", None),
        ("https://github.com/acme/%2e%2e", None),
        ("https://github.com/acme/lib/issues", None),
        ("https://[", None),
        ("ext::sh -c evil", None),
    ],
)
def test_where_an_address_leads(url: str, found: str | None) -> None:
    assert repository_at(url, FORGE) == found


def test_gitmodules_are_read_as_git_reads_them(tmp_path: Path) -> None:
    text = b'[submodule "a \\"b\\""]\n\tpath = "x y/z" ; why\n\turl = ../lib.git\n[submodule "c"]\n\tpath = c\n'
    (tmp_path / "modules").write_bytes(text)
    command = ["git", "config", "-f", str(tmp_path / "modules"), "--list"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    [found] = submodules_in(text, FORGE)
    assert f"submodule.{found.name}.url={found.url}" in told
    assert (found.name, found.repository) == ('a "b"', "acme/lib")


def test_gitmodules_that_include_a_file_read_none(tmp_path: Path) -> None:
    (tmp_path / "more").write_text('[submodule "x"]\n\tpath = x\n\turl = ../secret.git\n')
    text = f'[include]\n\tpath = {tmp_path / "more"}\n[submodule "a"]\n\tpath = a\n\turl = ../lib.git\n'
    assert [each.name for each in submodules_in(text.encode(), FORGE)] == ["a"]


@pytest.mark.parametrize("text", [b"\xff\xfe", b'[submodule "x"\n', b'[submodule "x"]\n\tpath = x\n', b"\0" * 100, b""])
def test_broken_gitmodules_name_nothing(text: bytes) -> None:
    assert submodules_in(text, FORGE) == []
