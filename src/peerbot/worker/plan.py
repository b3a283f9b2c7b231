"""Decides what of a turn's work gets on the branch: the table in docs/reliability.md. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Found:
    """The facts about the agent's git at a turn's end. Commits are None where there are none.

    `last`: the branch's commit when the turn began. `tip`: its commit now; None if the agent removed the branch.
    `head`: HEAD's commit. `related`: whether the agent's history (`tip`, else `head`) has a commit in common with
    `last`. `head_follows`: whether `head` builds on `tip` (on `last`, without a tip). `head_precedes`: whether `tip`
    builds on `head`. `dirty`: whether the files differ from `head`.
    """

    there: bool
    on_branch: bool
    operation: str
    last: str | None
    tip: str | None
    head: str | None
    related: bool
    head_follows: bool
    head_precedes: bool
    dirty: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The commit for the branch, and whether the uncommitted files go on top of it.

    `replaced`: the agent's history is another one, or gone. `moved`: the agent worked on top of the branch, but not on
    it. `elsewhere`: its files or HEAD belong somewhere else than on the branch, and are saved.
    """

    onto: str | None
    files: bool
    replaced: bool = False
    moved: bool = False
    elsewhere: bool = False


def decide(found: Found) -> Plan:
    """Decide what gets on the branch. Deterministic; raises nothing."""
    if not found.there or (found.last and not found.related and (found.on_branch or found.tip is None)):
        return Plan(found.last, files=True, replaced=True)
    if found.operation:
        return Plan(found.tip or found.last, files=False)
    if found.on_branch:
        return Plan(found.head, files=True)
    if found.head and found.head_follows:
        return Plan(found.head, files=True, moved=True)
    elsewhere = found.dirty or not found.head_precedes
    return Plan(found.tip or found.last, files=False, elsewhere=elsewhere)
