"""Our credential for the Claude API. It stays in the gateway: workers hold none of it (decision 0004)."""

from dataclasses import dataclass, field

from peerbot.errors import SettingsError

_SUBSCRIPTION_PREFIX = "sk-ant-oat"
_REDACTED = b"[removed by PeerBot]"


@dataclass(frozen=True, slots=True)
class Credential:
    """An API key of the Claude Console.

    Raises `SettingsError` if it can't be one; the message never holds the key.
    """

    api_key: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.api_key.startswith(_SUBSCRIPTION_PREFIX):
            raise SettingsError(
                "ANTHROPIC_API_KEY holds a subscription token (sk-ant-oat…), which PeerBot can't use yet. "
                "Make an API key in the Claude Console, and set ANTHROPIC_API_KEY to that."
            )
        if not (self.api_key.isascii() and self.api_key.isprintable()) or len(self.api_key.split()) != 1:
            raise SettingsError("ANTHROPIC_API_KEY is empty or holds spaces or line breaks. Copy the key once more.")

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go into every request to the API."""
        return {"x-api-key": self.api_key}

    def redact(self, text: bytes) -> bytes:
        """Take the key out of a text that somebody else wrote."""
        return text.replace(self.api_key.encode(), _REDACTED)
