"""How the demo model finds its next step without a memory: it plays the piece again from the beginning.

A piece is a generator. It yields words and the tools that it wants, receives the tools' results, and returns its last
words. For every request the piece starts again, and gets the results that the request carries. When it wants a result
that is not there yet, that is the answer. So a piece reads from top to bottom, decides on real results, and a resumed
session goes on from where it stopped.
"""

import json
from collections.abc import Generator

from peerbot.local.model.asking import PLAN_FILE
from peerbot.local.model.plays import choose
from peerbot.local.model.replies import Reply, ToolCall
from peerbot.local.model.requests import Document, Result, Turn, is_aside, read_turn, remembering, wants_summary
from peerbot.local.model.steps import Stuck

INTRODUCTION = (
    "I am PeerBot's demo model, not Claude: I play a few fixed pieces, and Claude Code does the work for real."
)
_QUOTED_CHARACTERS = 200
_TITLE_WORDS = 6


def respond(body: Document) -> Reply:
    """Answer a request, as `requests.check` returned it."""
    turn = read_turn(body)
    if is_aside(body):
        return Reply(_aside(body))
    if wants_summary(body):
        return Reply(f"<summary>\nA conversation with PeerBot's demo model.\n{remembering(_asked(turn))}\n</summary>")
    reply = _with_plan_file(_play(turn), turn.plan_file)
    if turn.said and reply.text.startswith(turn.said):
        return Reply(reply.text.removeprefix(turn.said), reply.calls)  # the beginning arrived before the stream was cut
    return reply


def _with_plan_file(reply: Reply, path: str) -> Reply:
    """Put the path in that Claude Code names for a plan."""
    if not path:
        return reply
    calls = (
        ToolCall(call.name, call.input | {"file_path": path}) if call.input.get("file_path") == PLAN_FILE else call
        for call in reply.calls
    )
    return Reply(reply.text, tuple(calls))


def _play(turn: Turn) -> Reply:
    """Play the turn's pieces from the beginning, up to the first step whose results are not there yet."""
    opening = _opening(turn)
    performance = _perform(turn)
    waiting = list(turn.results)
    begun = False
    try:
        reply = next(performance)
        while len(waiting) >= len(reply.calls):
            results, waiting = waiting[: len(reply.calls)], waiting[len(reply.calls) :]
            begun = True
            reply = performance.send(results)
    except StopIteration as end:
        return Reply(f"{opening}\n\n{end.value}")
    if waiting:  # the stream was cut between two calls of one step: ask for the other calls only
        return Reply("", reply.calls[len(waiting) :])
    return reply if begun else Reply(f"{opening}\n\n{reply.text}", reply.calls)


def _perform(turn: Turn) -> Generator[Reply, list[Result], str]:
    """Play a piece for each request of this turn, one after the other."""
    last_words = ""
    for ask in turn.asks or [""]:
        try:
            said = yield from choose(ask).steps(ask, turn.tools)
        except Stuck as stuck:
            said = str(stuck)
        last_words += f"\n\n{said}"
    return last_words.strip()


def _opening(turn: Turn) -> str:
    """Introduce the demo model. In a follow-up, show that it knows the conversation so far."""
    if not turn.earlier:
        return INTRODUCTION
    first, last = _quoted(turn.earlier[0]), _quoted(turn.earlier[-1])
    return f"Earlier in this thread you asked: {first}" + (f" and, last, {last}." if len(turn.earlier) > 1 else ".")


def _quoted(ask: str) -> str:
    line = " ".join(ask.split())
    return f"“{line if len(line) <= _QUOTED_CHARACTERS else line[:_QUOTED_CHARACTERS] + '…'}”"


def _asked(turn: Turn) -> list[str]:
    return turn.earlier + turn.asks


def _aside(body: Document) -> str:
    """Answer Claude Code's own request: a title, as text or in the JSON form that it asks for."""
    asked = _asked(read_turn(body))
    words = (asked[-1] if asked else "").removeprefix("<session>").split()
    title = " ".join(["PeerBot demo:", *words[:_TITLE_WORDS]])
    schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    return json.dumps(dict.fromkeys(schema.get("required", ["title"]), title)) if schema else title
