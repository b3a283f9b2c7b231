"""A directory as the journal (`file://…`), through obstore: for a laptop.

obstore writes a new object whole beside its place (`name#1`, which it never lists), and then links it there: the link
is atomic and fails if something exists. So a half-written object is never visible, and of two creators, also in two
processes, one wins. obstore does not call fsync: an object survives the end of any process, but not a power failure.
That is the price of a laptop; buckets are durable.

The directory must be on a file system with hard links, and one machine's own.
"""

import re
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore

from peerbot.errors import PeerBotError, Refused, Unavailable
from peerbot.journal.bounded import Page
from peerbot.journal.objects import FAILURES, ObjectStore

_LISTED_AT_ONCE = 1000
# A file that may not be opened comes as obstore's GenericError, with Rust's own words for the reason in its text.
_FORBIDDEN = re.compile(r"kind: (PermissionDenied|ReadOnlyFilesystem)\b")


class DirectoryStore(ObjectStore):
    """The `Storage` port in the directory `root`. Makes the directory if it is missing.

    Making the store also raises `Refused` or `Unavailable` if the directory can't be used.
    """

    def __init__(self, root: Path, *, deadline_seconds: float = 10.0) -> None:
        self._root = root
        try:
            # Folders that became empty go away: a listing of pending/ must not walk through those of all history.
            store = LocalStore(root, mkdir=True, automatic_cleanup=True)
        except FAILURES as error:
            raise self._failure(error) from error
        super().__init__(store, deadline_seconds=deadline_seconds)

    async def _create(self, key: str, data: bytes) -> bool:
        self._must_be_there()  # obstore would make it again, but a disk that is not mounted is no empty journal
        return await super()._create(key, data)

    def _is_missing_itself(self, error: FileNotFoundError) -> bool:  # noqa: ARG002
        return not self._is_there()

    def _is_there(self) -> bool:
        try:
            return self._root.is_dir()
        except OSError as error:
            raise self._failure(error) from error

    def _must_be_there(self) -> None:
        if not self._is_there():
            raise Unavailable(f"The journal's directory {self._root} does not exist.")

    async def _page(self, prefix: str, after: str | None) -> Page:  # noqa: ARG002 (there is one)
        self._must_be_there()
        try:
            # Everything at once: a directory has no order of its own, so we must see all of it to sort it.
            found = await obstore.list(self._store, prefix, chunk_size=_LISTED_AT_ONCE).collect_async()
        except FAILURES as error:
            raise self._failure(error) from error
        return Page(sorted((entry["path"], entry["size"]) for entry in found), None)

    def _failure(self, error: BaseError | OSError) -> PeerBotError:
        forbidden = (PermissionError, PermissionDeniedError, UnauthenticatedError)
        if isinstance(error, forbidden) or _FORBIDDEN.search(str(error)):
            return Refused(f"This user may not use the journal's directory {self._root}.")
        return Unavailable(f"The journal's directory {self._root} can't be used.")
