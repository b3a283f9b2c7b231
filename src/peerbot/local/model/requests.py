"""Reads a request of Claude Code: people's messages, the tools' answers since, and the tools on offer.

A request carries the whole conversation, so this module reads everything from it and remembers nothing. That is why the
demo model survives restarts and goes on with resumed sessions. In the `user` role, people's words are mixed with many
texts of Claude Code itself; this module tells them apart.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_EARLIER_MESSAGES = re.compile(r"<earlier-messages>.*?</earlier-messages>", re.DOTALL)
_MESSAGE = re.compile(r'^<message from="[^"\n]*" user="[UWB][A-Z0-9]+">\n(.*?)\n</message>$', re.MULTILINE | re.DOTALL)
# Workers of the release before write it so.
_WROTE = re.compile(r"^[^\n]{1,200} \([UWB][A-Z0-9]+\) wrote:\n", re.MULTILINE)
_STEERING = re.compile(
    r"The user sent a new message while you were working:\n(.*?)"
    r"(?:\n\nThis is how Claude Code surfaces|\n\nIMPORTANT:|</system-reminder>|\Z)",
    re.DOTALL,
)
_COMPACTED = "This session is being continued from a previous conversation"
_SUMMARISE = "CRITICAL: Respond with TEXT ONLY"
_CUT_OFF = "Your response above was cut off"
_GOES_ON = (
    "<note-from-peerbot>\nThe worker that worked on this turn ended",
    "<note-from-peerbot>\nClaude Code ended in the middle of this turn",
    "Note from PeerBot: the worker that worked on this turn ended",
    "Note from PeerBot: Claude Code ended in the middle of this turn",
)
_NOT_SAVED = "not yet saved are not in this workspace"
_CUT_SHORT = re.compile(r"^(The user doesn't want to |\[Request interrupted|\[Tool )")
"""The results that Claude Code writes for an interrupted tool: nobody knows how far the tool came."""
_INTERRUPTED = "[Request interrupted by user"
_NOTES = (
    _COMPACTED,
    _SUMMARISE,
    _CUT_OFF,
    "Your response above was stopped",
    "Output token limit hit",
    _INTERRUPTED,
    "Continue from where you left off",
    "Caveat: The messages below",
    "<local-command-",
    "<command-name>",
    "<task-notification>",
    "<note-from-peerbot>\nThe time",
    "Note from PeerBot: the time",
)
"""The first words of the notes that Claude Code writes in a person's place."""
_PLAN_FILE = re.compile(r"/\S+/plans/[\w-]+\.md")
_REMEMBERED = re.compile(r"^- They asked: “(.*)”$", re.MULTILINE)


