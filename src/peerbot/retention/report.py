"""What `peerbot prune` and `peerbot forget` did or would do, for people and, as JSON, for programs."""

from pydantic import AwareDatetime, BaseModel, Field

_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000.0
_MOST_NAMED = 20


class Counts(BaseModel):
    """How many conversations, and how many objects of theirs."""

    conversations: int = 0
    objects: int = 0
    bytes: int = 0

    def add(self, objects: int, size: int) -> None:
        """Count a conversation with so many objects; none: it does not count."""
        if objects:
            self.conversations += 1
            self.objects += objects
            self.bytes += size

    def text(self) -> str:
        """Say it in words."""
        return f"{self.conversations} conversations ({self.objects} objects, {size_words(self.bytes)})"


class Pruned(BaseModel):
    """The report of `peerbot prune`. `stays`: why old conversations were left, and how many."""

    store: str
    before: AwareDatetime
    done: bool  # False: it only looked
    conversations: int = 0
    removed: Counts = Field(default_factory=Counts)
    thinned: Counts = Field(default_factory=Counts)
    stays: dict[str, int] = Field(default_factory=dict)

    def text(self) -> str:
        """Word the report."""
        verbs = ("Removed", "Thinned") if self.done else ("Would remove", "Would thin")
        lines = [
            f"{self.store}: {self.conversations} conversations; old is before {self.before:%Y-%m-%d %H:%M} UTC.",
            f"{verbs[0]}: {self.removed.text()}.",
            f"{verbs[1]} (old turns' transcripts): {self.thinned.text()}.",
        ]
        lines += [f"Old, and stays: {count}, because {why}." for why, count in sorted(self.stays.items())]
        return "\n".join([*lines, *_unless_done(self.done)])


class ForgottenReport(BaseModel):
    """The report of `peerbot forget`. `busy`: conversations that were left, and why."""

    store: str
    done: bool
    removed: Counts = Field(default_factory=Counts)
    inputs: int = 0
    turns: int = 0
    settings: int = 0
    busy: dict[str, str] = Field(default_factory=dict)
    unreadable: int = 0
    receipt: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing was left that should go."""
        return not self.busy and not self.unreadable

    def text(self) -> str:
        """Word the report."""
        verb = "Erased" if self.done else "Would erase"
        lines = [f"{verb}: {self.removed.text()}, with {self.inputs} inputs and {self.turns} turns."]
        if self.settings:
            lines.append(f"{verb}: {self.settings} documents of settings.")
        lines += [f"Left for now: {name}, because {why}." for name, why in sorted(self.busy.items())[:_MOST_NAMED]]
        if len(self.busy) > _MOST_NAMED:
            lines.append(f"And {len(self.busy) - _MOST_NAMED} more conversations.")
        if self.busy:
            lines.append("Run the same command again when they are at rest.")
        if self.unreadable:
            lines.append(f"{self.unreadable} inputs can't be read, so nobody knows who wrote them.")
        if self.receipt:
            lines.append(f"Receipt: {self.receipt}")
        return "\n".join([*lines, *_unless_done(self.done)])


def _unless_done(done: bool) -> list[str]:
    return [] if done else ["Nothing was changed. Add --yes to do it."]


def size_words(size: int) -> str:
    """Word a number of bytes."""
    value, unit = float(size), _UNITS[0]
    for unit in _UNITS:  # noqa: B007 (the last one counts)
        if value < _THOUSAND:
            break
        value /= _THOUSAND
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
