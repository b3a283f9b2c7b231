"""The doctor's report: one finding a line, each fault with its fix."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

_MARKS = {"good": "✓", "wrong": "✗", "skipped": "–"}


class Outcome(StrEnum):
    """The result of one check."""

    GOOD = "good"
    WRONG = "wrong"
    SKIPPED = "skipped"


class Finding(BaseModel):
    """The result of one check. `fix` says in one sentence how to mend a fault; otherwise it is empty."""

    model_config = ConfigDict(frozen=True)

    check: str
    outcome: Outcome
    said: str
    fix: str = ""

    def line(self) -> str:
        """Write it for a person."""
        mark = _MARKS[self.outcome]
        return f"{mark} {self.check.replace('_', ' ')}: {self.said}" + (f" → {self.fix}" if self.fix else "")


class Report(BaseModel):
    """All findings, in order."""

    findings: list[Finding]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong. A skipped check is not wrong."""
        return all(finding.outcome is not Outcome.WRONG for finding in self.findings)


def good(check: str, said: str) -> Finding:
    """Make a finding: all is as it should be."""
    return Finding(check=check, outcome=Outcome.GOOD, said=said)


def wrong(check: str, said: str, fix: str) -> Finding:
    """Make a finding: something is wrong, and `fix` mends it."""
    return Finding(check=check, outcome=Outcome.WRONG, said=said, fix=fix)


def skipped(check: str, why: str) -> Finding:
    """Make a finding: this was not checked."""
    return Finding(check=check, outcome=Outcome.SKIPPED, said=why)
