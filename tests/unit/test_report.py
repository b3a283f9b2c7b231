"""What a turn that was stopped says of itself: what is done, and what is left."""

from typing import Any

from claude_agent_sdk import AssistantMessage, ToolResultBlock, ToolUseBlock, UserMessage

from peerbot.worker.report import MOST_NAMED, Report


def calls(report: Report, tool: str, arguments: dict[str, Any], identity: str = "t1") -> None:
    report.take(AssistantMessage(content=[ToolUseBlock(identity, tool, arguments)], model="m"))


def answers(report: Report, identity: str = "t1") -> None:
    report.take(UserMessage(content=[ToolResultBlock(identity, "ok")]))


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
    assert report.standing() == "**Done:** Find the test  \n**Left:** Mend the code; Commit"


def test_without_a_list_its_steps_do() -> None:
    report = Report()
    report.step("Check out the repository")
    assert report.standing() == ""
    calls(report, "Write", {"file_path": "/workspace/primes.py"})
    answers(report)
    assert report.standing() == "**Done:** Write primes.py"
    calls(report, "Bash", {"command": "python3 primes.py", "description": "Run primes.py"}, "t2")
    assert report.standing() == "**Done:** Write primes.py  \n**Left:** Run primes.py"


def test_of_many_steps_the_last_are_named() -> None:
    report = Report()
    for number in range(MOST_NAMED + 3):
        calls(report, "Read", {"file_path": f"{number}.txt"}, f"t{number}")
        answers(report, f"t{number}")
    named = "; ".join(f"Read {number}.txt" for number in range(3, MOST_NAMED + 3))
    assert report.standing() == f"**Done:** 3 more; {named}"
