"""Documents about what operators had removed from the journal (decision 0034)."""

from typing import Literal

from pydantic import AwareDatetime, Field

from peerbot.conversation.documents import Document, now


class Removed(Document):
    """`turns/{k}.removed`: turns up to `k`, runs before `run` and inputs up to `until` were removed (decision 0034).

    It is created before anything is deleted, and stays: no turn of such a number is read or written again.
    """

    run: int  # the newest run at that time, which stays; 0: there was none
    until: str  # the `ts` of the newest input at that time
    why: str  # `prune` or `forget`
    removed_at: AwareDatetime = Field(default_factory=now)


class Forgotten(Document):
    """`forgotten/{day}-{nonce}.json`: the receipt of `peerbot forget`. It holds nothing that anybody said."""

    asked_by: str  # in the operator's words
    what: Literal["person", "thread"]
    conversations: int
    inputs: int
    turns: int
    objects: int
    size: int  # in bytes
    forgotten_at: AwareDatetime = Field(default_factory=now)
