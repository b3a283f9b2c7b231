"""The report of `peerbot cost`: a row for each person, channel, repository or month; for people and as JSON."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, Field, computed_field

from peerbot.conversation.spent import Spent


class By(StrEnum):
    """What the rows stand for."""

    PERSON = "person"
    CHANNEL = "channel"
    REPOSITORY = "repository"
    MONTH = "month"


class Row(BaseModel):
    """What some turns cost. `pull_requests` counts those that they opened or updated."""

    name: str
    turns: int = 0
    usd: float = 0.0
    tokens_read: int = 0
    tokens_written: int = 0
    pull_requests: int = 0
    merged: int | None = None  # of those; None: GitHub was not asked

    @computed_field
    def usd_per_merged(self) -> float | None:
        """Dollars for each merged pull request; None if there is none, or nobody knows."""
        return self.usd / self.merged if self.merged else None


class Report(BaseModel):
    """What the turns since a time cost."""

    store: str
    at: AwareDatetime
    since: AwareDatetime | None
    by: By
    rows: list[Row] = Field(default_factory=list)  # the dearest first; months in their order
    total: Row = Field(default_factory=lambda: Row(name="total"))
    models: list[Spent] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)  # what these figures leave out, in sentences

    def text(self) -> str:
        """Write the report as a table for people."""
        head = [self.by.value, "turns", "dollars", "tokens read", "written", "pull requests", "merged", "$ per merged"]
        lines = [head, *(_cells(row) for row in (*self.rows, self.total))]
        return "\n".join([*_table(lines), *(f"\n{note}" for note in self.notes)])


def _cells(row: Row) -> list[str]:
    per_merged = row.usd_per_merged
    assert per_merged is None or isinstance(per_merged, float)
    return [
        row.name,
        f"{row.turns:,}",
        f"{row.usd:,.2f}",
        f"{row.tokens_read:,}",
        f"{row.tokens_written:,}",
        f"{row.pull_requests:,}",
        "?" if row.merged is None else f"{row.merged:,}",
        "—" if per_merged is None else f"{per_merged:,.2f}",
    ]


def _table(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *rest = (cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                        enumerate(zip(line, widths, strict=True)))  # fmt: skip
        yield "  ".join([first, *rest]).rstrip()
