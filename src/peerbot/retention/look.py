"""Looks at one conversation from outside, and says why it may not be removed now."""

from dataclasses import dataclass
from datetime import datetime

from peerbot.conversation.deadlines import MENDED_WITHIN
from peerbot.conversation.documents import Document, KeptWork, Posted, RunClosed, Turn
from peerbot.conversation.keys import Conversation, input_ts
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.journal.storage import SizedStorage
from peerbot.retention.bounds import Bounds, highest_run, highest_turn, last_input
from peerbot.verify import read
from peerbot.verify.judge import judge
from peerbot.verify.report import Name


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found. `sizes`: its objects by key below its folder."""

    conversation: Conversation
    seen: read.Seen
    sizes: dict[str, int]
    watched: bool
    kept: KeptWork | None
    at: datetime

    @property
    def is_stub(self) -> bool:
        """Whether all that was in it is removed already, or being removed, and nothing came after that."""
        newer = any(n > self.seen.removed_run for n in self.seen.runs)
        return self.seen.removed > 0 and not (self.seen.inputs or self.seen.turns or newer)

    @property
    def busy(self) -> str:
        """Why nothing of it may be removed, in a few words; empty if nothing is under way."""
        seen = self.seen
        if seen.markers:
            return "somebody waits for an answer"
        if any("json" in there and "closed" not in there for there in seen.runs.values()):
            return "a run is open"
        if any("json" in there and "posted" not in there for there in seen.turns.values()):
            return "an answer is not posted yet"
        lost = [i for i in seen.inputs if i not in seen.answered and i not in seen.settled]
        if any(self.at.timestamp() - float(input_ts(i)) < MENDED_WITHIN.total_seconds() for i in lost):
            return "a message was recorded this moment"
        return ""

    def stays(self) -> str:
        """Why a prune leaves it, in a few words; empty if it may go."""
        if self.busy:
            return self.busy
        if findings := [f for f in judge(self.seen, None, self.at).findings if f.name is not Name.SESSION_MISSING]:
            return f"`peerbot verify` finds a fault in it ({findings[0].name.value})"
        if self.kept:
            return "it has work that is on no branch"
        if self.watched:
            return "its pull request is watched"
        if self._asked():
            return "the agent waits for the answer to a question"
        return ""

    def _asked(self) -> bool:
        questions = [found for rest in self.sizes if (found := paths.parse_question(f"/{rest}"))]
        settled = {found[:2] for found in questions if found[2] == "settled"}
        return any(found[:2] not in settled for found in questions if found[0] > self.seen.removed)

    @property
    def last_activity(self) -> float:
        """When something happened in it last, in seconds since 1970."""
        found = [float(input_ts(identity)) for identity in self.seen.inputs]
        for there in (*self.seen.runs.values(), *self.seen.turns.values()):
            found += [moment.timestamp() for document in there.values() if (moment := _moment(document))]
        return max(found, default=0.0)

    def bounds(self) -> Bounds:
        """Name what goes if all of it is removed now. Its turn is a number that no fence has yet."""
        turn = max(1, highest_turn(self.sizes), self.seen.removed + 1 if self.seen.removed else 0)
        began = paths.CONVERSATION_DOCUMENT in self.sizes or paths.PLACE in self.sizes
        return Bounds(turn, highest_run(self.sizes), last_input(self.sizes), place=began)


def _moment(document: Document | None) -> datetime | None:
    match document:
        case Turn():
            return document.ended_at
        case RunClosed():
            return document.closed_at
        case Posted():
            return document.posted_at
    return None


class Looker:
    """Looks at conversations on `storage`. Raises what the store raises."""

    def __init__(self, storage: SizedStorage) -> None:
        self._storage = storage
        self._reader = read.Journal(storage, sessions=False)

    async def at(self, conversation: Conversation, now: datetime) -> Looked:
        """Read a conversation: its markers before the rest, and again after it.

        So an input without a marker really had none, also one that came while the rest was read.
        """
        markers = await self._markers(conversation)
        watched = [key async for key in self._storage.list(paths.pulls(conversation))]
        folder = paths.folder(conversation)
        sizes = {key.removeprefix(folder): size async for key, size in self._storage.sizes(folder)}
        documents = [f"{folder}{rest}" for rest in sizes if not paths.parse_session_part(f"/{rest}")]
        seen = await self._reader.read(conversation, markers, documents)
        for identity in await self._markers(conversation):
            seen.markers.setdefault(identity, None)
        memory = await Memory.of(Journal(self._storage), conversation)
        kept = await memory.kept_work()
        return Looked(conversation, seen, sizes, bool(watched), kept, now)

    async def _markers(self, conversation: Conversation) -> list[str]:
        return [paths.parse_marker(key)[1] async for key in self._storage.list(paths.pending(conversation))]
