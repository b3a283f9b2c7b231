"""The stores keep their contract on a real directory, against fake-gcs-server, and under faults."""

import asyncio
import json
import os
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from faulty_proxy import Fault, FaultyProxy, faulty_proxy
from gcs_server import gcs_server, make_bucket
from storage_conformance import MANY, CrowdContract, StorageContract, keys

from peerbot.errors import Refused, SettingsError, Unavailable
from peerbot.journal.directory import DirectoryStore
from peerbot.journal.gcs import GoogleStore
from peerbot.journal.open import open_storage
from peerbot.journal.storage import Storage


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with gcs_server() as url:
        yield url


@pytest.fixture
def bucket(google: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket on the server that the environment names."""
    name = f"bucket-{uuid.uuid4().hex}"
    make_bucket(google, name)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
    return name


class TestDirectory(StorageContract, CrowdContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}/journal"

    @pytest.fixture
    def crowded(self, url: str, tmp_path: Path) -> str:
        crowd(tmp_path / "journal")
        return url


class TestBucket(StorageContract, CrowdContract):
    @pytest.fixture
    def url(self, bucket: str) -> str:
        return f"gs://{bucket}"

    @pytest.fixture
    def crowded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        crowd(tmp_path / "crowded-bucket")
        with gcs_server(tmp_path) as url:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
            yield "gs://crowded-bucket"


class TestFolderOfABucket(StorageContract):
    @pytest.fixture
    def url(self, bucket: str) -> str:
        return f"gs://{bucket}/teams/peerbot/"


def crowd(directory: Path) -> None:
    (directory / "crowd").mkdir(parents=True)
    for number in range(MANY):
        (directory / "crowd" / f"{number}.json").write_bytes(b"x")


async def test_folders_of_one_bucket_do_not_see_each_other(bucket: str) -> None:
    whole, folder, longer = [await open_storage(f"gs://{bucket}{path}") for path in ("", "/a", "/ab")]
    try:
        assert await folder.put_if_absent("x", b"1")
        assert await longer.put_if_absent("x", b"2")
        assert await keys(whole, "") == ["a/x", "ab/x"]
        assert await keys(folder, "") == ["x"]
    finally:
        for store in (whole, folder, longer):
            await store.close()


class TestFaultsOfANetwork:
    """Between the client and fake-gcs-server stands a proxy that plays them."""

    @pytest.fixture
    async def proxy(self, google: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyProxy]:
        async with faulty_proxy(google) as proxy:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
            yield proxy

    @pytest.fixture
    async def store(self, proxy: FaultyProxy, bucket: str) -> AsyncIterator[GoogleStore]:
        store = GoogleStore(bucket)
        yield store
        await store.close()

    @pytest.fixture
    async def hasty(self, proxy: FaultyProxy, bucket: str) -> AsyncIterator[GoogleStore]:
        store = GoogleStore(bucket, deadline_seconds=0.6)
        yield store
        await store.close()

    async def test_a_create_whose_answer_was_lost_is_ours(self, store: Storage, proxy: FaultyProxy) -> None:
        proxy.plan = lambda method, number: Fault.LOSE_ANSWER if (method, number) == ("POST", 1) else None
        assert await store.put_if_absent("a/b", b"mine")
        assert proxy.faults == [Fault.LOSE_ANSWER]
        assert await store.get("a/b") == b"mine"

    async def test_new_bytes_that_meet_an_object_are_not_read_back(self, store: Storage, proxy: FaultyProxy) -> None:
        assert await store.put_if_absent("a/b", b"theirs", new=True)
        assert not await store.put_if_absent("a/b", b"mine", new=True)
        assert proxy.seen == ["POST", "POST"]

    async def test_new_bytes_whose_answer_was_lost_are_ours(self, store: Storage, proxy: FaultyProxy) -> None:
        proxy.plan = lambda method, number: Fault.LOSE_ANSWER if (method, number) == ("POST", 1) else None
        assert await store.put_if_absent("a/b", b"mine", new=True)

    @pytest.mark.parametrize("new", [False, True])
    async def test_a_conflict_where_nothing_is_there_yet_is_no_loss(
        self, store: Storage, proxy: FaultyProxy, new: bool
    ) -> None:
        proxy.plan = lambda method, number: Fault.CONFLICT if (method, number) == ("POST", 1) else None
        assert await store.put_if_absent("a/b", b"mine", new=new)
        assert proxy.seen == ["POST", "GET", "POST"]

    async def test_a_create_is_ours_even_when_the_look_back_fails_first(
        self, store: Storage, proxy: FaultyProxy
    ) -> None:
        def plan(method: str, number: int) -> Fault | None:
            return {("POST", 1): Fault.LOSE_ANSWER, ("GET", 1): Fault.BUSY}.get((method, number))

        proxy.plan = plan
        assert await store.put_if_absent("a/b", b"mine")
        assert proxy.faults == [Fault.LOSE_ANSWER, Fault.BUSY]
        assert proxy.seen.count("POST") == 2  # the second met a conflict with itself

    async def test_after_a_lost_answer_the_others_object_is_not_taken_for_ours(
        self, store: Storage, proxy: FaultyProxy
    ) -> None:
        assert await store.put_if_absent("a/b", b"theirs")
        proxy.plan = lambda method, number: Fault.LOSE_ANSWER if (method, number) == ("POST", 2) else None
        assert not await store.put_if_absent("a/b", b"mine")
        assert proxy.faults == [Fault.LOSE_ANSWER]

    async def test_a_server_that_is_busy_for_a_while_is_asked_again(self, store: Storage, proxy: FaultyProxy) -> None:
        proxy.plan = lambda method, number: Fault.BUSY if len(proxy.seen) <= 3 else None
        assert await store.put_if_absent("a/b", b"mine")
        assert proxy.faults == [Fault.BUSY] * 3
        proxy.plan = lambda method, number: Fault.BUSY if len(proxy.seen) <= 1 else None
        proxy.seen.clear()
        assert await store.get("a/b") == b"mine"
        proxy.seen.clear()
        assert await keys(store, "a/") == ["a/b"]
        proxy.seen.clear()
        await store.delete("a/b")
        assert proxy.faults == [Fault.BUSY] * 6

    async def test_a_server_that_stays_busy_is_unavailable_within_the_deadline(
        self, hasty: Storage, proxy: FaultyProxy
    ) -> None:
        proxy.plan = lambda method, number: Fault.BUSY
        await assert_unavailable_in_time(hasty)

    async def test_a_server_that_hangs_is_unavailable_within_the_deadline(
        self, hasty: Storage, proxy: FaultyProxy
    ) -> None:
        proxy.plan = lambda method, number: Fault.HANG
        await assert_unavailable_in_time(hasty)

    async def test_one_lost_request_leaves_time_for_another(self, hasty: Storage, proxy: FaultyProxy) -> None:
        proxy.plan = lambda method, number: Fault.HANG if number == 1 and method == "POST" else None
        assert await hasty.put_if_absent("a/b", b"mine")
        assert proxy.faults == [Fault.HANG]

    async def test_an_account_without_the_role_is_refused_and_told_which(
        self, store: Storage, proxy: FaultyProxy
    ) -> None:
        proxy.plan = lambda method, number: Fault.FORBIDDEN
        for call in (store.get("a/b"), store.put_if_absent("a/b", b"x"), store.delete("a/b"), keys(store, "a/")):
            with pytest.raises(Refused, match=r"roles/storage\.objectUser"):
                await call
        assert len(proxy.seen) == 4  # no try again: it would not help

    async def test_a_listing_comes_page_by_page(
        self, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number in range(1500):
            path = tmp_path / "paged-bucket" / "p" / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        with gcs_server(tmp_path) as server:
            proxy.upstream = server
            proxy.plan = lambda method, number: Fault.BUSY if number == 2 else None  # in the middle
            store = GoogleStore("paged-bucket")
            assert await keys(store, "p/") == sorted(f"p/{n}" for n in range(1500))
            await store.close()
        assert proxy.seen == ["GET"] * 3


async def assert_unavailable_in_time(store: Storage) -> None:
    """If a store's deadline is 0.6 s, every operation fails as promised, with the cause chained."""
    calls = (store.get("a/b"), store.put_if_absent("a/b", b"x"), store.delete("a/b"), keys(store, "a/"))
    began = time.monotonic()
    for failure in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(failure, Unavailable)
        assert failure.__cause__ is not None
    assert time.monotonic() - began < 2


async def test_a_store_that_nobody_serves_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{closed.getsockname()[1]}")
        store = GoogleStore("bucket", deadline_seconds=0.6)
        await assert_unavailable_in_time(store)
        await store.close()


async def test_a_bucket_that_does_not_exist_is_told_with_the_command_that_makes_it(
    google: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google)
    store = GoogleStore("no-such-bucket", project="peers", deadline_seconds=0.6)
    with pytest.raises(Unavailable, match="gcloud storage buckets create gs://no-such-bucket --project=peers"):
        await keys(store, "a/")
    await store.close()


@dataclass
class Tokens:
    """The requests that the token server got, and whether it may answer."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)


class TestGooglesCredentials:
    """A small server in the place of Google's, named by a credentials file."""

    @pytest.fixture
    async def tokens(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tokens]:
        tokens = Tokens()

        async def token(_: web.Request) -> web.Response:
            tokens.asked.set()
            await tokens.may_answer.wait()
            return web.Response(status=404, text="no such account")

        app = web.Application()
        app.router.add_post("/token", token)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        credentials = {
            "type": "authorized_user",
            "client_id": "id",
            "client_secret": "planted-secret",
            "refresh_token": "planted-secret",
            "token_uri": f"http://127.0.0.1:{runner.addresses[0][1]}/token",
        }
        (tmp_path / "credentials.json").write_text(json.dumps(credentials))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        yield tokens
        await runner.cleanup()

    async def test_a_refused_token_is_not_taken_for_a_missing_object(self, tokens: Tokens) -> None:
        store = GoogleStore("bucket", deadline_seconds=0.6)
        read = asyncio.ensure_future(store.get("a/b"))
        await asyncio.wait_for(tokens.asked.wait(), 5)
        tokens.may_answer.set()
        with pytest.raises(Unavailable, match="no credentials"):
            await read
        await store.close()

    async def test_a_caller_that_gives_up_waiting_for_a_token_does_not_cancel_the_others(self, tokens: Tokens) -> None:
        store = GoogleStore("bucket", deadline_seconds=0.6)
        first, second = (asyncio.ensure_future(store.get(f"a/{n}")) for n in range(2))
        await asyncio.wait_for(tokens.asked.wait(), 5)
        first.cancel()
        with pytest.raises(Unavailable):
            await second
        assert first.cancelled()
        await store.close()

    async def test_a_credentials_file_that_is_missing_is_a_mistake_in_the_settings(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
        with pytest.raises(SettingsError, match="GOOGLE_APPLICATION_CREDENTIALS"):
            await open_storage("gs://bucket")


class TestADirectoryItself:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "journal"

    @pytest.fixture
    def store(self, root: Path) -> DirectoryStore:
        return DirectoryStore(root, deadline_seconds=0.6)

    async def test_an_object_is_never_visible_before_it_is_whole(self, root: Path) -> None:
        writer, reader = DirectoryStore(root), DirectoryStore(root)
        big = os.urandom(16 * 2**20)
        for number in range(4):
            key = f"a/{number}"
            writing = asyncio.ensure_future(writer.put_if_absent(key, big))
            while not writing.done():
                listed = key in await keys(reader, "a/")
                held = await reader.get(key)
                assert held == big or (held is None and not listed)
            assert await writing

    async def test_a_killed_writers_leftover_is_no_object_and_stops_nobody(
        self, store: DirectoryStore, root: Path
    ) -> None:
        (root / "a").mkdir()
        (root / "a" / "b#1").write_bytes(b"hal")  # the place that it writes to before it links
        assert await keys(store, "a/") == []
        assert await store.get("a/b") is None
        assert await store.put_if_absent("a/b", b"half or whole")
        assert await keys(store, "a/") == ["a/b"]

    async def test_folders_that_became_empty_go_away_but_not_the_directory_itself(
        self, store: DirectoryStore, root: Path
    ) -> None:
        await store.put_if_absent("pending/T1/C1/1.000001-message", b"x")
        await store.delete("pending/T1/C1/1.000001-message")
        assert names_in(root) == []

    async def test_creating_in_a_folder_that_is_just_going_away_works(self, root: Path) -> None:
        store = DirectoryStore(root)

        async def come_and_go(name: int) -> None:
            for _ in range(40):
                assert await store.put_if_absent(f"a/b/c/{name}", b"x")
                assert f"a/b/c/{name}" in await keys(store, "a/")
                await store.delete(f"a/b/c/{name}")

        await asyncio.gather(*(come_and_go(name) for name in range(6)))
        assert await keys(store, "") == []

    async def test_a_directory_inside_a_file_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a directory")
        with pytest.raises(Unavailable, match=str(tmp_path)) as failure:
            await open_storage(f"file://{tmp_path}/file/journal")
        assert failure.value.__cause__ is not None

    async def test_a_file_in_a_folders_place_is_unavailable(self, store: DirectoryStore, root: Path) -> None:
        (root / "a").write_text("in the way")
        with pytest.raises(Unavailable) as failure:
            await store.put_if_absent("a/b", b"x")
        assert failure.value.__cause__ is not None

    async def test_a_directory_of_somebody_else_is_refused(self, store: DirectoryStore, root: Path) -> None:
        await store.put_if_absent("a/b", b"x")
        (root / "a" / "b").chmod(0)
        (root / "a").chmod(0o555)
        with as_nobody():
            for call in (store.get("a/b"), store.put_if_absent("a/c", b"x"), store.delete("a/b")):
                with pytest.raises(Refused, match=str(root)):
                    await call
        (root / "a").chmod(0o755)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be an ordinary user, for whom permissions hold."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s4://bucket", "gs://BUCKET"),
        ("/var/lib/peerbot", "file:///DIRECTORY"),
        ("", "file:///DIRECTORY"),
        ("gs://", "no bucket"),
        ("s3://", "no bucket"),
        ("s3:///folder", "no bucket"),
        ("s3://two words", "no bucket"),
        ("file://relative/path", "absolute"),
        ("file://", "absolute"),
    ],
)
async def test_a_url_that_names_no_store_is_told_what_there_is(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        await open_storage(url)


async def test_a_directory_with_a_space_in_its_name_can_be_used(tmp_path: Path) -> None:
    store = await open_storage(f"file://{tmp_path}/my%20journal")
    assert await store.put_if_absent("a/b", b"x")
    assert (tmp_path / "my journal" / "a" / "b").read_bytes() == b"x"
