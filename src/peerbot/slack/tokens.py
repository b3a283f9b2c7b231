"""Slack's answers about our two tokens: our identity, the bot token's rights, and the app token's use for sockets."""

from collections.abc import Mapping
from dataclasses import dataclass

from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot.slack.api import call
from peerbot.slack.events import Us
from peerbot.slack.lanes import Urgency
from peerbot.slack.outbound import Outbound

_DOING = "the check of SLACK_BOT_TOKEN"


async def identify(outbound: Outbound, trigger_phrase: str = "") -> Us:
    """Ask Slack for our own identity.

    Raises `Refused`, naming the setting, if Slack does not accept the bot token. Raises `Unavailable` if Slack does not
    answer in time.
    """
    me = await outbound.call(_DOING, "auth.test", Urgency.FIRST, {})
    return Us(str(me["team_id"]), str(me["user_id"]), trigger_phrase, str(me.get("bot_id") or ""))


@dataclass(frozen=True, slots=True)
class BotToken:
    """The owner of the bot token, and its rights."""

    bot: str
    workspace: str
    team: str
    scopes: frozenset[str] | None  # None: Slack did not say


async def read_bot_token(client: AsyncWebClient) -> BotToken:
    """Ask Slack about the token that `client` has. Raises as `slack.api.call` does."""
    answered: list[AsyncSlackResponse] = []

    async def asking() -> AsyncSlackResponse:
        answered.append(await client.auth_test())
        return answered[0]

    me = await call(_DOING, asking())
    return BotToken(str(me.get("user")), str(me.get("team")), str(me.get("team_id")), _scopes(answered[0].headers))


def _scopes(headers: Mapping[str, str]) -> frozenset[str] | None:
    told = {name.lower(): value for name, value in dict(headers).items()}.get("x-oauth-scopes")
    return None if told is None else frozenset(scope.strip() for scope in told.split(","))


async def try_app_token(client: AsyncWebClient, app_token: str) -> None:
    """See whether Slack would open a socket for `app_token`; none is opened. Raises as `slack.api.call` does."""
    await call("the check of SLACK_APP_TOKEN", client.apps_connections_open(app_token=app_token))
