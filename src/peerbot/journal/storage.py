"""The storage port: the four operations that the journal needs (decision 0001), and nothing else.

`journal/gcs.py` serves `gs://…`, `journal/s3.py` `s3://…`, `journal/directory.py` `file://…`; the URL chooses. All
pass `tests/service/storage_conformance.py`, the buckets against servers that we did not write.
"""

from collections.abc import AsyncIterator
from typing import Protocol


class Storage(Protocol):
    """Objects by key.

    A key has `/`-separated parts of ASCII letters, digits, `.`, `_` and `-`, so that it means the same in a bucket, on
    a disk and in a URL. No key is also the folder of another (no `turns/1` beside `turns/1/x`: a disk can't have
    both). A prefix is such a folder: empty, or ending with `/`. Anything else raises `ValueError`.

    Every method has a deadline of its own. It raises `Unavailable`, the cause chained, if the store fails or does not
    answer in time, and `Refused` if the store says that we may not. Idempotent retries happen inside. The caller that
    opened a store closes it.
    """

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        """Create `key`; True if it is ours now.

        False only if it exists with *other* bytes. After a conflict or a lost answer it reads the object back: our
        bytes mean that an earlier try of ours arrived; if there is nothing, it tries again. Callers put a nonce into
        `data` if two writers could write the same bytes. `Unavailable` leaves open whether the key was created: the
        same call again settles it.

        `new` says that no call before this one sent these bytes. Then, if the store is sure that the key exists, the
        call believes it without reading the object back.
        """

    async def get(self, key: str) -> bytes | None:
        """Read the whole object; None if there is none."""

    def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key under `prefix` (which ends with `/`), in ascending order, page by page.

        It includes every key that was created before the call.
        """

    async def delete(self, key: str) -> None:
        """Delete `key`, if it exists."""

    async def close(self) -> None:
        """Close the connections. Idempotent."""


class SizedStorage(Storage, Protocol):
    """A store that also tells how large its objects are, as all do that are opened by a URL."""

    def sizes(self, prefix: str) -> AsyncIterator[tuple[str, int]]:
        """Yield the same keys as `list`, each with its object's size in bytes."""
