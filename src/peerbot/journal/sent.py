"""The files that an agent sends into its thread, by turn: what Slack has of each, and whether it is in the thread."""

from peerbot.conversation.keys import Conversation
from peerbot.conversation.sent import FileShown, SentFile
from peerbot.journal import paths
from peerbot.journal.journal import Journal


async def all_of(journal: Journal, conversation: Conversation, turn: int) -> dict[int, SentFile]:
    """Read the files of turn `turn`, by number."""
    kinds = await journal.numbered(paths.sent_files(conversation, turn))
    return {i: await read(journal, conversation, turn, i) for i, there in sorted(kinds.items()) if "json" in there}


async def read(journal: Journal, conversation: Conversation, turn: int, i: int) -> SentFile:
    """Read one that is there."""
    return await journal.read_existing(paths.sent_file(conversation, turn, i), SentFile)


async def write(journal: Journal, conversation: Conversation, turn: int, i: int, file: SentFile) -> bool:
    """Write one; False if another has its number."""
    return await journal.create(paths.sent_file(conversation, turn, i), file)


async def is_shown(journal: Journal, conversation: Conversation, turn: int, i: int) -> bool:
    """Whether the file is known to be in the thread."""
    return await journal.read(paths.sent_file(conversation, turn, i, "shown"), FileShown) is not None


async def note_shown(journal: Journal, conversation: Conversation, turn: int, i: int) -> None:
    """Note that the file is in the thread."""
    await journal.create(paths.sent_file(conversation, turn, i, "shown"), FileShown())
