"""Nobody gets a repository that PeerBot did not make for them, and everybody keeps the one that it did (decision 0020).

A version of `turns/own.py` that takes what is there by its name (`_is_ours` is true) fails each test of the first part.
"""

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from system import System, eventually, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.names import repository_name

QUESTION = "what is in this repository?"
SERVICE = "peerbot-community/user-service"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with System(tmp_path) as made:
        yield made


async def strangers(system: System, name: str, description: str = "Production secrets") -> str:
    """Somebody of the organization makes a repository; returns its full name."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{system.github.api_url}/orgs/{system.github.organization}/repos",
            json={"name": name, "description": description, "private": True, "auto_init": True},
            headers={"Authorization": f"Bearer {system.github.token}"},
        ) as made,
    ):
        assert made.status == 201, await made.text()
        return str((await made.json())["full_name"])


def names(system: System) -> set[str]:
    """The repositories that there are."""
    return {path.stem for path in (system.directory / "github" / "repositories").glob("*/*.git")}


def branches(system: System, full_name: str) -> list[str]:
    listed = ["git", "-C", str(system.github.repository_path(full_name)), "for-each-ref", "--format=%(refname:short)"]
    return subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()


def description(system: System, full_name: str) -> str:
    document: dict[str, Any] = json.loads((system.github.repository_path(full_name) / "peerbot.json").read_text())
    return str(document["description"])


def told(turn: Turn, taken: str) -> bool:
    """Whether the answer says that another repository has the name, and where the work is instead."""
    return f"There is a repository `{taken}` already" in full_text(turn) and f"`{turn.repository}`" in full_text(turn)


def away(system: System, name: str) -> None:
    """Put the journal away under a name; an empty one is in its place, as after a loss or in another installation.

    Slack does not tell any more what was said before, so that nothing of it is caught up with.
    """
    system.no_history()
    (system.directory / "journal").rename(system.directory / name)
    (system.directory / "journal").mkdir()


# --- what is not one's own


async def test_somebody_who_takes_a_name_does_not_get_the_repository_that_has_it(system: System) -> None:
    """The attack: a member renames himself “Service”, and `user-service` holds secrets."""
    stranger = await strangers(system, "user-service")
    mallory = system.add_person("U0MALLORY01", "Service")
    await system.start()

    first = await system.ask("run ```\nls; echo mine > mine.txt\n```", user=mallory)
    second = await system.ask(QUESTION, user=mallory)

    assert first.repository not in (None, stranger)
    assert told(first, stranger)
    assert branches(system, stranger) == ["main"]
    assert second.repository == first.repository
    assert "There is a repository" not in full_text(second), "one is told once"
    assert names(system) == {"user-service", str(first.repository).partition("/")[2]}


async def test_a_name_that_leads_to_a_renamed_repository_is_not_followed(system: System) -> None:
    """GitHub leads everybody from the old name to the new one."""
    stranger = await strangers(system, "user-service")
    await system.github.rename(stranger, "peerbot-community/production")
    mallory = system.add_person("U0MALLORY01", "Service")
    await system.start()

    turn = await system.ask(QUESTION, user=mallory)

    assert turn.repository not in (None, stranger, "peerbot-community/production")
    assert told(turn, stranger)
    assert branches(system, "peerbot-community/production") == ["main"]


@pytest.mark.slow
async def test_after_the_journal_was_lost_a_person_gets_another_repository_and_is_told(system: System) -> None:
    """Nothing proves any more whose the first one is: anybody could have its name, and its mark can be read."""
    dispatcher = await system.start()
    first = await system.ask("run ```\necho one > one.txt\n```")
    found = [first]
    for number in (2, 3):
        await system.end(dispatcher)
        away(system, f"lost-{number}")
        dispatcher = await system.start()
        found.append(await system.ask(QUESTION))

    assert len({turn.repository for turn in found}) == 3
    assert all(told(turn, str(first.repository)) for turn in found[1:])


@pytest.mark.slow
async def test_a_second_installation_in_the_organization_keeps_to_its_own(system: System) -> None:
    """A person's name claimed in one journal means nothing in the other, nor does the other's mark."""
    dispatcher = await system.start()
    ours = await system.ask("run ```\necho one > one.txt\n```")
    await system.end(dispatcher)
    before = branches(system, str(ours.repository))
    away(system, "ours")
    dispatcher = await system.start()

    theirs = await system.ask("run ```\nls\necho two > two.txt\n```")

    assert theirs.repository != ours.repository
    assert "one.txt" not in theirs.text
    assert branches(system, str(ours.repository)) == before
    await system.end(dispatcher)
    away(system, "theirs")
    (system.directory / "journal").rmdir()
    (system.directory / "ours").rename(system.directory / "journal")
    await system.start()
    again = await system.ask(QUESTION)
    assert (again.repository, "There is a repository" in full_text(again)) == (ours.repository, False)


@pytest.mark.slow
async def test_a_repository_that_somebody_put_in_the_place_of_ones_own_is_not_taken(system: System) -> None:
    """It even has the mark of the first one: somebody who could read that can write it again."""
    await system.start()
    first = await system.ask("run ```\necho one > one.txt\n```")
    mark = description(system, str(first.repository))
    await system.github.rename(str(first.repository), "peerbot-community/elsewhere")
    planted = await strangers(system, str(first.repository).partition("/")[2], mark)

    turn = await system.ask(QUESTION)

    assert turn.repository not in (planted, "peerbot-community/elsewhere")
    assert told(turn, planted)
    assert branches(system, planted) == ["main"]


@pytest.mark.slow
async def test_a_repository_that_was_given_to_another_owner_is_left_to_them(system: System) -> None:
    await system.start()
    first = await system.ask("run ```\necho one > one.txt\n```")
    await system.github.rename(str(first.repository), "somebody/else")

    turn = await system.ask(QUESTION)

    assert turn.repository not in (first.repository, "somebody/else")
    assert told(turn, str(first.repository))


async def test_somebody_whose_names_are_all_taken_is_told(system: System) -> None:
    taken = {await strangers(system, repository_name("Kim", "U0KIM000001", number)) for number in range(1, 10)}
    kim = system.add_person("U0KIM000001", "Kim")
    await system.start()

    turn = await system.ask(QUESTION, user=kim)

    assert (turn.status, turn.repository) == ("failed", None)
    assert "Repositories that are not yours have all the names that yours could have" in full_text(turn)
    assert all(branches(system, stranger) == ["main"] for stranger in taken)


# --- what is one's own stays so


async def test_a_repository_whose_maker_died_before_it_noted_that_is_found_again(system: System) -> None:
    """The mark proves whose it is: neither a second one is made, nor does the person lose the name."""
    system.github.faults.add("/orgs/.*/repos$", method="POST", status=502, served=True, delay_seconds=4)
    dispatcher = await system.start()
    said = await system.say(QUESTION)
    await eventually(lambda: names(system) == {"user-ada-lovelace"})
    await system.end(dispatcher, signal.SIGKILL)
    assert not list((system.directory / "journal" / "repositories").rglob("1.json"))
    await system.start()

    turn = await system.answer(*said)
    await eventually(lambda: any(call.method == "POST" and call.status == 502 for call in system.github.calls))

    assert (turn.status, turn.repository) == ("done", "peerbot-community/user-ada-lovelace")
    assert "There is a repository" not in full_text(turn)
    assert names(system) == {"user-ada-lovelace"}


async def test_a_repository_of_ones_own_may_be_renamed_and_described_again(system: System) -> None:
    """GitHub's number of it is in the journal, and that stays."""
    await system.start()
    first = await system.ask("run ```\necho one > one.txt\n```")
    await system.github.rename(str(first.repository), "peerbot-community/adas-own")
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"{system.github.api_url}/repos/{first.repository}",
            headers={"Authorization": f"Bearer {system.github.token}"},
        ) as moved,
    ):
        assert (await moved.json())["full_name"] == "peerbot-community/adas-own"
    document = system.github.repository_path("peerbot-community/adas-own") / "peerbot.json"
    document.write_text(json.dumps({**json.loads(document.read_text()), "description": "Ada's own"}))

    turn = await system.ask(QUESTION)

    assert turn.repository == "peerbot-community/adas-own"
    assert names(system) == {"adas-own"}


@pytest.mark.slow
async def test_a_repository_that_the_token_may_not_see_is_told_and_not_replaced(system: System) -> None:
    dispatcher = await system.start()
    first = await system.ask("run ```\necho one > one.txt\n```")
    await system.end(dispatcher)
    [settled] = (system.directory / "journal" / "repositories").rglob("1.json")
    long_ago = {"settled_at": "2026-01-01T00:00:00Z"}  # a new one might only not be shown yet
    settled.write_text(json.dumps({**json.loads(settled.read_text()), **long_ago}))
    await system.start()
    system.github.faults.add(f"/repos/{first.repository}$", method="GET", status=404, message="Not Found", count=10**6)

    hidden = await system.ask(QUESTION)

    assert hidden.status == "failed"
    assert "does not show it to PeerBot's token. Give the token access" in full_text(hidden)
    system.github.faults.planned.clear()
    assert (await system.ask(QUESTION)).repository == first.repository
