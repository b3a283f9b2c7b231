"""An answer shows how its pull request stands: open, its checks, merged or closed; and an edit comes only with news."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from after import COMMIT, answer_of, controls, press, turn_after
from aiohttp import web
from relay_world import BODY, serve
from scripted_api import Script, calls
from session_viewers import with_page
from system import System, below, eventually

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation
from peerbot.local.model.replies import Reply
from peerbot.local.slack import Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

OFTEN = {"PEERBOT_PULL_REQUEST_SECONDS": "0.3"}
STATE = re.compile(r"(Pull request #\d+>\*)(?:: ([^·\n]*[^·\n ]))?")
HUGE = "\n\n".join(f"Paragraph {i}. {'word ' * 60}".strip() for i in range(200))  # three messages and a file


@dataclass
class Work:
    """A turn with a pull request, in a thread of its own."""

    system: System
    conversation: Conversation
    turn: Turn

    @property
    def full_name(self) -> str:
        return self.turn.repository or ""

    @property
    def number(self) -> int:
        assert self.turn.pull_request
        return self.turn.pull_request.number

    def line(self, k: int = 1) -> str:
        """What the answer of turn `k` says of the pull request, as blocks and as text."""
        message = answer_of(self.system, self.conversation, k)
        blocks = [STATE.search(text) for text in small_print(message)]
        [found] = [match[2] or "" for match in blocks if match]
        said = STATE.search(message["text"])
        assert said
        assert (said[2] or "") == found
        return found

    async def shows(self, wanted: str, k: int = 1, seconds: float = 30) -> None:
        try:
            await eventually(lambda: self.line(k) == wanted, seconds)
        except TimeoutError:
            raise AssertionError(f"it shows {self.line(k)!r}, not {wanted!r}") from None

    def edits(self, k: int = 1) -> list[str]:
        """The texts of the edits of the answer's last message that Slack took."""
        ts = answer_of(self.system, self.conversation, k)["ts"]
        taken = [call for call in self.system.slack.calls if call.method == "chat.update" and call.outcome == "ok"]
        return [call.arguments["text"] for call in taken if call.arguments["ts"] == ts]

    def watched(self) -> list[Path]:
        """The journal's objects about pull requests of this thread."""
        return below(self.system.directory / "journal/pulls" / str(self.conversation), "*")

    async def is_watched_no_more(self) -> None:
        await eventually(lambda: not self.watched())

    def looks(self) -> int:
        """How often GitHub was asked for the pull request."""
        path = f"/api/v3/repos/{self.full_name}/pulls/{self.number}"
        return sum((call.method, call.path) == ("GET", path) for call in self.system.github.calls)

    async def looked_again(self, times: int = 2) -> None:
        before = self.looks()
        await eventually(lambda: self.looks() >= before + times)

    async def check(self, name: str, state: Any) -> None:
        await self.system.github.check(self.full_name, self.number, name, state)


def context(block: dict[str, Any]) -> bool:
    return str(block["type"]) == "context"


def small_print(message: dict[str, Any]) -> list[str]:
    return [block["elements"][0].get("text", "") for block in message["blocks"] if context(block)]


def besides(message: dict[str, Any]) -> list[Any]:
    """All of a message but how the pull request stands."""
    blocks = [block for block in message["blocks"] if not context(block)]
    shown = [{key: value for key, value in block.items() if key != "block_id"} for block in blocks]
    return [shown, *(STATE.sub(r"\1", text) for text in small_print(message))]


async def work(system: System, name: str) -> Work:
    person = system.add_person(f"U{len(system.people):09d}", name)
    conversation, identity = await system.say(COMMIT.format(name), user=person)
    turn = await system.answer(conversation, identity)
    await system.settled(conversation)
    assert turn.pull_request
    return Work(system, conversation, turn)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """One replica, which looks often."""
    async with System(tmp_path_factory.mktemp("pulls"), dict(OFTEN)) as system:
        await with_page(system).start()
        yield system


