"""A storage that counts, for tests of what something costs the store."""

from collections.abc import AsyncIterator

from peerbot.journal.storage import Storage


class Counting:
    """A storage that notes all that is read from it: objects by key, listings by prefix."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.reads: list[str] = []

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        return await self._storage.put_if_absent(key, data, new=new)

    async def get(self, key: str) -> bytes | None:
        self.reads.append(key)
        return await self._storage.get(key)

    def list(self, prefix: str) -> AsyncIterator[str]:
        self.reads.append(prefix)
        return self._storage.list(prefix)

    async def delete(self, key: str) -> None:
        await self._storage.delete(key)

    async def close(self) -> None:
        await self._storage.close()
