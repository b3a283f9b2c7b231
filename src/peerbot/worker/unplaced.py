"""Finds what of a turn's work is not on the branch, for people and for the next turn."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from peerbot.conversation.notes import (
    Elsewhere,
    Left,
    LeftOut,
    Moved,
    Nested,
    Note,
    Place,
    Replaced,
    Rewritten,
    Stashes,
    Stopped,
)
from peerbot.worker.agents_git import AgentsGit
from peerbot.worker.git import EMPTY_TREE
from peerbot.worker.plan import Plan
from peerbot.worker.snapshot import Snapshot
from peerbot.worker.workspace import Workspace

_MOST_LISTED = 50
_NEVER_SAVED = (Left.IGNORED, Left.SUBMODULE, Left.REFUSED_BY_GIT, Left.UNREADABLE)


@dataclass(frozen=True, slots=True)
class End:
    """The workspace at the end of a turn, and the decision about it. `before`: its git when the turn began."""

    seen: AgentsGit | None
    before: AgentsGit | None
    snapshot: Snapshot
    plan: Plan
    nested_before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unplaced:
    """The work that is not on the branch. `places`: commits elsewhere; `fresh`: those that this turn made."""

    end: End
    rewritten: int
    left: Mapping[str, Left]
    places: tuple[Place, ...] = ()
    fresh: tuple[Place, ...] = ()
    nested: tuple[str, ...] = ()
    new_nested: tuple[str, ...] = ()
    stashes: int = 0  # new ones
    worktrees: bool = False

    @property
    def to_save(self) -> bool:
        """Whether there is something that the next turn must find."""
        seen = self.end.seen
        held = any(why is not Left.IGNORED for why in self.left.values())
        operation = bool(seen and (seen.operation or seen.stashes))
        return operation or held or self.end.plan.elsewhere or bool(self.places or self.nested) or self.worktrees

    def notes(self, unsaved: Collection[str] | None) -> list[Note]:
        """Make the notes to people. `unsaved`: the paths that the saved state lacks; None if there is no such state."""
        kept = unsaved is not None
        plan, seen, snapshot = self.end.plan, self.end.seen, self.end.snapshot
        told: list[Note] = []
        conflicts = tuple(sorted(path for path, why in snapshot.unfit.items() if why is Left.CONFLICT))
        operation = seen.operation if seen else ""
        if operation:
            told.append(Stopped(operation=operation, files=conflicts[:_MOST_LISTED], kept=kept))
        if plan.replaced:
            told.append(Replaced(files=snapshot.tree != EMPTY_TREE))
        if self.rewritten:
            told.append(Rewritten(commits=self.rewritten))
        if plan.moved and seen:
            told.append(Moved(place=seen.on.removeprefix("refs/heads/")))
        if self.fresh or plan.elsewhere:
            told.append(Elsewhere(places=self.fresh[:_MOST_LISTED], files=plan.elsewhere, kept=kept))
        if self.stashes:
            told.append(Stashes(count=self.stashes, kept=kept))
        if self.new_nested:
            told.append(Nested(paths=self.new_nested[:_MOST_LISTED], kept=kept))
        told_above = {*(conflicts if operation else ()), *self.nested}
        left = {path: why for path, why in self.left.items() if path not in told_above}
        lost = {path for path, why in left.items() if unsaved is None or path in unsaved or why in _NEVER_SAVED}
        for are_kept in (True, False):
            paths = [path for path in left if (path not in lost) is are_kept][:_MOST_LISTED]
            if paths:
                told.append(LeftOut(paths={path: left[path] for path in paths}, kept=are_kept))
        return told


async def unplaced(
    end: End, workspace: Workspace, tip: str | None, *, rewritten: int, left: Mapping[str, Left]
) -> Unplaced:
    """Find all that is not on the branch, whose commit is `tip` now. Raises `GitFailed`.

    `rewritten`: commits that the branch lost; `left`: paths that are not on it, beside those that the snapshot names.
    """
    seen, plan, before = end.seen, end.plan, end.before
    paths = {**end.snapshot.left, **(end.snapshot.unfit if plan.files else {}), **left}
    inside = {tree.path.resolve() for tree in seen.worktrees} if seen else set()
    nested = tuple(path for path in end.snapshot.nested if (workspace.path / path).resolve() not in inside)
    new_nested = tuple(path for path in nested if path not in end.nested_before)
    if seen is None:
        return Unplaced(end, rewritten, paths, nested=nested, new_nested=new_nested)
    there, places, fresh = [oid for oid in (tip, *workspace.there.values()) if oid], [], []
    for ref, oid in elsewhere(seen, workspace, replaced=plan.replaced).items():
        count = int(await workspace.snapshots.git("rev-list", "--count", oid, "--not", *there))
        if not count:
            continue
        place = Place(name=ref.removeprefix("refs/heads/").removeprefix("refs/tags/"), commits=count)
        places.append(place)
        if before is None or before.refs.get(ref) != oid:
            fresh.append(place)
    return Unplaced(
        end,
        rewritten,
        paths,
        tuple(places),
        tuple(fresh),
        nested=nested,
        new_nested=new_nested,
        stashes=len(set(seen.stashes) - set(before.stashes if before else ())),
        worktrees=bool(seen.worktrees),
    )


def elsewhere(seen: AgentsGit, workspace: Workspace, *, replaced: bool) -> dict[str, str]:
    """Name the commits of the agent's that the conversation's branch may lack: by ref, or how else they are known.

    `replaced`: the branch itself has another history than the one on GitHub.
    """
    ours = f"refs/heads/{workspace.branch}"
    found = {ref: oid for ref, oid in seen.refs.items() if ref != ours and workspace.known.get(ref) != oid}
    found |= {f"worktree {tree.path.name}": tree.head for tree in seen.worktrees if not tree.branch}
    if seen.head and replaced and seen.on in ("", ours):
        found["refs/heads/replaced-history"] = seen.head
    elif seen.head and not seen.on and not seen.operation:
        found[""] = seen.head
    return found
