"""A kind of Kubernetes object as it is now, kept up to date: list, then watch, and list again when that breaks off.

No client library does all of it: a watch ends when the API server does, when it has forgotten our version (410), or
silently, with the network. Whatever happens, the mirror lists again, and tells of every difference that it finds, so
that nothing that happened meanwhile is missed; what changed several times is told once. Objects are known by their uid:
one that was deleted and made again under the same name is another one.
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
"""A watch that was not heard of for so long may be dead, if the network took it: all is listed anew, which is cheap."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class Mirror(Generic[_R, _V]):
    """What there is of `kind` with `labels`, each kept as what `keep` makes of it (None: not kept).

    `changed(before, now)` is called for every difference, from the event loop, with None for what is not there. It must
    not raise. Run `follow()` as a task; `synced` is set whenever what is here is known to be true, and cleared while
    the API server does not answer.
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
        """What there is."""
        return list(self._there.values())

    def take(self, item: _R) -> None:
        """Take an object that a call of our own has just handed out: its watch event may come later."""
        self._put(item)

    async def follow(self) -> None:
        """List and watch until cancelled."""
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
        """Read what there is and tell the differences; the version to watch from."""
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
        """Follow changes from `version` on, until it breaks off; raises `TimeoutError` when it has been silent."""
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
