"""The words in the thread, and the lines in journal and log, if Slack does not take an answer."""

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from system import System, eventually

from peerbot.conversation.documents import Input, Posted, Turn, TurnStatus, now
from peerbot.conversation.keys import Conversation
from peerbot.local.slack import Fault, LocalSlack

# Real faults take real time: `make slow`.
pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

QUESTION = "take 5 seconds"  # a turn that is over at once may have no card to wait for
POSTS = "chat.postMessage"
LONG = "\n\n".join(f"Paragraph {i}. {'word ' * 60}".strip() for i in range(80))  # three messages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with System(tmp_path_factory.mktemp("system"), {"WORKER_IDLE_SECONDS": "3"}) as system:
        await system.start()
        yield system


@pytest_asyncio.fixture(loop_scope="module")
async def system(module_system: System) -> AsyncIterator[System]:
    yield module_system
    module_system.slack.faults.clear()


async def receipt(system: System, conversation: Conversation, k: int) -> Posted:
    await eventually(lambda: system.posted_file(conversation, k).exists(), 45)
    posted = await system.journal.posted(conversation, k)
    assert posted
    return posted


@pytest.mark.parametrize(
    ("close", "reopen", "code", "why"),
    [
        (LocalSlack.archive_channel, LocalSlack.unarchive_channel, "is_archived", "the channel was archived"),
        (LocalSlack.remove_bot, LocalSlack.invite_bot, "not_in_channel", "I was not in the channel"),
    ],
    ids=["archived", "removed"],
)
async def test_an_answer_that_its_channel_takes_no_more_is_let_go_and_the_next_one_says_so(
    system: System,
    close: Callable[[LocalSlack, str], None],
    reopen: Callable[[LocalSlack, str], None],
    code: str,
    why: str,
) -> None:
    conversation, _ = await system.say(QUESTION)
    await eventually(lambda: any(file.startswith("pending/") for file in system.files(conversation)))
    await eventually(lambda: system.cards(conversation))
    close(system.slack, conversation.channel)
    try:
        posted = await receipt(system, conversation, 1)
        await system.settled(conversation)
    finally:
        reopen(system.slack, conversation.channel)

    assert (posted.ts, posted.refused) == ([], code)
    assert [line["turn"] for line in told(system, conversation)] == [1]
    assert told(system, conversation)[0]["level"] == "error"
    assert not system.answers(conversation)

    after = await system.ask("and now?", thread=conversation, mention=False)

    [(message, k)] = system.answers(conversation)
    assert k == after.k == 2
    assert f"_I could not post my last answer here: {why}. Ask me to repeat it._" in str(message["blocks"])


def told(system: System, conversation: Conversation) -> list[dict[str, object]]:
    return [line for line in system.logged("answer_refused") if line["conversation"] == str(conversation)]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(lost=True),
        Fault(status=503),
        Fault(status=429, retry_after_seconds=1),
        Fault(error="internal_error"),
        Fault(error="msg_too_long"),
    ],
    ids=["dropped after it was taken", "503", "429", "internal_error", "msg_too_long"],
)
async def test_a_slack_that_fails_for_a_moment_shows_one_answer_all_the_same(system: System, fault: Fault) -> None:
    conversation, identity = await system.say(QUESTION)
    await eventually(lambda: system.cards(conversation), 20)
    system.slack.faults.add(POSTS, fault)

    turn = await system.answer(conversation, identity)

    assert turn.status == "done"
    await system.settled(conversation)
    [(message, _)] = system.answers(conversation)
    assert (await receipt(system, conversation, turn.k)).ts == [message["ts"]]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_dispatcher_that_dies_between_two_parts_is_followed_by_one_that_posts_the_others(
    tmp_path: Path,
) -> None:
    async with System(tmp_path) as system:
        conversation, identity = await system.say("hello")
        item = Input(
            team=conversation.team,
            channel=conversation.channel,
            thread_ts=conversation.thread_ts,
            ts=conversation.thread_ts,
            user=system.slack.person,
            text="hello",
            event_id="Ev1",
        )
        await system.journal.mark(item)
        await system.journal.record(item)
        ended = now() - timedelta(seconds=61)
        turn = Turn(k=1, run=None, inputs=[identity], status=TurnStatus.DONE, text=LONG, ended_at=ended)
        assert await system.journal.write_turn(conversation, turn)
        system.slack.faults.add(POSTS, Fault())
        system.slack.faults.add(POSTS, Fault(delay_seconds=9))
        first = await system.start()
        await eventually(lambda: system.answers(conversation), 15)
        await system.end(first, 9)

        await system.start()
        await eventually(lambda: system.posted_file(conversation, 1).exists(), 100)

        parts = [message["metadata"]["event_payload"]["part"] for message, _ in system.answers(conversation)]
        assert parts == [1, 2, 3]
        words = [message["blocks"][0]["text"] for message, _ in system.answers(conversation)]
        assert "\n\n".join(words) == LONG
