"""The pieces that the demo model can play, and the choice of the piece that answers a message.

A piece only repeats what it read in the tools' results: Claude Code really writes the files and runs commands and
tests.
"""

import re
import shlex
from collections.abc import Generator
from typing import Protocol

from peerbot.local.model.asking import AskPeople, PlanFirst, PlanUnasked
from peerbot.local.model.plan import Plan
from peerbot.local.model.replies import Reply, ToolCall
from peerbot.local.model.requests import Result
from peerbot.local.model.scripts import SAMPLE_FIX, SAMPLE_FLAW, SAMPLE_SOURCE, SAMPLE_TEST, script_for
from peerbot.local.model.steps import Steps, Stuck, bash, commit, expect, fenced, without_line_numbers, write

_EXCERPT_CHARACTERS = 1_500


class Play(Protocol):
    """A piece of the demo model."""

    offer: str
    """The piece's purpose and the words that ask for it, for the list of pieces."""

    def fits(self, ask: str, /) -> bool:
        """Whether this message asks for the piece."""

    def steps(self, ask: str, tools: frozenset[str], /) -> Steps:
        """Play the piece."""


def choose(ask: str) -> Play:
    """Choose the piece for a message: the first that fits."""
    return next(play for play in _PLAYS if play.fits(ask))


class RunCommand:
    """Run the command between the backticks exactly, and report its output."""

    offer = (
        "run a command exactly as you write it: “run `git log --oneline`” (several lines between three backticks; "
        "“run `make serve` in the background”)"
    )

    _commands = (
        re.compile(r"\brun:?\s*```(?:[a-z]*\n)?(.*?)(?:\n```|```[ \t]*(?:\n|\Z))", re.IGNORECASE | re.DOTALL),
        re.compile(r"\brun:?\s*`([^`]+)`", re.IGNORECASE),
        re.compile(r"^\s*run:[ \t]*([^`\n]+)$", re.IGNORECASE | re.MULTILINE),
    )

    _background = re.compile(r"`\s*in the background\b", re.IGNORECASE)

    def fits(self, ask: str) -> bool:
        """Whether the message has a command in it, wherever it stands."""
        return self._command(ask) is not None

    def steps(self, ask: str, _tools: frozenset[str]) -> Steps:
        """Run the command; a failure is a result like any other."""
        command = self._command(ask) or ""
        call = bash(command, "Run the command as it was written")
        if self._background.search(ask):
            call = ToolCall(call.name, call.input | {"run_in_background": True})
        [result] = yield Reply("I'll run it.", (call,))
        return f"The command {'failed' if result.failed else 'ran'}. Its output:\n\n{fenced(result.text)}"

    def _command(self, ask: str) -> str | None:
        found = (pattern.search(ask) for pattern in self._commands)
        return next((match[1].strip("\n") for match in found if match and match[1].strip()), None)


class AnswerQuestion:
    """Look at the repository, read the file that the question is most likely about, and quote it."""

    offer = "answer a question by reading files: “what is in this repository?” (I can only quote what I find)"

    _question = re.compile(r"\s*(what|how|why|where|which|who|explain|describe)\b", re.IGNORECASE)
    _list_files = (
        "git ls-files --cached --others --exclude-standard 2>/dev/null | head -n 500 | grep . || ls -p | grep -v /"
    )
    _word = re.compile(r"[\w./-]+")
    _text_file = re.compile(r"\.(md|rst|txt|py|js|ts|go|rs|java|c|h|toml|yaml|yml|json|sh|cfg|ini)$", re.IGNORECASE)

    def fits(self, ask: str) -> bool:
        """Whether the message begins like a question."""
        return bool(self._question.match(ask))

    def steps(self, ask: str, tools: frozenset[str]) -> Steps:
        """List, read, quote."""
        plan = Plan(tools, ("Look at the files", "Looking at the files"), ("Read the best match", "Reading"))
        [listing] = yield from plan.do(0, "I'll look at the files here.", bash(self._list_files, "List the files"))
        files = [] if listing.failed else listing.text.splitlines()
        path = self._best(ask, files)
        if path is None:
            yield from plan.finish()
            return "I found no file here that I can read. I changed nothing."
        read_it = ToolCall("Read", {"file_path": path, "limit": 60})
        [read] = yield from plan.do(1, f"I'll read `{path}`.", read_it)
        yield from plan.finish()
        expect(read, f"I could not read `{path}`:")
        text = without_line_numbers(read.text)
        count = "There is one file" if len(files) == 1 else f"There are {len(files)} files"
        return (
            f"{count} here. I read `{path}`, which begins:\n\n"
            f"{fenced(text, most=_EXCERPT_CHARACTERS)}\n\n"
            "I changed nothing. Claude could tell you what this means; I can only quote it."
        )

    def _best(self, ask: str, files: list[str]) -> str | None:
        """Choose the file that the question names, or a README, or the first text file."""
        words = {word.strip(".").lower() for word in self._word.findall(ask)}
        named = [path for path in files if words & {path.lower(), path.rpartition("/")[2].lower()}]
        readmes = sorted((path for path in files if "readme" in path.lower()), key=lambda path: path.count("/"))
        texts = [path for path in files if self._text_file.search(path)]
        return next(iter([*named, *readmes, *texts]), None)


