"""Edits of messages that wait for an answer. Pure."""

from collections.abc import Iterable

from peerbot.conversation.documents import Input
from peerbot.conversation.keys import input_id


def with_edits(items: Iterable[Input]) -> list[tuple[Input, list[str]]]:
    """Put edits into the messages that they change; returns each input as it reads now, and the ids that it stands for.

    Takes inputs oldest first, and keeps that order. The newest edit of a message holds. An edit whose message is not
    among the inputs stays on its own: somebody has read that message, or has answered it.
    """
    found: dict[str, tuple[Input, list[str]]] = {}
    for item in items:
        original = input_id(item.of, "message") if item.kind == "edit" and item.of else ""
        if original in found:
            message, ids = found[original]
            found[original] = (saying(message, item.text), [*ids, item.id])
        else:
            found[item.id] = (item, [item.id])
    return list(found.values())


def saying(item: Input, text: str) -> Input:
    """Make the same input with other words."""
    return item.model_copy(update={"text": text})