class MalformedRequest(ValueError):
    """The Messages API does not take this body. The text says what is wrong, as the API would."""


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of a tool."""

    tool: str
    text: str
    failed: bool


@dataclass(slots=True)
class Turn:
    """The messages to answer now, and the progress so far."""

    asks: list[str] = field(default_factory=list)  # the messages of this turn, oldest first
    earlier: list[str] = field(default_factory=list)  # the messages of the turns before
    results: list[Result] = field(default_factory=list)  # results of the tools called in this turn, in order
    tools: frozenset[str] = frozenset()  # the names of those on offer
    plan_file: str = ""  # where Claude Code wants a plan written
    said: str = ""  # the part of the answer that arrived before a stream was cut


def check(body: object) -> Document:
    """Return the body of a `POST /v1/messages`, or raise `MalformedRequest`."""
    if not isinstance(body, dict):
        raise MalformedRequest("The request body is not a JSON object.")
    if not isinstance(body.get("model"), str):
        raise MalformedRequest("model: Field required")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise MalformedRequest("messages: at least one message is required")
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
            raise MalformedRequest(f"messages.{at}.role: Input should be 'user', 'assistant' or 'system'")
        content = message.get("content")
        if not isinstance(content, str) and not _is_list_of_documents(content):
            raise MalformedRequest(f"messages.{at}.content: Input should be a string or a list of content blocks")
    if not _is_list_of_documents(body.get("tools", [])):
        raise MalformedRequest("tools: Input should be a list of tools")
    return body


def is_aside(body: Document) -> bool:
    """Whether Claude Code asks for something of its own (a title, a topic): such a request offers no tools."""
    return not body.get("tools")


def wants_summary(body: Document) -> bool:
    """Whether Claude Code compacts the conversation and asks for its summary."""
    for message in reversed(body["messages"]):  # system notes of Claude Code may follow it
        if message["role"] == "assistant":
            break
        if message["role"] == "user" and any(text.startswith(_SUMMARISE) for text in _texts(message)):
            return True
    return False


def read_turn(body: Document) -> Turn:
    """Find the messages to answer now in the whole conversation.

    A person's message begins a turn, with two exceptions: the model has not spoken since the message before, or Claude
    Code says that the message came while the model was working. Then it belongs to the turn that is under way.
    """
    turn = Turn(tools=frozenset(str(tool.get("name", "")) for tool in body.get("tools", [])))
    called: dict[str, str] = {}
    over = False  # once the model has spoken, or was interrupted, the next message begins a turn
    said = ""
    for message in body["messages"]:
        texts = _texts(message)
        if message["role"] == "assistant":
            calls = (block for block in _blocks(message) if block.get("type") == "tool_use")
            called |= {str(block.get("id")): str(block.get("name")) for block in calls}
            said, turn.said, over = "\n".join(texts), "", True
            continue
        turn.results += _results(message, called)
        for text in texts:
            turn.plan_file = (_PLAN_FILE.findall(text) or [turn.plan_file])[-1]
            turn.asks += [ask for steered in _STEERING.findall(text) for ask in _asks(steered)]
            turn.said = said if text.startswith(_CUT_OFF) else turn.said
            turn.earlier += _REMEMBERED.findall(text) if text.startswith(_COMPACTED) else []
            over = over or text.startswith(_INTERRUPTED)
            asks = list(_asks(text)) if message["role"] == "user" else []
            if text.startswith(_GOES_ON) and set(asks) <= set(turn.asks):
                # The work behind these results is lost, so the piece begins again.
                kept = [] if _NOT_SAVED in text else turn.results
                turn.results = [result for result in kept if not _CUT_SHORT.search(result.text)]
                over = False  # the turn goes on with the same messages
                continue
            if asks and over:
                turn.earlier, turn.asks, turn.results, over = turn.earlier + turn.asks, [], [], False
            turn.asks += [ask for ask in asks if ask not in turn.asks]  # a run died, and the next asks the same
    return turn


def remembering(asks: list[str]) -> str:
    """Write down the messages so that `read_turn` finds them again in a compacted conversation."""
    return "\n".join(f"- They asked: “{' '.join(ask.split())}”" for ask in asks)


def _is_list_of_documents(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _asks(text: str) -> Iterator[str]:
    """Find people's words in a text of the `user` role: nothing, a text, or several that PeerBot put together."""
    if text.startswith(_NOTES):
        return
    text = _EARLIER_MESSAGES.sub("", _REMINDER.sub("", text))
    before, *written = _WROTE.split(text)
    for part in _MESSAGE.findall(text) or written or [before]:
        if part.strip():
            yield part.strip()


def _results(message: Document, called: dict[str, str]) -> Iterator[Result]:
    for block in _blocks(message):
        if block.get("type") == "tool_result":
            text = "\n".join(_texts(block))
            name = called.get(str(block.get("tool_use_id")), "")
            yield Result(name, _REMINDER.sub("", text).strip("\n"), bool(block.get("is_error")))


def _texts(message: Document) -> list[str]:
    return [str(block.get("text", "")) for block in _blocks(message) if block.get("type") == "text"]


def _blocks(message: Document) -> list[Document]:
    content = message.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
