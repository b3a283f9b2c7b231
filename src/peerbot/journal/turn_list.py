"""Which turns a conversation has. Those before its newest `removed` are gone, whatever is left of them."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Self

from peerbot.journal import paths


@dataclass(frozen=True, slots=True)
class TurnFiles:
    """Which documents of turn `k` exist."""

    k: int
    written: bool
    card: bool
    posted: bool
    claims: int = 0  # to post it again


@dataclass(frozen=True, slots=True)
class TurnList:
    """The turns of a conversation, ascending. The turns up to `removed` were removed (0: none)."""

    files: list[TurnFiles]
    removed: int

    @classmethod
    def of(cls, kinds: Mapping[int, Set[str]]) -> Self:
        """Make it of the documents' kinds, by number."""
        removed = max((k for k, there in kinds.items() if paths.REMOVED in there), default=0)
        files = [
            TurnFiles(
                k,
                written="json" in there,
                card="card" in there,
                posted="posted" in there,
                claims=max(map(paths.parse_claim, there)),
            )
            for k, there in sorted(kinds.items())
            if k > removed and there & {"json", "card", "posted"}
        ]
        return cls(files, removed)

    @property
    def numbers(self) -> list[int]:
        """Those that are written."""
        return [files.k for files in self.files if files.written]

    @property
    def next(self) -> int:
        """The number of the next turn: one after the last that is or was written."""
        return max([self.removed, *self.numbers]) + 1
