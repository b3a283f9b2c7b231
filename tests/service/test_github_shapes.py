"""The local GitHub and our client against GitHub's own description of its REST API (`@octokit/openapi`).

The test records every exchange that PeerBot has with GitHub, and compares it with the description: paths, query, bodies
both ways.
"""

import asyncio
import base64
import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from github_world import AUTHOR, World, commit, git, world
from jsonschema import Draft4Validator, ValidationError

from peerbot.conversation.pulls import Checks, PullState
from peerbot.errors import PeerBotError
from peerbot.github.pulls import PullStates
from peerbot.github.refs import Refs
from peerbot.local.github import Call

DESCRIPTION = Path(__file__).parents[1] / "npm/octokit/node_modules/@octokit/openapi/generated/api.github.com.json"

if not DESCRIPTION.exists():
    pytest.skip("GitHub's description is not installed: npm ci in tests/npm/octokit", allow_module_level=True)

Json = dict[str, Any]


_PARAMETERS = {"ref": "(.+)", "path": "(.*)", "basehead": "(.+)"}
"""A ref, two branches, and a path have slashes of their own. The path of a repository's own folder is empty."""


class Described:
    """The parts of GitHub's OpenAPI 3.0 description that are asked for, as JSON Schema (draft 4)."""

    def __init__(self, description: Json) -> None:
        self._description = description
        self._paths = {
            re.compile(re.sub(r"\\{(\w+)\\}", lambda m: _PARAMETERS.get(m[1], "([^/]+)"), re.escape(path))): item
            for path, item in description["paths"].items()
        }

    def check(self, call: Call) -> None:
        """Raise `ValidationError` if an exchange is not as described."""
        path = call.path.removeprefix("/api/v3")
        found = [
            (pattern.groups, -len(pattern.pattern), item[call.method.lower()])
            for pattern, item in self._paths.items()
            if pattern.fullmatch(path) and call.method.lower() in item
        ]
        if not found:
            raise ValidationError(f"GitHub has no {call.method} {path}")
        operation = min(found, key=lambda each: each[:2])[2]  # the one that says most: a ref may be anything
        self._check_query(operation, call.query)
        self._check_request(operation, call.request)
        self._check_response(operation, call)

    def _check_query(self, operation: Json, query: dict[str, str]) -> None:
        known = {each["name"] for each in map(self._resolved, operation.get("parameters", []))}
        if unknown := set(query) - known:
            raise ValidationError(f"unknown in the query: {unknown}")

    def _check_request(self, operation: Json, request: Any) -> None:
        if "requestBody" not in operation:
            if request is not None:
                raise ValidationError("a body where none belongs")
            return
        schema = self._resolved(operation["requestBody"])["content"]["application/json"]["schema"]
        self._validate(schema, request)
        if unknown := set(request) - set(self._resolved(schema)["properties"]):
            raise ValidationError(f"unknown in the request: {unknown}")

    def _check_response(self, operation: Json, call: Call) -> None:
        if call.status == 401:  # described once for all of the API
            schema: Json = {"$ref": "#/components/schemas/basic-error"}
        elif str(call.status) in operation["responses"]:
            response = self._resolved(operation["responses"][str(call.status)])
            if "content" not in response:  # GitHub's refusals have a message all the same
                if call.status == 204 and call.response is not None:
                    raise ValidationError("a body where none belongs")
                return
            schema = response["content"]["application/json"]["schema"]
        else:
            raise ValidationError(f"{call.method} {call.path} never answers with {call.status}")
        self._validate(schema, call.response)

    def _validate(self, schema: Json, document: Any) -> None:
        needed: dict[str, Json] = {}
        open_names = list(_names(schema))
        while open_names:
            name = open_names.pop()
            if name not in needed:
                found = self._description["components"]["schemas"][name]
                needed[name] = _draft4(found)
                open_names += _names(found)
        Draft4Validator({**_draft4(schema), "components": {"schemas": needed}}).validate(document)

    def _resolved(self, document: Json) -> Json:
        while "$ref" in document:
            kind, name = document["$ref"].split("/")[-2:]
            document = self._description["components"][kind][name]
        return document


