"""The doctor's look for GitHub workflows that run an agent's branch, with the repository's secrets.

GitHub runs a workflow with `on: push` for every branch that is pushed, so also for the agent's: the workflow's own
commands (a build, a test) then run the agent's code, with everything that the workflow is given. A filter under `push`
leaves PeerBot's branches out
(https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#onpushbranchestagsbranches-ignoretags-ignore).
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
import yaml

from peerbot.doctor.github import Asker
from peerbot.doctor.report import Finding, good, skipped, wrong
from peerbot.settings import Settings
from peerbot.way_out import proxy_for

_CHECK = "github_workflows"
_FOLDER = ".github/workflows"
_MOST_REPOSITORIES = 20
_MOST_FILES = 20
_MOST_NAMED = 5
_LARGEST_BYTES = 100_000
_AT_ONCE = 4
_LONGEST_PATTERN = 300
_ANY, _NO_SLASH, _NOTHING = re.compile(".", re.DOTALL), re.compile("[^/]"), re.compile(r"(?!)")
_EVENTS = ("push", "create")  # the events of a pushed branch that take the workflow's file from it

Json = Mapping[str, Any]


async def look_at_workflows(settings: Settings) -> list[Finding]:
    """Name the repositories whose workflows run PeerBot's branches. Raises `Unavailable`.

    Looks at 20 repositories at most: those that PeerBot made for people first, then the newest others.
    """
    sample = f"{settings.peerbot_branch_prefix}/2026-01-01-abcdefghijklmnop"
    few = asyncio.Semaphore(_AT_ONCE)
    async with aiohttp.ClientSession(proxy=proxy_for(settings.github_api_url)) as session:
        asker = Asker(session, settings)
        repositories = await _repositories(asker, settings.github_organization)
        if repositories is None:
            return [skipped(_CHECK, "the token does not show the organization's repositories")]

        async def look(name: str) -> list[str]:
            async with few:
                return await _running(asker, name, sample)

        looked = repositories[:_MOST_REPOSITORIES]
        found = [each for running in await asyncio.gather(*map(look, looked)) for each in running]
    seen = f"{len(looked)} of {len(repositories)}{' or more' if len(repositories) == 100 else ''} repositories"
    if not found:
        return [good(_CHECK, f"no workflow runs PeerBot's branches when they are pushed (in {seen})")]
    named = ", ".join(found[:_MOST_NAMED]) + (f" and {len(found) - _MOST_NAMED} more" if found[_MOST_NAMED:] else "")
    return [
        wrong(
            _CHECK,
            f"workflows run an agent's branch when it is pushed, with their repository's secrets: {named} (in {seen})",
            f"Add `branches-ignore: ['{settings.peerbot_branch_prefix}/**']` under `push` in these files, or keep the "
            "secrets in an environment that only the default branch may use.",
        )
    ]


async def _repositories(asker: Asker, organization: str) -> list[str] | None:
    """List up to 100 repositories that are not archived, PeerBot's own first; None if the token shows none."""
    asked = "per_page=100&sort=created&direction=desc"
    answer = await asker.get(f"/orgs/{organization}/repos?{asked}")
    if answer.status == HTTPStatus.NOT_FOUND:  # it is the token's own account
        answer = await asker.get(f"/user/repos?affiliation=owner&{asked}")
    if answer.status != HTTPStatus.OK or not isinstance(answer.document, list):
        return None
    there = [each for each in answer.document if not each.get("archived")]
    names = [str(each.get("full_name")) for each in there]
    return sorted(names, key=lambda name: not name.partition("/")[2].startswith("user-"))


