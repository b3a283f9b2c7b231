"""Edits are put into the messages that they change."""

from peerbot.conversation.documents import Input
from peerbot.conversation.edits import with_edits


def said(ts: str, text: str, of: str = "") -> Input:
    return Input(
        kind="edit" if of else "message",
        of=of,
        team="T1",
        channel="C1",
        thread_ts="1.000001",
        ts=ts,
        user="U1",
        text=text,
        event_id="",
    )


def read(*items: Input) -> list[tuple[str, list[str]]]:
    return [(item.text, ids) for item, ids in with_edits(items)]


def test_the_newest_edit_of_a_message_holds_and_the_message_keeps_its_place() -> None:
    first, second = said("1.000001", "one"), said("2.000001", "two")
    edits = [said("3.000001", "uno", of="1.000001"), said("4.000001", "eins", of="1.000001")]
    assert read(first, second, *edits) == [
        ("eins", ["1.000001-message", "3.000001-edit", "4.000001-edit"]),
        ("two", ["2.000001-message"]),
    ]


def test_an_edit_of_a_message_that_is_not_there_stands_alone() -> None:
    assert read(said("3.000001", "uno", of="1.000001")) == [("uno", ["3.000001-edit"])]


def test_nothing_is_nothing() -> None:
    assert read() == []
