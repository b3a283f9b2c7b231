"""The common part of every store: deadlines, bounded retries, and a create that never loses to itself.

An adapter brings the four raw operations, each of which tries once. This module tries them again within the deadline.
If the answer to a create is lost, it settles the matter by reading the object back.
"""

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, TypeVar

import stamina

from peerbot import metrics
from peerbot.errors import Unavailable

_T = TypeVar("_T")
_KEY = re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")
_LONGEST_KEY = 900  # bytes; stores take 1024, and a configured folder comes before the key
_TRIES = 6  # about three seconds of waiting, if the store fails at once each time


class Page(NamedTuple):
    """Some keys with their sizes, in ascending order, and the name of the page after them (None: this is the last)."""

    found: list[tuple[str, int]]
    after: str | None


class BoundedStorage(ABC):
    """The `Storage` port over raw operations that try once.

    `deadline_seconds` bounds each call of the port, retries and waits included; for `list`, each page. A single try
    takes at most a third of it, so that one lost answer leaves time for another try.
    """

    def __init__(self, *, deadline_seconds: float = 10.0) -> None:
        self._deadline_seconds = deadline_seconds

    SURE_OF_CONFLICTS = True
    """Whether an object exists for sure if the store says so."""

    @abstractmethod
    async def _create(self, key: str, data: bytes) -> bool:
        """Create `key`, or return False if it exists. Raises `Unavailable` or `Refused`, like all of these."""

    @abstractmethod
    async def _read(self, key: str) -> bytes | None:
        """Read the object; None if there is none."""

    @abstractmethod
    async def _page(self, prefix: str, after: str | None) -> Page:
        """Read the page of keys under `prefix` that `after` names; None names the first."""

    @abstractmethod
    async def _remove(self, key: str) -> None:
        """Delete `key`, if it exists."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections. Idempotent."""

    async def _same(self, key: str, data: bytes) -> bool | None:
        """Whether the object is `data`; None if there is none."""
        held = await self._read(key)
        return None if held is None else held == data

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        """Create `key`; False only if it exists with other bytes (the port says more)."""
        _check_key(key)
        may_be_ours = not (new and self.SURE_OF_CONFLICTS)

        async def create() -> bool:
            nonlocal may_be_ours
            try:
                if await self._once(self._create(key, data)):
                    return True
                if not may_be_ours:
                    return False
                doubt = Unavailable(f"The journal reported a conflict at {key}, but nothing is there.")
            except Unavailable as error:
                doubt, may_be_ours = error, True
            same = await self._once(self._same(key, data))
            if same is None:
                raise doubt
            return same

        return await self._within_deadline("create", key, create)

    async def get(self, key: str) -> bytes | None:
        """Read the whole object; None if there is none."""
        _check_key(key)
        return await self._within_deadline("read", key, lambda: self._once(self._read(key)))

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key under `prefix` (empty, or ending with `/`), in ascending order, page by page."""
        async for key, _ in self.sizes(prefix):
            yield key

    async def sizes(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """Yield the same keys, each with its object's size in bytes."""
        if prefix:
            _check_key(prefix.removesuffix("/"))
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"a prefix ends with '/': {prefix!r}")
        after: str | None = None

        async def page() -> Page:
            return await self._once(self._page(prefix, after))

        while True:
            found, after = await self._within_deadline("list", prefix, page)
            for pair in found:
                yield pair
            if after is None:
                return

    async def delete(self, key: str) -> None:
        """Delete `key`, if it exists."""
        _check_key(key)
        await self._within_deadline("delete", key, lambda: self._once(self._remove(key)))

    async def _once(self, operation: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._deadline_seconds / 3):
                return await operation
        except TimeoutError as error:
            raise Unavailable("The journal's store did not answer in time.") from error

    async def _within_deadline(self, doing: str, key: str, operation: Callable[[], Awaitable[_T]]) -> _T:
        with metrics.called(metrics.store_calls, metrics.store_call_seconds, doing):
            return await self._tried(doing, key, operation)

    async def _tried(self, doing: str, key: str, operation: Callable[[], Awaitable[_T]]) -> _T:
        last: Unavailable | None = None
        try:
            async with asyncio.timeout(self._deadline_seconds):
                async for attempt in stamina.retry_context(
                    on=Unavailable, attempts=_TRIES, timeout=None, wait_initial=0.1, wait_max=1.0, wait_jitter=0.2
                ):
                    with attempt:
                        try:
                            return await operation()
                        except Unavailable as error:
                            last = error
                            raise
        except TimeoutError as error:
            late = f"The journal did not answer within {self._deadline_seconds:g} s ({doing} {key})."
            raise Unavailable(f"{late} {last}" if last else late) from last or error
        raise AssertionError("the last try either returns or raises")


def _check_key(key: str) -> None:
    if len(key) > _LONGEST_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"not a key of the journal: {key!r}")
