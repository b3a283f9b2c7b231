"""What each page of the local GitHub shows, as a document: read from git and from the pull requests at that moment.

Each function returns None if there is no such thing.
"""

import asyncio
from itertools import islice

from peerbot.local.github import browse, diffs, history, manage, pulls
from peerbot.local.github.browse import At
from peerbot.local.github.names import quoted, shown
from peerbot.local.github.shapes import Json
from peerbot.local.github.state import Check, Pull, RepositoryRecord, State

MOST_COMMITS = 40
MOST_COMMITS_OF_A_CHANGE = 250
_MOST_REPOSITORIES = 200
_MOST_REFS = 500
_MOST_PULLS = 200


async def organization(state: State, owner: str) -> Json | None:
    """The repositories of an owner, the newest first."""
    found = await asyncio.to_thread(state.newest_first, owner)
    if not found:
        return None
    found.sort(key=lambda record: record.pushed_at, reverse=True)
    listed = [_summary(record) for record in found[:_MOST_REPOSITORIES]]
    return {"owner": found[0].owner, "repositories": listed, "more": max(0, len(found) - _MOST_REPOSITORIES)}


async def repository(state: State, record: RepositoryRecord) -> Json:
    """A repository's first page: the files of its default branch."""
    found = await tree(state, record, record.default_branch)
    return found or {"repository": _summary(record), "empty": True}


async def tree(state: State, record: RepositoryRecord, rest: str) -> Json | None:
    """What is at `{ref}/{path}`: a folder with its README, or a file."""
    git, place = state.git, state.path(record.full_name)
    refs = await state.refs(record.full_name)
    at = await browse.place_of(git, place, refs, record.default_branch, rest)
    content = at and await browse.content(git, place, at)
    if at is None or content is None:
        return None
    newest, compared = await asyncio.gather(
        history.commits(git, place, at.commit, most=1, path=at.path), _beside_default(state, record, refs, at)
    )
    return {
        "repository": _summary(record),
        "at": _at(at),
        "branches": _names(refs, "refs/heads/"),
        "tags": _names(refs, "refs/tags/"),
        "newest": newest[0] if newest else None,
        "beside_default": compared,
        "pull": _short(state, found) if (found := _pull_of(record, at)) else None,
        **content,
    }


async def commits(state: State, record: RepositoryRecord, rest: str, page: int) -> Json | None:
    """The commits of `{ref}`, or those that changed `{ref}/{path}`."""
    git, place = state.git, state.path(record.full_name)
    refs = await state.refs(record.full_name)
    at = await browse.place_of(git, place, refs, record.default_branch, rest)
    if at is None:
        return None
    found = await history.commits(
        git, place, at.commit, most=MOST_COMMITS + 1, skip=(page - 1) * MOST_COMMITS, path=at.path
    )
    return {
        "repository": _summary(record),
        "at": _at(at),
        "branches": _names(refs, "refs/heads/"),
        "commits": found[:MOST_COMMITS],
        "page": page,
        "older": len(found) > MOST_COMMITS,
    }


async def commit(state: State, record: RepositoryRecord, name: str) -> Json | None:
    """One commit, and what it changed beside its first parent."""
    git, place = state.git, state.path(record.full_name)
    sha = await history.commit_of(git, place, name) if browse.is_hash(name) else None
    if sha is None:
        return None
    (found,) = await history.commits(git, place, sha, most=1)
    parent = found["parents"][0] if found["parents"] else None
    if parent and await history.commit_of(git, place, parent) is None:
        parent = None  # a copy of a shallow checkout ends here
    changed = await diffs.diff(git, place, parent, sha)
    return {"repository": _summary(record), "commit": found, "diff": changed}


async def compare(state: State, record: RepositoryRecord, span: str) -> Json | None:
    """What `base...head` has that its base has not; with one name, the base is the default branch."""
    git, place = state.git, state.path(record.full_name)
    base, dots, head = span.partition("...")
    if not dots:
        base, head = record.default_branch, span
    refs = await state.refs(record.full_name)
    ends = [await browse.place_of(git, place, refs, record.default_branch, name) for name in (base, head) if name]
    old, new = (*ends, None, None)[:2]
    if old is None or new is None or old.path or new.path:
        return None
    apart = await _apart(state, record, old.commit, new.commit)
    forked = await git.ask("-C", place, "merge-base", old.commit, new.commit)
    asked = f"{old.commit}..{new.commit}"
    found, changed = await asyncio.gather(
        history.commits(git, place, asked, most=MOST_COMMITS_OF_A_CHANGE), diffs.diff(git, place, forked, new.commit)
    )
    return {
        "repository": _summary(record),
        "base": _at(old),
        "head": _at(new),
        **apart,
        "related": forked is not None,
        "commits": found,
        "diff": changed,
        "branches": _names(refs, "refs/heads/"),
        "pull": _short(state, named) if (named := _pull_of(record, new)) and named.base == old.ref else None,
    }


def pull_list(state: State, record: RepositoryRecord) -> Json:
    """All pull requests of a repository, the newest first."""
    listed = [_short(state, pull) for pull in islice(reversed(record.pulls), _MOST_PULLS)]
    return {"repository": _summary(record), "pulls": listed, "more": max(0, len(record.pulls) - _MOST_PULLS)}


