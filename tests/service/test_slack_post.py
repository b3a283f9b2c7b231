"""Writing to Slack: the messages that arrive there, and the results if Slack is slow, down or refuses."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot.conversation.documents import Turn, TurnStatus
from peerbot.conversation.keys import Conversation
from peerbot.errors import Refused, Unavailable
from peerbot.local.slack import Fault, LocalSlack
from peerbot.slack.api import call, open_client, refusal_code, web_client
from peerbot.slack.blocks import Rendered
from peerbot.slack.card import card_message
from peerbot.slack.events import Us
from peerbot.slack.levels import Levels
from peerbot.slack.marks import Mark
from peerbot.slack.outbound import Outbound
from peerbot.slack.post import Poster
from peerbot.slack.render import answer, notice

SOON = 30.0


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


@dataclass
class Clock:
    """Time that passes when a test says so."""

    seconds: float = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def poster(slack: LocalSlack, clock: Clock) -> AsyncIterator[Poster]:
    async with open_client(slack.api_url, slack.bot_token) as client:
        yield Poster(Outbound(client), Us(slack.team, slack.bot_user), Levels(clock))


@pytest.fixture
async def conversation(slack: LocalSlack) -> Conversation:
    return Conversation(slack.team, slack.general, await slack.say(slack.person, slack.general, "hello"))


def shown_card(title: str = "Ada") -> Rendered:
    return card_message(
        None,
        run_name="claude-worker-abc-1",
        repository_url="https://github.example/acme/web",
        repository="acme/web",
        branch_url="https://github.example/acme/web/tree/b",
        branch="b",
        limit_minutes=5,
        state="starting",
        requester=title,
    )


def shown_answer(text: str) -> Rendered:
    turn = Turn(k=1, run=1, inputs=[], status=TurnStatus.DONE, text=text, seconds=1)
    [message] = answer(turn, repository_url="", branch_url="", seconds=None).messages
    return message


def types(slack: LocalSlack, conversation: Conversation, ts: str) -> list[str]:
    return [block["type"] for block in slack.message(conversation.channel, ts)["blocks"]]


async def test_a_message_arrives_in_its_thread_with_its_metadata(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    mark = Mark("peerbot_turn", {"conversation": str(conversation), "turn": 1})
    ts = await poster.post(conversation, shown_answer("All tests pass."), metadata=mark)

    message = slack.thread(conversation.channel, conversation.thread_ts)[-1]
    assert message["ts"] == ts
    assert message["metadata"] == {"event_type": "peerbot_turn", "event_payload": mark.payload}
    assert [shown.mark async for shown in poster.thread(conversation, after_ts="0")] == [None, mark]
    assert message["blocks"][0]["text"] == "All tests pass."
    assert message["text"].startswith("All tests pass.")


async def test_no_link_unfurls_and_no_name_becomes_a_mention(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    ts = await poster.post(conversation, shown_answer("@channel <!here> https://example.com"))

    arguments = slack.calls[-1].arguments
    assert [str(arguments[key]) for key in ("unfurl_links", "unfurl_media", "link_names")] == ["False"] * 3
    assert "<!here>" not in str(slack.message(conversation.channel, ts))


async def test_a_card_is_edited_in_place(slack: LocalSlack, poster: Poster, conversation: Conversation) -> None:
    ts = await poster.post(conversation, shown_card())
    await poster.update(conversation.channel, ts, shown_card("Grace"))

    assert len(slack.thread(conversation.channel, conversation.thread_ts)) == 2
    message = slack.message(conversation.channel, ts)
    assert "requested by Grace" in str(message["blocks"])
    assert "edited" not in message


async def test_a_message_whose_blocks_were_refused_stays_plain_for_an_hour_and_others_are_not(
    slack: LocalSlack, clock: Clock, poster: Poster, conversation: Conversation
) -> None:
    slack.faults.add("chat.postMessage", Fault(error="invalid_blocks"))

    first = await poster.post(conversation, shown_card())
    await poster.update(conversation.channel, first, shown_card("Grace"))
    second = await poster.post(conversation, shown_answer("Done."))

    assert "plan" not in types(slack, conversation, first)
    assert "requested by Grace" in str(slack.message(conversation.channel, first)["blocks"])
    assert "markdown" in types(slack, conversation, second)
    assert [call.outcome for call in slack.calls] == ["invalid_blocks", "ok", "ok", "ok"]
    clock.seconds += 3_601
    await poster.update(conversation.channel, first, shown_card("Grace"))
    assert "plan" in types(slack, conversation, first)


async def test_a_workspace_that_does_not_know_a_block_gets_plain_ones_for_an_hour(
    slack: LocalSlack, clock: Clock, poster: Poster, conversation: Conversation
) -> None:
    slack.lack_blocks("plan", "markdown")
    first = await poster.post(conversation, shown_card())
    second = await poster.post(conversation, shown_answer("Done."))
    slack.lack_blocks()
    third = await poster.post(conversation, shown_answer("Done."))

    for ts in (first, second, third):
        assert not {"plan", "markdown"} & set(types(slack, conversation, ts))
    assert [call.outcome for call in slack.calls] == ["invalid_blocks", "ok", "ok", "ok"]
    clock.seconds += 3_601
    fourth = await poster.post(conversation, shown_answer("Done."))
    assert "markdown" in types(slack, conversation, fourth)


async def test_an_edit_that_is_refused_for_its_blocks_is_made_with_plain_ones(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    ts = await poster.post(conversation, shown_card())
    slack.faults.add("chat.update", Fault(error="invalid_blocks"))
    await poster.update(conversation.channel, ts, shown_card("Grace"))

    assert types(slack, conversation, ts) == ["section", "context"]


async def test_one_message_that_was_too_long_does_not_make_the_others_plain(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    slack.faults.add("chat.postMessage", Fault(error="msg_blocks_too_long"))

    first = await poster.post(conversation, shown_answer("long"))
    second = await poster.post(conversation, shown_answer("short"))

    assert "markdown" not in types(slack, conversation, first)
    assert "markdown" in types(slack, conversation, second)


async def test_a_post_whose_answer_was_lost_is_not_posted_again(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    """Slack has no key against doubles, so a poster must look before it tries again."""
    slack.faults.add("chat.postMessage", Fault(lost=True))

    with pytest.raises(Unavailable):
        await poster.post(conversation, notice("once"))

    assert [message["text"] for message in slack.thread(conversation.channel, conversation.thread_ts)[1:]] == ["once"]


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(error="internal_error"), Fault(error="fatal_error")])
async def test_a_slack_in_trouble_is_unavailable(
    slack: LocalSlack, poster: Poster, conversation: Conversation, fault: Fault
) -> None:
    slack.faults.add("chat.postMessage", fault)

    with pytest.raises(Unavailable):
        await poster.post(conversation, notice("hello"))


async def test_it_waits_as_long_as_slack_says(slack: LocalSlack, poster: Poster, conversation: Conversation) -> None:
    slack.faults.add("chat.postMessage", Fault(status=429, retry_after_seconds=0), times=2)

    await poster.post(conversation, notice("after a while"))

    assert len(slack.thread(conversation.channel, conversation.thread_ts)) == 2
    assert [call.outcome for call in slack.calls] == ["http 429", "http 429", "ok"]


async def test_it_does_not_wait_for_minutes(slack: LocalSlack, poster: Poster, conversation: Conversation) -> None:
    slack.faults.add("chat.postMessage", Fault(status=429, retry_after_seconds=600))

    async with asyncio.timeout(SOON):
        with pytest.raises(Unavailable):
            await poster.post(conversation, notice("hello"))


async def test_a_channel_that_does_not_take_messages_is_refused_with_what_to_do(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    slack.add_channel("C0OTHER0001", "other", members=(slack.person,))
    slack.archive_channel(slack.general)

    with pytest.raises(Refused, match="archived"):
        await poster.post(conversation, notice("hello"))
    with pytest.raises(Refused, match="Invite the bot") as refused:
        await poster.post(Conversation(slack.team, "C0OTHER0001", "1700000000.000001"), notice("hello"))
    assert refusal_code(refused.value) == "not_in_channel"


async def test_a_bad_token_is_refused_with_the_name_of_its_setting(
    slack: LocalSlack, conversation: Conversation
) -> None:
    poster = Poster(Outbound(web_client(slack.api_url, "xoxb-wrong")), Us(slack.team, slack.bot_user))
    with pytest.raises(Refused, match="SLACK_BOT_TOKEN"):
        await poster.post(conversation, notice("hello"))


async def test_a_missing_scope_is_named(slack: LocalSlack, poster: Poster, conversation: Conversation) -> None:
    slack.faults.add("reactions.add", Fault(error="missing_scope"))

    with pytest.raises(Refused, match="scope"):
        await poster.react(conversation.channel, conversation.thread_ts, "eyes")


async def test_reactions_are_there_once_and_gone_once(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    channel, ts = conversation.channel, conversation.thread_ts

    for _ in range(2):
        await poster.react(channel, ts, "eyes")
    assert [reaction["name"] for reaction in slack.message(channel, ts)["reactions"]] == ["eyes"]

    for _ in range(2):
        await poster.unreact(channel, ts, "eyes")
    assert "reactions" not in slack.message(channel, ts)


async def test_a_reaction_on_a_message_that_is_gone_is_no_trouble(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    await slack.delete(slack.person, conversation.channel, conversation.thread_ts)

    await poster.react(conversation.channel, conversation.thread_ts, "eyes")


async def test_a_permalink_leads_to_the_message_or_is_none(
    slack: LocalSlack, poster: Poster, conversation: Conversation
) -> None:
    link = await poster.permalink(conversation.channel, conversation.thread_ts)

    assert link is not None
    assert link.endswith(f"/archives/{conversation.channel}/p{conversation.thread_ts.replace('.', '')}")
    assert await poster.permalink(conversation.channel, "1.000001") is None


async def test_a_call_that_is_cancelled_as_its_reply_comes_is_cancelled() -> None:
    """Otherwise the task that ends the drawing of a card, to post the answer, would wait for ever."""
    reply: asyncio.Future[AsyncSlackResponse] = asyncio.get_running_loop().create_future()
    calling = asyncio.create_task(call("a message", reply))
    await asyncio.sleep(0)
    reply.set_result(_response())
    calling.cancel()

    with pytest.raises(asyncio.CancelledError):
        await calling


def _response() -> AsyncSlackResponse:
    return AsyncSlackResponse(
        client=None, http_verb="POST", api_url="", req_args={}, data={"ok": True}, headers={}, status_code=200
    )
