"""The state of a pull request in words, each with a sign. Pure."""

from peerbot.conversation.pulls import Checks, PullState, Standing
from peerbot.slack.blocks import count


def pull_words(state: PullState) -> str:
    """Say how a pull request stands: `🟢 open, ❌ 1 of 3 checks failed`."""
    standing = _standing(state.standing)
    return f"{standing}, {_checks(state.checks)}" if state.checks and not state.is_over else standing


def _standing(standing: Standing) -> str:
    match standing:
        case "open":
            return "🟢 open"
        case "draft":
            return "📝 draft"
        case "merged":
            return "🔀 merged"
        case "closed":
            return "🚫 closed, not merged"


def _checks(checks: Checks) -> str:
    match checks.outcome:
        case "running":
            return "⏳ checks are running"
        case "passed":
            return f"✅ {count(checks.total, 'check')} passed"
        case "failed":
            return f"❌ {checks.failed} of {count(checks.total, 'check')} failed"
