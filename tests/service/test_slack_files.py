"""Files read from Slack: the bot's token goes to Slack's own servers alone, and each refusal has its reason."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from relay_world import serve
from yarl import URL

from peerbot.conversation.documents import Input, SharedFile
from peerbot.conversation.notes import FileLoss
from peerbot.errors import Unavailable
from peerbot.local.slack import Fault, LocalSlack
from peerbot.local.slack.files import DOWNLOAD, SIGN_IN, FilePart
from peerbot.slack.api import open_client
from peerbot.slack.files import MOST_BYTES, ComeBack, NotRead, SharedFiles, own_addresses
from peerbot.slack.manifest import SCOPES
from peerbot.slack.outbound import Outbound
from peerbot.slack.shared import MOST_KEPT, shared_files


@dataclass
class World:
    slack: LocalSlack
    files: SharedFiles
    elsewhere: str
    asked: list[web.BaseRequest] = field(default_factory=list)
    """What a server that is not Slack was asked."""

    def share(self, part: FilePart) -> SharedFile:
        ts = self.slack.share_files(self.slack.person, self.slack.general, "look", [part])
        [file] = shared_files(self.slack.message(self.slack.general, ts))
        return file

    async def read(self, file: SharedFile) -> bytes:
        async with self.files.opened(file) as pieces:
            return b"".join([piece async for piece in pieces])

    async def why(self, part: FilePart | SharedFile) -> FileLoss:
        with pytest.raises(NotRead) as refusal:
            await self.read(self.share(part) if isinstance(part, FilePart) else part)
        return refusal.value.why


@pytest.fixture
async def world() -> AsyncIterator[World]:
    asked: list[web.BaseRequest] = []

    async def thief(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return web.Response(body=b"not Slack")

    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(LocalSlack())
        client = await stack.enter_async_context(open_client(slack.api_url, slack.bot_token))
        yield World(slack, SharedFiles(Outbound(client)), await serve(stack, thief), asked)


async def test_a_file_is_read_whole_with_the_token(world: World) -> None:
    for data in (b"x", b"word " * 500_000):
        assert await world.read(world.share(FilePart("notes.txt", data))) == data
    assert {bearer for bearer, _ in world.slack.downloads} == {f"Bearer {world.slack.bot_token}"}


@pytest.mark.parametrize("field", ["url_private", "url_private_download"])
async def test_no_other_server_is_asked_for_a_file_with_or_without_the_token(world: World, field: str) -> None:
    own = URL(world.slack.url)
    addresses = [
        f"{world.elsewhere}/x",
        f"{world.elsewhere.replace('127.0.0.1', 'localhost')}/x",
        f"http://{own.host}:{own.port}@{world.elsewhere.removeprefix('http://')}/x",
        f"http://user:{world.slack.bot_token}@{own.host}:{own.port}/x",
        f"https://{own.host}:{own.port}/x",
        f"//{world.elsewhere.removeprefix('http://')}/x",
        "file:///etc/passwd",
        "http://[::1",
        "/x",
    ]
    for address in addresses:
        said = {"url_private": address, "url_private_download": ""} | {field: address}
        assert await world.why(FilePart("a.png", b"x", said)) is FileLoss.ELSEWHERE, address
    assert not world.asked
    assert not world.slack.downloads


async def test_a_redirect_to_another_server_is_not_followed(world: World) -> None:
    other = world.elsewhere.removeprefix("http://")
    for location in (f"{world.elsewhere}/x", f"//{other}/x", f"http://localhost:{URL(world.elsewhere).port}/x"):
        world.slack.faults.add(DOWNLOAD, Fault(location=location))
        assert await world.why(FilePart("a.png", b"x")) is FileLoss.ELSEWHERE
    file = world.share(FilePart("a.png", b"picture"))
    world.slack.faults.add(DOWNLOAD, Fault(location=f"/files-pri/T-{file.id}/there.png"))  # Slack's own, then another's
    world.slack.faults.add(DOWNLOAD, Fault(location=f"{world.elsewhere}/x"))
    assert await world.why(file) is FileLoss.ELSEWHERE
    assert not world.asked, "nobody else gets so much as a request"


async def test_a_redirect_within_slack_is_followed_a_few_times(world: World) -> None:
    file = world.share(FilePart("a.png", b"picture"))
    here = f"/files-pri/T-{file.id}/there.png"
    world.slack.faults.add(DOWNLOAD, Fault(location=here), times=3)
    assert await world.read(file) == b"picture"
    world.slack.faults.add(DOWNLOAD, Fault(location=here), times=20)
    assert await world.why(file) is FileLoss.ELSEWHERE


@pytest.mark.parametrize(
    ("address", "is_slacks"),
    [
        ("https://files.slack.com/files-pri/T1-F1/a.png", True),
        ("https://slack.com/x", True),
        ("https://slack-files.com/x", False),
        ("http://files.slack.com/x", False),
        ("https://files.slack.com:8443/x", False),
        ("https://evilslack.com/x", False),
        ("https://slack.com.evil.example/x", False),
        ("https://files.slack.com@evil.example/x", False),
        ("https://evil.example/https://files.slack.com/", False),
        ("https://evil.example#@files.slack.com/", False),
        ("https://evil.example\\@files.slack.com/", False),
        ("https://files.slack.com./x", False),
        ("https://FILES.SLACK.COM/x", True),
        ("https://169.254.169.254/latest", False),
        ("ftp://files.slack.com/x", False),
        ("/x", False),
    ],
)
def test_slacks_own_servers_are_its_domain_over_https(address: str, is_slacks: bool) -> None:
    try:
        url = URL(address)
    except ValueError:
        assert not is_slacks
        return
    assert own_addresses("https://slack.com/api/")(url) is is_slacks
    assert not own_addresses("https://slack-gov.com/api/")(url)
    assert not own_addresses("https://slack.corp.example/api/")(url)


def test_a_slack_elsewhere_is_exactly_its_own_server() -> None:
    check = own_addresses("http://127.0.0.1:4000/api/")
    assert check(URL("http://127.0.0.1:4000/files-pri/x"))
    for other in ("http://127.0.0.1:4001/x", "https://127.0.0.1:4000/x", "http://localhost:4000/x"):
        assert not check(URL(other))
    assert own_addresses("https://slack-gov.com/api/")(URL("https://files.slack-gov.com/x"))


async def test_without_the_scope_it_says_so_also_if_only_the_download_shows_it(world: World) -> None:
    file = world.share(FilePart("a.png", b"x"))
    world.slack.grant([scope.name for scope in SCOPES if scope.name != "files:read"])
    assert await world.why(file) is FileLoss.NO_SCOPE
    world.slack.grant([scope.name for scope in SCOPES])
    for name in ("a.png", "a.txt", "a.html", "a.bin"):
        world.slack.faults.add(DOWNLOAD, Fault(content=SIGN_IN, content_type="text/html"))
        assert await world.why(FilePart(name, b"x")) is FileLoss.NO_SCOPE, name
    world.slack.faults.add(DOWNLOAD, Fault(content=b"\n " + SIGN_IN, content_type="image/png"))
    assert await world.why(FilePart("a.png", b"x")) is FileLoss.NO_SCOPE


async def test_a_page_that_somebody_shared_is_read(world: World) -> None:
    page = b"<!doctype html><title>mine</title>" * 40
    for name in ("page.html", "page.txt", "page.unknown"):
        assert await world.read(world.share(FilePart(name, page))) == page


REASONS: list[tuple[FileLoss, FilePart]] = [
    (FileLoss.EXTERNAL, FilePart("doc", b"", {"mode": "external", "is_external": True, "size": 0})),
    (FileLoss.EXTERNAL, FilePart("doc", b"x", {"is_external": True})),
    (FileLoss.DELETED, FilePart("", b"", {"mode": "tombstone"})),
    (FileLoss.HIDDEN, FilePart("", b"", {"mode": "hidden_by_limit"})),
    (FileLoss.CANVAS, FilePart("Plan", b"<html>", {"mode": "quip"})),
    (FileLoss.EMPTY, FilePart("a.txt", b"")),
    (FileLoss.EMPTY, FilePart("a.txt", b"", {"size": 7})),
    (FileLoss.TOO_LARGE, FilePart("a.bin", b"x", {"size": MOST_BYTES + 1})),
    (FileLoss.TOO_LARGE, FilePart("a.bin", bytes(MOST_BYTES + 1), {"size": 10})),
    (FileLoss.NOT_VISIBLE, FilePart("a.png", b"x", {"mode": "not_visible", "file_access": "check_file_info"})),
    (FileLoss.NOT_VISIBLE, FilePart("a.png", b"x", {"url_private": "", "url_private_download": ""})),
]


@pytest.mark.parametrize(("why", "part"), REASONS, ids=lambda value: getattr(value, "value", None))
async def test_each_file_that_cant_be_read_has_its_reason(world: World, why: FileLoss, part: FilePart) -> None:
    assert await world.why(part) is why


async def test_a_file_that_is_gone_has_its_reason(world: World) -> None:
    file = world.share(FilePart("a.png", b"x"))
    world.slack.delete_file(file.id)
    assert await world.why(file) is FileLoss.DELETED
    assert await world.why(SharedFile(id="F0NOWHERE")) is FileLoss.DELETED


async def test_another_organizations_file_is_asked_about(world: World) -> None:
    ts = world.slack.share_files(
        world.slack.person, world.slack.general, "", [FilePart("a.png", b"theirs", {"file_access": "check_file_info"})]
    )
    [event] = [file for file in await seen(world, ts) if file]
    assert set(event) == {"id", "created", "mode", "file_access"}, "an app gets a stub"
    [stub] = shared_files({"files": [event]})
    assert (stub.name, stub.size) == ("", 0)
    assert await world.read(stub) == b"theirs"


async def seen(world: World, ts: str) -> list[dict[str, Any]]:
    """The files of a message as an app reads them."""
    async with open_client(world.slack.api_url, world.slack.bot_token) as client:
        replies = await client.conversations_replies(channel=world.slack.general, ts=ts)
    found: list[dict[str, Any]] = replies["messages"][0]["files"]
    return found


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault(status=500), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(lost=True), Unavailable),
        (Fault(status=429, retry_after_seconds=2), ComeBack),
        (Fault(status=429, retry_after_seconds=3600), NotRead),
        (Fault(status=403), NotRead),
        (Fault(status=404), NotRead),
    ],
)
async def test_another_try_is_asked_for_only_if_it_may_help(world: World, fault: Fault, raised: type) -> None:
    file = world.share(FilePart("a.bin", b"x" * 300_000))
    world.slack.faults.add(DOWNLOAD, fault)
    with pytest.raises(raised):
        await world.read(file)
    assert await world.read(file) == b"x" * 300_000


async def test_a_large_file_that_never_ends_is_cut_off(world: World) -> None:
    file = world.share(FilePart("a.bin", b"x"))
    world.slack.faults.add(DOWNLOAD, Fault(endless=True))
    assert await asyncio.wait_for(world.why(file), 60) is FileLoss.TOO_LARGE


def test_the_files_of_a_message_and_of_those_it_forwards_are_found_once_each() -> None:
    event = {
        "files": [{"id": "F1", "name": "a"}, {"id": "F2"}, {"id": "F1"}, {"name": "no id"}, None, 7],
        "attachments": [{"files": [{"id": "F3", "size": "9"}, {"id": "F2"}]}, None, {"files": 7}, {}],
    }
    assert [file.id for file in shared_files(event)] == ["F1", "F2", "F3"]
    many = [{"id": f"F{n}", "name": "n" * 999, "title": 7, "size": -1} for n in range(99)]
    found = shared_files({"files": many})
    assert len(found) == MOST_KEPT
    assert {(len(file.name), file.size) for file in found} == {(255, 0)}
    assert shared_files({"files": [{"id": "F1", "name": "\ud800x"}]})[0].name == "?x"
    assert shared_files({}) == []


def test_an_input_of_the_release_before_is_read_and_the_release_before_reads_ours() -> None:
    said = Input(
        team="T1", channel="C1", thread_ts="1.000001", ts="1.000001", user="U1", text="", event_id="",
        files=[SharedFile(id="F1", name="a.png")],
    )  # fmt: skip
    document = said.model_dump(mode="json", by_alias=True)
    assert Input.model_validate(document) == said
    del document["files"]
    assert Input.model_validate(document).files == []
    assert Input.model_config.get("extra", "ignore") == "ignore", "a replica that does not know the key reads the rest"
