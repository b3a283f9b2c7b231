"""The session page as the doctor looks at it: whether its address answers, and whether Slack knows the app's secret."""

import asyncio

import aiohttp

from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import Unavailable
from peerbot.settings import Settings
from peerbot.slack.sign_in import BACK, SignIn, issuer_of
from peerbot.way_out import proxy_for

_PAGE, _APP = "session_page", "slack_sign_in"
_SECONDS = 10.0
_WRONG = {
    "invalid_client_id": "Slack knows no app of this client ID",
    "bad_client_secret": "Slack says that this is not the app's client secret",
}


async def look_at_page(settings: Settings) -> list[Finding]:
    """Ask the address for the page's shell, and Slack about the app. Nothing if the page is off."""
    url, client_id, secret = settings.peerbot_public_url, settings.slack_client_id, settings.slack_client_secret
    if url is None or client_id is None or secret is None:
        return []
    async with (
        aiohttp.ClientSession(proxy=proxy_for(url)) as http,
        aiohttp.ClientSession(proxy=proxy_for(settings.slack_api_url)) as to_slack,
    ):
        sign_in = SignIn(
            to_slack,
            issuer=issuer_of(settings.slack_api_url),
            client_id=client_id,
            secret=secret.get_secret_value(),
        )
        return [await _answers(http, url.rstrip("/")), await _knows(sign_in, url.rstrip("/"))]


async def _answers(http: aiohttp.ClientSession, url: str) -> Finding:
    try:
        async with asyncio.timeout(_SECONDS), http.get(f"{url}/sessions/", allow_redirects=False) as reply:
            body = await reply.content.read(4096)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        said = f"{url}/sessions/ does not answer from here ({type(error).__name__})"
        return wrong(
            _PAGE,
            said,
            "Check the Ingress or HTTPRoute, the name in DNS and the certificate. A running dispatcher answers there.",
        )
    if reply.status == 200 and b"PeerBot" in body:
        return good(_PAGE, f"{url}/sessions/ answers")
    fix = (
        "Route /sessions and /static of this address to the dispatcher's port 3000, and keep the Host header as it is."
    )
    return wrong(_PAGE, f"something else answers at {url}/sessions/ (status {reply.status})", fix)


async def _knows(sign_in: SignIn, url: str) -> Finding:
    try:
        said = await sign_in.try_app(url + BACK)
    except Unavailable:
        return skipped(_APP, "Slack did not answer")
    if said in _WRONG:
        fix = (
            "Copy Client ID and Client Secret from the app's page “Basic Information” into SLACK_CLIENT_ID and "
            "SLACK_CLIENT_SECRET."
        )
        return wrong(_APP, _WRONG[said], fix)
    if said != "invalid_code":
        fix = f"Add {url}{BACK} to the app's redirect URLs: `peerbot manifest` prints it."
        return wrong(_APP, f"Slack would let nobody sign in ({said})", fix)
    return good(_APP, "Slack knows the app and its secret")
