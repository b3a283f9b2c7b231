"""What the agent reads if somebody chose to continue or to retry: the words that stand for the click."""

from collections.abc import Sequence

from peerbot.conversation.choices import Act
from peerbot.conversation.documents import Input
from peerbot.conversation.edits import saying, with_edits
from peerbot.journal import chosen
from peerbot.journal.journal import Journal
from peerbot.slack.choice_words import GO_ON


async def asked(found: Sequence[tuple[Input, list[str]]], journal: Journal) -> list[tuple[Input, list[str]]]:
    """Put words in the place of choices; takes and returns inputs with the ids that they stand for.

    Continue reads like a message of the person who chose it. Retry reads like the messages of the turn that is tried
    again; the last of them stands for the choice as well, so that the turn that answers it names the choice.
    """
    made: list[tuple[Input, list[str]]] = []
    for item, ids in found:
        if item.kind != "choice":
            made.append((item, ids))
            continue
        again = await _again(item, journal) if item.act == Act.RETRY else []
        if again:
            last, stands_for = again[-1]
            made += [*again[:-1], (last, [*stands_for, *ids])]
        else:
            made.append((saying(item, GO_ON), ids))
    return made


async def _again(choice: Input, journal: Journal) -> list[tuple[Input, list[str]]]:
    """Read the messages of the turn that a retry is about."""
    return with_edits(await chosen.requests(journal, choice.conversation, [choice.id]))
