"""All Kubernetes objects of a kind, kept up to date: list, then watch, and list again when the watch breaks off.

No client library does all of it: a watch ends when the API server does, when the server has forgotten our version
(410), or silently, with the network. Whatever happens, the mirror lists again and tells every difference that it finds,
so that it misses nothing. If an object changed several times meanwhile, it tells that once. The mirror knows objects by
their uid: an object that was deleted and made again under the same name is another one.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.operators import Operator
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from peerbot.logs import logger

log = logger(__name__)

_R = TypeVar("_R", Job, Pod)
_V = TypeVar("_V")

SILENT_SECONDS = 75.0
"""After this time of silence the network may have cut the watch, so the mirror lists all again, which is cheap."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class Mirror(Generic[_R, _V]):
    """The objects of `kind` with `labels`. Keeps of each what `keep` makes of it (None: keeps nothing).

    Calls `changed(before, now)` for every difference, from the event loop, with None for an object that does not exist.
    It must not raise. Run `follow()` as a task. `synced` is set while the mirror is up to date, and cleared while the
    API server does not answer.
    """

    def __init__(
        self,
        client: AsyncClient,
        kind: type[_R],
        *,
        labels: Mapping[str, str],
        keep: Callable[[_R], _V | None],
        changed: Callable[[_V | None, _V | None], None],
    ) -> None:
        self._client = client
        self._kind: type[_R] = kind
        self._labels: dict[str, str | Operator[Any] | Iterable[Any] | None] = dict(labels)
        self._keep: Callable[[_R], _V | None] = keep
        self._changed = changed
        self._there: dict[str, _V] = {}
        self.synced = asyncio.Event()

    @property
    def all(self) -> list[_V]:
        """Everything that is kept."""
        return list(self._there.values())

    def take(self, item: _R) -> None:
        """Take an object that a call of our own has just returned: its watch event may come later."""
        self._put(item)

    async def follow(self) -> None:
        """List and watch until cancelled."""
        try:
            await self._follow()
        finally:
            self.synced.clear()  # nobody keeps it up to date

    async def _follow(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            try:
                version = await self._list()
                self.synced.set()
                pause = _SHORTEST_PAUSE
                await self._watch(version)
            except TimeoutError:
                continue
            except (httpx2.HTTPError, OSError) as error:
                if not _is_gone(error):
                    self.synced.clear()
                    log.warning("watch_broken", kind=self._kind.__name__, reason=str(error) or type(error).__name__)
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    pause = min(2 * pause, _LONGEST_PAUSE)

    async def _list(self) -> str:
        """List the objects and tell the differences; returns the version to watch from."""
        seen: set[str] = set()
        listed = self._client.list(self._kind, labels=self._labels, chunk_size=500)
        async for item in listed:
            seen.add(_uid(item))
            self._put(item)
        for uid in self._there.keys() - seen:
            self._changed(self._there.pop(uid), None)
        version = listed.resourceVersion
        assert version, "a list has a version"
        return version

    async def _watch(self, version: str) -> None:
        """Follow changes from `version` on, until the watch breaks off; raises `TimeoutError` after a silence."""
        stream = aiter(self._client.watch(self._kind, labels=self._labels, resource_version=version))
        while True:
            async with asyncio.timeout(SILENT_SECONDS):
                change, item = await anext(stream)
            if change == "DELETED":
                if (gone := self._there.pop(_uid(item), None)) is not None:
                    self._changed(gone, None)
            else:
                self._put(item)

    def _put(self, item: _R) -> None:
        uid, value = _uid(item), self._keep(item)
        before = self._there.get(uid)
        if value is None or value == before:
            return
        self._there[uid] = value
        self._changed(before, value)


def _uid(item: Job | Pod) -> str:
    assert item.metadata
    assert item.metadata.uid
    return item.metadata.uid


def _is_gone(error: BaseException) -> bool:
    """Whether the API server has forgotten the version that we watched from (410): listing again mends it at once."""
    if isinstance(error, ApiError):
        return error.status.code == 410
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == 410
