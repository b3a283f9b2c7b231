"""The pieces of the demo model that ask people: a question with buttons, several at once, and a plan."""

import re

from peerbot.local.model.replies import Document, Reply, ToolCall
from peerbot.local.model.scripts import script_for
from peerbot.local.model.steps import Steps, bash, expect, fenced

PLAN_FILE = "the plan's file"
"""Claude Code says in its request where a plan goes; `performance.py` puts that in."""


class AskPeople:
    """Ask people, with Claude Code's own tool, and repeat what they answered."""

    offer = "ask you something: “ask me which colour”, “ask me two things”, “ask me to choose several”"

    _wish = re.compile(r"\bask me\b", re.IGNORECASE)
    _which = re.compile(r"\bask me which ([\w-]{1,40})", re.IGNORECASE)

    def fits(self, ask: str) -> bool:
        """Whether the message wants to be asked."""
        return bool(self._wish.search(ask))

    def steps(self, ask: str, tools: frozenset[str]) -> Steps:
        """Ask once, and quote what came back."""
        if "AskUserQuestion" not in tools:
            return "I have no tool to ask you with."
        thing = found[1] if (found := self._which.search(ask)) else "colour"
        labels = ("Red", "Green", "Blue")
        questions = [_question(f"Which {thing}?", thing[:12].capitalize(), labels, several="several" in ask)]
        if "two things" in ask:
            questions.append(_question("Which size?", "Size", ("Small", "Large"), several=False))
        [answer] = yield Reply("I'll ask you first.", (ToolCall("AskUserQuestion", {"questions": questions}),))
        return f"{'I got no answer' if answer.failed else 'I got an answer'}:\n\n{fenced(answer.text)}"


def _question(question: str, header: str, labels: tuple[str, ...], *, several: bool) -> Document:
    options = [{"label": label, "description": f"Take {label.lower()}"} for label in labels]
    return {"question": question, "header": header, "options": options, "multiSelect": several}


class PlanFirst:
    """Show a plan, wait until people approve it, and write a small script."""

    offer = "show you a plan before I write a script: “plan: a script that prints primes”"

    def fits(self, ask: str) -> bool:
        """Whether the message wants a plan first."""
        return ask.lower().startswith("plan:")

    def steps(self, ask: str, tools: frozenset[str]) -> Steps:
        """Write the plan, show it, and do it if it is approved."""
        if "ExitPlanMode" not in tools:
            return "I have no tool to show you a plan with."
        yield from self._enter(tools)
        script = script_for(ask)
        plan = f"# Plan\n\n1. Write `{script.file_name}`, which {script.does}.\n2. Run it.\n"
        yield Reply("I'll write my plan.", (ToolCall("Write", {"file_path": PLAN_FILE, "content": plan}),))
        [answer] = yield Reply("This is my plan.", (ToolCall("ExitPlanMode", {}),))
        if answer.failed and "call ExitPlanMode again" in answer.text:
            if not re.search(r"looks good|go ahead|\byes\b", answer.text, re.IGNORECASE):
                return f"I do not do it. You said:\n\n{fenced(answer.text)}"
            [answer] = yield Reply("That is a yes.", (ToolCall("ExitPlanMode", {}),))
        if answer.failed:
            return f"The plan was not approved:\n\n{fenced(answer.text)}"
        write = ToolCall("Write", {"file_path": script.file_name, "content": script.source})
        [written] = yield Reply("I do it.", (write,))
        expect(written, f"I could not write `{script.file_name}`:")
        [ran] = yield Reply("", (bash(f"python3 {script.file_name}", f"Run {script.file_name}"),))
        return f"The plan was approved, and I did it. It printed:\n\n{fenced(ran.text)}"

    def _enter(self, _tools: frozenset[str]) -> Steps:
        """Do nothing: people asked for the plan, so Claude Code is in its plan mode already."""
        yield from ()
        return ""


class PlanUnasked(PlanFirst):
    """Decide by itself to plan the work, and then do as `PlanFirst` does."""

    offer = "plan the same by myself: “do something large: a script that prints primes”"

    def fits(self, ask: str) -> bool:
        """Whether the message wants work that is worth a plan."""
        return ask.lower().startswith("do something large:")

    def _enter(self, tools: frozenset[str]) -> Steps:
        """Enter Claude Code's plan mode."""
        if "EnterPlanMode" in tools:
            [entered] = yield Reply("This is large, so I plan it first.", (ToolCall("EnterPlanMode", {}),))
            expect(entered, "I could not begin to plan:")
        return ""
