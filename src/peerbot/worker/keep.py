"""Keeps a turn's work: on the branch, or saved for the next turn and named (decision 0022).

It looks at the state in which the agent left its git, decides by a table (`plan.py`), commits in the supervisor's own
git, pushes, and saves the rest. Then it brings the agent's git to what is on the branch, where that is simple.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from peerbot import logs
from peerbot.conversation.documents import FileChange, TurnTimes, now
from peerbot.conversation.notes import Left, LeftOut, Note, NotPushed
from peerbot.errors import PeerBotError
from peerbot.files.opening import Kind, kind
from peerbot.files.removal import remove
from peerbot.protocol.documents import PersonInput
from peerbot.protocol.prompt import one_name
from peerbot.worker import agents_git
from peerbot.worker.agents_git import AgentsGit
from peerbot.worker.checkpoint import Checkpoints, SavedState
from peerbot.worker.gateway import GatewayClient
from peerbot.worker.git import EMPTY_TREE, GitFailed
from peerbot.worker.plan import Found, decide
from peerbot.worker.restore import conflicting_again
from peerbot.worker.snapshot import LINK, Entry
from peerbot.worker.unplaced import End, elsewhere, unplaced
from peerbot.worker.upstream import SIGN_OFF, Diverged, Pushed, Upstream
from peerbot.worker.workspace import Workspace

log = logs.logger(__name__)

KEEP_SECONDS = 300.0
"""How long a turn's work may take to be committed, and then to be pushed."""

_TITLE_CHARACTERS = 72
# On the default branch GitHub would close the issue that such words name, in whatever repository.
_CLOSING = re.compile(r"\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?)(:\s*|\s+)(?=\S*#\d|GH-\d|https?://)", re.I)
_REMOVE_SECONDS = 10.0
_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock")


@dataclass(frozen=True, slots=True)
class Kept:
    """The fate of a turn's work: the branch's head if it was pushed, and what people are told.

    `part`: the number of the saved state with all that is not on the branch; None if there is none.
    """

    commit: str | None
    files: list[FileChange]
    part: int | None = None
    notes: list[Note] = field(default_factory=list)
    cause: str = ""  # for the operator
    no_difference: bool = False  # the branch's commits change no file in the end
    times: TurnTimes = field(default_factory=TurnTimes)


