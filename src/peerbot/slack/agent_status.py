"""Slack's status of an agent in a thread, as its method takes it. Pure."""

from typing import Any, Literal

from peerbot.conversation.keys import Conversation

METHOD = "agents.sessions.setStatus"
AGENT_REFUSALS = {"not_authorized", "missing_scope", "unknown_method", "not_allowed_token_type"}
"""Slack's words for: this app is not declared an agent, or not installed again since, or there are no agents here."""


def status_arguments(
    conversation: Conversation, status: Literal["processing", "suspended", "active"], user: str = ""
) -> dict[str, Any]:
    """Make the arguments that set a thread's status. `user`: the id of the person who asked for the work."""
    return {
        "channel_id": conversation.channel,
        "thread_ts": conversation.thread_ts,
        "status": status,
        "initiator_user_id": user or None,
    }
