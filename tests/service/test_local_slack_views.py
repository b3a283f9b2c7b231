"""The local Slack's modals and Home tab refuse what Slack's own do, with Slack's own words."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from local_slack_app import client_of, error_of
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.local.slack import LocalSlack

MODAL: dict[str, Any] = {"type": "modal", "title": {"type": "plain_text", "text": "Form"}, "blocks": []}
HOME: dict[str, Any] = {"type": "home", "blocks": [{"type": "divider"}]}
LARGE = [{"type": "section", "text": {"type": "plain_text", "text": "x" * 3000}}] * 90


@pytest.fixture
async def slack() -> AsyncIterator[LocalSlack]:
    async with LocalSlack() as slack:
        yield slack


@pytest.fixture
def client(slack: LocalSlack) -> AsyncWebClient:
    return client_of(slack)


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as failure:
        await call
    return error_of(failure)


async def test_a_trigger_opens_one_modal_and_only_soon(slack: LocalSlack, client: AsyncWebClient) -> None:
    trigger = slack.views.trigger(slack.person)
    assert await refused(client.views_open(trigger_id="1.2.3", view=MODAL)) == "invalid_trigger_id"
    await client.views_open(trigger_id=trigger, view=MODAL)
    assert await refused(client.views_open(trigger_id=trigger, view=MODAL)) == "exchanged_trigger_id"
    slack.views.trigger_seconds = 0.0
    old = slack.views.trigger(slack.person)
    assert await refused(client.views_open(trigger_id=old, view=MODAL)) == "expired_trigger_id"


async def test_views_have_bounds_and_a_hash(slack: LocalSlack, client: AsyncWebClient) -> None:
    trigger = slack.views.trigger(slack.person)
    large = {**MODAL, "blocks": LARGE}
    assert await refused(client.views_open(trigger_id=trigger, view=large)) == "view_too_large"
    made = await client.views_open(trigger_id=trigger, view=MODAL)
    shown = made["view"]
    assert await refused(client.views_update(view_id="V1", view=MODAL)) == "not_found"
    assert await refused(client.views_update(view_id=shown["id"], hash="1.2", view=MODAL)) == "hash_conflict"
    await client.views_update(view_id=shown["id"], hash=shown["hash"], view=MODAL)
    await client.views_publish(user_id=slack.person, view=HOME)
    assert await refused(client.views_publish(user_id=slack.person, hash="1.2", view=HOME)) == "hash_conflict"
    assert await refused(client.views_publish(user_id=slack.person, view={**HOME, "blocks": LARGE})) == "view_too_large"
    assert await refused(client.views_publish(user_id=slack.person, view=MODAL)) == "invalid_arguments"
    slack.views.home_enabled = False
    assert await refused(client.views_publish(user_id=slack.person, view=HOME)) == "not_enabled"


@pytest.mark.parametrize(
    ("values", "problem"),
    [({"nowhere": "x"}, "no field"), ({"a": ""}, "must be filled in")],
)
async def test_a_client_submits_only_what_the_modal_has(
    slack: LocalSlack, client: AsyncWebClient, values: dict[str, Any], problem: str
) -> None:
    label = {"type": "plain_text", "text": "A"}
    field = {
        "type": "input",
        "block_id": "a",
        "label": label,
        "element": {"type": "plain_text_input", "action_id": "v"},
    }
    view = {**MODAL, "submit": label, "blocks": [field]}
    await client.views_open(trigger_id=slack.views.trigger(slack.person), view=view)
    with pytest.raises(LookupError, match=problem):
        await slack.client.fill_in(slack.person, values)
