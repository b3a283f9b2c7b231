"""The switches for trouble: a person presses each on the chat page while the bot works, and the answer comes once."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from system import eventually

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.local.chat import serve_page
from peerbot.local.slack.narrate import answered_turn
from peerbot.local.talk import say
from peerbot.local.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

ANSWER_SECONDS = 120.0


class Person:
    """Somebody at the page."""

    def __init__(self, world: World, http: aiohttp.ClientSession) -> None:
        self.world = world
        self._http = http

    async def press(self, name: str) -> str:
        """Press a switch; returns what the page says."""
        async with self._http.post(f"{self.world.slack.url}page/trouble/{name}", json={}) as reply:
            assert reply.status == 200, await reply.text()
            return str((await reply.json())["words"])

    async def looks(self, conversation: Conversation) -> dict[str, Any]:
        """Look under the hood of a thread."""
        named = {"channel": conversation.channel, "thread_ts": conversation.thread_ts}
        async with self._http.get(f"{self.world.slack.url}page/hood", params=named) as reply:
            assert reply.status == 200, await reply.text()
            found: dict[str, Any] = await reply.json()
            return found

    def answers(self, conversation: Conversation) -> list[dict[str, Any]]:
        messages = self.world.slack.thread(conversation.channel, conversation.thread_ts)
        return [message for message in messages if answered_turn(message)]

    def marked(self, conversation: Conversation) -> list[Path]:
        folder = self.world.directory / "journal/pending" / str(conversation)
        return [each for each in folder.rglob("*") if each.is_file()] if folder.exists() else []

    async def answered(self, conversation: Conversation) -> Turn:
        """Wait for the answer, and until nothing is left to do."""
        there = self.world.directory / "journal"
        await eventually(lambda: self.answers(conversation), ANSWER_SECONDS)
        await eventually(lambda: there.exists() and not self.marked(conversation), ANSWER_SECONDS)
        found = answered_turn(self.answers(conversation)[0])
        assert found
        turn = await self.world.journal.turn(*found)
        assert turn
        return turn


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def person(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Person]:
    async with World(tmp_path_factory.mktemp("world")) as world:
        assert await serve_page(world, lambda _: None)
        headers = {"Authorization": f"Bearer {world.slack.page.key}", "Origin": world.slack.url.rstrip("/")}
        async with aiohttp.ClientSession(headers=headers) as http:
            yield Person(world, http)


BEFORE = {"twice", "slow", "limited", "lost"}
"""The switches about Slack's calls are pressed before the message, the others while the agent is at work."""


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ("twice", "Every event comes twice now."),
        ("slow", "5 s each"),
        ("limited", "refused with 429"),
        ("lost", "is lost"),
        ("worker", "Killed "),
        ("dispatcher", "another one has started"),
        ("cut", "catches up"),
        ("store", "away for 15 s"),
        ("github", "next 10 requests with 503"),
    ],
)
async def test_the_answer_comes_once_all_the_same(person: Person, switch: str, words: str) -> None:
    if switch in BEFORE:
        assert words in await person.press(switch)
    model = person.world.model
    assert model
    asked = model.requests
    conversation, identity = await say(person.world, "take 4 seconds", None)
    if switch not in BEFORE:
        await eventually(lambda: model.requests > asked, 60)
        assert not person.answers(conversation)
        assert words in await person.press(switch)
    if switch == "store":
        assert "no dispatcher starts without it" in await person.press("dispatcher")
    turn = await person.answered(conversation)
    assert identity in turn.inputs
    assert turn.status.value == "done"
    if switch == "twice":
        assert "once again" in await person.press(switch)
    if switch in ("worker", "dispatcher"):
        assert len(await person.world.journal.runs(conversation)) > 1, "another run went on"
    assert len(person.answers(conversation)) == 1
    assert await complaints(person.world) == []
    assert len(person.answers(conversation)) == 1


async def test_the_dispatcher_that_follows_has_the_same_addresses_and_hears(person: Person) -> None:
    before = person.world.settings.port, person.world.settings.gateway_port
    await asyncio.gather(person.press("dispatcher"), person.press("dispatcher"))
    assert (person.world.settings.port, person.world.settings.gateway_port) == before
    conversation, _ = await say(person.world, "run `echo hello`", None)
    await person.answered(conversation)
    assert len(person.answers(conversation)) == 1


async def test_the_hood_shows_each_step_with_its_time_and_what_was_passed_on(person: Person) -> None:
    conversation, _ = await say(person.world, "fix the failing test", None)
    turn = await person.answered(conversation)
    found = await person.looks(conversation)
    steps = {step["step"]: step["events"] for step in found["turns"][0]["steps"]}
    assert list(steps) == ["receive", "record", "place", "work", "present", "keep", "answer", "watch"]
    for name, events in steps.items():
        assert any(event["at"] for event in events) or name == "watch", name
        assert events, name
    assert [event["words"] for event in steps["work"]][1:] == [
        "The repository is cloned",
        "The first request to the model",
    ]
    models = [each for each in found["exchanges"] if each["what"] == "model"]
    assert len(models) > 2
    for each in models:
        assert (each["http"], each["run"]) == (200, 1)
        assert each["sent"] > 1000
        assert each["received"] > 0
        assert each["seconds"] >= 0
    [push] = [each for each in found["exchanges"] if each["words"].startswith("push")]
    assert push["words"] == f"push refs/heads/{turn.branch}"
    assert push["sent"] > 100
    secrets = (person.world.slack.bot_token, person.world.github.token, person.world.slack.page.key, "sk-ant")
    told = json.dumps(found)
    assert not [secret for secret in secrets if secret in told]
    for document in (each["content"] for each in found["documents"] if each["path"].startswith("runs/")):
        assert "…" in document or "closed_at" in document


async def complaints(world: World) -> list[dict[str, Any]]:
    """What `peerbot verify` finds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerbot", "verify", "--json", stdout=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"], "PEERBOT_STORE": (world.directory / "journal").as_uri(),
            "SLACK_BOT_TOKEN": world.slack.bot_token, "SLACK_API_URL": world.slack.api_url,
        },
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 90)
    found: list[dict[str, Any]] = json.loads(out)["findings"]
    return found
