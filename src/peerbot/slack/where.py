"""Where a thread's work goes, as people say it: “in owner/name” in a message, or a choice in a menu. Pure.

`in owner/name` also looks like a path (“fix the test in src/calc”). So the words alone count only if people may choose
that repository. A link to GitHub counts always, and so does `in owner/name:` at the beginning.
"""

import re
from collections.abc import Callable, Sequence

from peerbot.slack.blocks import Block, Rendered, mrkdwn, section
from peerbot.slack.text import phrase_pattern

PICK = "peerbot_repository"

_NAME = r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{0,99}[A-Za-z0-9_-]"
_LINK = rf"<https://github\.com/(?P<link>{_NAME})(?:\.git)?/?(?:\|[^>]*)?>"
_BEFORE = re.compile(rf"^\s*in\s+(?:{_LINK}|`?(?P<name>{_NAME})`?)(?P<colon>\s*:)?(?=[\s,]|$)", re.IGNORECASE)
_AFTER = re.compile(rf"(?:^|\s)in\s+(?:{_LINK}|`?(?P<name>{_NAME})`?)\s*[.!?]*\s*$", re.IGNORECASE)
_ALONE = re.compile(rf"^\s*`?({_NAME})`?\s*[.!]?\s*$")
_MENTION = re.compile(r"<@[A-Z0-9]+(?:\|[^>]*)?>")


def named(text: str, phrase: str, may: Callable[[str], bool], *, alone: bool = False) -> str:
    """Find the repository that a message (as Slack sent it) names; empty if there is none.

    `phrase`: our trigger phrase. `may`: whether people may choose a repository. `alone`: the message may be a name and
    nothing more, since we have asked for one.
    """
    said = phrase_pattern(phrase).sub(" ", _MENTION.sub(" ", text))
    for pattern in (_BEFORE, _AFTER):
        if found := pattern.search(said):
            parts = found.groupdict()
            name = parts.get("link") or parts.get("name") or ""
            if parts.get("link") or parts.get("colon") or may(name):
                return name.removesuffix(".git")
    just = _ALONE.fullmatch(said) if alone else None
    return just[1] if just and may(just[1]) else ""


def picker(repositories: Sequence[str], asker: str) -> Rendered:
    """Ask in the thread in which repository the work should be done."""
    whom = "" if asker.startswith("B") else f"<@{asker}> "  # an app can't be mentioned
    said = f"{whom}In which repository should I work? Choose one, or write its name here."
    options = [{"text": {"type": "plain_text", "text": name[-75:]}, "value": name} for name in repositories[:100]]
    menu: Block = {
        "type": "static_select",
        "action_id": PICK,
        "placeholder": {"type": "plain_text", "text": "Choose a repository"},
        "options": options,
    }
    return Rendered(
        f"{said} {', '.join(repositories)}"[:3900], [section(said), {"type": "actions", "elements": [menu]}]
    )


def picked(repository: str, name: str) -> Rendered:
    """Show what was chosen, in the place of the menu."""
    said = f"I work in `{mrkdwn(repository, 140)}` in this thread, as {mrkdwn(name, 80)} chose."
    return Rendered(said, [section(said)])


def picked_before(repository: str, name: str) -> str:
    """Say that somebody else was first."""
    return f"{name} had already chosen {repository} for this thread."


BEGUN_BEFORE = (
    "The work in this thread has begun, so its repository can't change any more. A new thread can use another."
)
MAY_NOT_PICK = "Only people who may use this bot in this channel can choose."