async def test_an_answer_follows_its_pull_request_from_open_to_merged(system: System) -> None:
    one = await work(system, "ada")
    before = answer_of(system, one.conversation, 1)
    buttons = controls(system, one.conversation, 1)
    await one.shows("🟢 open")
    await one.check("build", "queued")
    await one.check("lint", "success")
    await system.github.status(one.full_name, one.number, "ci/old", "pending")
    await one.shows("🟢 open, ⏳ checks are running")
    await one.check("build", "failure")
    await one.shows("🟢 open, ❌ 1 of 3 checks failed")
    await one.check("build", "skipped")
    await one.shows("🟢 open, ⏳ checks are running")
    await system.github.status(one.full_name, one.number, "ci/old", "success")
    await one.shows("🟢 open, ✅ 3 checks passed")
    await one.looked_again()
    assert len(one.edits()) == 5, "an edit for each change, and none besides"
    await system.github.draft(one.full_name, one.number)
    await one.shows("📝 draft, ✅ 3 checks passed")
    await system.github.draft(one.full_name, one.number, draft=False)
    await one.shows("🟢 open, ✅ 3 checks passed")
    await system.github.merge(one.full_name, one.number)
    await one.shows("🔀 merged")
    await one.is_watched_no_more()
    assert len(one.edits()) == 8

    after = answer_of(system, one.conversation, 1)
    assert controls(system, one.conversation, 1) == buttons
    assert {"undo", "retry", "good"} <= buttons
    assert after["metadata"] == before["metadata"]
    assert "View session" in str(small_print(after))
    assert besides(after) == besides(before)
    looks = one.looks()
    await asyncio.sleep(1)  # three rounds
    assert one.looks() == looks, "nobody looks at what is merged"


async def test_a_pull_request_that_people_close_is_shown_as_closed(system: System) -> None:
    one = await work(system, "bob")
    await one.shows("🟢 open")
    await system.github.close_pull_request(one.full_name, one.number)
    await one.shows("🚫 closed, not merged")
    await one.is_watched_no_more()


async def test_only_the_last_answer_shows_the_state_and_undo_changes_none_of_that(system: System) -> None:
    one = await work(system, "cleo")
    await one.check("build", "success")
    await one.shows("🟢 open, ✅ 1 check passed")
    await system.ask(COMMIT.format("two"), thread=one.conversation, mention=False)
    await one.shows("🟢 open", k=2)  # its commit has no checks yet
    await one.shows("", k=1)
    await one.check("build", "failure")
    await one.shows("🟢 open, ❌ 1 of 1 check failed", k=2)
    await system.settled(one.conversation)
    await press(system, one.conversation, 2, Act.UNDO)
    await turn_after(system, one.conversation, 2)
    await one.shows("🟢 open, ✅ 1 check passed", k=2)  # of the commit that the branch is back at
    assert one.line(1) == ""
    await system.github.merge(one.full_name, one.number)
    await one.shows("🔀 merged", k=2)
    await one.is_watched_no_more()
    assert one.line(1) == ""


async def test_an_answer_that_people_deleted_does_not_come_back(system: System) -> None:
    one = await work(system, "emil")
    await one.shows("🟢 open")
    ts = answer_of(system, one.conversation, 1)["ts"]
    await system.slack.delete(system.slack.bot_user, one.conversation.channel, ts)
    await system.github.merge(one.full_name, one.number)
    await one.is_watched_no_more()
    assert system.answers(one.conversation) == []


@pytest.mark.parametrize("status", [403, 404])
async def test_a_token_that_may_not_see_checks_costs_the_checks_alone(system: System, status: int) -> None:
    one = await work(system, f"fay-{status}")
    refused = re.escape(one.full_name) + "/commits/.*/check-runs"
    message = "Resource not accessible by personal access token"
    system.github.faults.add(refused, status=status, message=message, count=10_000)
    await system.github.status(one.full_name, one.number, "ci/old", "success")
    await one.shows("🟢 open")
    await one.looked_again()
    assert one.line() == "🟢 open", "half of the checks is not told as if it were all"
    told = [line for line in system.logged("checks_not_seen") if line["repository"] == one.full_name]
    assert len(told) == 1
    assert "right to read checks" in told[0]["reason"]
    await system.github.merge(one.full_name, one.number)
    await one.shows("🔀 merged")
    system.github.faults.planned.clear()