class LooseQuestion(AnswerQuestion):
    """Answer a message that has a question mark in it and asks for none of the other pieces."""

    offer = ""  # it is the same piece

    def fits(self, ask: str) -> bool:
        """Whether there is a question mark."""
        return "?" in ask


class MendTest:
    """Run a failing test, read the code, fix it, see the test pass, commit."""

    offer = "find and fix a failing test: “fix the failing test” (if there is none that I know, I add a small sample)"

    _wish = re.compile(r"failing tests?|\bfix\b.*\btests?\b|\bmend\b", re.IGNORECASE)
    _test = "python3 -B -m unittest -v test_calc 2>&1"

    def fits(self, ask: str) -> bool:
        """Whether the message asks to fix a test."""
        return bool(self._wish.search(ask))

    def steps(self, _ask: str, tools: frozenset[str]) -> Steps:
        """See the test fail, fix the code, see the test pass. Stop if a step has another result."""
        plan = Plan(
            tools,
            ("Find the test", "Looking for the test"),
            ("See it fail", "Running the test"),
            ("Fix the code", "Fixing the code"),
            ("See it pass", "Running the test again"),
            ("Commit", "Committing"),
        )
        [found] = yield from plan.do(0, "I look for my sample.", bash("ls calc.py test_calc.py", "Look for the sample"))
        brought = (yield from _bring_sample(plan)) if found.failed else ""
        [before] = yield from plan.do(1, "Now I'll run the test.", bash(self._test, "Run the test"))
        if not before.failed:
            yield from plan.finish()
            return f"{brought}The test passes already, so there is nothing to fix:\n\n{fenced(before.text)}"
        [read] = yield from plan.do(2, "It fails. I'll read the code.", ToolCall("Read", {"file_path": "calc.py"}))
        if SAMPLE_FLAW not in read.text:
            raise Stuck(f"The test fails, but not because of the flaw that I know how to fix:\n\n{fenced(before.text)}")
        edit = ToolCall("Edit", {"file_path": "calc.py", "old_string": SAMPLE_FLAW, "new_string": SAMPLE_FIX})
        [edited] = yield from plan.do(2, "The mean divides by one number too few. I'll fix that.", edit)
        expect(edited, "I could not change `calc.py`:")
        [after] = yield from plan.do(3, "I'll run the test again.", bash(self._test, "Run the test again"))
        expect(after, "The test still fails:")
        done = yield from commit(plan, 4, "It passes. I commit it.", "Divide the mean by all of the numbers", "calc.py")
        yield from plan.finish()
        return (
            f"{brought}`test_calc.py` failed:\n\n{fenced(before.text, most=_EXCERPT_CHARACTERS)}\n\n"
            f"`mean` in `calc.py` divided by one number too few. I fixed it, and the test passes:\n\n"
            f"{fenced(after.text, most=_EXCERPT_CHARACTERS)}\n\n{done}"
        )


def _bring_sample(plan: Plan) -> Generator[Reply, list[Result], str]:
    """Write and commit the sample; returns a paragraph about it."""
    yield from write(plan, 0, "My sample is not here, so I'll add it.", "calc.py", SAMPLE_SOURCE)
    yield from write(plan, 0, "", "test_calc.py", SAMPLE_TEST)
    done = yield from commit(plan, 0, "", "Add a sample with a failing test", "calc.py", "test_calc.py")
    return f"There was no failing test that I know, so I added a sample. {done}\n\n"


