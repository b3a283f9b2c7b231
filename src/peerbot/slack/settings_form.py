"""The form with which people change settings: a modal of Slack's, made and read back. Pure.

Everything that it shows does something. What the operator does not let people choose is not shown.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peerbot.conversation.chosen import Choice
from peerbot.conversation.held import MOST_INSTRUCTIONS, REPOSITORY, Bounds, Kind
from peerbot.slack.blocks import Block, context, line, section
from peerbot.slack.interactions import ViewAction
from peerbot.slack.text import escaped

SETTINGS = "peerbot_settings"
"""The callback id of the form."""

MOST_REPOSITORIES = 20
MOST_ASKERS = 50
_DEFAULT = "-"  # the value of “the usual model”: a menu can't be emptied
_ABOUT = re.compile(r"(channel|user)/([A-Z0-9]{1,40})/(\d{1,9})")
_FIELD = "value"  # the action id of each field; its block's id says which field it is

Errors = dict[str, str]
"""A sentence for each field that can't be taken, by block id."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a form shows. `seq`: the number of the settings that the person sees; `most_usd`: the operator's budget."""

    kind: Kind
    of: str  # the channel's id, or the person's
    seq: int
    choice: Choice
    bounds: Bounds
    most_usd: float | None = None
    last: str = ""  # who changed them last and when, in words


@dataclass(frozen=True, slots=True)
class Filled:
    """A form that somebody submitted: the fields that it had, by `Choice`'s names."""

    kind: Kind
    of: str
    seq: int
    values: Mapping[str, Any]


def form(shown: Form) -> Block:
    """Make the form."""
    return _modal(
        "This channel's settings" if shown.kind == "channel" else "Your settings",
        list(_blocks(shown)),
        submit={"type": "plain_text", "text": "Save"},
        callback_id=SETTINGS,
        private_metadata=f"{shown.kind}/{shown.of}/{shown.seq}",
    )


def said_alone(sentence: str) -> Block:
    """Make a modal that says one sentence."""
    return _modal("PeerBot", [section(escaped(sentence))])


def read_form(submitted: ViewAction) -> tuple[Filled | None, Errors]:
    """Read a submitted form, and find what no look-up is needed to refuse; None if it is not ours."""
    about = _ABOUT.fullmatch(submitted.private_metadata)
    if about is None:
        return None, {}
    values: dict[str, Any] = {}
    errors: Errors = {}
    for (block, _), said in submitted.fields.items():
        first = said[0].strip() if said else ""
        match block:
            case "repositories":
                names = tuple(dict.fromkeys(first.replace(",", " ").split()))
                values.update(repository=names[0] if names else "", others=list(names[1:]))
                problem = _repositories(names)
                errors |= {block: problem} if problem else {}
            case "base" | "instructions":
                values[block] = first
            case "model":
                values.update(model="" if first == _DEFAULT else first)
            case "plan_first":
                values.update(plan_first=bool(said))
            case "askers":
                values.update(askers=list(said))
                if len(said) > MOST_ASKERS:
                    errors.update(askers=f"Name at most {MOST_ASKERS} people, or nobody: then everybody may ask.")
            case "budget_usd":
                usd, problem = _dollars(first)
                values.update(budget_usd=usd)
                errors |= {block: problem} if problem else {}
    return Filled("channel" if about[1] == "channel" else "user", about[2], int(about[3]), values), errors


def _repositories(names: tuple[str, ...]) -> str:
    if len(names) > MOST_REPOSITORIES:
        return f"Name at most {MOST_REPOSITORIES} repositories."
    wrong = next((name for name in names if not REPOSITORY.fullmatch(name)), None)
    return f"“{wrong[:80]}” is not the name of a repository: write owner/name." if wrong else ""


def _dollars(text: str) -> tuple[float | None, str]:
    if not text:
        return None, ""
    try:
        usd = float(text)
    except ValueError:
        usd = math.nan
    if not 0.01 <= usd <= 1_000_000:
        return None, "Write an amount in US dollars, such as 50."
    return round(usd, 2), ""


