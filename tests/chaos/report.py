"""The report of a chaos run: tables for people, the same as JSON, and the stories of conversations with faults."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checker import Name, Problem, failed_turns
from crowd import Course
from evidence import Evidence
from plan import Kind, Plan
from world import ChaosSystem

SLOWEST = 5


@dataclass(frozen=True)
class Report:
    """The figures of a run."""

    figures: dict[str, Any]
    faults: dict[str, int]
    problems: list[Problem]
    failed: dict[str, int]  # turns, by their first words
    slowest: dict[str, float]  # conversations: the longest wait in each, in seconds, the longest first

    def markdown(self) -> str:
        """Tables: the figures, the faults by kind, what failed turns said, and who waited longest."""
        lines = ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in self.figures.items())]
        lines += [
            "",
            "| fault | times |",
            "|---|---|",
            *(f"| {kind} | {times} |" for kind, times in self.faults.items()),
        ]
        if self.failed:
            lines += ["", "| a turn failed and said | times |", "|---|---|"]
            lines += [f"| {said} | {times} |" for said, times in self.failed.items()]
        lines += ["", "| longest in | message → answer |", "|---|---|"]
        lines += [f"| {conversation} | {seconds:.1f} s |" for conversation, seconds in self.slowest.items()]
        return "\n".join(lines) + "\n"

    def write(self, directory: Path) -> None:
        """Keep it as Markdown and JSON."""
        (directory / "report.md").write_text(self.markdown())
        problems = [str(problem) for problem in self.problems]
        document = {
            "figures": self.figures,
            "faults": self.faults,
            "failed": self.failed,
            "slowest": self.slowest,
            "problems": problems,
        }
        (directory / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False))


def report_of(system: ChaosSystem, plan: Plan, evidence: Evidence, problems: list[Problem], seconds: float) -> Report:
    """Count."""
    names = [problem.name for problem in problems]
    runs = [reason for seen in evidence.conversations for reason in seen.documents("runs.closed").values()]
    longest = {str(course.conversation): max(found) for course in system.courses if (found := _waits(course))}
    slowest = dict(sorted(longest.items(), key=lambda item: -item[1])[:SLOWEST])
    waits = sorted(seconds for course in system.courses for seconds in _waits(course))
    waited = [seen.waited for seen in evidence.conversations if seen.waited is not None]
    saved = {(seen.conversation, path) for seen in evidence.conversations for save in seen.saves for path in save.files}
    figures = {
        "seed": plan.seed,
        "conversations": len(evidence.conversations),
        "messages": sum(len(seen.asked) for seen in evidence.conversations),
        "faults": system.blows.counts.total(),
        "turns": sum(len(seen.documents("turns.json")) for seen in evidence.conversations),
        "what people did besides": sum(len(seen.acts) for seen in evidence.conversations),
        "… that had no effect, and a reason": sum(len(seen.acts & seen.settled) for seen in evidence.conversations),
        **_kinds(evidence),
        "turns that were stopped": sum(
            any(note["kind"] == "stopped_by" for note in turn.get("notes", ()))
            for seen in evidence.conversations
            for turn in seen.documents("turns.json").values()
        ),
        "turns that failed and said why": len(failed_turns(evidence)),
        "runs": sum(len(seen.documents("runs.json")) for seen in evidence.conversations),
        "runs that did not end by themselves": sum(closed["reason"] != "finished" for closed in runs),
        "dispatchers started": system.launched,
        "dispatchers that could not start, since the store was away": len(system.gave_up),
        "files that were saved": len(saved),
        "checkpoints": sum(save.place.startswith("work/") for seen in evidence.conversations for save in seen.saves),
        "lost": names.count(Name.LOST),
        "doubled": names.count(Name.DOUBLED) + names.count(Name.ANSWERED_TWICE),
        "out of order": names.count(Name.OUT_OF_ORDER),
        "saved work lost": names.count(Name.WORK_LOST),
        "otherwise wrong": sum(
            name not in (Name.LOST, Name.DOUBLED, Name.ANSWERED_TWICE, Name.OUT_OF_ORDER, Name.WORK_LOST)
            for name in names
        ),
        "message → answer, median": f"{waits[len(waits) // 2]:.1f} s" if waits else "–",
        "message → answer, 99 of 100 within": f"{waits[len(waits) * 99 // 100]:.1f} s" if waits else "–",
        "message → answer, longest": f"{waits[-1]:.1f} s" if waits else "–",
        "longest wait after the last fault": f"{max(waited):.1f} s" if waited else "–",
        "time": f"{seconds:.0f} s",
    }
    failed = Counter(text.partition(".")[0][:80] for _, _, text in failed_turns(evidence))
    return Report(
        figures, {kind: system.blows.counts[kind] for kind in Kind}, problems, dict(failed.most_common()), slowest
    )


def _kinds(evidence: Evidence) -> dict[str, int]:
    """Count what people did, what the agent asked, and what single people were told."""
    acts = Counter(act.partition("-")[2] for seen in evidence.conversations for act in seen.acts)
    did = Counter(did.what for seen in evidence.conversations for did in seen.did)
    ends = Counter(settled["how"] for seen in evidence.conversations for settled in seen.answers.values())
    return {
        **{f"… of kind {kind}": times for kind, times in sorted(acts.items())},
        **{f"… {what}": times for what, times in sorted(did.items())},
        "menus of repositories": sum(len(seen.menus) for seen in evidence.conversations),
        "questions": sum(len(seen.questions) for seen in evidence.conversations),
        **{f"… that ended so: {how}": times for how, times in sorted(ends.items())},
        "told to one person": sum(len(seen.whispers) for seen in evidence.conversations),
        "branches that keep what was undone": sum(len(seen.kept) for seen in evidence.conversations),
    }


def _waits(course: Course) -> list[float]:
    return [course.answered[said.identity] - said.at for said in course.said if said.identity in course.answered]


def write_stories(system: ChaosSystem, evidence: Evidence, report: Report, directory: Path) -> None:
    """Tell the story of each conversation with a problem, and of the slowest: messages, cards, files, logs.

    The faults that were made are written down beside them.
    """
    (directory / "story.txt").write_text("\n".join([*system.blows.story, *system.gave_up, *system.died]) + "\n")
    problems = report.problems
    told = {problem.conversation for problem in problems} | report.slowest.keys()
    for seen in evidence.conversations:
        if seen.conversation not in told:
            continue
        lines = [f"# {seen.conversation}", "", *(str(p) for p in problems if p.conversation == seen.conversation)]
        lines += ["", "## said", *map(str, seen.asked), "", "## in the thread", *map(str, seen.shown)]
        lines += [
            "",
            "## journal",
            *(f"{name}: {json.dumps(found)[:600]}" for name, found in sorted(seen.objects.items())),
        ]
        lines += [f"marker {marker}" for marker in seen.markers]
        lines += ["", "## people", *map(str, seen.did), *map(str, seen.questions), *map(str, seen.whispers)]
        lines += ["", "## saves", *map(str, seen.saves), f"branch: {seen.branch}"]
        lines += ["", "## model", *(f"{a.at:.3f} now {sorted(a.now)} known {sorted(a.known)}" for a in seen.requests)]
        lines += ["", "## log", *system.logged_of(seen.conversation)]
        (directory / f"{seen.conversation.replace('/', '-')}.story.txt").write_text("\n".join(lines) + "\n")
