"""Documents about the files that the agent sends (decision 0027)."""

from pydantic import AwareDatetime, Field

from peerbot.conversation.documents import Document, now


class SentFile(Document):
    """`sent/{k}/{i}.json`: the `i`th file that the agent sends in turn `k`; Slack has it, and nobody sees it yet."""

    name: str
    size: int  # in bytes
    digest: str  # SHA-256 of its name and bytes
    file: str  # Slack's id
    written_at: AwareDatetime = Field(default_factory=now)


class FileShown(Document):
    """`sent/{k}/{i}.shown`, the receipt: the file is in the thread."""
