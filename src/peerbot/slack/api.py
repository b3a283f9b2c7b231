"""How Slack's Web API is called: one client, every call with a deadline, every error one of ours.

The SDK repeats a request whose connection broke; for `chat.postMessage` that posts twice. So this module repeats
nothing: `slack/outbound.py` waits if Slack says so (429), and the caller decides about the rest.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from logging import ERROR, WARNING, getLogger
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot.errors import Refused, Unavailable
from peerbot.way_out import proxy_for

REQUEST_SECONDS = 10.0

_TEMPORARY = {
    *("ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"),
    *("team_added_to_org", "org_login_required"),  # while a workspace moves to an organization
    "fetch_members_failed",
}
_BAD_TOKEN = ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired")
_REFUSALS = dict.fromkeys(_BAD_TOKEN, "Slack does not accept the bot token. Check SLACK_BOT_TOKEN.") | {
    "not_allowed_token_type": "This is not a bot token. SLACK_BOT_TOKEN begins with xoxb-.",
    "channel_not_found": "The channel is gone, or the bot is not in it. Invite the bot to the channel.",
    "not_in_channel": "The bot is not in the channel. Invite the bot to the channel.",
    "is_archived": "The channel is archived. Unarchive it, or use another channel.",
    "thread_not_found": "The thread is gone.",
    "message_not_found": "The message is gone.",
    "restricted_action": "The workspace's settings don't let the bot write here. An administrator can change that.",
}

# The libraries write whole payloads into their debug logs; a level of its own keeps them quiet whatever the root's is.
sdk_log = getLogger("peerbot.slack.sdk")
sdk_log.setLevel(WARNING)
bolt_log = getLogger("peerbot.slack.bolt")
bolt_log.setLevel(ERROR)  # it warns about every token in the environment that it does not use


@asynccontextmanager
async def open_client(api_url: str, token: str | None) -> AsyncIterator[AsyncWebClient]:
    """Make a client that keeps its connections to Slack, and close them at the end.

    It opens as many as it needs (budgets bound them), so that a final answer waits for none.
    """
    client = web_client(api_url, token)
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as client.session:
        yield client


def web_client(api_url: str, token: str | None) -> AsyncWebClient:
    """Make a client that repeats nothing, and opens a connection for each call."""
    client = AsyncWebClient(
        token=token, base_url=api_url, timeout=int(REQUEST_SECONDS), logger=sdk_log, retry_handlers=[]
    )
    client.proxy = proxy_for(api_url)  # the SDK takes the environment's proxy for every address
    return client


async def call(doing: str, request: Awaitable[AsyncSlackResponse]) -> Mapping[str, Any]:
    """Await a request and return its reply.

    Raises `Unavailable` if Slack does not answer in time or says to come back later (it may still have done it!), and
    `Refused`, with a sentence that a user can act on, if Slack will not do it. `doing` ends the sentence
    "Slack refused …".
    """
    try:
        # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with the reply, and the code
        # that ends a card's drawing would wait for ever.
        async with asyncio.timeout(REQUEST_SECONDS):
            response = await request
    except SlackApiError as error:
        raise _translated(error, doing) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"Slack did not answer ({doing}).") from error
    return response.data if isinstance(response.data, dict) else {}


def is_for_the_operator(error: BaseException) -> bool:
    """Whether Slack refuses every call with this token until the operator has mended it."""
    return refusal_code(error) in (*_BAD_TOKEN, "not_allowed_token_type", "missing_scope")


def refusal_code(error: BaseException) -> str:
    """Return Slack's own word for why it refused (`channel_not_found`), or the empty string."""
    cause = error.__cause__
    return _code(cause) if isinstance(cause, SlackApiError) else ""


def lacks_blocks(error: BaseException) -> bool:
    """Whether Slack refused a message since the workspace does not know a type of block at all."""
    cause = error.__cause__
    if not isinstance(cause, SlackApiError):
        return False
    data = getattr(cause.response, "data", None)
    problems = data.get("errors") if isinstance(data, dict) else None
    found = problems if isinstance(problems, list) else []
    return _code(cause) == "unsupported_block_type" or any("unsupported type" in str(problem) for problem in found)


def came_at_once(error: BaseException) -> bool:
    """Whether Slack failed at once, so that asking again in a few seconds may help.

    False after silence (Slack may still do it), and if Slack said to come back in a while.
    """
    cause = error.__cause__
    if isinstance(cause, SlackApiError):
        return isinstance(error, Unavailable) and _status(cause) != 429
    return isinstance(cause, aiohttp.ClientError | OSError) and not isinstance(cause, TimeoutError)


def told_to_wait(error: BaseException) -> float | None:
    """Return for how many seconds Slack said not to ask again (429); None if it did not say so."""
    cause = error.__cause__
    if not isinstance(cause, SlackApiError) or _status(cause) != 429:
        return None
    headers = {name.lower(): value for name, value in dict(getattr(cause.response, "headers", {})).items()}
    seconds = str(headers.get("retry-after", ""))
    return float(seconds) if seconds.isdigit() else 1.0


def _translated(error: SlackApiError, doing: str) -> Refused | Unavailable:
    code = _code(error)
    status = _status(error)
    if not code or code in _TEMPORARY or status == 429 or status >= 500:
        return Unavailable(f"Slack could not do it now ({doing}: {code or status}). Try again in a moment.")
    if code == "missing_scope":
        needed = error.response.get("needed") or "a scope"
        return Refused(f"The Slack app lacks {needed} ({doing}). Add it to the app's scopes and install the app again.")
    return Refused(_REFUSALS.get(code) or f"Slack refused {doing}: {code}.")


def _code(error: SlackApiError) -> str:
    data = getattr(error.response, "data", error.response)
    return str(data.get("error") or "") if isinstance(data, dict) else ""


def _status(error: SlackApiError) -> int:
    return int(getattr(error.response, "status_code", 0) or getattr(error.response, "status", 0))