class TakeTime:
    """Work for a while, visibly, so that people can try stopping and follow-ups."""

    offer = "take a while, for trying Ctrl-C and follow-ups: “take a minute”, “take 20 seconds”"

    _wish = re.compile(r"\btake (a|one|\d+) (minute|second)s?|\bslow(ly)?\b|\blong\b", re.IGNORECASE)
    _amount = re.compile(r"(\d+)\s*(s|m)(ec|in|\b)", re.IGNORECASE)
    _parts = 6

    def fits(self, ask: str) -> bool:
        """Whether the message asks for work that takes a while."""
        return bool(self._wish.search(ask))

    def steps(self, ask: str, tools: frozenset[str]) -> Steps:
        """Wait in at most six parts, so that progress moves."""
        seconds = self._seconds(ask)
        parts = min(self._parts, seconds)
        plan = Plan(tools, *((f"Part {part} of {parts}", f"Working on part {part}") for part in range(1, parts + 1)))
        printed = []
        for part in range(parts):
            begin, end = seconds * part // parts, seconds * (part + 1) // parts
            said = f"I'll take {seconds} seconds." if part == 0 else ""
            [result] = yield from plan.do(part, said, bash(_wait(begin, end, seconds), f"Part {part + 1} of {parts}"))
            expect(result, f"Part {part + 1} of {parts} was stopped:")
            printed.append(result.text)
        yield from plan.finish()
        return f"That took {seconds} seconds, in {parts} parts:\n\n{fenced(chr(10).join(printed))}"

    def _seconds(self, ask: str) -> int:
        found = self._amount.search(ask)
        if found is None:
            return 60
        return max(1, min(120, int(found[1]) * (60 if found[2].lower() == "m" else 1)))


def _wait(begin: int, end: int, seconds: int) -> str:
    """Make a command that prints each second as it passes. (Claude Code blocks a long `sleep`.)"""
    lines = (
        "import time",
        f"for second in range({begin + 1}, {end + 1}):",
        "    time.sleep(1)",
        f'    print(second, "of {seconds} seconds", flush=True)',
    )
    return f"python3 -c {shlex.quote(chr(10).join(lines))}"


class WriteScript:
    """Write a small script, run it, commit it, and quote what it printed."""

    offer = "write a script and run it: “create a Python script that prints the first ten primes, and run it”"

    _wish = re.compile(r"\b(scripts?|primes?|python|program)\b", re.IGNORECASE)

    def fits(self, ask: str) -> bool:
        """Whether the message asks for a script."""
        return bool(self._wish.search(ask))

    def steps(self, ask: str, tools: frozenset[str]) -> Steps:
        """Write, run, commit."""
        script = script_for(ask)
        name = script.file_name
        plan = Plan(
            tools,
            (f"Write {name}", f"Writing {name}"),
            (f"Run {name}", f"Running {name}"),
            (f"Commit {name}", f"Committing {name}"),
        )
        yield from write(plan, 0, f"I'll write `{name}`, which {script.does}.", name, script.source)
        [ran] = yield from plan.do(1, "Now I'll run it.", bash(f"python3 {name}", f"Run {name}"))
        expect(ran, f"I wrote `{name}`, but running it failed:")
        done = yield from commit(plan, 2, "It works. I commit it.", f"Add {name}, which {script.does}", name)
        yield from plan.finish()
        return f"`{name}` {script.does}. I ran it, and it printed:\n\n{fenced(ran.text)}\n\n{done}"


class SayWhatThereIs:
    """Answer any other message with the list of pieces."""

    offer = ""

    def fits(self, _ask: str) -> bool:
        """Fit every message."""
        return True

    def steps(self, _ask: str, _tools: frozenset[str]) -> Steps:
        """List the pieces; this takes no step."""
        yield from ()
        offers = "\n".join(f"- {play.offer}" for play in _PLAYS if play.offer)
        return (
            f"That is not among my pieces. I can:\n{offers}\n\n"
            "With an Anthropic API key (`ANTHROPIC_API_KEY`), Claude itself answers here."
        )


class WhatCanYouDo(SayWhatThereIs):
    """Answer a person who asks what the bot can do: the list of pieces says it better than any file."""

    def fits(self, ask: str) -> bool:
        """Whether somebody asks what the bot can do."""
        return bool(re.search(r"\bwhat (can|could|do) you (do|play)\b|\bwho are you\b", ask, re.IGNORECASE))


_PLAYS: tuple[Play, ...] = (
    RunCommand(),
    WhatCanYouDo(),
    PlanFirst(),
    PlanUnasked(),
    AskPeople(),
    AnswerQuestion(),
    MendTest(),
    TakeTime(),
    WriteScript(),
    LooseQuestion(),
    SayWhatThereIs(),
)
