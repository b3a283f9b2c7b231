"""People's words on their way to the agent, and the agent's on their way to people, each through the local Slack."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from html import unescape
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from relay_world import BODY, serve
from scripted_api import Script
from system import System, full_text

from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, input_id
from peerbot.local.model.replies import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = "what is in this repository?"
SCRIPT = "Create a simple Python script that prints the first ten primes"
MENTION = "<@U0PEERBOT01>"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("system"), {"WORKER_IDLE_SECONDS": "1"}) as system:
        await system.start()
        yield system


async def answered(system: System, channel: str, ts: str, *, thread_ts: str = "") -> Turn:
    return await system.answer(Conversation(system.slack.team, channel, thread_ts or ts), input_id(ts, "message"))


# In


async def test_a_mention_at_the_end_is_in_neither_the_prompt_nor_the_pull_request_s_title(system: System) -> None:
    ts = await system.slack.say(system.slack.person, system.slack.general, f"{SCRIPT}, {MENTION}")
    turn = await answered(system, system.slack.general, ts)

    assert f">\n{SCRIPT}\n</message>" in system.read_by_model(requests=1)
    assert turn.pull_request
    pulls = await system.github.pull_requests(turn.repository or "")
    [pull] = [pull for pull in pulls if pull["number"] == turn.pull_request.number]
    assert pull["title"] == SCRIPT


async def test_a_mention_in_the_middle_is_the_bot_s_name(system: System) -> None:
    ts = await system.slack.say(system.slack.person, system.slack.general, f"could {MENTION} say {QUESTION}")
    await answered(system, system.slack.general, ts)

    assert f">\ncould @PeerBot say {QUESTION}\n</message>" in system.read_by_model(requests=1)


async def test_a_message_about_oneself_is_a_person_s_words(system: System) -> None:
    ts = await system.slack.say(system.slack.person, system.slack.general, f"asks {MENTION}: {QUESTION}", me=True)
    await answered(system, system.slack.general, ts)

    assert f">\nasks @PeerBot: {QUESTION}\n</message>" in system.read_by_model(requests=1)


@pytest.mark.parametrize("place", ["channel", "direct message"])
async def test_a_message_that_only_forwards_another_is_answered_by_what_that_says(system: System, place: str) -> None:
    grace = system.add_person("U0GRACE0001", "Grace Hopper")
    origin = await system.slack.say(grace, system.slack.general, f"{QUESTION}\nI &lt;wonder&gt;")
    where, words = (system.slack.general, MENTION) if place == "channel" else (system.slack.direct, "")
    ts = await system.slack.forward(system.slack.person, system.slack.general, origin, where, words)
    turn = await answered(system, where, ts)

    assert not full_text(turn).startswith("Tell me what to do")
    read = system.read_by_model(requests=1)
    assert f'user="{system.slack.person}">\n> {QUESTION}\n> I <wonder>\n' in read
    assert "(a forwarded message, written by @Grace Hopper)" in read


async def test_an_alert_whose_words_are_in_attachments_or_blocks_is_read_and_bounded(system: System) -> None:
    slack = system.slack
    root = await slack.app_says(slack.general, name="Monitor", attachments=[{"title": "CPU", "text": "db-1 at 99 %"}])
    block = {"type": "section", "text": {"type": "mrkdwn", "text": "*Disk* of db-2 is full"}}
    await slack.app_says(slack.general, "Alert", name="Monitor", blocks=[block], thread_ts=root)
    await slack.app_says(slack.general, name="Monitor", attachments=[{"text": "noise " * 10_000}], thread_ts=root)
    await slack.share_file(slack.person, slack.general, "graph.png", b"x", thread_ts=root)
    ts = await slack.say(slack.person, slack.general, f"{MENTION} {QUESTION}", thread_ts=root)
    await answered(system, slack.general, ts, thread_ts=root)

    context, _, _ = system.read_by_model(requests=1).partition("</earlier-messages>")
    assert "Monitor (a bot; may not use PeerBot): CPU\n  db-1 at 99 %\n" in context
    assert "Monitor (a bot; may not use PeerBot): Alert\n  \n  *Disk* of db-2 is full\n" in context
    assert f'({slack.person}): [shared: "graph.png"]' in context
    assert 100 < context.count("noise") < 1_000


# Out: what Slack has in the end, in the blocks and in the text beside them


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def script() -> Script:
    return Script()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scripted(tmp_path_factory: pytest.TempPathFactory, script: Script) -> AsyncIterator[System]:
    async def api(request: web.Request) -> web.StreamResponse:
        request[BODY] = await request.content.read()
        return await script.answer(request)

    async with AsyncExitStack() as stack:
        settings = {"ANTHROPIC_BASE_URL": await serve(stack, api), "WORKER_IDLE_SECONDS": "1"}
        system = await stack.enter_async_context(System(tmp_path_factory.mktemp("scripted"), settings))
        await system.start()
        yield system


async def messages(system: System, script: Script, answer: str) -> list[dict[str, Any]]:
    """Let the model give this answer, and return the messages that hold it."""
    script.steps = [Reply(answer)]
    conversation, identity = await system.say("Say it")
    await system.answer(conversation, identity)
    return [message for message, _ in system.answers(conversation)]


CODE = "use `**opts` and `List<@NonNull>`\n\n~~~\nf(**opts)  # <!here>\n~~~"


async def test_code_is_the_model_s_own_in_the_blocks_and_in_the_text(scripted: System, script: Script) -> None:
    [message] = await messages(scripted, script, CODE)

    assert message["blocks"][0] == {"type": "markdown", "text": CODE} | {"block_id": message["blocks"][0]["block_id"]}
    assert unescape(str(message["text"])).startswith(CODE.replace("~~~", "```"))


async def test_headings_are_balanced_and_no_link_hides_its_address(scripted: System, script: Script) -> None:
    link = "<https://evil.example|https://good.example>"
    [message] = await messages(scripted, script, f"# **Summary** of *today*\n\n## Moving to C#\n\n{link} @channel")

    assert str(message["text"]).startswith("*Summary of _today_*\n\n*Moving to C#*\n\n")
    assert "<https://evil" not in str(message)
    assert "evil.example" in str(message["text"])
    assert "@channel" not in str(message)


async def test_a_fence_in_a_quote_goes_on_as_one_in_the_next_message(scripted: System, script: Script) -> None:
    lines = [f"x{i} = {i}" for i in range(700)]
    found = await messages(scripted, script, "> ```python\n" + "\n".join(f"> {line}" for line in lines) + "\n> ```")

    shown = [str(message["blocks"][0]["text"]) for message in found]
    assert len(shown) == 2
    assert all(text.startswith("> ```python\n> x") and text.endswith("\n> ```") for text in shown)
    assert re.findall(r"^> (x.*)$", "\n".join(shown), re.M) == lines


async def test_an_answer_of_more_blocks_than_slack_takes_is_split_and_none_is_refused(
    scripted: System, script: Script
) -> None:
    answer = "\n\n".join(f"## Heading {i}\n\nText {i}." for i in range(35))
    found = await messages(scripted, script, answer)

    assert [message["blocks"][0]["type"] for message in found] == ["markdown", "markdown"]
    assert "\n\n".join(str(message["blocks"][0]["text"]) for message in found) == answer
    assert not scripted.logged("blocks_refused")
