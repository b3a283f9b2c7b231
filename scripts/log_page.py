"""Make `docs/log-events.md`: the log events that operators may rely on. `--check` only compares.

What an event means stands here. Its level and its fields come from the code. An event that the code no longer writes
ends this program: operators have alerts on it.
"""

import ast
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "peerbot"
PAGE = ROOT / "docs" / "log-events.md"
HEAD = """\
# Log events

This page is for operators who search logs or count lines in them. Dispatchers and workers write one line of JSON for
each event: `event`, `level`, `logger`, `timestamp`, and the event's own fields. You may rely on the names below, on
their levels and on their fields. Other events come and go with releases. (`make docs` makes this page from
`scripts/log_page.py` and from the code.)

`conversation` is `team/channel/thread_ts`, as everywhere. The column “about” names the fields that each line of the
event has because of where it is written. No line has a token, people's words or the content of a file. If one cause
writes more than 60 lines in a minute, some are left out: `left_out` in a later line says how many.

| event | level | about | more fields | meaning |
|---|---|---|---|---|
"""

CONVERSATION, RUN, TURN = "`conversation`", "`conversation`, `run`", "`conversation`, `run`, `turn`"
OF_TURN = "`conversation`, `turn`"
EVENTS: dict[str, tuple[str, str]] = {
    "dispatcher_started": ("", "A replica is ready to receive."),
    "slack_connected": ("", "It has its sockets to Slack."),
    "slack_not_connected": ("", "A socket did not open. It tries again."),
    "slack_gap": ("", "No socket was open for this long. A look back at Slack's history follows."),
    "slack_rate_limited": ("", "Slack asked to wait."),
    "slack_call_dropped": ("", "A call that nobody waits for was not made: there was no room for it."),
    "caught_up": ("", "A look back at Slack's history is done."),
    "catch_up_failed": ("", "A look back failed. It is made again."),
    "input_recorded": (CONVERSATION, "Something that a person did is in the journal."),
    "not_recorded": ("", "The journal did not take it. The replica tries again, from memory."),
    "recorded_after_all": (CONVERSATION, "It did in the end."),
    "input_missed": (CONVERSATION, "A look back found a message that no event had brought."),
    "marker_dropped": (CONVERSATION, "A marker had no message, and Slack has none either."),
    "queued": (CONVERSATION, "A conversation waits for a free place."),
    "run_placed": (RUN, "A run is reserved and is being started."),
    "run_started": (RUN, "Its worker called for the first time."),
    "run_waits": (CONVERSATION, "The next run waits a little, because the one before ended by nobody's fault."),
    "run_held_up": (RUN, "Something keeps a run from starting."),
    "run_refused": (RUN, "The runtime refuses a run for good."),
    "run_died": (RUN, "A run ended by itself, and why."),
    "run_closed": (RUN, "A run's worker closed it."),
    "turn_begun": (TURN, "A worker's agent begins with a turn."),
    "turn_goes_on": (OF_TURN, "A turn goes on where an earlier run left it."),
    "turn_written": (OF_TURN, "A turn's end is in the journal."),
    "answer_posted": (OF_TURN, "The whole answer is in the thread."),
    "not_posted": (OF_TURN, "It could not be posted now. It is tried again."),
    "answer_refused": (OF_TURN, "Slack will never take this answer; it was given up."),
    "pull_request": (CONVERSATION, "A turn opened a pull request, or updated it."),
    "no_pull_request": (CONVERSATION, "A pull request could not be opened. The answer says so."),
    "push_refused": (RUN, "The gateway refused a push of a worker."),
    "budget_used_up": (RUN, "A budget ended a turn."),
    "question_asked": (CONVERSATION, "The agent asks people."),
    "question_settled": (CONVERSATION, "A question was answered, or ended otherwise."),
    "session_unreadable": (CONVERSATION, "The agent's transcript can't be taken up. A new session begins."),
    "unreadable_told": (CONVERSATION, "A document of the journal can't be read. The thread was told."),
    "gateway_failed": ("", "An error in the gateway that nobody expected."),
    "gateway_unavailable": ("", "A worker was told to ask again, because the journal or another service is away."),
    "sweep_failed": ("", "The look at everything that waits failed. It is made again."),
    "not_ready": ("", "`/ready` says no, and why."),
    "task_failed": ("", "Something that runs in the background failed."),
    "watch_broken": ("", "The watch of Jobs or pods ended. It begins again."),
    "conversation_removed": (CONVERSATION, "`peerbot prune` has removed a conversation, or what was left of one."),
    "transcripts_removed": (CONVERSATION, "`peerbot prune` has removed old transcripts."),
}
_LEVELS = ("debug", "info", "warning", "error", "exception")
_NOT_NAMED = ("exc_info", "conversation", "run", "turn", "**")


@dataclass
class Written:
    """How the code writes an event."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def written() -> dict[str, Written]:
    """Read every event in the code."""
    found: dict[str, Written] = {}
    for module in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
                ) if level in _LEVELS:
                    there = found.setdefault(event, Written())
                    there.levels.add("error" if level == "exception" else level)
                    there.fields.update(keyword.arg or "**" for keyword in node.keywords)
    return found


def page() -> str:
    """Write the page; ends the program if the code has no such event."""
    code = written()
    if missing := sorted(set(EVENTS) - set(code)):
        raise SystemExit(f"No code writes {', '.join(missing)}: operators rely on these events (scripts/log_page.py).")
    rows = []
    for event, (about, meaning) in EVENTS.items():
        levels = ", ".join(sorted(code[event].levels))
        fields = ", ".join(f"`{name}`" for name in sorted(code[event].fields - set(_NOT_NAMED)))
        rows.append(f"| `{event}` | {levels} | {about or '—'} | {fields or '—'} | {meaning} |\n")
    return HEAD + "".join(rows)


def main() -> int:
    """Write the page, or compare it; returns the exit code."""
    made = page()
    if "--check" not in sys.argv:
        PAGE.write_text(made)
        return 0
    if PAGE.exists() and PAGE.read_text() == made:
        return 0
    print("docs/log-events.md does not match the code. Run `make docs`.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
