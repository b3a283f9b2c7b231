"""What a doctor says: one finding a line, with the fix where something is wrong."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

_MARKS = {"good": "✓", "wrong": "✗", "skipped": "–"}


class Outcome(StrEnum):
    """How something was found."""

    GOOD = "good"
    WRONG = "wrong"
    SKIPPED = "skipped"


class Finding(BaseModel):
    """One thing that was looked at. `fix` is the one sentence that mends it, where it is wrong."""

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
    """Everything that was looked at, in order."""

    findings: list[Finding]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong; what was skipped is not."""
        return all(finding.outcome is not Outcome.WRONG for finding in self.findings)


def good(check: str, said: str) -> Finding:
    """Something is as it should be."""
    return Finding(check=check, outcome=Outcome.GOOD, said=said)


def wrong(check: str, said: str, fix: str) -> Finding:
    """Something is wrong, and this mends it."""
    return Finding(check=check, outcome=Outcome.WRONG, said=said, fix=fix)


def skipped(check: str, why: str) -> Finding:
    """Something was not looked at."""
    return Finding(check=check, outcome=Outcome.SKIPPED, said=why)