def _blocks(shown: Form) -> Iterator[Block]:
    choice, channel = shown.choice, shown.kind == "channel"
    yield context(_intro(shown))
    if shown.bounds.repositories:
        yield from _where(shown)
    if shown.bounds.models:
        yield _input("model", "Model", _models(shown))
    yield _input(
        "instructions",
        "Instructions for the agent",
        {"type": "plain_text_input", "multiline": True, "max_length": MOST_INSTRUCTIONS}
        | ({"initial_value": choice.instructions} if choice.instructions else {}),
        "The agent reads them in each new thread, as words of "
        + ("this channel's members." if channel else "yours, if you begin the thread."),
    )
    yield _input("plan_first", "Plan before the work", _plan_first(choice.plan_first))
    if channel:
        yield _input(
            "askers",
            "Who may ask",
            {"type": "multi_users_select"} | ({"initial_users": choice.askers} if choice.askers else {}),
            "If you name nobody, everybody may who may use the bot at all.",
        )
    most = f" At most ${shown.most_usd:g}, which is your operator's." if shown.most_usd is not None else ""
    yield _input(
        "budget_usd",
        "Budget for a month, in US dollars",
        {"type": "number_input", "is_decimal_allowed": True}
        | ({"initial_value": f"{choice.budget_usd:g}"} if choice.budget_usd is not None else {}),
        ("For all work in this channel." if channel else "For all work that you ask for.") + most,
    )


def _intro(shown: Form) -> str:
    said = "Repository, base branch, model and instructions hold for new threads; the rest holds at once."
    if not shown.bounds.repositories:
        said += " Your operator does not let people choose repositories (`PEERBOT_REPOSITORIES`)."
    return f"{said} {escaped(line(shown.last, 200))}".strip()


def _where(shown: Form) -> Iterator[Block]:
    choice, channel = shown.choice, shown.kind == "channel"
    named = "\n".join(choice.repositories)
    allowed = ", ".join(shown.bounds.repositories)
    hint = "owner/name. If it is empty, each person's work goes to a repository of their own."
    if channel:
        hint = f"{hint} If you name several, one a line, whoever begins a thread picks one."
    yield _input(
        "repositories",
        "Repositories" if channel else "Repository",
        {"type": "plain_text_input", "multiline": channel, "max_length": 2500}
        | ({"initial_value": named} if named else {}),
        f"{hint} Allowed: {line(allowed, 500)}",
    )
    yield _input(
        "base",
        "Base branch",
        {"type": "plain_text_input", "max_length": 200} | ({"initial_value": choice.base} if choice.base else {}),
        "Work begins there, and pull requests go there. If it is empty: the repository's default branch.",
    )


def _plan_first(now: bool) -> Block:
    option = _option("The agent shows a plan, and changes nothing before it is approved", "yes")
    return {"type": "checkboxes", "options": [option]} | ({"initial_options": [option]} if now else {})


def _models(shown: Form) -> Block:
    usual = _option(f"The usual one{f' ({shown.bounds.model})' if shown.bounds.model else ''}", _DEFAULT)
    options = [usual, *(_option(model, model) for model in shown.bounds.models[:99])]
    now = next((option for option in options if option["value"] == shown.choice.model), usual)
    return {"type": "static_select", "options": options, "initial_option": now}


def _option(label: str, value: str) -> Block:
    return {"text": {"type": "plain_text", "text": line(label, 75)}, "value": value[:150]}


def _input(block: str, label: str, element: Block, hint: str = "") -> Block:
    made: Block = {
        "type": "input",
        "block_id": block,
        "optional": True,
        "label": {"type": "plain_text", "text": label},
        "element": element | {"action_id": _FIELD},
    }
    return made | ({"hint": {"type": "plain_text", "text": hint[:2000]}} if hint else {})


def _modal(title: str, blocks: list[Block], **more: Any) -> Block:
    close = {"type": "plain_text", "text": "Cancel" if "submit" in more else "Close"}
    return {"type": "modal", "title": {"type": "plain_text", "text": title}, "close": close, "blocks": blocks} | more
