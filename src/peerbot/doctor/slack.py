"""Slack as the doctor looks at it: both tokens, and whether the bot's has the scopes of the manifest."""

from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import Refused
from peerbot.settings import Settings
from peerbot.slack.api import open_client, refusal_code
from peerbot.slack.manifest import APP_SCOPE, SCOPES
from peerbot.slack.tokens import BotToken, read_bot_token, try_app_token

_TOKEN, _GRANTED, _APP_TOKEN = "slack_bot_token", "slack_scopes", "slack_app_token"


async def look_at_bot_token(settings: Settings) -> list[Finding]:
    """Whose token it is, and which scopes it has. Raises `Unavailable` where Slack does not answer."""
    async with open_client(settings.slack_api_url, settings.slack_bot_token.get_secret_value()) as client:
        try:
            token = await read_bot_token(client)
        except Refused as refused:
            said = f"Slack does not accept it ({refusal_code(refused)})"
            fix = "Copy the Bot User OAuth Token from the app's page “OAuth & Permissions” into SLACK_BOT_TOKEN."
            return [wrong(_TOKEN, said, fix), skipped(_GRANTED, "Slack does not accept the token")]
    whose = f"{token.bot} in the workspace {token.workspace} ({token.team})"
    return [good(_TOKEN, whose), _scopes(token, settings)]


def _scopes(token: BotToken, settings: Settings) -> Finding:
    if token.scopes is None:
        return skipped(_GRANTED, "Slack did not say which the token has")
    needed = [scope for scope in SCOPES if not scope.setting or getattr(settings, scope.setting)]
    missing = [scope.name for scope in needed if scope.name not in token.scopes]
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
    async with open_client(settings.slack_api_url, None) as client:
        try:
            await try_app_token(client, settings.slack_app_token.get_secret_value())
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
