"""The variables that the agent's programs get from the pod: the operator's own, the way out, and what to trust.

All others stay with the supervisor. The agent's programs reach the gateway directly, whatever the way out is.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from peerbot.certificates import VARIABLES, write_bundle
from peerbot.errors import SettingsError
from peerbot.logs import logger

log = logger(__name__)

_BUNDLE = ".peerbot/ca-bundle.crt"
_NEAR = ("localhost", "127.0.0.1", "::1")


def agents_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Choose the variables, and write the bundle of certificates into the home directory if there are any to add."""
    named = environment.get("PEERBOT_AGENT_VARIABLES", "").split(",")
    chosen = {name: environment[name] for name in ("PATH", "HOME", "LANG", *named) if name in environment}
    return {**chosen, **_way_out(environment), **_trusted(environment)}


def _way_out(environment: Mapping[str, str]) -> dict[str, str]:
    """Name the proxy as programs look for it, some in capitals and some not, and all that is reached without it."""
    proxy = environment.get("HTTPS_PROXY")
    if not proxy:
        return {}
    gateway = urlsplit(environment["PEERBOT_GATEWAY_URL"]).hostname or ""
    without = ",".join(dict.fromkeys((*environment.get("NO_PROXY", "").split(","), gateway, *_NEAR))).strip(",")
    made = {"HTTPS_PROXY": proxy, "NO_PROXY": without}
    return made | {name.lower(): value for name, value in made.items()}


def _trusted(environment: Mapping[str, str]) -> dict[str, str]:
    ours = environment.get("PEERBOT_CA_FILE")
    if not ours:
        return {}
    bundle = Path(environment["HOME"]) / _BUNDLE
    try:
        write_bundle(Path(ours), bundle)
    except SettingsError as error:
        log.error("ca_not_trusted", reason=str(error))  # the gateway needs none: the agent can work
        return {}
    return dict.fromkeys(VARIABLES, str(bundle))
