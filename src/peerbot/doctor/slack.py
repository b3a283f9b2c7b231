"""Slack as the doctor looks at it: both tokens, and whether the bot's has the scopes of the manifest."""

from typing import Any

from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import Refused
from peerbot.settings import Settings
from peerbot.slack.api import call, new_session, refusal_code, web_client
from peerbot.slack.manifest import APP_SCOPE, SCOPES

_TOKEN, _GRANTED, _APP_TOKEN = "slack_bot_token", "slack_scopes", "slack_app_token"


async def look_at_bot_token(settings: Settings) -> list[Finding]:
    """Whose token it is, and which scopes it has. Raises `Unavailable` where Slack does not answer."""
    answered: list[AsyncSlackResponse] = []

    async def asking(client: AsyncWebClient) -> AsyncSlackResponse:
        answered.append(await client.auth_test())
        return answered[0]

    client = web_client(settings.slack_api_url, settings.slack_bot_token.get_secret_value())
    async with new_session() as session:
        client.session = session
        try:
            me = await call("the check of SLACK_BOT_TOKEN", asking(client))
        except Refused as refused:
            said = f"Slack does not accept it ({refusal_code(refused)})"
            fix = "Copy the Bot User OAuth Token from the app's page “OAuth & Permissions” into SLACK_BOT_TOKEN."
            return [wrong(_TOKEN, said, fix), skipped(_GRANTED, "Slack does not accept the token")]
    whose = f"{me.get('user')} in the workspace {me.get('team')} ({me.get('team_id')})"
    return [good(_TOKEN, whose), _scopes(answered[0].headers, settings)]


def _scopes(headers: Any, settings: Settings) -> Finding:
    told = {str(name).lower(): str(value) for name, value in dict(headers).items()}.get("x-oauth-scopes")
    if told is None:
        return skipped(_GRANTED, "Slack did not say which the token has")
    granted = {scope.strip() for scope in told.split(",")}
    needed = [scope for scope in SCOPES if not scope.setting or getattr(settings, scope.setting)]
    missing = [scope.name for scope in needed if scope.name not in granted]
    if missing:
        return wrong(
            _GRANTED,
            f"the app lacks {', '.join(missing)}",
            "Put what `peerbot manifest` prints under “App Manifest” on the app's page (https://api.slack.com/apps), "
            "save it, and reinstall the app to the workspace.",
        )
    return good(_GRANTED, f"all {len(needed)} that it needs")


async def look_at_app_token(settings: Settings) -> list[Finding]:
    """Whether Slack would open a socket for it; none is opened. Raises `Unavailable` where Slack does not answer."""
    client = web_client(settings.slack_api_url, None)
    async with new_session() as session:
        client.session = session
        token = settings.slack_app_token.get_secret_value()
        try:
            await call("the check of SLACK_APP_TOKEN", client.apps_connections_open(app_token=token))
        except Refused as refused:
            return [
                wrong(
                    _APP_TOKEN,
                    f"Slack does not accept it ({refusal_code(refused)})",
                    f"Generate a token with the scope {APP_SCOPE} under “Basic Information → App-Level Tokens”, set "
                    "SLACK_APP_TOKEN to it, and switch Socket Mode on.",
                )
            ]
    return [good(_APP_TOKEN, "Slack would open a socket for it")]
