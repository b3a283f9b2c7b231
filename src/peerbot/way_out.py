"""The way out of a network: a proxy for what has https addresses, and certificate authorities of your own.

Every client of ours asks `proxy_for` (obstore reads the same variables itself). aiohttp's own `trust_env` is not used:
it also takes passwords from ~/.netrc, which would replace our tokens. Plain http never goes through the proxy: that is
the gateway, a store in the same cluster or a cloud's metadata server. Nor does the cluster's API server.
"""

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from pydantic import Field, SecretStr, field_validator

from peerbot.certificates import VARIABLES, write_bundle
from peerbot.environment import Environment

_NEAR = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local", "169.254.169.254", "metadata.google.internal")


class WayOut(Environment):
    """The settings for the way out. Other programs know the first two by the same names."""

    https_proxy: SecretStr | None = Field(
        default=None,
        description="The proxy through which the dispatcher reaches https addresses, as "
        "`http://proxy.example.com:3128`. Workers' agents get it, too, unless it holds a password.",
    )
    no_proxy: str = Field(
        default="",
        description="The hosts that are reached without the proxy, with commas between them. `.example.com` means all "
        "hosts below it. Ranges of addresses are not understood.",
    )
    peerbot_ca_file: Path | None = Field(
        default=None,
        description="A file with certificates (PEM) of authorities that PeerBot trusts beside the public ones.",
    )

    @field_validator("https_proxy")
    @classmethod
    def _a_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        parts = urlsplit(value.get_secret_value()) if value else None
        if parts and (parts.scheme != "http" or not parts.hostname):
            raise ValueError("a proxy's address begins with http:// (what goes through it is https all the same)")
        return value

    @property
    def for_agents(self) -> dict[str, str]:
        """The variables that tell workers' agents the way out. Without the proxy if that holds a password."""
        proxy = self.https_proxy.get_secret_value() if self.https_proxy else ""
        if not proxy or "@" in proxy:
            return {}
        return {"HTTPS_PROXY": proxy, "NO_PROXY": without_proxy(self.no_proxy)}


def without_proxy(more: str) -> str:
    """List the hosts that are reached without the proxy: those near us, and `more`."""
    if more.strip() == "*":
        return "*"
    return ",".join(dict.fromkeys(filter(None, (*more.replace(" ", "").split(","), *_NEAR))))


def prepare() -> None:
    """Let every library of this process trust the authorities in `PEERBOT_CA_FILE`, and leave what is near out.

    Call it before aiohttp is imported: it reads the authorities then. Raises a `SettingsError` if the file
    can't be used.
    """
    given = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = without_proxy(given)
    ours = os.environ.get("PEERBOT_CA_FILE")
    if ours:
        bundle = Path(tempfile.mkdtemp(prefix="peerbot-ca-")) / "bundle.crt"
        write_bundle(Path(ours), bundle)
        os.environ.update(dict.fromkeys(VARIABLES, str(bundle)))


def proxy_for(url: str) -> str | None:
    """Name the proxy for this address; None if it is reached directly."""
    parts = urlsplit(url)
    proxy = os.environ.get("https_proxy") or os.environ.get("HTTPS_PROXY")
    if not proxy or parts.scheme not in ("https", "wss") or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    return proxy
