"""Reads saved states from outside: what a bundle in the journal holds, beside the repository on GitHub."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE, FILES = "refs/saved/state", "refs/saved/files"


@dataclass(frozen=True)
class SavedState:
    """A saved state: `state.json`, its refs, and the files as they were."""

    directory: Path
    refs: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.git("cat-file", "blob", f"{STATE}:state.json"))
        return document

    @property
    def files(self) -> dict[str, bytes]:
        return self.tree(self.refs[FILES])

    def tree(self, tree: str) -> dict[str, bytes]:
        """The files of a commit or tree, and their contents; links to other repositories are left out."""
        lines = self._git("ls-tree", "-r", "-z", tree).split(b"\0")
        names = [os.fsdecode(line.partition(b"\t")[2]) for line in lines if line and not line.startswith(b"160000")]
        return {name: self._git("cat-file", "blob", f"{tree}:{name}") for name in names}

    def git(self, *arguments: str) -> str:
        return os.fsdecode(self._git(*arguments)).strip()

    def _git(self, *arguments: str) -> bytes:
        command = ["git", "-C", str(self.directory), *arguments]
        return subprocess.run(command, check=True, capture_output=True).stdout


@contextmanager
def opened(bundle: Path, repository: Path) -> Iterator[SavedState]:
    """Open a bundle that builds on commits of `repository`, which stays as it is."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        subprocess.run(["git", "init", "--quiet", "--bare", directory], check=True)
        (place / "objects" / "info" / "alternates").write_text(f"{repository / 'objects'}\n")
        told = subprocess.run(
            ["git", "-C", directory, "bundle", "unbundle", str(bundle)], check=True, capture_output=True, text=True
        ).stdout
        pairs = (line.split(" ", 1) for line in told.splitlines())
        yield SavedState(place, {ref: oid for oid, ref in pairs})


def bundles(journal: Path, conversation: str) -> list[Path]:
    """The bundles that the journal has for a conversation, oldest first."""
    found = (journal / "conversations" / conversation / "work").glob("*/*/*.bundle")
    return sorted(found, key=lambda file: [int(part) for part in (*file.parts[-3:-1], file.stem)])
