"""Slack's payloads that are no message: buttons, modals, commands, other events; and our replies to them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from slack_receiver import SOON, Recorder, fail_as_a_bug, fail_as_a_store, receiving
from structlog.testing import capture_logs

from peerbot.local.slack import LocalSlack, NotOk
from peerbot.slack.api import web_client
from peerbot.slack.events import Other
from peerbot.slack.interactions import BlockAction, Command, Reply, ViewAction
from peerbot.slack.receive import unhandled


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


STOP = {
    "type": "actions",
    "block_id": "run",
    "elements": [
        {"type": "button", "action_id": "stop", "text": {"type": "plain_text", "text": "Stop"}, "value": "run-1"}
    ],
}
MODAL = {
    "type": "modal",
    "callback_id": "why",
    "title": {"type": "plain_text", "text": "Why?"},
    "private_metadata": "run-1",
}
REASON = {"reason": {"text": {"type": "plain_text_input", "value": "too slow"}}}


async def a_card(slack: LocalSlack) -> tuple[str, str]:
    """The `ts` of a thread, and of a message of ours with a button in it."""
    root = await slack.say(slack.person, slack.general, "go")
    client = web_client(slack.api_url, slack.bot_token)
    card = await client.chat_postMessage(channel=slack.general, thread_ts=root, text="working", blocks=[STOP])
    return root, str(card["ts"])


async def test_a_pressed_button_reaches_its_handler_before_the_ack(slack: LocalSlack) -> None:
    recorder = Recorder()
    async with receiving(slack, recorder):
        root, card = await a_card(slack)
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)
        recorder.others.clear()
        assert await slack.press(slack.person, slack.general, card, "stop") is None

    [pressed] = recorder.others
    assert isinstance(pressed, BlockAction)
    assert (pressed.team, pressed.user, pressed.channel) == (slack.team, slack.person, slack.general)
    assert (pressed.message_ts, pressed.thread_ts) == (card, root)
    assert (pressed.block_id, pressed.action_id, pressed.value) == ("run", "stop", "run-1")
    assert float(pressed.action_ts) > float(card)
    assert pressed.trigger_id


async def test_what_a_handler_says_to_a_modal_arrives_with_the_ack(slack: LocalSlack) -> None:
    recorder = Recorder(reply=Reply.errors({"reason": "Say more."}))
    async with receiving(slack, recorder):
        said = await slack.submit(slack.person, MODAL, REASON)
        recorder.reply = None
        closed = await slack.submit(slack.person, MODAL, REASON)

    assert said == {"response_action": "errors", "errors": {"reason": "Say more."}}
    assert closed is None
    submitted = recorder.others[0]
    assert isinstance(submitted, ViewAction)
    assert submitted.submitted
    assert (submitted.user, submitted.callback_id, submitted.private_metadata) == (slack.person, "why", "run-1")
    assert submitted.fields == {("reason", "text"): ("too slow",)}


async def test_what_a_handler_says_to_a_command_arrives_with_the_ack(slack: LocalSlack) -> None:
    recorder = Recorder(reply=Reply.only_to_them("All is well."))
    async with receiving(slack, recorder):
        said = await slack.command(slack.person, slack.general, "/peerbot", "status")

    assert said == {"response_type": "ephemeral", "text": "All is well."}
    [command] = recorder.others
    assert isinstance(command, Command)
    assert (command.user, command.channel, command.command, command.text) == (
        slack.person,
        slack.general,
        "/peerbot",
        "status",
    )


async def test_another_event_reaches_its_handler_and_comes_again_if_that_fails(slack: LocalSlack) -> None:
    slack.faults.retry_scale = 0.1
    recorder = Recorder(trouble=[fail_as_a_store])
    async with receiving(slack, recorder):
        slack.send_event(slack.general, {"type": "app_home_opened", "user": slack.person, "channel": slack.direct})
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)

    assert recorder.calls == 2
    [opened_home] = recorder.others
    assert isinstance(opened_home, Other)
    assert (opened_home.type, opened_home.user, opened_home.channel) == ("app_home_opened", slack.person, slack.direct)


async def hang_for_long() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("trouble", [fail_as_a_store, fail_as_a_bug, hang_for_long])
async def test_a_click_that_could_not_be_recorded_fails_visibly(
    slack: LocalSlack, trouble: Callable[[], Awaitable[None]]
) -> None:
    """Slack sends it once. Without an ack it shows an error; an ack would say that all is well."""
    recorder = Recorder()
    async with receiving(slack, recorder):
        _, card = await a_card(slack)
        await slack.wait_for(lambda: slack.undelivered == 0, SOON)
        recorder.trouble.append(trouble)
        before = recorder.calls
        with pytest.raises(NotOk, match="operation_timeout"):
            await slack.press(slack.person, slack.general, card, "stop")
        assert recorder.calls == before + 1
        assert await slack.press(slack.person, slack.general, card, "stop") is None
    assert recorder.calls == before + 2


async def test_what_nothing_handles_is_acked_and_named_in_the_log_once(slack: LocalSlack) -> None:
    with capture_logs() as logged:
        async with receiving(slack, Recorder(), on_other=unhandled):
            await slack.say(slack.person, slack.general, "the-secret-words")
            await slack.wait_for(lambda: slack.undelivered == 0, SOON)
            assert await slack.submit(slack.person, MODAL | {"private_metadata": "the-secret-words"}, REASON) is None
            assert await slack.command(slack.person, slack.general, "/peerbot", "the-secret-words") is None

    told = [entry for entry in logged if entry["event"] == "not_handled"]
    assert [entry["kind"] for entry in told] == ["Other", "ViewAction", "Command"]
    assert {entry["log_level"] for entry in told} == {"debug"}
    assert (told[0]["type"], told[0]["user"], told[0]["channel"]) == ("message", slack.person, slack.general)
    assert (told[1]["callback_id"], told[2]["command"]) == ("why", "/peerbot")
    assert "the-secret-words" not in str(logged)
    assert "too slow" not in str(logged)
