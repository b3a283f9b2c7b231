"""The promises of every store, as tests: subclass `StorageContract`, say where the store is, and they run on it.

Run as a program (`URL FOLDER COUNT NAME`) it is one of the creators that race in two processes.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from peerbot.journal.open import open_storage
from peerbot.journal.storage import SizedStorage, Storage

MANY = 10_000


class StorageContract:
    """The contract; `url` names an empty store."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[SizedStorage]:
        storage = await open_storage(url)
        yield storage
        await storage.close()

    async def test_what_was_created_is_read_back(self, store: Storage) -> None:
        assert await store.put_if_absent("a/1795000000.000100-message.json", b'{"x": 1}')
        assert await store.get("a/1795000000.000100-message.json") == b'{"x": 1}'

    async def test_creating_again_with_the_same_bytes_is_still_ours(self, store: Storage) -> None:
        assert await store.put_if_absent("a/b", b"mine")
        assert await store.put_if_absent("a/b", b"mine")

    async def test_creating_again_with_other_bytes_is_refused_and_changes_nothing(self, store: Storage) -> None:
        assert await store.put_if_absent("a/b", b"first")
        assert not await store.put_if_absent("a/b", b"second")
        assert await store.get("a/b") == b"first"

    async def test_an_empty_object_is_an_object(self, store: Storage) -> None:
        assert await store.put_if_absent("a/empty", b"")
        assert await store.get("a/empty") == b""
        assert not await store.put_if_absent("a/empty", b"more")

    async def test_nothing_there_reads_as_none(self, store: Storage) -> None:
        assert await store.get("a/nothing") is None
        assert await store.put_if_absent("a/b/c", b"x")
        assert await store.get("a/b") is None  # a folder is no object

    async def test_a_listing_shows_what_was_just_created(self, store: Storage) -> None:
        assert await keys(store, "a/") == []
        for number in range(5):
            await store.put_if_absent(f"a/{number}", b"x")
            assert await keys(store, "a/") == [f"a/{n}" for n in range(number + 1)]

    async def test_a_listing_holds_its_own_folder_alone_and_all_below_it(self, store: Storage) -> None:
        for key in ("runs/1/x.json", "runs/10/x.json", "runs/1.json", "runsaway/1", "other/runs/1/x"):
            await store.put_if_absent(key, b"x")
        assert await keys(store, "runs/1/") == ["runs/1/x.json"]
        assert await keys(store, "runs/") == ["runs/1.json", "runs/1/x.json", "runs/10/x.json"]
        assert await keys(store, "") == sorted(
            ["runs/1/x.json", "runs/10/x.json", "runs/1.json", "runsaway/1", "other/runs/1/x"]
        )

    async def test_a_listing_is_in_the_order_of_keys_bytes(self, store: Storage) -> None:
        created = ["o/b", "o/B", "o/a-1", "o/a.1", "o/a/1", "o/a_1", "o/a0", "o/10", "o/2", "o/1795.0001-m", "o/_"]
        for key in created:
            await store.put_if_absent(key, b"x")
        assert await keys(store, "o/") == sorted(created, key=str.encode)

    async def test_a_listing_may_be_left_early(self, store: Storage) -> None:
        await asyncio.gather(*(store.put_if_absent(f"a/{n}", b"x") for n in range(3)))
        async for key in store.list("a/"):
            assert key == "a/0"
            break
        assert len(await keys(store, "a/")) == 3

    async def test_deleting_is_idempotent(self, store: Storage) -> None:
        await store.put_if_absent("a/b", b"x")
        await store.delete("a/b")
        await store.delete("a/b")
        await store.delete("never/there")
        assert await store.get("a/b") is None
        assert await keys(store, "") == []

    async def test_a_deleted_key_can_be_created_anew(self, store: Storage) -> None:
        await store.put_if_absent("a/b", b"first")
        await store.delete("a/b")
        assert await store.put_if_absent("a/b", b"second")

    async def test_a_listing_tells_the_size_of_each_object(self, store: SizedStorage) -> None:
        await store.put_if_absent("a/empty", b"")
        await store.put_if_absent("a/x/five", b"12345")
        await store.put_if_absent("b", b"1")

        assert [pair async for pair in store.sizes("a/")] == [("a/empty", 0), ("a/x/five", 5)]

    async def test_of_many_creators_in_one_process_one_wins(self, store: Storage) -> None:
        won = await asyncio.gather(*(store.put_if_absent("a/b", b"%d" % n) for n in range(20)))
        assert sum(won) == 1
        assert await store.get("a/b") == b"%d" % won.index(True)

    async def test_of_creators_in_two_processes_one_wins_each_key(self, url: str, store: Storage) -> None:
        count = 50
        ada, bob = await race(url, "race", count, "ada", "bob")
        assert not set(ada) & set(bob)
        assert len(ada) + len(bob) == count
        for number in range(count):
            assert await store.get(f"race/{number}") == (b"ada" if number in ada else b"bob")

    async def test_a_big_object_comes_back_whole(self, store: Storage) -> None:
        big = os.urandom(5 * 2**20 + 1)
        assert await store.put_if_absent("a/big", big)
        assert await store.get("a/big") == big
        assert await store.put_if_absent("a/big", big)
        assert not await store.put_if_absent("a/big", big[:-1])

    async def test_compressed_bytes_come_back_as_they_were(self, store: Storage) -> None:
        gzip = bytes.fromhex("1f8b08000000000002ff4b04004390e2b801000000")
        await store.put_if_absent("a/whole.json.gz", gzip)
        assert await store.get("a/whole.json.gz") == gzip

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "ü", "a b", "a\n", "a\0", "a#1", "a%2Fb", "x" * 1000]
    )
    async def test_a_key_that_means_different_things_in_different_stores_is_refused(
        self, store: Storage, key: str
    ) -> None:
        doors: list[Callable[[str], object]] = [store.get, store.delete, lambda k: store.put_if_absent(k, b"x")]
        for door in doors:
            with pytest.raises(ValueError, match="not a key"):
                await door(key)  # type: ignore[misc]
        assert await keys(store, "") == []

    @pytest.mark.parametrize("prefix", ["a", "a/b", "/", "../", "a//"])
    async def test_a_prefix_that_is_no_folder_is_refused(self, store: Storage, prefix: str) -> None:
        with pytest.raises(ValueError, match=r"a prefix ends with|not a key"):
            await keys(store, prefix)

    async def test_closing_twice_is_fine(self, url: str) -> None:
        storage = await open_storage(url)
        await storage.put_if_absent("a/b", b"x")
        await storage.close()
        await storage.close()


