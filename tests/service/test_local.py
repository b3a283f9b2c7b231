"""The laptop mode through its commands, as a newcomer types them."""

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import gidgethub
import psutil
import pytest
from child_process import started

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"


async def peerbot(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the command to its end: exit code, standard output, standard error."""
    command = (sys.executable, "-m", "peerbot", *arguments)
    async with started(*command, stdout=-1, stderr=-1, env={**os.environ, **environment}) as process:
        out, err = await asyncio.wait_for(process.communicate(), 50)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def tried(*arguments: str) -> dict[str, Any]:
    """`peerbot try --json`: its document."""
    code, out, err = await peerbot("try", "--json", *arguments)
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


async def git(*arguments: str, cwd: Path) -> str:
    """Run git; its output."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", *arguments],
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


async def project(path: Path, file: str) -> Path:
    """A person's repository whose one commit has this one file."""
    await git("init", "-q", "-b", "main", str(path), cwd=Path("/"))
    (path / file).write_text("")
    await git("add", "-A", cwd=path)
    await git("commit", "-qm", f"Begin with {file}", cwd=path)
    return path


async def test_try_prints_one_document_and_a_second_turn_knows_the_first(tmp_path: Path) -> None:
    first = await tried("--in", str(tmp_path), SCRIPT)

    assert set(first) >= {"conversation", "runs", "answer", "branch", "pull_request", "files", "session", "model"}
    assert first["model"] == "demo"
    assert first["files"] == [{"path": "primes.py", "added": 9, "removed": 0}]
    assert first["pull_request"]["number"] == 1
    seconds = first["seconds"]
    assert 0 < seconds["received"] < seconds["first_model_request"] < seconds["answer"] <= seconds["total"]
    shown = await git("show", f"{first['branch']}:primes.py", cwd=_only_repository(tmp_path))
    assert "prime" in shown

    second = await tried("--in", str(tmp_path), "--thread", first["conversation"], "what does primes.py do?")
    assert f"you asked: “{SCRIPT}”" in second["answer"]
    assert second["session"] == first["session"]
    assert second["pull_request"]["number"] == 1
    assert len(second["runs"]) == 2


async def test_try_answers_on_standard_output_and_shows_progress_on_standard_error() -> None:
    code, out, err = await peerbot("try", SCRIPT)

    assert code == 0
    assert out.startswith("I am PeerBot's demo model")
    assert "Pull request #1: http" in out
    for told in ("the demo model", "received and recorded", "claude-worker-", "✓ Write primes.py"):
        assert told in err


async def test_a_proxy_that_peerbot_could_not_use_is_no_fault_where_nothing_leaves_the_machine() -> None:
    code, out, err = await peerbot("try", "hello", HTTPS_PROXY="socks5h://proxy.example.com:1080")

    assert code == 0, err
    assert "demo model" in out


async def test_try_on_a_persons_repository_leaves_their_checkout_untouched(tmp_path: Path) -> None:
    source = tmp_path / "gidgethub"  # somebody else's project, as it is installed here
    shutil.copytree(Path(gidgethub.__file__).parent, source, ignore=shutil.ignore_patterns("__pycache__"))
    await git("init", "-q", "-b", "trunk", cwd=source)
    await git("add", "-A", cwd=source)
    await git("commit", "-qm", "Begin", cwd=source)
    (source / "abc.py").write_text("# not committed\n")
    before = _tree(source)

    trial = await tried("--in", str(tmp_path / "world"), "--repo", str(source), SCRIPT)

    assert _tree(source) == before
    copy = _only_repository(tmp_path / "world")
    assert copy.name == "gidgethub.git"
    assert "class GitHubAPI" in await git("show", f"{trial['branch']}:abc.py", cwd=copy)
    assert "prime" in await git("show", f"{trial['branch']}:primes.py", cwd=copy)


