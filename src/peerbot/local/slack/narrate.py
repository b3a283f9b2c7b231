"""Tells what happens, as lines in a terminal. It reads the local Slack alone, so it tells what people would see."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

from peerbot.conversation.keys import Conversation
from peerbot.local.slack import Change
from peerbot.thread.answers import METADATA_EVENT
from peerbot.thread.questions import QUESTION_EVENT

MARKS = {"complete": "✓", "in_progress": "▸", "error": "✗"}


class Narrator:
    """Turns changes of the local Slack into lines, and tells each once. `answers`: whether it tells answers, too."""

    def __init__(self, bot_user: str, say: Callable[[str], None], *, answers: bool = True) -> None:
        self._bot_user = bot_user
        self._say = say
        self._answers = answers
        self._told: set[tuple[str, str, str]] = set()
        self._last_card: dict[str | None, str] = {}  # by thread
        self._over: set[str] = set()  # cards whose answer was told: their last state is no news

    def take(self, change: Change) -> None:
        """Tell the news in `change`."""
        message = change.message
        if change.kind == "reaction":
            self._reaction(change)
        elif said := whispered(change):
            self._once(change, "whisper", f"   {_plain(said)} (Only you see this.)")
        elif message.get("user") == self._bot_user and change.kind in ("posted", "updated"):
            if (message.get("metadata") or {}).get("event_type") == QUESTION_EVENT:
                self._question(change)
            elif answered_turn(message) is None:
                self._card(change)
            else:
                self._over.add(self._last_card.get(change.thread_ts, ""))
                if self._answers:
                    self._answer(change)

    def _once(self, change: Change, what: str, line: str) -> None:
        if (change.ts, what, line) not in self._told:
            self._told.add((change.ts, what, line))
            self._say(line)

    def _reaction(self, change: Change) -> None:
        names = {reaction["name"] for reaction in change.message.get("reactions", [])}
        if "eyes" in names:
            self._once(change, "reaction", "👀 received and recorded")

    def _question(self, change: Change) -> None:
        text = _plain(change.message["text"])
        if change.kind == "posted":
            self._once(change, "question", f"❓ {text}\n   Write your answer here.")
        else:
            self._once(change, "question", f"❓ {text.partition(chr(10))[0]}")

    def _card(self, change: Change) -> None:
        if change.ts in self._over:
            return
        self._last_card[change.thread_ts] = change.ts
        blocks = {block["type"]: block for block in change.message.get("blocks", [])}
        if change.kind == "posted" and "context" in blocks:
            self._once(change, "worker", f"   {_plain(blocks['context']['elements'][0]['text'], links=False)}")
        for task in blocks.get("plan", {"tasks": []})["tasks"]:
            if task["status"] != "pending":
                self._once(change, "task", f"   {MARKS[task['status']]} {task['title']}")
        if "plan" in blocks and blocks["plan"]["title"].startswith("Queued"):
            self._once(change, "title", f"   {blocks['plan']['title']}")

    def _answer(self, change: Change) -> None:
        lines = _answer_lines(change.message)
        if change.previous:  # only how its pull request stands is drawn again
            before = _answer_lines(change.previous)
            lines = [line for line in lines if line not in before]
        if lines:
            self._once(change, "answer", "\n".join(lines))


def _answer_lines(message: dict[str, Any]) -> list[str]:
    lines = []
    for block in message.get("blocks", []):
        match block:
            case {"type": "markdown", "text": text}:
                lines += ["", text, ""]
            case {"type": "section", "text": {"text": text}}:
                lines += [f"   {line}" for line in _plain(text).splitlines()]
            case {"type": "context", "elements": [{"text": text}, *_]}:
                lines.append(f"   {_plain(text)}")
    return lines


def answered_turn(message: dict[str, Any]) -> tuple[Conversation, int] | None:
    """Return the turn that a message answers, by its metadata; None if the message is no answer."""
    metadata = message.get("metadata") or {}
    if metadata.get("event_type") != METADATA_EVENT:
        return None
    payload = metadata["event_payload"]
    return Conversation.parse(payload["conversation"]), int(payload["turn"])


def whispered(change: Change) -> str:
    """Return the words of a message that one person alone sees; empty if everybody sees it."""
    return str(change.message["text"]) if change.kind == "whispered" else ""


def _plain(mrkdwn: str, *, links: bool = True) -> str:
    """Turn Slack's notation into plain text. A link becomes its label and address, or its label alone."""
    text = re.sub(r"<@[UW][A-Z0-9]+> ?", "", mrkdwn)
    text = re.sub(r"<!date\^[^|>]*\|([^>]*)>", r"\1", text)
    text = re.sub(r"<(https?://[^|>]+)\|([^>]+)>", r"\2 (\1)" if links else r"\2", text)
    return unescape(text.replace("`", "").replace("*", ""))