class CrowdContract:
    """The contract for many objects; `crowded` names a store that holds `crowd/{0..9999}.json`."""

    @pytest.fixture
    def crowded(self) -> str:
        raise NotImplementedError

    @pytest.mark.timeout(240)  # the more objects fake-gcs-server has, the longer it takes for one
    async def test_ten_thousand_objects_are_listed_completely_and_in_order(self, crowded: str) -> None:
        store = await open_storage(crowded)
        try:
            assert await keys(store, "crowd/") == sorted(f"crowd/{n}.json" for n in range(MANY))
        finally:
            await store.close()


async def keys(store: Storage, prefix: str) -> list[str]:
    """List `prefix`, as a list."""
    return [key async for key in store.list(prefix)]


async def race(url: str, folder: str, count: int, *names: str) -> list[list[int]]:
    """Let one process for each name create the same `count` keys at the same time; returns the keys that each got."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, __file__, url, folder, str(count), name,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        for name in names
    ]  # fmt: skip
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write(b"go\n")
    outputs = [await process.communicate() for process in processes]
    return [json.loads(output) for output, _ in outputs]


async def _create_all(url: str, folder: str, count: int, name: str) -> None:
    store = await open_storage(url)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    won = await asyncio.gather(*(store.put_if_absent(f"{folder}/{n}", name.encode()) for n in range(count)))
    sys.stdout.write(json.dumps([n for n, mine in enumerate(won) if mine]))
    await store.close()


if __name__ == "__main__":
    asyncio.run(_create_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
