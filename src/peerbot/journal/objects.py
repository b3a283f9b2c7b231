"""The common part of the stores that obstore serves: a directory (`directory.py`) and a bucket of S3 (`s3.py`).

Both create with `mode="create"`: on a disk a link that fails if something exists, on S3 `If-None-Match: *`.
"""

import asyncio
import io
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from peerbot.errors import PeerBotError
from peerbot.journal.bounded import BoundedStorage

FAILURES = (BaseError, OSError)
"""All that obstore raises: its own tree, and Python's FileNotFoundError and PermissionError."""

if TYPE_CHECKING:
    from obstore import GetResult  # a type only, not there at run time

_REST_SECONDS = 0.05
_PIECE_BYTES = 1024 * 1024

_T = TypeVar("_T")


class ObjectStore(BoundedStorage):
    """The raw operations on `store`. A subclass lists, and describes failures in the words of its store."""

    def __init__(self, store: LocalStore | S3Store, *, deadline_seconds: float) -> None:
        super().__init__(deadline_seconds=deadline_seconds)
        self._store = store

    @abstractmethod
    def _failure(self, error: BaseError | OSError) -> PeerBotError:
        """Turn `error` into `Refused` or `Unavailable`."""

    async def _create(self, key: str, data: bytes) -> bool:
        try:
            await obstore.put_async(self._store, key, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except FAILURES as error:
            raise self._failure(error) from error
        return True

    async def _read(self, key: str) -> bytes | None:
        return await self._got(key, _whole)

    async def _same(self, key: str, data: bytes) -> bool | None:
        return await self._got(key, lambda result: _is(result, data))

    async def _got(self, key: str, read: "Callable[[GetResult], Awaitable[_T]]") -> _T | None:
        """Read an object; None if there is none."""
        try:
            return await read(await obstore.get_async(self._store, key))
        except FileNotFoundError as error:
            if self._is_missing_itself(error):
                raise self._failure(error) from error
            return None
        except FAILURES as error:
            raise self._failure(error) from error

    async def _remove(self, key: str) -> None:
        try:
            await obstore.delete_async(self._store, key)
        except FileNotFoundError as error:
            if self._is_missing_itself(error):
                raise self._failure(error) from error
        except FAILURES as error:
            raise self._failure(error) from error

    def _is_missing_itself(self, error: FileNotFoundError) -> bool:  # noqa: ARG002 (a bucket looks at it)
        """Whether `error` says that the whole store is missing, not the object."""
        return False

    async def close(self) -> None:
        """Let obstore's threads come to rest: a thread that still frees a result aborts a process that ends."""
        await asyncio.sleep(_REST_SECONDS)


async def _whole(result: "GetResult") -> bytes:
    if result.meta["size"] <= _PIECE_BYTES:
        return bytes(await result.bytes_async())
    whole = io.BytesIO()  # its content becomes bytes without a copy: the object may be large
    async for piece in result.stream(min_chunk_size=_PIECE_BYTES):
        whole.write(piece)
    return whole.getvalue()


async def _is(result: "GetResult", data: bytes) -> bool:
    """Compare piece by piece: an object may be large, and `data` is in memory already."""
    if result.meta["size"] != len(data):
        return False
    view, at = memoryview(data), 0
    async for piece in result.stream(min_chunk_size=_PIECE_BYTES):
        if view[at : at + len(piece)] != memoryview(piece):
            return False
        at += len(piece)
    return at == len(data)
