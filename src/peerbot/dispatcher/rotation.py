"""Tokens that change while the dispatcher runs: it ends, and is started again with the new ones.

A Secret's values come as variables, which stay what they were at the start. The same Secret is mounted as files, which
Kubernetes keeps current. So a token that somebody or a secret manager changes needs no restart by hand.
"""

import asyncio
import random
from pathlib import Path

from pydantic import SecretStr

from peerbot.errors import SettingsError
from peerbot.logs import logger
from peerbot.settings import Settings, load

log = logger(__name__)

LOOK_SECONDS = 2.0
SPREAD_SECONDS = 10.0
"""Replicas see a change at about the same time. Each waits for a part of this, so that they do not all end at once."""

_TOKENS = ("slack_bot_token", "slack_app_token", "github_token", "anthropic_api_key", "slack_client_secret")


async def new_tokens(settings: Settings) -> None:
    """Wait until a token in `PEERBOT_TOKENS_DIR` is another than the one in use; without that directory, for ever.

    A token that could not be used is told in the log, and waited out.
    """
    directory = settings.peerbot_tokens_dir
    if directory is None:
        await asyncio.Event().wait()
        return
    unusable: dict[str, str] = {}
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        changed = await asyncio.to_thread(_changed, settings, directory)
        if not changed or changed == unusable:
            continue
        try:
            load(**changed)
        except SettingsError as error:
            log.error("new_token_not_usable", reason=str(error))
            unusable = changed
            continue
        log.info("tokens_changed", tokens=sorted(changed))
        await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))  # noqa: S311 - jitter
        return


def _changed(settings: Settings, directory: Path) -> dict[str, str]:
    """Read the tokens that are others than those in use. A file that is missing or empty is no token."""
    found = {}
    for name in _TOKENS:
        held: SecretStr | None = getattr(settings, name)
        try:
            there = (directory / name.replace("_", "-")).read_text().strip()
        except (OSError, UnicodeDecodeError):
            continue
        if held is not None and there and there != held.get_secret_value().strip():
            found[name] = there
    return found