async def _running(asker: Asker, repository: str, branch: str) -> list[str]:
    """Name the repository's workflows that a push of `branch` starts."""
    listed = await asker.get(f"/repos/{repository}/contents/{_FOLDER}")
    if listed.status != HTTPStatus.OK or not isinstance(listed.document, list):
        return []  # there are none, or the token does not show them
    names = [str(each.get("name")) for each in listed.document if each.get("type") == "file"]
    found = []
    for name in [name for name in names if name.endswith((".yml", ".yaml"))][:_MOST_FILES]:
        answer = await asker.get(f"/repos/{repository}/contents/{_FOLDER}/{quote(name)}")
        text = _content(answer.document) if answer.status == HTTPStatus.OK else None
        if text is not None and await asyncio.to_thread(runs_branch, text, branch):
            found.append(f"{repository} ({name})")
    return found


def _content(document: Any) -> str | None:
    try:
        data = base64.b64decode(str(document["content"]))
    except (KeyError, TypeError, binascii.Error):
        return None
    return data.decode(errors="replace") if len(data) <= _LARGEST_BYTES else None


def runs_branch(text: str, branch: str) -> bool:
    """Whether a push of `branch` starts the workflow whose file has this text. False if GitHub could not read it."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return False
    if not isinstance(document, dict):
        return False
    triggers = document.get("on", document.get(True))  # YAML 1.1, as PyYAML reads it, takes the key `on` for True
    if isinstance(triggers, str):
        return triggers in _EVENTS
    if isinstance(triggers, list):
        return any(event in triggers for event in _EVENTS)
    if not isinstance(triggers, dict):
        return False
    return "create" in triggers or ("push" in triggers and _passes(triggers["push"], branch))


def _passes(push: Any, branch: str) -> bool:
    """Whether the filter of `on: push` lets a branch through."""
    if not isinstance(push, dict):
        return True
    if "branches" in push:
        return _last_match(_patterns(push["branches"]), branch)
    if "branches-ignore" in push:
        return not any(_matches(pattern, branch) for pattern in _patterns(push["branches-ignore"]))
    return not ("tags" in push or "tags-ignore" in push)  # a filter for tags alone leaves all branches out


def _patterns(value: Any) -> list[str]:
    return [str(each) for each in (value if isinstance(value, list) else [value]) if each is not None]


def _last_match(patterns: Iterable[str], branch: str) -> bool:
    """Whether a list of patterns lets a branch through: the last one that matches counts, `!` keeps it out."""
    passes = False
    for pattern in patterns:
        if _matches(pattern.removeprefix("!"), branch):
            passes = not pattern.startswith("!")
    return passes


def _matches(pattern: str, branch: str) -> bool:
    """Whether GitHub's filter pattern matches: `*`, `**`, `?` and `+` (of the character before), `[…]`.

    It follows all ways at once, so its time is bounded by the lengths: a pattern is a stranger's.
    """
    if len(pattern) > _LONGEST_PATTERN:
        return False
    steps: list[tuple[re.Pattern[str], bool, bool]] = []  # a character, whether it may be missing, whether repeated
    for part in re.findall(r"\*\*|\*|\?|\+|\[[^\]]+\]|\\.|.", pattern, re.DOTALL):
        if part in ("?", "+") and steps:
            character, may_miss, repeats = steps[-1]
            steps[-1] = (character, may_miss or part == "?", repeats or part == "+")
        elif part in ("*", "**"):
            steps.append((_ANY if part == "**" else _NO_SLASH, True, True))
        else:
            steps.append((_one_of(part), False, False))
    places = _reachable({0}, steps)
    for char in branch:
        after = set()
        for place in places:
            if place < len(steps) and steps[place][0].fullmatch(char):
                after |= {place + 1, place} if steps[place][2] else {place + 1}
        places = _reachable(after, steps)
    return len(steps) in places


def _reachable(places: set[int], steps: list[tuple[re.Pattern[str], bool, bool]]) -> set[int]:
    """Add the places that are reached by leaving out what may be missing."""
    for place, (_, may_miss, _repeats) in enumerate(steps):
        if place in places and may_miss:
            places.add(place + 1)
    return places


def _one_of(part: str) -> re.Pattern[str]:
    if len(part) > 2 and part[0] == "[":
        try:
            return re.compile(part)
        except re.error:
            return _NOTHING
    return re.compile(re.escape(part.removeprefix("\\") or part), re.DOTALL)
