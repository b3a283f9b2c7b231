"""The Home tab: a person's work, their settings, what the bot may do for them, and whether it is connected. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from peerbot.conversation.chosen import Choice
from peerbot.conversation.held import Bounds
from peerbot.conversation.limits import Scope
from peerbot.slack.blocks import Block, context, fit, link, mrkdwn, section
from peerbot.slack.control_words import HELP
from peerbot.slack.settings_words import FIELDS, shown

HOME_STOP = "peerbot_home_stop"
HOME_EDIT = "peerbot_home_edit"
HOME_HELP = "peerbot_home_help"

MOST_WORK = 20
STOPPING = " (stopping …)"
_LIMIT = 2_900
_SCOPES = (
    (Scope.THREAD, "One thread"),
    (Scope.PERSON, "Your work this month"),
    (Scope.CHANNEL, "One channel's work this month"),
    (Scope.MONTH, "Everybody's work this month"),
    (Scope.TURN, "One turn"),
)
_WHOSE = dict(_SCOPES)


@dataclass(frozen=True, slots=True)
class Work:
    """A thread in which something waits or is worked on for the person. `thread`: `channel/ts`, for the Stop button."""

    thread: str
    url: str
    asked: str  # the first words of what they asked for
    stopping: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget that holds for the person, and what is spent of it; None: it is counted for each thread or turn."""

    scope: Scope
    usd: float
    spent_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a Home tab shows. `refused`: why the person may not use the bot; then the rest is not shown."""

    work: Sequence[Work] = ()
    choice: Choice | None = None
    bounds: Bounds = field(default_factory=Bounds)
    budgets: Sequence[Budget] = ()
    busy: int = 0
    most: int = 0
    model_kind: str = "claude"
    refused: str = ""


def home(facts: Facts) -> Block:
    """Make the view."""
    return {"type": "home", "blocks": list(_blocks(facts))}


def _blocks(facts: Facts) -> Iterator[Block]:
    if facts.refused:
        yield section(mrkdwn(facts.refused, 500))
        return
    yield _header("My work now")
    if not facts.work:
        yield section("Nothing that you asked for is at work. Mention me in a channel, or write me a direct message.")
    for work in facts.work[:MOST_WORK]:
        shown_work = section(
            f"{link(work.url, 'Thread')}: {mrkdwn(work.asked, 150)}{STOPPING if work.stopping else ''}"
        )
        yield shown_work | ({} if work.stopping else {"accessory": _button("Stop", HOME_STOP, work.thread)})
    if len(facts.work) > MOST_WORK:
        yield context(f"and {len(facts.work) - MOST_WORK} more threads")
    yield _header("My settings")
    yield section(fit(list(_settings(facts)), _LIMIT)) | {"accessory": _button("Edit", HOME_EDIT, "edit")}
    yield context("A channel's own settings win in that channel: `/peerbot settings` there shows them.")
    yield _header("What I may do")
    yield section(fit(list(_may(facts)), _LIMIT))
    yield _header("Connection")
    yield section(_connection(facts))
    yield {"type": "actions", "elements": [_button("Help", HOME_HELP, "help")]}


def _settings(facts: Facts) -> Iterator[str]:
    choice = facts.choice or Choice(chosen_by="")
    for name, label in FIELDS.items():
        if name not in ("others", "askers"):
            yield f"• {label}: {mrkdwn(shown(name, choice, {}, 200), 260)}"


def _may(facts: Facts) -> Iterator[str]:
    allowed = facts.bounds.repositories
    own = "• I work in a repository of your own, which I make for you."
    yield f"{own} You may choose these: {mrkdwn(', '.join(allowed), 500)}" if allowed else own
    if facts.bounds.models:
        yield f"• Models that you may choose: {mrkdwn(', '.join(facts.bounds.models), 500)}"
    for budget in facts.budgets:
        left = f", ${max(0.0, budget.usd - budget.spent_usd):,.2f} left" if budget.spent_usd is not None else ""
        yield f"• {_WHOSE[budget.scope]} may cost ${budget.usd:,.2f}{left}."
    yield "• I open pull requests; I never merge them."


def _connection(facts: Facts) -> str:
    model = "the demo model, which only plays fixed pieces" if facts.model_kind == "demo" else "Claude"
    workers = f"{facts.busy} of {facts.most} workers are busy."
    return f"I am connected to Slack and to my store, and I work with {model}. {workers}"


def _header(words: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": words}}


def _button(words: str, action: str, value: str) -> Block:
    return {"type": "button", "action_id": action, "value": value, "text": {"type": "plain_text", "text": words}}


def help_view() -> Block:
    """Make a modal with the help."""
    title = {"type": "plain_text", "text": "Help"}
    return {
        "type": "modal",
        "title": title,
        "close": {"type": "plain_text", "text": "Close"},
        "blocks": [section(HELP)],
    }
