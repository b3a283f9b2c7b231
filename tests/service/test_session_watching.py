"""What looking at a conversation costs the store: as much for many viewers as for one."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

from counting_storage import Counting

from peerbot.conversation.documents import Input
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.conversation.notes import Note
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.web.overview import Overviews, Words
from peerbot.web.parts import Parts, Place
from peerbot.web.watching import Viewer, Watching

CONVERSATION = Conversation("T0TEAM00001", "C0GENERAL01", "1700000000.000100")
MOST_CALLS = 9


async def _as_it_is(name: str) -> str:
    return name


async def _text(item: Input) -> str:
    return item.text


def _note(_: Note) -> str:
    return ""


def _end(_end: RunEnd, said: str) -> str:
    return said


async def _calls_of_a_look(store: Counting, viewers: list[Viewer]) -> int:
    """Let a look begin and end, seen by all."""
    for viewer in viewers:
        assert await viewer.next(10)
    before = len(store.reads)
    for viewer in viewers:
        assert await viewer.next(10)
    return len(store.reads) - before


async def test_a_look_costs_the_store_little_and_no_more_for_eight_viewers(tmp_path: Path) -> None:
    store = Counting(await open_storage(tmp_path.as_uri()))
    journal = Journal(store)
    item = Input(
        team=CONVERSATION.team, channel=CONVERSATION.channel, thread_ts=CONVERSATION.thread_ts, text="Work",
        ts=CONVERSATION.thread_ts, user="U0ADA000001", user_team=CONVERSATION.team, channel_type="channel",
        event_id="Ev0000000001",
    )  # fmt: skip
    await journal.record(item)
    words = Words(name=_as_it_is, text=_text, address=_as_it_is, note=_note, end=_end)
    watching = Watching(Overviews(journal, words), Parts(journal))
    async with AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(watching.viewer(CONVERSATION, "Ada"))]
        one = await _calls_of_a_look(store, viewers)
        viewers += [await stack.enter_async_context(watching.viewer(CONVERSATION, "Ada")) for _ in range(7)]
        eight = await _calls_of_a_look(store, viewers)
    assert eight == one <= MOST_CALLS
    await watching.close()
    await journal.close()


async def test_a_new_part_is_read_once_for_all_viewers_who_ask_for_it_at_the_same_time(tmp_path: Path) -> None:
    store = Counting(await open_storage(tmp_path.as_uri()))
    journal = Journal(store)
    said = {"type": "assistant", "uuid": "u1", "message": {"content": [{"type": "text", "text": "hello"}]}}
    part = {"schema": 1, "project": "workspace", "session_id": "x", "subpath": "", "entries": [said]}
    key = paths.session_part(CONVERSATION, 1, 1, 1)
    await store.put_if_absent(key, json.dumps(part).encode())
    parts = Parts(journal)
    found = await asyncio.gather(*(parts.steps(CONVERSATION, 1, Place()) for _ in range(8)))
    assert all("hello" in each.parts[0] for each in found)
    assert store.reads.count(key) == 1
    await journal.close()
