"""Copies the commits of a person's own repository into the local GitHub. The source is never changed."""

import os
import re
import unicodedata
from itertools import count
from pathlib import Path
from typing import NamedTuple

from peerbot.conversation.keys import branch_prefixes
from peerbot.errors import SettingsError
from peerbot.local.github.git import Git, GitFailed
from peerbot.local.github.state import RepositoryRecord, State

_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_LONGEST_NAME = 80  # of GitHub's 100, so that a number fits behind it


async def import_repository(state: State, full_name: str, source: Path, *, branch_prefix: str) -> None:
    """Copy the repository that `source` lies in as `full_name`, or bring that copy up to date.

    PeerBot's pushes here, to branches below `branch_prefix`, stay, whatever the source holds. Dirty, shallow, bare and
    linked (worktree) checkouts will do. The branch that is checked out becomes the default branch. Raises
    `SettingsError` if `source` is in no git repository, or git can't copy the whole of it.
    """
    await _copy(state, full_name, await _origin(state.git, source), branch_prefix)


class Copy(NamedTuple):
    """A copy, and the repository that it was made of."""

    full_name: str
    origin: str  # the path of its top directory, for people to read


async def import_by_path(state: State, owner: str, source: Path, *, branch_prefix: str) -> Copy:
    """Copy the repository that `source` lies in, or bring its earlier copy up to date.

    A copy belongs to the path of its repository: another repository gets another copy, even if both folders have the
    same name. Raises `SettingsError` as `import_repository` does, and if nothing is committed where HEAD is.
    """
    origin = await _origin(state.git, source)
    await _check_committed(state.git, origin)
    known = state.by_source(origin.as_uri()) or await _copy_without_path(state, f"{owner}/{source.name}", origin)
    full_name = known.full_name if known else _free_name(state, owner, origin)
    await _copy(state, full_name, origin, branch_prefix)
    return Copy(full_name, _shown(origin))


async def _copy(state: State, full_name: str, origin: Path, branch_prefix: str) -> None:
    source, ours = origin.as_uri(), [f"^refs/heads/{prefix}/*" for prefix in branch_prefixes(branch_prefix)]
    try:
        async with state.lock(full_name):
            if (record := state.find(full_name)) is not None:
                to, refs = state.path(full_name), [*_REFS, *ours]
                await state.git.run("-C", to, "fetch", "--quiet", "--update-shallow", origin, *refs)
                if record.source != source:
                    state.save(record.model_copy(update={"source": source}))
                return
            record = RepositoryRecord(
                full_name=full_name, source=source, description=f"A copy of {_shown(origin.name)}"
            )
            with state.new(record) as made:
                # Objects are copied, neither linked nor borrowed: the source can be changed and deleted freely.
                await state.git.run("clone", "--quiet", "--bare", "--no-hardlinks", "--dissociate", origin, made)
                await state.git.run("-C", made, "remote", "remove", "origin")
                record.default_branch = await _default_branch(state.git, made)
    except GitFailed as error:
        raise SettingsError(
            f"git can't copy {_shown(origin)}: {_last_line(error)}. Mend that (git fsck may say more), or begin in a "
            "new directory (--in)."
        ) from error


async def _origin(git: Git, source: Path) -> Path:
    """Return the top directory of the repository that `source` lies in."""
    try:
        bare = (await git.run("-C", source, "rev-parse", "--is-bare-repository")).strip() == "true"
    except GitFailed as error:
        if "not a git repository" in str(error):
            raise SettingsError(
                f"{_shown(source)} is not a git repository. Name a directory with a git checkout in it."
            ) from error
        raise SettingsError(f"git can't read {_shown(source)}: {_last_line(error)}.") from error
    try:
        top = await git.path("-C", source, "rev-parse", "--absolute-git-dir" if bare else "--show-toplevel")
    except GitFailed as error:
        raise SettingsError(
            f"{_shown(source)} is inside a repository's .git directory. Name the checkout itself."
        ) from error
    if await git.ask("-C", source, "config", "--get-regexp", r"^remote\..*\.promisor$"):
        raise SettingsError(
            f"{_shown(top)} is a partial clone: parts of it are elsewhere. Make a full clone and name that."
        )
    return top


async def _check_committed(git: Git, origin: Path) -> None:
    """Raise `SettingsError` if HEAD is unborn: there is no commit that a turn could begin with."""
    if await git.ask("-C", origin, "rev-parse", "--quiet", "--verify", "HEAD"):
        return
    if await git.ask("-C", origin, "for-each-ref", "--count=1", "refs/heads") == "":
        raise SettingsError(
            f"{_shown(origin)} has no commit yet, and PeerBot works on what is committed. Make a first commit there "
            "(git commit --allow-empty -m Begin)."
        )
    branch = await git.ask("-C", origin, "symbolic-ref", "--short", "HEAD")
    raise SettingsError(
        f"The current branch of {_shown(origin)}, {branch}, has no commit yet. Commit "
        "something on it, or make another branch the current one (git switch; in a bare repository, git symbolic-ref)."
    )


async def _copy_without_path(state: State, full_name: str, origin: Path) -> RepositoryRecord | None:
    """Find the copy that an earlier release made of `origin`. That release kept no path, only the folder's name.

    A copy whose history begins with a commit of `origin` counts as its copy.
    """
    record = state.find(full_name)
    if record is None or record.source is not None:
        return None
    roots = await state.git.run("-C", state.path(full_name), "rev-list", "--max-parents=0", "--branches")
    found = await state.git.run("-C", origin, "cat-file", "--batch-check", data=roots.encode())
    return record if any(line.split()[1:2] == ["commit"] for line in found.splitlines()) else None


def _free_name(state: State, owner: str, origin: Path) -> str:
    """Make a name for the copy of `origin`: the folder's, as far as GitHub takes it, with a number if it is taken."""
    folder = origin.parent if origin.name == ".git" else origin
    plain = unicodedata.normalize("NFKD", _shown(folder.name)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-.")[:_LONGEST_NAME]
    name = re.sub(r"(\.git)+$", "", name, flags=re.IGNORECASE).strip("-.") or "repository"
    names = (f"{owner}/{name}" if n == 1 else f"{owner}/{name}-{n}" for n in count(1))
    return next(one for one in names if not state.path(one).exists() and state.moved(one) is None)


async def _default_branch(git: Git, repository: Path) -> str:
    """Return the branch that HEAD names; give a detached HEAD one, since a pull request needs a base."""
    named = await git.ask("-C", repository, "symbolic-ref", "--short", "HEAD")
    if named is None:
        here = await git.run(
            "-C", repository, "for-each-ref", "--points-at=HEAD", "--format=%(refname:lstrip=2)", "refs/heads"
        )
        named = (here.split() or ["detached"])[0]
        await git.run("-C", repository, "update-ref", f"refs/heads/{named}", "HEAD")
        await git.run("-C", repository, "symbolic-ref", "HEAD", f"refs/heads/{named}")
    return named


def _shown(path: Path | str) -> str:
    """Write a path for people; bytes that are no UTF-8 become question marks."""
    return os.fsencode(path).decode(errors="replace")


def _last_line(error: GitFailed) -> str:
    return str(error).splitlines()[-1].removeprefix("fatal: ").rstrip(".")
