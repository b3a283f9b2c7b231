"""A store that let us in when we started: a later refusal is an outage, since the operator will give the right back.

At the start a refusal ends the program with a sentence that says what to do. Later it must not: a `Refused` of the
journal would look like the refusal of a person or a run, and a worker that gets one throws its work away.
"""

from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from peerbot.errors import Refused, Unavailable
from peerbot.journal.storage import Storage

_T = TypeVar("_T")


class GrantedStorage:
    """The `Storage` port on another store. Turns its `Refused` into `Unavailable`, in the same words."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        """Create `key`."""
        return await _granted(self._storage.put_if_absent(key, data, new=new))

    async def get(self, key: str) -> bytes | None:
        """Read the object."""
        return await _granted(self._storage.get(key))

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys under `prefix`."""
        keys = self._storage.list(prefix)
        while True:
            try:
                key = await _granted(anext(keys))
            except StopAsyncIteration:
                return
            yield key

    async def delete(self, key: str) -> None:
        """Delete `key`."""
        await _granted(self._storage.delete(key))

    async def close(self) -> None:
        """Close the store below."""
        await self._storage.close()


async def _granted(operation: Awaitable[_T]) -> _T:
    try:
        return await operation
    except Refused as error:
        raise Unavailable(str(error)) from error