def _names(schema: Any) -> Iterator[str]:
    """The shared schemas that a schema refers to."""
    if isinstance(schema, dict):
        if isinstance(reference := schema.get("$ref"), str):
            yield reference.rsplit("/", 1)[1]
        for value in schema.values():
            yield from _names(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _names(value)


def _draft4(schema: Any) -> Any:
    """Write OpenAPI's `nullable` in the words of JSON Schema; all else is the same."""
    if isinstance(schema, list):
        return [_draft4(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {
        key: _draft4(value) for key, value in schema.items() if key not in ("example", "examples", "discriminator")
    }
    if plain.pop("nullable", None) is True:
        return {"anyOf": [plain, {"type": "null"}]}
    return plain


@cache
def described() -> Described:
    return Described(json.loads(DESCRIPTION.read_text()))


async def conversation_with(github: World, directory: Path) -> None:
    """Make every request of our client, with every answer that it can handle."""
    client, opening = github.client, {"head": "peerbot/x", "base": "main", "title": "T"}
    await client.owner(github.server.organization)
    own = await client.owner("nobody")
    repository = await github.repository()
    await github.repository()
    await client.ensure_repository(own, "user-own", description="One's own")
    await client.branch_head(repository.full_name, "peerbot/none")
    assert await client.ensure_pull_request(repository, head="main", base="main", title="T", body="B") is None
    await github.pushed_branch(repository, directory / "work", "peerbot/x")
    await client.ensure_pull_request(repository, **opening, body="one")
    await client.ensure_pull_request(repository, **opening, body="two")
    await client.branch_head(repository.full_name, "peerbot/x")
    refs = Refs(github.session, client.api, client.git_authorization)
    for span in (("main", "peerbot/x"), ("peerbot/x", "main"), ("main", "main"), ("main", "nothing")):
        await refs.commits(repository.full_name, *span)
    await git("-C", directory / "work", "push", "origin", "HEAD:refs/peerbot/x/1", login=client)
    github.server.faults.add("/git/refs/", method="DELETE", status=422, message="Reference does not exist")
    assert await client.pull_request_state(repository.full_name, 1) == "open"
    assert await client.pull_request_state(repository.full_name, 9) is None
    await how_it_stands(github, repository.full_name)
    await what_is_said(github, repository.full_name)
    await github.server.archive(repository.full_name)
    with pytest.raises(PeerBotError):
        await client.ensure_pull_request(repository, **opening, body="three")
    await github.server.archive(repository.full_name, archived=False)
    for _ in range(3):  # somebody else was first; ours; none is left
        await client.delete_refs(repository.full_name, "peerbot/x/")
    with pytest.raises(PeerBotError):
        await client.ensure_pull_request(repository, head="peerbot/y", base="main", title="T", body="B")
    with pytest.raises(PeerBotError):
        await github.another_client(token="wrong").repository(repository.full_name)
    github.server.faults.add("/user-ada$", method="GET", status=404, message="Not Found")
    await github.repository()
    await git("init", "--quiet", "--bare", "--initial-branch", "main", directory / "empty")
    await github.server.import_repository("ada/empty", directory / "empty")
    await client.repository("ada/empty")
    await git("-C", directory / "work", "push", "origin", "peerbot/x:main", login=client)
    await client.ensure_pull_request(repository, **opening, body="merged")
    async with github.session.get(
        f"{github.server.api_url}/repos/{repository.full_name}/pulls?state=all&per_page=5&page=1",
        headers={"Authorization": f"Bearer {github.server.token}"},
    ) as response:
        assert [pull["merged_at"] is not None for pull in await response.json()] == [True]
    await what_the_token_may(github)
    await what_is_in_the_repository(github, repository.full_name, directory / "work")
    await git("-C", directory / "work", "push", "origin", "HEAD:refs/peerbot/y/1", login=client)
    await github.server.rename(repository.full_name, "peerbot-community/renamed")
    moved = await client.repository(repository.full_name)
    assert moved is not None
    assert moved.full_name == "peerbot-community/renamed"
    assert await client.pull_request_state(repository.full_name, 1) == "merged"
    await client.delete_refs(repository.full_name, "peerbot/y/")
    listed = await git("ls-remote", moved.clone_url, "refs/peerbot/y/*", login=client)
    assert listed == ""


async def how_it_stands(github: World, full_name: str) -> None:
    """Look at a pull request as its checks go on, and once more: then GitHub need not send it again."""
    states = PullStates(github.session, token=github.server.token, api_url=github.server.api_url)
    assert await states.of(full_name, 9) is None
    assert await states.of(full_name, 1) == PullState(standing="open")
    await github.server.check(full_name, 1, "build", "in_progress")
    await github.server.status(full_name, 1, "ci/old", "failure")
    failed = PullState(standing="open", checks=Checks(outcome="failed", failed=1, total=2))
    assert await states.of(full_name, 1) == failed
    before = len(github.server.calls)
    assert await states.of(full_name, 1) == failed
    assert {call.status for call in list(github.server.calls)[before:]} == {304}
    assert states.leave_alone_seconds() == 0
    github.server.calls_left(2_500)
    assert await states.of(full_name, 1) == failed
    assert 0 < states.leave_alone_seconds() <= 3_600
    github.server.calls_left(5_000)
    await github.server.check(full_name, 1, "build", "neutral")
    await github.server.status(full_name, 1, "ci/old", "success")
    for number in range(100):
        await github.server.check(full_name, 1, f"part {number}", "success")
    passed = PullState(standing="open", checks=Checks(outcome="passed", total=102))
    assert await states.of(full_name, 1) == passed


async def what_is_said(github: World, full_name: str) -> None:
    """Write comments below a pull request, and read them."""
    comments = f"{github.server.api_url}/repos/{full_name}/issues/1/comments"
    login = {"Authorization": f"Bearer {github.server.token}"}
    for body, status in (("Thanks", 201), ("", 422), ("x" * 65_537, 422)):
        async with github.session.post(comments, json={"body": body}, headers=login) as response:
            assert response.status == status
    async with github.session.get(f"{comments}?per_page=100", headers=login) as response:
        assert [each["body"] for each in await response.json()] == ["Thanks"]
    async with github.session.get(comments.replace("/1/", "/9/"), headers=login) as response:
        assert response.status == 404


async def what_the_token_may(github: World) -> None:
    """Make every request of `peerbot doctor`, with every answer."""
    for scopes, may_create in (("repo", True), ("repo, read:org", True), ("repo, read:org", None), (None, False)):
        github.server.grant(scopes, may_create=may_create)
        async with github.session.get(
            f"{github.server.api_url}/user/memberships/orgs/{github.server.organization}",
            headers={"Authorization": f"Bearer {github.server.token}"},
        ) as response:
            assert response.headers.get("X-OAuth-Scopes") == scopes


async def what_is_in_the_repository(github: World, full_name: str, checkout: Path) -> None:
    """Read files and folders, with every answer."""
    (checkout / "docs").mkdir()
    (checkout / "link").symlink_to("primes.py")
    (checkout / "large.bin").write_bytes(b"x" * 1_100_000)
    modules = '[submodule "m"]\n\tpath = module\n\turl = https://example.com/m.git\n'
    (checkout / ".gitmodules").write_text(modules)
    module = ("--add", "--cacheinfo", f"160000,{'1' * 40},module")
    await git("-C", checkout, "update-index", *module)
    await commit(checkout, "docs/a b.md", "# A\n")
    await git("-C", checkout, "update-index", *module)
    await git("-C", checkout, *AUTHOR, "commit", "--quiet", "--amend", "--no-edit")
    await git("-C", checkout, "push", "--quiet", "origin", "HEAD:main", login=github.client)

    async def asked(path: str) -> Any:
        url = f"{github.server.api_url}{path}"
        headers = {"Authorization": f"Bearer {github.server.token}"}
        async with github.session.get(url, headers=headers) as response:
            return await response.json()

    at = f"/repos/{full_name}/contents"
    types = {each["name"]: each["type"] for each in await asked(f"{at}/")}
    assert types == {
        ".gitmodules": "file",
        "README.md": "file",
        "docs": "dir",
        "large.bin": "file",
        "link": "symlink",
        "module": "file",
        "primes.py": "file",
    }
    assert [each["path"] for each in await asked(f"{at}/docs?ref=main")] == ["docs/a b.md"]
    assert base64.b64decode((await asked(f"{at}/docs/a b.md"))["content"]) == b"# A\n"
    assert (await asked(f"{at}/large.bin"))["encoding"] == "none"
    assert (await asked(f"{at}/link"))["target"] == "primes.py"
    assert (await asked(f"{at}/module"))["submodule_git_url"] == "https://example.com/m.git"
    assert (await asked(f"{at}/nothing"))["message"] == "Not Found"
    assert (await asked(f"{at}/docs?ref=nothing"))["message"] == "Not Found"
    listed = await asked(f"/orgs/{github.server.organization}/repos?per_page=100&sort=created")
    assert full_name in [each["full_name"] for each in listed]


def _undescribed(call: Call) -> bool:
    """Whether GitHub's description leaves this out: most redirects of a renamed repository, and most 304s."""
    if call.status == 304:
        return True
    of_the_repository = call.path.count("/") == 5
    return call.path.startswith("/api/v3/repositories/") or (call.status in (301, 307) and not of_the_repository)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    async def recorded() -> list[Call]:
        async with world() as github:
            await conversation_with(github, tmp_path_factory.mktemp("recorded"))
            calls = [call for call in github.server.calls if call.path.startswith("/api/")]
            return [call for call in calls if not _undescribed(call)]

    return asyncio.run(recorded())


def test_every_exchange_is_as_github_describes_it(calls: list[Call]) -> None:
    for call in calls:
        try:
            described().check(call)
        except ValidationError as error:
            pytest.fail(f"{call.method} {call.path} {call.status}: {error.message} at {list(error.absolute_path)}")
    seen = {(call.method, call.path.rsplit("/", 1)[-1], call.status) for call in calls}
    assert {
        ("GET", "peerbot-community", 200),
        ("GET", "nobody", 404),
        ("GET", "user", 200),
        ("POST", "repos", 201),
        ("POST", "repos", 422),
        ("GET", "user-ada", 200),
        ("GET", "user-ada", 401),
        ("GET", "user-ada", 404),
        ("GET", "main", 200),
        ("GET", "none", 404),
        ("GET", "main", 409),
        ("GET", "pulls", 200),
        ("POST", "pulls", 201),
        ("POST", "pulls", 422),
        ("PATCH", "1", 200),
        ("DELETE", "1", 204),
        ("DELETE", "1", 422),
        ("GET", "1", 200),
        ("GET", "9", 404),
        ("GET", "check-runs", 200),
        ("GET", "status", 200),
        ("GET", "docs", 200),
        ("GET", "docs", 404),
        ("GET", "link", 200),
        ("GET", "repos", 200),
        ("GET", "user-ada", 301),
        ("PATCH", "1", 403),
    } <= seen


@pytest.mark.parametrize(
    ("method", "ending", "status", "part", "path", "wrong"),
    [
        ("POST", "/pulls", 201, "response", ["number"], "1"),
        ("POST", "/pulls", 201, "response", ["head", "repo", "owner", "id"], None),
        ("POST", "/pulls", 201, "request", ["title"], 1),
        ("POST", "/pulls", 201, "request", ["heading"], "T"),
        ("POST", "/pulls", 422, "response", ["errors", 0, "code"], None),
        ("GET", "/user-ada", 200, "response", ["private"], "yes"),
        ("GET", "/peerbot-community", 200, "response", ["followers"], "0"),
        ("GET", "/user", 200, "response", ["created_at"], 0),
        ("GET", "/pulls", 200, "response", [0, "state"], 1),
        ("POST", "/repos", 201, "request", ["auto_init"], "true"),
        ("GET", "/check-runs", 200, "response", ["total_count"], "1"),
        ("GET", "/status", 200, "response", ["sha"], None),
    ],
)
def test_an_exchange_with_a_wrong_type_in_it_is_found_out(
    calls: list[Call], method: str, ending: str, status: int, part: str, path: list[Any], wrong: Any
) -> None:
    found = next(
        call
        for call in calls
        if (call.method, call.status) == (method, status) and call.path.endswith(ending) and getattr(call, part)
    )
    documents = {"request": copy.deepcopy(found.request), "response": copy.deepcopy(found.response)}
    spoiled = documents[part]
    for key in path[:-1]:
        spoiled = spoiled[key]
    spoiled[path[-1]] = wrong
    with pytest.raises(ValidationError):
        described().check(Call(method, found.path, found.query, documents["request"], status, documents["response"]))


def test_a_path_that_github_does_not_have_is_found_out(calls: list[Call]) -> None:
    found = calls[0]
    with pytest.raises(ValidationError, match="GitHub has no"):
        described().check(Call("GET", "/api/v3/organisations/x", {}, None, 200, found.response))
