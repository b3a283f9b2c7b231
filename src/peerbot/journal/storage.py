"""The storage port: the four operations that the journal needs (decision 0001), and nothing else.

`journal/gcs.py` serves `gs://…`, `journal/s3.py` `s3://…`, `journal/directory.py` `file://…`; the URL chooses. All
pass `tests/service/storage_conformance.py`, the buckets against servers that we did not write.
"""

from collections.abc import AsyncIterator
from typing import Protocol


class Storage(Protocol):
    """Objects by key.

    A key is made of `/`-separated parts of ASCII letters, digits, `.`, `_` and `-`, so that it means the same in a
    bucket, on a disk and in a URL; no key is also the folder of another (no `turns/1` beside `turns/1/x`: a disk
    can't have both). A prefix is such a folder: empty, or ending with `/`. Anything else raises `ValueError`.

    Every method has a deadline of its own and raises `Unavailable`, the cause chained, when the store does not
    answer in time or fails; `Refused` when the store says that we may not. Idempotent retries happen inside.
    Whoever opened it closes it.
    """

    async def put_if_absent(self, key: str, data: bytes, *, new: bool = False) -> bool:
        """Create `key`; True when it is ours now.

        False only when it exists with *other* bytes: after a conflict or a lost answer the object is read back;
        our bytes mean that an earlier try of ours arrived, nothing there means that it is tried again. Callers put
        a nonce into `data` where two writers could mean the same bytes. `Unavailable` leaves open whether it was
        created: the same call again settles it.

        `new` says that no call before this one sent these bytes. Then a store that is sure that the key exists is
        believed without reading it back.
        """

    async def get(self, key: str) -> bytes | None:
        """Read the whole object, or None where there is none."""

    def list(self, prefix: str) -> AsyncIterator[str]:
        """Yield every key under `prefix` (which ends with `/`), in ascending order, page by page.

        What was created before the call is in it.
        """

    async def delete(self, key: str) -> None:
        """Delete `key`; nothing there is fine."""

    async def close(self) -> None:
        """Let go of connections. Idempotent."""