async def test_a_github_that_is_broken_or_hides_the_pull_request_is_asked_again_later(system: System) -> None:
    one = await work(system, "gus")
    await one.shows("🟢 open")
    path = re.escape(one.full_name) + r"/pulls/\d+$"
    system.github.faults.add(path, method="GET", status=500)
    await system.github.check(one.full_name, one.number, "build", "success")
    await one.shows("🟢 open, ✅ 1 check passed")
    away = {"retry-after": "60"}
    system.github.faults.add(path, method="GET", status=403, headers=away, message="You have exceeded a rate limit")
    await one.check("build", "failure")
    await one.shows("🟢 open, ❌ 1 of 1 check failed")
    system.github.faults.add(path, method="GET", status=404, message="Not Found")
    edits = len(one.edits())
    await eventually(lambda: len(one.edits()) == edits + 2)  # its number alone, for as long as nobody sees it
    assert one.line() == "🟢 open, ❌ 1 of 1 check failed"
    system.slack.faults.add("chat.update", Fault(status=500))
    system.slack.faults.add("chat.update", Fault(error="invalid_blocks"), times=2)
    words = answer_of(system, one.conversation, 1)["blocks"][0]["text"]
    await system.github.merge(one.full_name, one.number)
    await one.is_watched_no_more()
    message = answer_of(system, one.conversation, 1)
    assert "blocks" not in message, "Slack takes none today"
    assert words.partition("\n")[0] in message["text"]
    assert "🔀 merged" in message["text"]


async def test_an_answer_in_parts_shows_it_in_its_last_message_alone(tmp_path: Path) -> None:
    """The rest of the answer is in a file, after the message that shows it."""
    script = Script()

    async def api(request: web.Request) -> web.StreamResponse:
        request[BODY] = await request.content.read()
        return await script.answer(request)

    async with AsyncExitStack() as stack:
        url = await serve(stack, api)
        system = await stack.enter_async_context(System(tmp_path, OFTEN | {"ANTHROPIC_BASE_URL": url}))
        await system.start()
        command = "echo 1 > one.txt; git add -A; git commit -qm one"
        script.steps = [calls("Bash", command=command, description="Commit"), Reply(HUGE)]
        one = await work(system, "jo")
        before = [message for message, _ in system.answers(one.conversation)]
        assert len(before) == 3
        await one.shows("🟢 open")
        await system.github.merge(one.full_name, one.number)
        await one.shows("🔀 merged")
        await one.is_watched_no_more()
        after = [message for message, _ in system.answers(one.conversation)]
        assert [message["text"][:11] for message in after] == ["Part 1 of 4", "Part 2 of 4", "Part 3 of 4"]
        assert after[:-1] == before[:-1]
        assert besides(after[-1]) == besides(before[-1]), "the words are as they were cut"


async def test_two_replicas_and_one_that_dies_draw_each_change_once(tmp_path: Path) -> None:
    seldom = {"PEERBOT_PULL_REQUEST_SECONDS": "1"}  # on a busy machine a look takes a while
    async with System(tmp_path, seldom) as system:
        first, second = [await system.start(), await system.start()]
        one = await work(system, "hal")
        await one.shows("🟢 open")
        for state, shown in (("queued", "⏳ checks are running"), ("success", "✅ 1 check passed")):
            await one.check("build", state)
            await one.shows(f"🟢 open, {shown}")
        await one.looked_again(4)
        assert len(one.edits()) == 3
        claimed = max(int(path.name.partition("-")[2]) for path in one.watched() if path.name.startswith("look-"))
        assert one.looks() <= claimed + 2, "no look is made twice"

        for dispatcher in (first, second):
            await system.end(dispatcher, signal.SIGKILL)
        await one.check("build", "failure")
        await system.start()
        await one.shows("🟢 open, ❌ 1 of 1 check failed")
        await one.looked_again()
        assert len(one.edits()) == 4, "the state that was shown is in the journal"
        await system.github.merge(one.full_name, one.number)
        await one.shows("🔀 merged")


async def test_if_half_of_the_hours_calls_are_used_only_turns_ask_github(tmp_path: Path) -> None:
    async with System(tmp_path, dict(OFTEN)) as system:
        dispatcher = await system.start()
        one = await work(system, "ida")
        await one.shows("🟢 open")
        system.github.calls_left(2_400)
        await eventually(lambda: system.logged("pull_requests_spared"))
        await one.check("build", "success")
        looks = one.looks()
        turn = await system.ask(COMMIT.format("more"), thread=one.conversation, mention=False)
        assert turn.status == "done"
        assert one.looks() - looks <= 1, "the turn itself looks once"
        system.github.calls_left(5_000)
        await system.end(dispatcher)
        await system.start(PEERBOT_PULL_REQUEST_SECONDS="0")
        looks = one.looks()
        await asyncio.sleep(1)
        assert one.looks() == looks, "an operator may turn it off"
        assert one.line(2) == ""