async def test_two_folders_of_one_name_are_two_repositories(tmp_path: Path) -> None:
    world, mine, other = tmp_path / "world", tmp_path / "mine/api", tmp_path / "other/api"
    await project(mine, "mine.py")
    await project(other, "other.py")

    first = await tried("--in", str(world), "--repo", str(mine), SCRIPT)
    second = await tried("--in", str(world), "--repo", str(other), SCRIPT)
    (mine / "later.py").write_text("")
    await git("add", "-A", cwd=mine)
    await git("commit", "-qm", "Go on", cwd=mine)
    third = await tried("--in", str(world), "--repo", str(mine), SCRIPT)

    copies = {path.name: path for path in world.rglob("*.git")}
    assert set(copies) == {"api.git", "api-2.git"}
    assert await _files(copies["api.git"], first) == {"mine.py", "primes.py"}
    assert await _files(copies["api-2.git"], second) == {"other.py", "primes.py"}
    assert await _files(copies["api.git"], third) == {"mine.py", "later.py", "primes.py"}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ('my "own" app, it\'s $HOME', "my-own-app-it-s-home"),
        (".проект", "repository"),
        ("Año\udcff " + "long-" * 40, "ano-" + "long-" * 15 + "l"),
    ],
)
async def test_a_folder_may_have_any_name(tmp_path: Path, folder: str, name: str) -> None:
    source = await project(tmp_path / folder, "mine.py")

    trial = await tried("--in", str(tmp_path / "world"), "--repo", str(source), SCRIPT)

    copy = _only_repository(tmp_path / "world")
    assert copy.name == f"{name}.git"
    assert await _files(copy, trial) == {"mine.py", "primes.py"}


async def test_a_subfolder_a_worktree_and_a_bare_repository_will_do(tmp_path: Path) -> None:
    world, source = tmp_path / "world", await project(tmp_path / "app", "mine.py")
    (source / "below").mkdir()
    await git("worktree", "add", "-q", "-b", "feature", str(tmp_path / "tree"), cwd=source)
    await git("clone", "-q", "--bare", str(source), str(tmp_path / "server.git"), cwd=tmp_path)

    for path, name, told in (
        (source / "below", "app", source),
        (tmp_path / "tree", "tree", tmp_path / "tree"),
        (tmp_path / "server.git", "server", tmp_path / "server.git"),
    ):
        code, _, err = await peerbot("try", "--in", str(world), "--repo", str(path), "hello")
        assert code == 0
        assert f"Repository: peerbot-community/{name}, a copy of {told}." in err

    assert {path.name for path in world.rglob("*.git")} == {"app.git", "tree.git", "server.git"}


async def test_a_copy_of_the_release_before_is_gone_on_with_and_is_not_given_to_another_path(tmp_path: Path) -> None:
    world, source = tmp_path / "world", await project(tmp_path / "mine/api", "mine.py")
    first = await tried("--in", str(world), "--repo", str(source), SCRIPT)
    document = _only_repository(world) / "peerbot.json"
    written = json.loads(document.read_text())
    del written["source"]  # that release did not write it
    document.write_text(json.dumps(written))

    await tried("--in", str(world), "--repo", str(await project(tmp_path / "other/api", "other.py")), SCRIPT)
    second = await tried(
        "--in", str(world), "--repo", str(source), "--thread", first["conversation"], "what does primes.py do?"
    )

    assert {path.name for path in world.rglob("*.git")} == {"api.git", "api-2.git"}
    assert f"you asked: “{SCRIPT}”" in second["answer"]
    assert json.loads(document.read_text())["source"] == source.as_uri()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["try"], "the following arguments are required: message"),
        (["try", "--repo", "/nowhere", "hello"], "there is no directory /nowhere"),
        (["try", "--repo", "", "hello"], "the path is empty"),
        (["try", "--repo", "n" * 300, "hello"], "can't be read: File name too long"),
        (["local", "--repo", __file__], "is a file. Name the directory of a git repository"),
        (["try", "--repo", "/etc", "hello"], "/etc is not a git repository"),
        (["try", "--in", __file__, "hello"], "it is a file. Name a directory that you may write to"),
        (["local", "--in", "/proc/nothing"], "Name a directory that you may write to"),
        (["try", "--thread", "1795000000.000100", "hello"], "There is no thread 1795000000.000100 here"),
    ],
)
async def test_wrong_use_is_told_in_a_sentence_with_exit_code_2(arguments: list[str], sentence: str) -> None:
    await _refused(arguments, sentence)