async def pull(state: State, record: RepositoryRecord, number: int) -> Json | None:
    """A pull request: its words, commits, comments, checks, and whether it can be merged."""
    found = pulls.numbered(record, number)
    if found is None:
        return None
    git, place = state.git, state.path(record.full_name)
    listed, stat, heads = await asyncio.gather(
        history.commits(git, place, f"{found.base_sha}..{found.head_sha}", most=MOST_COMMITS_OF_A_CHANGE),
        pulls.stat(state, record, found),
        state.heads(record.full_name),
    )
    merging = await manage.tried(state, record, found) if found.state == "open" else None
    may_return = found.state == "closed" and found.merged_at is None and {found.head, found.base} <= set(heads)
    return {
        "repository": _summary(record),
        "pull": {
            **_short(state, found),
            "body": found.body or "",
            "head_sha": found.head_sha,
            "base_sha": found.base_sha,
            "head_there": found.head in heads,
            "commits": stat.commits,
            "additions": stat.additions,
            "deletions": stat.deletions,
            "changed_files": stat.changed_files,
            "merge_sha": found.merge_sha,
            "conflicts": [shown(name) for name in merging.conflicts] if merging else [],
            "can_merge": bool(merging and merging.tree and not record.archived and not found.draft),
            "can_reopen": may_return,
        },
        "commits": listed,
        "checks": [_check(each) for each in record.checks if each.sha == found.head_sha],
        "comments": [comment.model_dump() for comment in found.comments],
    }


async def pull_files(state: State, record: RepositoryRecord, number: int) -> Json | None:
    """What a pull request changes since the commit that it branched off at."""
    found = pulls.numbered(record, number)
    if found is None:
        return None
    git, place = state.git, state.path(record.full_name)
    forked = await git.ask("-C", place, "merge-base", found.base_sha, found.head_sha)
    return {"head_sha": found.head_sha, "diff": await diffs.diff(git, place, forked, found.head_sha)}


def _summary(record: RepositoryRecord) -> Json:
    return {
        "full_name": record.full_name,
        "owner": record.owner,
        "name": record.name,
        "description": record.description,
        "private": record.private,
        "archived": record.archived,
        "default_branch": record.default_branch,
        "open_pulls": sum(pull.state == "open" for pull in record.pulls),
        "pushed_at": record.pushed_at,
    }


def _at(at: At) -> Json:
    return {
        "ref": shown(at.ref),
        "ref_href": quoted(at.ref),
        "kind": at.kind,
        "commit": at.commit,
        "path": [{"name": shown(part), "href": quoted(href)} for part, href in _steps(at.path)],
    }


def _steps(path: str) -> list[tuple[str, str]]:
    parts = path.split("/") if path else []
    return [(part, "/".join(parts[:n])) for n, part in enumerate(parts, 1)]


def _names(refs: dict[str, str], prefix: str) -> list[Json]:
    names = [ref.removeprefix(prefix) for ref in refs if ref.startswith(prefix)]
    return [{"name": shown(name), "href": quoted(name)} for name in names[:_MOST_REFS]]


async def _beside_default(state: State, record: RepositoryRecord, refs: dict[str, str], at: At) -> Json | None:
    default = refs.get(f"refs/heads/{record.default_branch}")
    if at.kind != "branch" or at.ref == record.default_branch or default is None:
        return None
    return await _apart(state, record, default, at.commit)


async def _apart(state: State, record: RepositoryRecord, old: str, new: str) -> Json:
    """Count what each of two commits has that the other lacks."""
    place = state.path(record.full_name)
    counted = await state.git.run("-C", place, "rev-list", "--left-right", "--count", f"{old}...{new}")
    behind, ahead = counted.split()
    return {"ahead": int(ahead), "behind": int(behind)}


def _pull_of(record: RepositoryRecord, at: At) -> Pull | None:
    """The newest pull request of a branch, an open one first."""
    found = [pull for pull in record.pulls if at.kind == "branch" and pull.head == at.ref]
    return next((pull for pull in found if pull.state == "open"), found[-1] if found else None)


def _short(state: State, pull: Pull) -> Json:
    return {
        "number": pull.number,
        "title": pull.title,
        "state": "merged" if pull.merged_at else pull.state,
        "draft": pull.draft,
        "author": state.login,
        "head": shown(pull.head),
        "head_href": quoted(pull.head),
        "base": shown(pull.base),
        "base_href": quoted(pull.base),
        "created_at": pull.created_at,
        "updated_at": pull.updated_at,
        "closed_at": pull.closed_at,
        "merged_at": pull.merged_at,
        "ended_by": pull.ended_by,
        "comments": len(pull.comments),
    }


def _check(check: Check) -> Json:
    good, neutral = check.state == "success", check.state in ("neutral", "skipped")
    kind = "running" if not check.ended else "good" if good else "other" if neutral else "bad"
    return {"name": shown(check.name), "kind": kind, "words": check.state.replace("_", " ")}
