"""The one writer to Slack: its order, the calls that a 429 holds back or drops, and how little Slack refuses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from peerbot.conversation.keys import Conversation
from peerbot.errors import Unavailable
from peerbot.local.slack import Fault, LocalSlack
from peerbot.slack.api import open_client
from peerbot.slack.blocks import Rendered
from peerbot.slack.events import Us
from peerbot.slack.lanes import LONGEST_QUEUE, Urgency
from peerbot.slack.outbound import Outbound
from peerbot.slack.post import Poster
from peerbot.slack.render import notice

LINK = "chat.getPermalink"
Hold = Callable[..., Awaitable["asyncio.Task[object]"]]
HELD = Fault(status=429, retry_after_seconds=1)


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


@pytest.fixture
async def outbound(slack: LocalSlack) -> AsyncIterator[Outbound]:
    async with open_client(slack.api_url, slack.bot_token) as client:
        yield Outbound(client)


def asked(slack: LocalSlack, method: str) -> list[str]:
    """The messages that a method was called for, in order, without refused calls."""
    return [str(call.arguments["message_ts"]) for call in slack.calls if call.method == method and call.outcome == "ok"]


def refusals(slack: LocalSlack) -> int:
    return sum(call.outcome == "http 429" for call in slack.calls)


@pytest.fixture
def hold(slack: LocalSlack, outbound: Outbound, caplog: pytest.LogCaptureFixture) -> Hold:
    """Let Slack refuse a call. The call then waits for its next try, and so do all calls behind it."""

    async def hold(ts: str, fault: Fault = HELD) -> "asyncio.Task[object]":
        slack.faults.add(LINK, fault)
        held = asyncio.create_task(link(slack, outbound, ts, Urgency.FINAL))
        async with asyncio.timeout(5):
            while "slack_rate_limited" not in caplog.text:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)
        return held

    return hold


async def link(slack: LocalSlack, outbound: Outbound, ts: str, urgency: Urgency) -> object:
    return await outbound.call("a permalink", LINK, urgency, {"channel": slack.general, "message_ts": ts})


async def test_a_429_holds_everybody_and_then_the_most_urgent_goes_first(
    slack: LocalSlack, outbound: Outbound, hold: Hold
) -> None:
    said = [await slack.say(slack.person, slack.general, str(number)) for number in range(6)]
    held = await hold(said[0])
    others = [
        asyncio.create_task(link(slack, outbound, ts, urgency))
        for ts, urgency in zip(said[1:], reversed(Urgency), strict=True)
    ]
    await asyncio.gather(held, *others)

    assert asked(slack, LINK) == [said[0], *reversed(said[1:])]
    assert refusals(slack) == 1


async def test_of_calls_as_urgent_the_first_goes_first(slack: LocalSlack, outbound: Outbound, hold: Hold) -> None:
    said = [await slack.say(slack.person, slack.general, str(number)) for number in range(5)]
    held = await hold(said[0])
    others = [asyncio.create_task(link(slack, outbound, ts, Urgency.FINAL)) for ts in said[1:]]
    await asyncio.gather(held, *others)

    assert asked(slack, LINK) == said


async def test_an_edit_that_waited_shows_the_newest(slack: LocalSlack, outbound: Outbound) -> None:
    poster = Poster(outbound, Us(slack.team, slack.bot_user))
    conversation = Conversation(slack.team, slack.general, await slack.say(slack.person, slack.general, "hello"))
    ts = await poster.post(conversation, notice("first"))
    shown = "older"

    async def newest() -> Rendered:
        return notice(shown)

    slack.faults.add("chat.update", HELD)
    editing = asyncio.create_task(poster.update(conversation.channel, ts, newest))
    await slack.wait_for(lambda: refusals(slack) > 0, 5)
    shown = "newest"
    await editing

    assert slack.message(conversation.channel, ts)["text"] == "newest"


async def test_what_has_nothing_to_show_any_more_is_not_sent(slack: LocalSlack, outbound: Outbound) -> None:
    conversation = Conversation(slack.team, slack.general, await slack.say(slack.person, slack.general, "hello"))

    async def nothing() -> None:
        return None

    assert await Poster(outbound, Us(slack.team, slack.bot_user)).post(conversation, nothing) == ""
    assert not slack.calls


async def test_what_cannot_go_in_time_is_dropped_and_a_final_waits(
    slack: LocalSlack, outbound: Outbound, hold: Hold
) -> None:
    said = [await slack.say(slack.person, slack.general, str(number)) for number in range(2)]
    held = await hold(said[0], Fault(status=429, retry_after_seconds=30))

    with pytest.raises(Unavailable):
        await link(slack, outbound, said[1], Urgency.PROGRESS)

    assert len(slack.calls) == 1
    assert not held.done()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)


async def test_too_long_a_queue_drops_what_is_least_urgent(slack: LocalSlack, outbound: Outbound, hold: Hold) -> None:
    said = await slack.say(slack.person, slack.general, "hello")
    held = await hold(said)
    comfort = [asyncio.create_task(link(slack, outbound, said, Urgency.COMFORT)) for _ in range(LONGEST_QUEUE - 1)]
    await asyncio.sleep(0)
    finals = [asyncio.create_task(link(slack, outbound, said, Urgency.FINAL)) for _ in range(2)]
    await asyncio.gather(held, *finals)

    dropped = [task for task in comfort if task.done() and task.exception()]
    assert [task is comfort[-1 - place] for place, task in enumerate(reversed(dropped))] == [True, True]
    for task in comfort:
        task.cancel()
    await asyncio.gather(*comfort, return_exceptions=True)


async def test_an_edit_on_its_way_is_over_before_the_next(slack: LocalSlack, outbound: Outbound) -> None:
    """The task that draws progress is cancelled when the turn ends; a call on its way must not land after the end."""
    poster = Poster(outbound, Us(slack.team, slack.bot_user))
    conversation = Conversation(slack.team, slack.general, await slack.say(slack.person, slack.general, "hello"))
    ts = await poster.post(conversation, notice("first"))
    begun = asyncio.Event()

    async def progress() -> Rendered:
        begun.set()
        return notice("progress")

    slack.faults.add("chat.update", Fault(delay_seconds=0.5))
    editing = asyncio.create_task(poster.update(conversation.channel, ts, progress))
    await begun.wait()
    await asyncio.sleep(0)
    editing.cancel()
    await asyncio.gather(editing, return_exceptions=True)
    await poster.update(conversation.channel, ts, notice("the end"))

    assert slack.message(conversation.channel, ts)["text"] == "the end"
    assert [call.outcome for call in slack.calls if call.method == "chat.update"] == ["ok", "ok"]


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_replicas_that_share_slack_s_budgets_are_seldom_refused_and_finals_are_in_time(slack: LocalSlack) -> None:
    """Three writers do not know of each other, and have far more to do than Slack allows."""
    slack.faults.rate_limits = True
    said = [await slack.say(slack.person, slack.general, str(number)) for number in range(40)]
    finals = 20
    took: list[float] = []

    async def final(poster: Poster, ts: str) -> None:
        before = asyncio.get_running_loop().time()
        conversation = Conversation(slack.team, slack.general, ts)
        await poster.post(conversation, notice("the answer"), urgency=Urgency.FINAL)
        took.append(asyncio.get_running_loop().time() - before)

    async def comfort(poster: Poster, ts: str) -> None:
        await poster.post(Conversation(slack.team, slack.general, ts), notice("a card"))
        await poster.react(slack.general, ts, "eyes")
        await poster.unreact(slack.general, ts, "eyes")

    async with AsyncExitStack() as stack:
        posters = []
        for _ in range(3):
            client = await stack.enter_async_context(open_client(slack.api_url, slack.bot_token))
            posters.append(Poster(Outbound(client), Us(slack.team, slack.bot_user)))
        tasks = [asyncio.create_task(comfort(posters[i % 3], ts)) for i, ts in enumerate(said)]
        await asyncio.gather(*(final(posters[i % 3], ts) for i, ts in enumerate(said[:finals])))
        ended = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(error) for error in ended if error} <= {Unavailable}
    assert len(took) == finals
    assert max(took) < 45
    assert refusals(slack) <= len(slack.calls) / 5
