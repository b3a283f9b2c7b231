"""The addresses of Slack's messages, as people copy them. Pure."""

import re
from urllib.parse import parse_qs, urlsplit

from peerbot.conversation.keys import is_ts

_MESSAGE = re.compile(r"/archives/([A-Z][A-Z0-9]{1,30})/p(\d{1,12})(\d{6})")


def thread_at(address: str) -> tuple[str, str] | None:
    """Find the channel and the thread of the message at an address; None if it is no message's."""
    parts = urlsplit(address)
    found = _MESSAGE.fullmatch(parts.path)
    if found is None:
        return None
    thread_ts = parse_qs(parts.query).get("thread_ts", [f"{found[2]}.{found[3]}"])[0]
    return (found[1], thread_ts) if is_ts(thread_ts) else None