class Keep:
    """Keeps turns' work. `idle_seconds`: how long the worker, and so its workspace, waits after a turn."""

    def __init__(
        self,
        workspace: Workspace,
        upstream: Upstream,
        checkpoints: Checkpoints,
        gateway: GatewayClient,
        *,
        idle_seconds: float,
    ) -> None:
        self._workspace = workspace
        self._snapshots = workspace.snapshots
        self._git = workspace.snapshots.git
        self._upstream = upstream
        self._checkpoints = checkpoints
        self._gateway = gateway
        self._idle_seconds = idle_seconds
        self._before: AgentsGit | None = None
        self._nested: tuple[str, ...] = ()
        self._missing: dict[str, tuple[Left, int | None]] = {}

    async def begin(self, turn: int, missing: Mapping[str, Left] | None = None) -> None:
        """Note the state in which turn `turn` begins. Raises `GitFailed`.

        `missing`: the files of an interrupted turn that its last checkpoint lacks.
        """
        self._missing = {path: (why, self._looks(path)) for path, why in (missing or {}).items()}
        self._before = await asyncio.to_thread(agents_git.look, self._workspace.path)
        ours = self._before.branches.get(self._workspace.branch) if self._before else None
        self._workspace.last = ours or self._workspace.pushed or self._workspace.start
        self._nested = (await self._checkpoints.begin(turn)).nested

    async def turn(self, turn: int, inputs: Sequence[PersonInput], wrote: Collection[str] = ()) -> Kept:
        """Put the turn's work on the branch, and save what can't get there. A failure becomes a note to people.

        `wrote`: the files that the agent wrote with its own tools. Raises `Unavailable` if the gateway's journal stays
        away, and `Refused` if the run is over.
        """
        workspace, last = self._workspace, self._workspace.last
        end, tip, files, loose = None, last, list[FileChange](), dict[str, Left]()
        try:
            async with _git_time():
                end = await self._end()
                tip = await self._committed(end, inputs)
                tip, loose = await self._without_loose_gitlinks(tip)
                tip, raw = await self._without_raw_lfs(tip)
                loose |= raw
                files = await workspace.changes(last or EMPTY_TREE, tip) if tip else []
            pushed = await self._pushed(tip)
        except GitFailed as error:
            log.warning("push_failed", reason=error.detail, exc_info=error)
            await self._settle(end, Pushed(tip, tip))
            saved = await self._saved(turn, end, tip)
            note = NotPushed(
                reason=str(error),
                kept=saved is not None,
                diverged=isinstance(error, Diverged),
                waits_seconds=self._idle_seconds,
            )
            part = saved.number if saved else None
            return Kept(None, files, part, [note], detail_of(error), times=self._times(None))
        pushed_at = now() if pushed.commit else None
        tip = pushed.commit or tip
        left = {**loose, **pushed.refused, **await self._hidden(wrote)}
        rest = await unplaced(end, workspace, tip, rewritten=pushed.rewritten, left=left)
        await self._settle(end, pushed)
        saved = await self._saved(turn, end, tip) if rest.to_save else None
        notes = rest.notes(saved.left if saved else None)
        if missing := await asyncio.to_thread(self._still_missing):
            notes.append(LeftOut(paths=missing, kept=False))
        nothing = pushed.commit is not None and await self._upstream.changes_nothing(pushed.commit)
        part, times = saved.number if saved else None, self._times(pushed_at)
        return Kept(pushed.commit, files, part, notes, no_difference=nothing, times=times)

    def _times(self, pushed_at: datetime | None) -> TurnTimes:
        cloned, self._workspace.cloned = self._workspace.cloned, None
        saves = self._checkpoints.times
        return TurnTimes(cloned=cloned, saved=saves[-1] if saves else None, saves=len(saves), pushed=pushed_at)

    async def _end(self) -> End:
        """Look at the workspace, and decide. Raises `GitFailed`."""
        workspace, git = self._workspace, self._git
        seen = await asyncio.to_thread(agents_git.look, workspace.path)
        last = workspace.last
        head = seen.head if seen else last
        snapshot = await self._snapshots.take(head)
        tip = seen.branches.get(workspace.branch) if seen else None
        base, root = tip or last, tip or head
        found = Found(
            there=seen is not None,
            on_branch=bool(seen and seen.on == f"refs/heads/{workspace.branch}"),
            operation=seen.operation if seen else "",
            last=last,
            tip=tip,
            head=head,
            related=bool(last and root and await self._related(last, root)),
            head_follows=bool(head and (base is None or await git.is_ancestor(base, head))),
            head_precedes=bool(head and tip and await git.is_ancestor(head, tip)),
            dirty=snapshot.tree != await self._tree(head) or bool(snapshot.unfit),
        )
        plan = decide(found)
        log.info("work_looked_at", operation=found.operation, plan=repr(plan), left=len(snapshot.left))
        return End(seen, self._before, snapshot, plan, self._nested)

    async def _committed(self, end: End, inputs: Sequence[PersonInput]) -> str | None:
        """Commit the uncommitted files on top of the plan's commit, if they belong there; returns the branch's tip."""
        onto = end.plan.onto
        if not end.plan.files or (end.plan.replaced and end.snapshot.tree == EMPTY_TREE):
            return onto
        tree = await self._snapshots.fit(end.snapshot, onto)
        if tree == await self._tree(onto):
            return onto
        parents = ["-p", onto] if onto else []
        words = _message(inputs, sign_off=self._upstream.sign_off).encode(errors="surrogateescape")
        return (await self._git("commit-tree", tree, *parents, "-F", "-", data=words)).strip()

    async def _without_loose_gitlinks(self, tip: str | None) -> tuple[str | None, dict[str, Left]]:
        """Take links to repositories that nobody can fetch off the branch; returns its tip, and their paths."""
        base = self._workspace.pushed or self._workspace.there.get(self._workspace.default_branch)
        if tip is None or tip == base:
            return tip, {}
        changed = await self._git("diff-tree", "-r", "-z", "--no-renames", base or EMPTY_TREE, tip)
        fields = changed.split("\0")
        links = [path for words, path in zip(fields[0::2], fields[1::2], strict=False) if words.split(" ")[1] == LINK]
        there = await self._snapshots.entries(await self._tree(tip), links) if links else {}
        named = await self._submodules(tip) if links else set()
        loose = [
            path for path in links if path not in named or not await self._snapshots.fetchable(path, there[path].oid)
        ]
        if not loose:
            return tip, {}
        before = await self._snapshots.entries(await self._tree(base), loose)
        changes: dict[str, Entry | None] = {path: before.get(path) for path in loose}
        tree = await self._snapshots.edited(await self._tree(tip), changes)
        message = "Leave out links to repositories that cannot be fetched"
        signed = ["-m", SIGN_OFF] if self._upstream.sign_off else []
        commit = (await self._git("commit-tree", tree, "-p", tip, "-m", message, *signed)).strip()
        return commit, dict.fromkeys(loose, Left.SUBMODULE)

    async def _without_raw_lfs(self, tip: str | None) -> tuple[str | None, dict[str, Left]]:
        """Take files that belong to Git LFS out of our commits; returns the branch's tip, and their paths."""
        base = self._workspace.pushed or self._workspace.there.get(self._workspace.default_branch)
        if tip is None or tip == base:
            return tip, {}
        told = await self._git("diff-tree", "-r", "-z", "--name-only", "--no-renames", base or EMPTY_TREE, tip)
        paths = await self._snapshots.raw_lfs(tip, filter(None, told.split("\0")))
        if not paths:
            return tip, {}
        return await self._upstream.without(tip, paths, newest=paths), dict.fromkeys(sorted(paths), Left.LFS)

    async def _submodules(self, commit: str) -> set[str]:
        """Read the paths that `.gitmodules` names in `commit`."""
        try:
            told = await self._git("config", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"\.path$")
        except GitFailed:
            return set()
        return {line.partition(" ")[2] for line in told.splitlines()}

    async def _pushed(self, tip: str | None) -> Pushed:
        """Push `tip`, once more if the gateway could not push at first.

        Raises `GitFailed`, and the gateway's errors.
        """
        try:
            async with _git_time():
                return await self._upstream.push(tip)
        except GitFailed as error:
            # It pushes for nobody while its journal is away.
            if isinstance(error, Diverged) or not await self._gateway.came_back():
                raise
        async with _git_time():
            return await self._upstream.push(tip)

    async def _saved(self, turn: int, end: End | None, tip: str | None) -> SavedState | None:
        """Save all that is not on the branch; None if that fails, or if it is too large."""
        places = elsewhere(end.seen, self._workspace, replaced=True) if end and end.seen and end.plan.replaced else None
        try:
            return await self._checkpoints.save_all(turn, tip=tip, places=places)
        except (PeerBotError, OSError) as error:
            log.warning("work_not_kept", reason=str(error), exc_info=error)
            return None

    async def _hidden(self, wrote: Collection[str]) -> dict[str, Left]:
        """Find what git passes over in silence: ignored files that the agent wrote itself, pipes, closed folders."""
        inside = [path for path in map(self._inside, wrote) if path]
        ignored = dict.fromkeys(sorted(await self._snapshots.ignored(inside)), Left.IGNORED)
        return ignored | await self._snapshots.special()

    def _still_missing(self) -> dict[str, Left]:
        """Leave out what the agent has made again."""
        return {path: why for path, (why, looked) in self._missing.items() if self._looks(path) == looked}

    def _looks(self, path: str) -> int | None:
        """Return when a file was changed; None if it is not there."""
        try:
            return (self._workspace.path / path).lstat().st_mtime_ns
        except OSError:
            return None

    def _inside(self, path: str) -> str:
        place = self._workspace.path / path
        root = self._workspace.path
        name = str(place.relative_to(root)) if place.is_relative_to(root) else ""
        return name if kind(root, name) is Kind.FILE else ""

    async def _settle(self, end: End | None, done: Pushed) -> None:
        """Bring the agent's git to the branch's tip, if its files belong to it; if that fails, it is cloned again."""
        workspace, seen = self._workspace, end.seen if end else None
        workspace.spoiled = end is None or seen is None or end.plan.replaced or seen.trapped
        if end is None or seen is None or workspace.spoiled or not end.plan.files or done.ours is None:
            return
        for name in _LOCKS:  # all programs of the agent's have ended
            remove(seen.directory / name, seconds=_REMOVE_SECONDS)
        ref = f"refs/heads/{workspace.branch}"
        try:
            conflicts = await workspace.git("ls-files", "--unmerged", "-z")
            await workspace.git("update-ref", ref, done.ours)
            await workspace.git("symbolic-ref", "HEAD", ref)
            await workspace.git("reset", "--quiet", "--mixed")
            if done.commit and done.commit != done.ours:  # somebody else's commits came in
                await workspace.git("reset", "--quiet", "--keep", done.commit)
            await conflicting_again(workspace.git, conflicts)
        except GitFailed as error:
            log.warning("workspace_spoiled", reason=str(error), detail=error.detail)
            workspace.spoiled = True

    async def _related(self, one: str, other: str) -> bool:
        try:
            await self._git("merge-base", one, other)
        except GitFailed:
            return False
        return True

    async def _tree(self, commit: str | None) -> str:
        return (await self._git("rev-parse", f"{commit}^{{tree}}")).strip() if commit else EMPTY_TREE


