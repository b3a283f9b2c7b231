"""The answer of a turn that was stopped: the steps that are done, and those that are left."""

from typing import Any

from claude_agent_sdk import AssistantMessage, ToolResultBlock, ToolUseBlock, UserMessage

from peerbot.slack.control_words import MOST_NAMED
from peerbot.slack.words import note_words
from peerbot.worker.report import Report


def calls(report: Report, tool: str, arguments: dict[str, Any], identity: str = "t1") -> None:
    report.take(AssistantMessage(content=[ToolUseBlock(identity, tool, arguments)], model="m"))


def answers(report: Report, identity: str = "t1") -> None:
    report.take(UserMessage(content=[ToolResultBlock(identity, "ok")]))


def standing(report: Report) -> str:
    """Return the thread's text of the turn, without the sentence that it was stopped."""
    return note_words(report.time_up(5)).partition("\n\n")[2]


def test_its_own_list_says_what_is_done_and_what_is_left() -> None:
    report = Report()
    report.step("Check out the repository")
    todos = [
        {"content": "Find the test", "status": "completed"},
        {"content": "Mend the code", "status": "in_progress"},
        {"content": "Commit", "status": "pending"},
    ]
    calls(report, "TodoWrite", {"todos": todos})
    calls(report, "Bash", {"command": "ls", "description": "List the files"})
    assert standing(report) == "**Done:** Find the test  \n**Left:** Mend the code; Commit"


def test_without_a_list_its_steps_do() -> None:
    report = Report()
    report.step("Check out the repository")
    assert standing(report) == ""
    calls(report, "Write", {"file_path": "/workspace/primes.py"})
    answers(report)
    assert standing(report) == "**Done:** Write primes.py"
    calls(report, "Bash", {"command": "python3 primes.py", "description": "Run primes.py"}, "t2")
    assert standing(report) == "**Done:** Write primes.py  \n**Left:** Run primes.py"


def test_of_many_steps_the_last_are_named() -> None:
    report = Report()
    for number in range(MOST_NAMED + 3):
        calls(report, "Read", {"file_path": f"{number}.txt"}, f"t{number}")
        answers(report, f"t{number}")
    named = "; ".join(f"Read {number}.txt" for number in range(3, MOST_NAMED + 3))
    assert standing(report) == f"**Done:** 3 more; {named}"
