"""Every error that Slack documents of a method that people's controls use: it is one of ours, and says what to do.

What passes by itself is `Unavailable`, and is tried again. All else is `Refused`, with a sentence. The errors are those
of Slack's reference; each comes from the local Slack, over HTTP.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from slack_sdk.web.async_client import AsyncWebClient

from peerbot.errors import Refused, Unavailable
from peerbot.local.slack import Fault, LocalSlack
from peerbot.slack.agent_status import METHOD
from peerbot.slack.api import call, is_for_the_operator, open_client, refusal_code

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSES = {
    "fatal_error", "fetch_members_failed", "internal_error", "org_login_required", "ratelimited", "request_timeout",
    "service_unavailable", "team_added_to_org",
}  # fmt: skip
"""Slack's words for: come back later."""

EVERYWHERE = (
    "access_denied", "accesslimited", "account_inactive", "deprecated_endpoint", "ekm_access_denied",
    "enterprise_is_restricted", "fatal_error", "internal_error", "invalid_arg_name", "invalid_arguments",
    "invalid_array_arg", "invalid_auth", "invalid_charset", "invalid_form_data", "invalid_post_type",
    "method_deprecated", "missing_post_type", "missing_scope", "no_permission", "not_allowed_token_type", "not_authed",
    "org_login_required", "ratelimited", "request_timeout", "service_unavailable", "team_access_not_granted",
    "team_added_to_org", "token_expired", "token_revoked", "two_factor_setup_required", "unknown_method",
)  # fmt: skip

VIEW: Mapping[str, Any] = {"type": "home", "blocks": []}
METHODS: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
    "chat.postEphemeral": (
        {"channel": "C1", "user": "U1", "text": "hello"},
        (
            "cannot_reply_to_message", "channel_not_found", "invalid_attachments", "invalid_blocks",
            "invalid_blocks_format", "is_archived", "is_bot", "markdown_text_conflict", "message_limit_exceeded",
            "messages_tab_disabled", "msg_too_long", "no_text", "not_in_channel", "restricted_action",
            "too_many_attachments", "user_not_in_channel",
        ),
    ),
    "views.open": (
        {"trigger_id": "1.2.3", "view": VIEW},
        ("duplicate_external_id", "exchanged_trigger_id", "expired_trigger_id", "invalid_trigger_id", "view_too_large"),
    ),
    "views.publish": (
        {"user_id": "U1", "view": VIEW},
        ("duplicate_external_id", "hash_conflict", "not_enabled", "view_too_large"),
    ),
    "views.update": (
        {"view_id": "V1", "view": VIEW},
        ("duplicate_external_id", "hash_conflict", "not_found", "view_too_large"),
    ),
    "files.info": ({"file": "F1"}, ("file_deleted", "file_not_found", "not_visible")),
    "usergroups.users.list": ({"usergroup": "S1"}, ("is_bot", "no_such_subteam", "user_is_restricted")),
    "conversations.members": (
        {"channel": "C1"},
        (
            "channel_not_found", "fetch_members_failed", "invalid_cursor", "invalid_limit",
            "method_not_supported_for_channel_type",
        ),
    ),
    METHOD: (
        {"channel_id": "C1", "thread_ts": "1.000001", "status": "active"},
        ("channel_not_found", "not_authorized", "thread_not_found"),
    ),
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def slack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[LocalSlack, AsyncWebClient]]:
    directory: Path = tmp_path_factory.mktemp("slack")
    async with LocalSlack(directory) as slack, open_client(slack.api_url, slack.bot_token) as client:
        yield slack, client


@pytest.mark.parametrize("method", METHODS)
async def test_each_documented_error_is_tried_again_or_says_what_is_wrong(
    slack: tuple[LocalSlack, AsyncWebClient], method: str
) -> None:
    local, client = slack
    arguments, its_own = METHODS[method]
    for error in (*EVERYWHERE, *its_own):
        local.faults.add(method, Fault(error=error))
        with pytest.raises(Unavailable if error in PASSES else Refused) as raised:
            await call("what we wanted", getattr(client, method.replace(".", "_"))(**arguments))
        sentence = str(raised.value)
        assert sentence.endswith("."), (error, sentence)
        if isinstance(raised.value, Refused):
            assert refusal_code(raised.value) == error
            about_token = is_for_the_operator(raised.value)
            told = ("SLACK_BOT_TOKEN", "Slack app lacks") if about_token else (error, "channel", "thread", "workspace")
            assert any(word in sentence for word in told), (error, sentence)


async def test_slack_that_says_to_come_back_is_tried_again(slack: tuple[LocalSlack, AsyncWebClient]) -> None:
    local, client = slack
    for method, (arguments, _) in METHODS.items():
        for fault in (Fault(status=429, retry_after_seconds=1), Fault(status=503)):
            local.faults.add(method, fault)
            with pytest.raises(Unavailable):
                await call("what we wanted", getattr(client, method.replace(".", "_"))(**arguments))
            local.faults.clear()
