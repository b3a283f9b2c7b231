"""The parts of which the agent's prompts consist, each in a mark that its own text can't close or open. Pure.

::

    <message from="Ada Lovelace" user="U123">          a person's message: Slack's id says who wrote it
    <note-from-peerbot>                                a note of ours
    <earlier-messages>                                 what people said in the thread before
    <channel-instructions>, <person-instructions>      what people wrote in PeerBot's settings

`closed` breaks everything in a text that could be read as such a mark, or as one of Claude Code's own. So the mark
alone says who said something, and no name and no text can say that it was somebody else.
"""

import json
import re
from collections.abc import Iterable
from typing import Literal

MARKS = ("message", "note-from-peerbot", "earlier-messages", "channel-instructions", "person-instructions")
_CLAUDE_CODES = ("system-reminder", "command-", "local-command-", "task-notification", "bash-", "user-prompt-submit")
# One class, so that the pattern is linear; between the bracket and the name a reader may overlook these.
_MARK = re.compile(rf"<(?=[\s/\u00ad\u200b-\u200f\u2060\ufeff]*(?:{'|'.join((*MARKS, *_CLAUDE_CODES))}))", re.I)
_LONGEST_NAME = 80
_MOST_NAMES = 50


def closed(text: str) -> str:
    """Break all marks in a text: `<` becomes `‹` there. Idempotent."""
    return _MARK.sub("‹", text)


def one_name(name: str) -> str:
    """Write a name that a person or a program gave itself: one line, no brackets or quotes, 80 characters at most."""
    shown = "".join(" " if char in '"<>()[]{}' or not char.isprintable() else char for char in name)
    return " ".join(shown.split())[:_LONGEST_NAME].strip() or "somebody"


def message(name: str, user: str, text: str) -> str:
    """Write a person's message; `user` is Slack's id."""
    return f'<message from="{one_name(name)}" user="{one_name(user)}">\n{closed(text)}\n</message>'


def note(text: str) -> str:
    """Write a note of ours."""
    return f"<note-from-peerbot>\n{closed(text)}\n</note-from-peerbot>"


def instructions(whose: Literal["channel", "person"], text: str) -> str:
    """Write what people set as instructions for the agent."""
    return f"<{whose}-instructions>\n{closed(text)}\n</{whose}-instructions>"


def names(found: Iterable[str]) -> str:
    """Write the names of files or branches within a note: quoted, so that none of them reads like the note itself."""
    listed = list(found)
    quoted = [json.dumps(name[:300], ensure_ascii=not name.isprintable()) for name in listed[:_MOST_NAMES]]
    more = len(listed) - _MOST_NAMES
    return ", ".join(quoted) + (f" and {more} more" if more > 0 else "")


def quoted(text: str) -> str:
    """Write a text of several lines within a note, each line behind a `>`."""
    return "\n".join(f"> {line}" for line in text.splitlines())
