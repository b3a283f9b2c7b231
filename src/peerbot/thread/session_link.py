"""The address of a conversation's session page, as messages link to it."""

from collections.abc import Callable

from peerbot.conversation.keys import Conversation

SessionUrl = Callable[[Conversation], str]
"""Makes the address; an empty one if there is no page."""


def no_page(_: Conversation) -> str:
    """Stand for a page that is off."""
    return ""
