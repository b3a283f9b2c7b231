"""The state of a pull request in words, each with a sign. Pure."""

from peerbot.conversation.pulls import Checks, PullState
from peerbot.slack.blocks import count

_STANDING = {"open": "🟢 open", "draft": "📝 draft", "merged": "🔀 merged", "closed": "🚫 closed, not merged"}


def pull_words(state: PullState) -> str:
    """Say how a pull request stands: `🟢 open, ❌ 1 of 3 checks failed`."""
    parts = [_STANDING[state.standing]]
    if state.checks and not state.is_over:
        parts.append(_checks(state.checks))
    return ", ".join(parts)


def _checks(checks: Checks) -> str:
    match checks.outcome:
        case "running":
            return "⏳ checks are running"
        case "passed":
            return f"✅ {count(checks.total, 'check')} passed"
        case "failed":
            return f"❌ {checks.failed} of {count(checks.total, 'check')} failed"
