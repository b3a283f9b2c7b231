"""What the agent asked people, and what became of it: each document is created once (decision 0028)."""

from collections.abc import Container
from dataclasses import dataclass

from peerbot.conversation.keys import Conversation
from peerbot.conversation.questions import (
    Asked,
    Question,
    QuestionPosted,
    QuestionSettled,
    QuestionShown,
    is_question_id,
    parse_question_id,
)
from peerbot.journal import paths
from peerbot.journal.journal import Journal


@dataclass(frozen=True, slots=True)
class QuestionFiles:
    """Which documents of a question exist."""

    turn: int
    i: int
    posted: bool
    settled: bool
    shown: bool

    @property
    def id(self) -> str:
        """The question's id."""
        return f"{self.turn}.{self.i}"


async def question_files(journal: Journal, conversation: Conversation) -> list[QuestionFiles]:
    """List a conversation's questions, oldest first."""
    kinds: dict[tuple[int, int], set[str]] = {}
    async for key in journal.keys(paths.questions(conversation)):
        if found := paths.parse_question(key):
            kinds.setdefault(found[:2], set()).add(found[2])
    return [
        QuestionFiles(turn, i, "posted" in there, "settled" in there, "shown" in there)
        for (turn, i), there in sorted(kinds.items())
        if "json" in there
    ]


async def question(journal: Journal, conversation: Conversation, identity: str) -> Question | None:
    """Read a question. None if there is none of this id, which may be anything."""
    if not is_question_id(identity):
        return None
    return await journal.read(paths.question_document(conversation, *parse_question_id(identity)), Question)


async def write_question(journal: Journal, conversation: Conversation, asked: Question) -> bool:
    """Write a question; False if another of its number is there."""
    return await journal.create(paths.question_document(conversation, asked.turn, asked.i), asked)


async def question_posted(journal: Journal, conversation: Conversation, identity: str) -> QuestionPosted | None:
    """Read where a question's message is."""
    return await journal.read(_key(conversation, identity, "posted"), QuestionPosted)


async def question_settled(journal: Journal, conversation: Conversation, identity: str) -> QuestionSettled | None:
    """Read what became of a question; None if it is open."""
    return await journal.read(_key(conversation, identity, "settled"), QuestionSettled)


async def settle_question(
    journal: Journal, conversation: Conversation, identity: str, settled: QuestionSettled
) -> QuestionSettled:
    """Settle a question; returns what holds: `settled`, or what somebody wrote before."""
    key = _key(conversation, identity, "settled")
    return settled if await journal.create(key, settled) else await journal.read_existing(key, QuestionSettled)


async def note(
    journal: Journal, conversation: Conversation, identity: str, document: QuestionPosted | QuestionShown
) -> None:
    """Note that a question's message is there, or that it shows its end. The first holds."""
    kind = "posted" if isinstance(document, QuestionPosted) else "shown"
    await journal.create(_key(conversation, identity, kind), document)


async def asked_before(journal: Journal, conversation: Conversation, turns: Container[int]) -> list[Asked]:
    """Find what a worker must know that takes up the work of these turns: what was asked in them, oldest first.

    And what the agent waits for since the last turn that kept its session: the call for it is pending there.
    """
    there = await question_files(journal, conversation)
    waits_for = await _deferred(journal, conversation) if there else ""
    found = []
    for files in there:
        wanted = files.turn in turns or files.id == waits_for
        asked = await question(journal, conversation, files.id) if wanted else None
        if asked:
            found.append(
                Asked(
                    id=asked.id,
                    call=asked.call,
                    kind=asked.kind,
                    items=asked.items,
                    plan=asked.plan,
                    deferred=asked.id == waits_for,
                    settled=await question_settled(journal, conversation, asked.id),
                )
            )
    return found


async def _deferred(journal: Journal, conversation: Conversation) -> str:
    """Find the question that the newest session waits for; empty if it waits for none."""
    for k in reversed(await journal.turn_numbers(conversation)):
        turn = await journal.turn(conversation, k)
        if turn and turn.session:
            return turn.deferred
    return ""


def _key(conversation: Conversation, identity: str, kind: str) -> str:
    return paths.question_document(conversation, *parse_question_id(identity), kind)
