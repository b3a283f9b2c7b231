"""S3 as the journal's store: it keeps the stores' contract on moto's server, and under the faults of the real one."""

import asyncio
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import web
from faulty_proxy import Fault, FaultyProxy, faulty_proxy
from s3_server import make_s3_bucket, put, s3_environment, s3_server
from storage_conformance import StorageContract, keys

from peerbot.errors import Refused, SettingsError, Unavailable
from peerbot.journal.open import open_storage
from peerbot.journal.s3 import S3Bucket
from peerbot.journal.storage import Storage

pytestmark = pytest.mark.slow  # real faults take real time: `make slow`


@pytest.fixture(scope="module")
def amazon() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(amazon: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make an empty bucket on the server that the environment names."""
    name = f"bucket-{uuid.uuid4().hex}"
    make_s3_bucket(amazon, name)
    for variable, value in s3_environment(amazon).items():
        monkeypatch.setenv(variable, value)
    return name


class TestBucket(StorageContract):
    @pytest.fixture
    def url(self, bucket: str) -> str:
        return f"s3://{bucket}"


class TestFolderOfABucket(StorageContract):
    @pytest.fixture
    def url(self, bucket: str) -> str:
        return f"s3://{bucket}/teams/peerbot/"


async def test_folders_of_one_bucket_do_not_see_each_other(bucket: str) -> None:
    whole, folder, longer = [await open_storage(f"s3://{bucket}{path}") for path in ("", "/a", "/ab")]
    assert await folder.put_if_absent("x", b"1")
    assert await longer.put_if_absent("x", b"2")
    assert await keys(whole, "") == ["a/x", "ab/x"]
    assert await keys(folder, "") == ["x"]


class TestFaults:
    """Between the client and moto stands a proxy that plays them."""

    @pytest.fixture
    async def proxy(self, amazon: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FaultyProxy]:
        async with faulty_proxy(amazon) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            yield proxy

    @pytest.fixture
    def store(self, proxy: FaultyProxy, bucket: str) -> Storage:
        return S3Bucket(bucket)

    @pytest.fixture
    def hasty(self, proxy: FaultyProxy, bucket: str) -> Storage:
        return S3Bucket(bucket, deadline_seconds=0.6)

    @pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.EXISTS])
    @pytest.mark.parametrize("new", [False, True])
    async def test_a_conflict_where_nothing_is_there_is_no_loss_and_it_is_created_after_all(
        self, store: Storage, proxy: FaultyProxy, fault: Fault, new: bool
    ) -> None:
        proxy.plan = lambda method, number: fault if (method, number) == ("PUT", 1) else None
        assert await store.put_if_absent("a/b", b"mine", new=new)
        assert proxy.faults == [fault]
        assert proxy.seen == ["PUT", "GET", "PUT"]  # it looked before it tried again
        assert await store.get("a/b") == b"mine"

    @pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.EXISTS])
    @pytest.mark.parametrize("ours", [True, False])
    async def test_a_conflict_with_what_is_there_is_judged_by_its_bytes(
        self, amazon: str, bucket: str, store: Storage, proxy: FaultyProxy, fault: Fault, ours: bool
    ) -> None:
        put(f"{amazon}/{bucket}/a/b", b"mine" if ours else b"theirs")
        proxy.plan = lambda method, number: fault if method == "PUT" else None
        assert await store.put_if_absent("a/b", b"mine") is ours
        assert proxy.seen == ["PUT", "GET"]

    async def test_a_conflict_that_never_ends_is_unavailable_and_nothing_was_written(
        self, hasty: Storage, proxy: FaultyProxy
    ) -> None:
        proxy.plan = lambda method, number: Fault.CONFLICT if method == "PUT" else None
        with pytest.raises(Unavailable, match="conflict at a/b"):
            await hasty.put_if_absent("a/b", b"mine")
        assert await hasty.get("a/b") is None

    async def test_a_create_whose_answer_was_lost_is_ours(self, store: Storage, proxy: FaultyProxy) -> None:
        proxy.plan = lambda method, number: Fault.LOSE_ANSWER if (method, number) == ("PUT", 1) else None
        assert await store.put_if_absent("a/b", b"mine")
        assert proxy.faults == [Fault.LOSE_ANSWER]
        assert await store.get("a/b") == b"mine"

    async def test_a_busy_bucket_is_asked_again(self, store: Storage, proxy: FaultyProxy) -> None:
        await store.put_if_absent("a/b", b"x")
        proxy.plan = lambda method, number: Fault.BUSY if method != "PUT" and proxy.seen.count(method) == 1 else None
        assert await store.get("a/b") == b"x"
        await store.delete("a/b")
        assert await store.get("a/b") is None
        assert proxy.faults == [Fault.BUSY] * 2

    @pytest.mark.parametrize("fault", [Fault.BUSY, Fault.HANG])
    async def test_a_bucket_that_does_not_get_well_is_unavailable_in_time(
        self, hasty: Storage, proxy: FaultyProxy, fault: Fault
    ) -> None:
        proxy.plan = lambda method, number: fault
        began = time.monotonic()
        for failure in await calls(hasty):
            assert isinstance(failure, Unavailable)
            assert failure.__cause__ is not None
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize(
        ("fault", "says"), [(Fault.FORBIDDEN, "s3:GetObject, s3:PutObject"), (Fault.ELSEWHERE, "AWS_REGION")]
    )
    async def test_a_fault_that_another_try_would_not_mend_is_refused_at_once_with_what_to_do(
        self, store: Storage, proxy: FaultyProxy, fault: Fault, says: str
    ) -> None:
        proxy.plan = lambda method, number: fault
        for failure in await calls(store):
            assert isinstance(failure, Refused)
            assert says in str(failure)
        assert len(proxy.seen) == 4

    async def test_a_listing_comes_page_by_page_in_order(
        self, amazon: str, bucket: str, store: Storage, proxy: FaultyProxy
    ) -> None:
        writer = S3Bucket(bucket)
        numbers = range(1010)
        for begin in range(0, 1010, 101):
            await asyncio.gather(*(writer.put_if_absent(f"p/{n}", b"x") for n in numbers[begin : begin + 101]))
        proxy.seen.clear()
        proxy.plan = lambda method, number: Fault.BUSY if number == 2 else None  # in the middle
        assert await keys(store, "p/") == sorted(f"p/{n}" for n in numbers)
        assert proxy.seen == ["GET"] * 3


async def calls(store: Storage) -> list[object]:
    """Return the answer of each operation of the store."""
    doors = (store.get("a/b"), store.put_if_absent("a/b", b"x"), store.delete("a/b"), keys(store, "a/"))
    return [*await asyncio.gather(*doors, return_exceptions=True)]


async def test_a_bucket_that_does_not_exist_is_told_with_the_command_that_makes_it(bucket: str) -> None:
    for failure in await calls(S3Bucket("no-such-bucket", deadline_seconds=0.6)):
        assert isinstance(failure, Unavailable)
        assert "aws s3 mb s3://no-such-bucket" in str(failure)


async def test_an_answer_that_repeats_our_credentials_does_not_bring_them_into_the_log(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def repeat(request: web.Request) -> web.Response:
        code, sent = "<Code>SignatureDoesNotMatch</Code>", request.headers["x-amz-security-token"]
        return web.Response(status=403, text=f"<Error>{code}<CanonicalRequest>{sent}</CanonicalRequest></Error>")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", repeat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "planted-session-token")
    for failure in await calls(S3Bucket(bucket)):
        assert isinstance(failure, Refused)
        assert "SignatureDoesNotMatch" in str(failure)
        assert "planted" not in "".join(traceback.format_exception(failure)) + repr(failure.__cause__)
    await runner.cleanup()


async def test_no_credentials_at_all_are_told(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SettingsError, match="Missing AccessKeyId"):
        S3Bucket(bucket)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    for failure in await calls(S3Bucket(bucket, deadline_seconds=0.6)):
        assert isinstance(failure, Unavailable)
        assert "AWS gave no credentials" in str(failure)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("AWS_ENDPOINT_URL", "minio.internal:9000", "AWS_ENDPOINT_URL"),
        ("AWS_ENDPOINT_URL", "http://two words", "AWS_ENDPOINT_URL"),
        ("AWS_REGION", "Frankfurt (Main)", "AWS_REGION"),
        ("AWS_SKIP_SIGNATURE", "perhaps", "perhaps"),
    ],
)
async def test_variables_of_aws_that_are_none_are_wrong_settings(
    bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=says):
        await open_storage(f"s3://{bucket}")


def test_a_laptops_dispatcher_loads_no_library_of_any_cloud() -> None:
    code = (
        "import asyncio, sys, tempfile, peerbot.dispatcher.app\n"
        "from peerbot.journal.open import open_storage\n"
        "asyncio.run(open_storage('file://' + tempfile.mkdtemp()))\n"
        "print([name for name in ('gcloud', 'peerbot.journal.s3', 'boto3', 'moto') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50)
    assert done.stdout == "[]\n"
