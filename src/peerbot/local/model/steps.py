"""The parts that the pieces share: their calls of tools, and how they quote the results."""

import re
import shlex
from collections.abc import Generator

from peerbot.local.model.plan import Plan
from peerbot.local.model.replies import Reply, ToolCall
from peerbot.local.model.requests import Result

Steps = Generator[Reply, list[Result], str]
"""A piece being played: yields words and calls, receives the results, returns its last words."""

_LINE_NUMBER = re.compile(r"^ *\d+[\t→]", re.MULTILINE)
_BACKTICKS = re.compile(r"`{3,}")


class Stuck(Exception):
    """The piece can't go on; the text says why, as the turn's last words."""


def expect(result: Result, otherwise: str) -> None:
    """Go on if the tool succeeded; otherwise end the piece with this sentence and the tool's words."""
    if result.failed:
        raise Stuck(f"{otherwise}\n\n{fenced(result.text)}")


def bash(command: str, description: str) -> ToolCall:
    """Call the shell."""
    return ToolCall("Bash", {"command": command, "description": description})


def commit(plan: Plan, step: int, said: str, message: str, *paths: str) -> Generator[Reply, list[Result], str]:
    """Commit these paths; returns a sentence about it. A failure does not end the piece: the work is done."""
    files = shlex.join(paths)
    command = (
        f"git add -- {files} && if git diff --cached --quiet -- {files}; then echo 'Nothing new to commit.'; "
        f"else git commit -q -m {shlex.quote(message)} -- {files} && git log --oneline -n 1; fi"
    )
    [result] = yield from plan.do(step, said, bash(command, f"Commit {files}"))
    if result.failed:
        return f"I could not commit it:\n\n{fenced(result.text)}"
    return f"Committed: `{result.text.strip()}`"


def write(plan: Plan, step: int, said: str, path: str, content: str) -> Generator[Reply, list[Result], None]:
    """Write a file, or end the piece."""
    [written] = yield from plan.do(step, said, ToolCall("Write", {"file_path": path, "content": content}))
    expect(written, f"I could not write `{path}`:")


def fenced(text: str, *, most: int = 8_000) -> str:
    """Quote a text in a fence that its own backticks can't close. A long text loses its middle."""
    if len(text) > most:
        left_out = len(text) - most
        text = f"{text[: most // 2]}\n… {left_out} characters left out …\n{text[len(text) - most // 2 :]}"
    fence = "`" * max([3, *(len(run) + 1 for run in _BACKTICKS.findall(text))])
    return f"{fence}\n{text}\n{fence}"


def without_line_numbers(text: str) -> str:
    """Take off the line numbers that the Read tool puts before each line."""
    return _LINE_NUMBER.sub("", text).rstrip()
