"""The doctor's check of Claude's API: whether the key is well-formed and, if asked for, whether it works."""

from http import HTTPStatus

import aiohttp

from peerbot.claude.credentials import Credential
from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.errors import Unavailable
from peerbot.settings import Settings
from peerbot.way_out import proxy_for

_CHECK = "claude_key"
_CHEAP_MODEL = "claude-haiku-4-5"
_KEYS_PAGE = "https://console.anthropic.com/settings/keys"


async def look_at_key(settings: Settings, *, ask: bool) -> list[Finding]:
    """Check the key; with `ask`, by one request of a few tokens. Raises `SettingsError` and `Unavailable`."""
    credential = Credential(settings.anthropic_api_key.get_secret_value())
    if not ask:
        return [skipped(_CHECK, "it is well-formed; `peerbot doctor --model` tries it with one tiny request")]
    # Claude Code knows short names (opus), which the API does not.
    named = settings.peerbot_model or ""
    model = named if named.startswith("claude-") else _CHEAP_MODEL
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "Say yes."}]}
    url = settings.anthropic_base_url.rstrip("/") + "/v1/messages"
    headers = {**credential.headers, "anthropic-version": "2023-06-01"}
    try:
        async with (
            aiohttp.ClientSession(proxy=proxy_for(url)) as session,
            session.post(url, json=body, headers=headers) as reply,
        ):
            status, said = reply.status, await _message(reply)
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable("Claude's API did not answer. Check ANTHROPIC_BASE_URL and the network.") from error
    return [_finding(status, said, model, named)]


def _finding(status: int, said: str, model: str, named: str) -> Finding:
    if status == HTTPStatus.OK:
        return good(_CHECK, f"{model} answered")
    if status == HTTPStatus.NOT_FOUND and model != named:  # our choice of a model is old; the API checks the key first
        return good(_CHECK, "Claude accepted it")
    refused = (f"Claude does not accept it ({said})", f"Make a key at {_KEYS_PAGE} and set ANTHROPIC_API_KEY to it.")
    faults: dict[int, tuple[str, str]] = {
        HTTPStatus.UNAUTHORIZED: refused,
        HTTPStatus.FORBIDDEN: refused,
        HTTPStatus.NOT_FOUND: (f"Claude does not know the model {model}", "Correct PEERBOT_MODEL, or leave it unset."),
        HTTPStatus.TOO_MANY_REQUESTS: (
            f"its rate limit is used up ({said})",
            "Wait, or raise the limit in the Claude Console.",
        ),
    }
    broken = (f"Claude's API is busy or broken (status {status})", "Try again in a few minutes.")
    other = (f"Claude refused the request ({said})", "Look in the Claude Console for the reason.")
    return wrong(_CHECK, *faults.get(status, broken if status >= 500 else other))


async def _message(reply: aiohttp.ClientResponse) -> str:
    """Read the API's error message; the status if there is none."""
    try:
        document = await reply.json(content_type=None)
        return str(document["error"]["message"])[:200]
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status}"
