"""The pieces of Slack's messages: blocks, and text in its own notation, mrkdwn. Pure.

This module makes every piece harmless and bounds it, whatever a model or a person wrote.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from peerbot.slack.text import escaped, harmless

Block = dict[str, Any]

TEXT_LIMIT = 3_900  # `chat.update` takes 4,000
SECTION_LIMIT = 2_900  # of 3,000


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message: its blocks, and the text that says the same."""

    text: str
    blocks: list[Block]


def section(mrkdwn: str) -> Block:
    """Show mrkdwn as a block."""
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn}}


def context(mrkdwn: str) -> Block:
    """Show mrkdwn as a block in small print."""
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": mrkdwn}]}


def link(url: str, label: str) -> str:
    """Write a link in mrkdwn; only its label if a browser should not open the address."""
    shown = mrkdwn(label, 80) or "link"
    address = re.sub(r"[\s<>|@]", lambda found: f"%{ord(found[0]):02X}", url)
    if not address.startswith(("https://", "http://")) or len(address) > 400:
        return shown
    return f"<{escaped(address)}|{shown}>"


def session_link(url: str) -> list[str]:
    """Link to the page that shows the session, if there is one."""
    return [link(url, "View session")] if url else []


def fit(lines: Sequence[str], limit_chars: int) -> str:
    """Keep as many of the lines as there is room for; at least a part of the first."""
    if not lines:
        return ""
    kept, room = [lines[0][:limit_chars]], limit_chars - len(lines[0]) - 2
    for line in lines[1:]:
        room -= len(line) + 1
        if room < 0:
            kept.append("…")
            break
        kept.append(line)
    return "\n".join(kept)[:limit_chars]


def line(text: str, limit_chars: int) -> str:
    """Make one line of plain text that pings nobody."""
    text = " ".join(harmless(text[: limit_chars * 4]).split())
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"


def mrkdwn(text: str, limit_chars: int) -> str:
    """Make one line of text in mrkdwn that pings nobody."""
    return escaped(line(text, limit_chars))


def code(text: str, limit_chars: int) -> str:
    """Make the text between backticks; a path that is too long keeps its end."""
    text = " ".join(harmless(text[-limit_chars * 4 :]).split()).replace("`", "'")
    return escaped(text if len(text) <= limit_chars else "…" + text[1 - limit_chars :]) or "?"


def count(number: int, thing: str) -> str:
    """Count things: `1 file`, `2 files`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def ago(at: float) -> str:
    """Write a time (seconds since 1970) so that each reader sees how long ago it was, in mrkdwn."""
    whole = int(at)
    return f"<!date^{whole}^{{ago}}|{datetime.fromtimestamp(whole, UTC):at %H:%M UTC}>"


def duration(seconds: float) -> str:
    """Write a time as people read it: `42s`, `3m 05s`, `1h 02m`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