def _message(inputs: Sequence[PersonInput], *, sign_off: bool) -> str:
    """Make a commit's message from the request: its first line, and the people who wrote."""
    lines = [line.strip() for item in inputs for line in item.text.splitlines() if line.strip(" `")]
    title = lines[0] if lines else "Changes made in the thread"
    title = title if len(title) <= _TITLE_CHARACTERS else title[: _TITLE_CHARACTERS - 1].rstrip() + "…"
    people = {item.user: item.name for item in inputs}
    trailers = [f"Co-authored-by: {one_name(name)} <{one_name(user)}@slack.invalid>" for user, name in people.items()]
    words = "\n".join([title, "", *trailers])
    return "\n".join([_CLOSING.sub(r"\1\2issue ", words), *([SIGN_OFF] if sign_off else [])])


def detail_of(error: BaseException) -> str:
    """Return the operator's words for a failure."""
    return (error.detail if isinstance(error, GitFailed) else "") or str(error)


@contextlib.asynccontextmanager
async def _git_time() -> AsyncIterator[None]:
    """Give the block `KEEP_SECONDS`; raises `GitFailed` when they are over."""
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            yield
    except TimeoutError as error:
        raise GitFailed(f"git took longer than {KEEP_SECONDS:.0f} seconds.") from error
