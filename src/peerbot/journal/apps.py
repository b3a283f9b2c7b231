"""How many messages an app has given us on a day: each is one small object, so that all replicas count the same.

It bounds loops: an app may answer to what we do with another message that mentions us.
"""

from datetime import UTC, datetime

from peerbot.conversation.documents import Input, Marker
from peerbot.conversation.keys import in_order
from peerbot.journal import paths
from peerbot.journal.journal import Journal

MOST_A_DAY = 50
"""An app's messages beyond these are not taken: the first of them is told so, the others are only logged."""


async def place(journal: Journal, item: Input) -> int:
    """Count an app's message, and say which of its day it is, from 1 on. The same message keeps its place, about.

    Raises what the journal raises.
    """
    day = datetime.fromtimestamp(float(item.ts), UTC).date().isoformat()
    folder = paths.app_day(item.team, item.user, day)
    await journal.create(f"{folder}{item.id}", Marker())
    found = sorted([key.rpartition("/")[2] async for key in journal.keys(folder)], key=in_order)
    return found.index(item.id) + 1