@pytest.mark.parametrize(
    ("steps", "path", "sentence"),
    [
        (["init -q -b main"], ".", "has no commit yet, and PeerBot works on what is committed. Make a first commit"),
        (["init -q", "commit -q --allow-empty -m x", "checkout -q --orphan next"], ".", "next, has no commit yet"),
        (["init -q", "commit -q --allow-empty -m x"], ".git/refs", "is inside a repository's .git directory. Name the"),
    ],
)
async def test_a_repository_that_is_not_ready_is_told_with_what_to_do(
    tmp_path: Path, steps: list[str], path: str, sentence: str
) -> None:
    for step in steps:
        await git(*step.split(), cwd=tmp_path)

    await _refused(["try", "--repo", str(tmp_path / path), "hello"], sentence)


async def test_a_copy_that_git_can_not_bring_up_to_date_is_told_in_a_sentence(tmp_path: Path) -> None:
    world, source = tmp_path / "world", await project(tmp_path / "app", "mine.py")
    await git("branch", "feature", cwd=source)
    await tried("--in", str(world), "--repo", str(source), "hello")
    await git("branch", "-m", "feature", "feature/one", cwd=source)  # the copy has a file where it needs a folder now

    await _refused(["try", "--in", str(world), "--repo", str(source), "hello"], f"git can't copy {source}: ")


async def test_try_says_why_a_turn_failed_with_exit_code_1(tmp_path: Path) -> None:
    code, _, err = await peerbot("try", "--in", str(tmp_path), "take 60 seconds", SESSION_TIMEOUT_MINUTES="0.05")

    assert code == 1
    assert "limit of 0.05 min" in err


async def test_a_real_model_without_a_sandbox_is_refused_in_one_sentence(tmp_path: Path) -> None:
    code, _, err = await peerbot(
        "try", "hello", ANTHROPIC_API_KEY="sk-ant-x", PATH=_path_without("bwrap", tmp_path / "bin")
    )

    assert code == 2
    assert "bubblewrap" in err
    assert "--unsafe-no-sandbox" in err
    assert "Traceback" not in err


async def test_the_demo_model_plays_without_a_sandbox_and_says_so(tmp_path: Path) -> None:
    code, out, err = await peerbot("try", SCRIPT, PATH=_path_without("bwrap", tmp_path / "bin"))

    assert code == 0, err
    assert "Sandbox: none" in err
    assert "2 3 5 7 11" in out


async def test_local_without_a_terminal_plays_and_stays_up_until_it_is_ended(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "peerbot", "local", "--in", str(tmp_path))
    async with started(*command, stdin=subprocess.DEVNULL, stdout=-1) as process:
        assert process.stdout
        told = await asyncio.wait_for(process.stdout.readuntil(b"staying up"), 40)
        assert b"2 3 5 7 11 13 17 19 23 29" in told
        assert b"Chat: http://127.0.0.1:" in told
        children = psutil.Process(process.pid).children(recursive=True)

        process.send_signal(signal.SIGTERM)

        assert await asyncio.wait_for(process.wait(), 30) == 0
        assert _living(children) == []


