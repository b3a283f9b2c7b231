"""The place where the local Slack keeps its world, so that a laptop's threads survive any kind of end.

It is one SQLite file of JSON documents by kind and key. A write has left the process when it returns, so SIGKILL loses
nothing. Without a folder the same code runs in memory.
"""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peerbot.errors import Conflict

Document = dict[str, Any]


class Store:
    """JSON documents by kind and key. The code that opened it closes it.

    Raises `Conflict` if another process has the folder open: two worlds in one file would forget each other's messages.
    Only its owner may read the file (0600).
    """

    def __init__(self, directory: Path | None) -> None:
        path = ":memory:"
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = directory / "slack.sqlite3"
            os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
            path = str(file)
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            # The lock is held until the end. With WAL a commit survives the process without an fsync.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS documents"
                " (kind TEXT, key TEXT, document TEXT NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
        except sqlite3.OperationalError as error:
            self._db.close()
            raise Conflict(f"{directory} is in use by another local Slack. Stop that one first.") from error

    def all(self, kind: str) -> dict[str, Document]:
        """List the documents of a kind with their keys, keys ascending."""
        rows = self._db.execute("SELECT key, document FROM documents WHERE kind = ? ORDER BY key", (kind,))
        return {key: json.loads(document) for key, document in rows}

    def put(self, kind: str, key: str, document: Document) -> None:
        """Write a document, in the place of an earlier one if there is one."""
        self._db.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (kind, key, json.dumps(document)))

    def delete(self, kind: str, key: str) -> None:
        """Forget a document, if there is one."""
        self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make all writes of the block one: either all of them survive the process, or none does."""
        if self._db.in_transaction:
            yield
            return
        with self._db:
            self._db.execute("BEGIN")
            yield

    def close(self) -> None:
        """Close the file."""
        self._db.close()