async def test_local_in_a_terminal_chats_in_the_same_thread_and_in_new_ones(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = (sys.executable, "-m", "peerbot", "local", "--terminal", "--in", str(tmp_path))
    async with started(*command, stdin=follower, stdout=-1) as process:
        os.close(follower)
        assert process.stdout
        await asyncio.wait_for(process.stdout.readuntil(b"/quit"), 40)
        os.write(leader, b"what does primes.py do?\n")
        told = await asyncio.wait_for(process.stdout.readuntil(b"Earlier in this thread you asked"), 40)
        assert b"received and recorded" in told
        os.write(leader, b"/new\nhello there\n")
        await asyncio.wait_for(process.stdout.readuntil(b"I am PeerBot's demo model"), 40)
        os.write(leader, b"/quit\n")

        assert await asyncio.wait_for(process.wait(), 30) == 0
    os.close(leader)
    conversations = list((tmp_path / "journal" / "conversations").glob("*/*/*"))
    assert len(conversations) == 2


async def test_local_in_a_terminal_serves_the_page_until_ctrl_c(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = (sys.executable, "-m", "peerbot", "local", "--no-open", "--in", str(tmp_path))
    async with started(*command, stdin=follower, stdout=-1) as process:
        os.close(follower)
        assert process.stdout
        told = await asyncio.wait_for(process.stdout.readuntil(b"Ctrl-C ends everything."), 40)
        found = re.search(rb"Chat: (http://127\.0\.0\.1:\d+/)#key=(\S+)", told)
        assert found
        home, key = found[1].decode(), found[2].decode()
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as person:
            async with person.get(home) as page:
                assert page.status == 200
                assert "chat/app.js" in await page.text()
            async with person.get(f"{home}page/stream") as stream:
                assert b"again" in await stream.content.readuntil(b"\n\n")
                process.send_signal(signal.SIGINT)
                assert await asyncio.wait_for(process.wait(), 10) == 130
    os.close(leader)


async def test_ctrl_c_ends_everything_cleanly(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "peerbot", "try", "--in", str(tmp_path), "take 60 seconds")
    async with started(*command, stdout=-1, stderr=-1) as process:
        assert process.stderr
        await asyncio.wait_for(process.stderr.readuntil(b"Check out"), 40)
        children = psutil.Process(process.pid).children(recursive=True)
        assert children

        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 130
    assert b"Traceback" not in err
    assert _living(children) == []


def _living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """List those that still work. A process that has ended and was not collected yet (by init) does not."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


async def _refused(arguments: list[str], sentence: str) -> None:
    """The command ends with exit code 2, and its last line on standard error has the sentence."""
    code, out, err = await peerbot(*arguments)

    assert code == 2
    assert sentence in err.splitlines()[-1]
    assert "Traceback" not in err
    assert out == ""


async def _files(repository: Path, trial: dict[str, Any]) -> set[str]:
    """The files on the branch of a turn."""
    return set((await git("ls-tree", "--name-only", trial["branch"], cwd=repository)).splitlines())


def _only_repository(world: Path) -> Path:
    [repository] = world.rglob("*.git")
    return repository


def _tree(path: Path) -> dict[str, bytes]:
    """Every file below a directory, git's own included, with its bytes."""
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def _is_listed(directory: str) -> bool:
    """Whether this user may list it: `PATH` may name directories of other users, or missing ones."""
    return os.access(directory, os.R_OK | os.X_OK) and Path(directory).is_dir()


def _path_without(program: str, directory: Path) -> str:
    """A `PATH` that has everything but `program`."""
    directory.mkdir()
    for part in reversed(os.environ["PATH"].split(os.pathsep)):
        for file in Path(part).glob("*") if _is_listed(part) else ():
            if file.name != program and re.fullmatch(r"[\w.+-]+", file.name):
                (directory / file.name).unlink(missing_ok=True)
                (directory / file.name).symlink_to(file)
    return str(directory)


async def test_a_word_that_has_no_effect_ends_with_the_reason() -> None:
    """The word alone stops what is at work in its thread; here nothing is."""
    code, _, err = await peerbot("try", "stop")
    assert code == 1
    assert "peerbot: Nothing is at work in this thread" in err
