"""How the agent's part of a turn ended: its answer, or a note for people and a cause for the operator. Pure."""

from dataclasses import dataclass

from claude_agent_sdk import ResultMessage

from peerbot.conversation.notes import BudgetUsedUp, Claude, Failed, NewSession, StoppedBy, TimeUp

_BY_KIND = {
    "billing_error": Claude.NO_CREDIT,
    "model_not_found": Claude.NO_SUCH_MODEL,
    "max_output_tokens": Claude.ANSWER_TOO_LONG,
}
_BY_STATUS = {
    400: Claude.NOT_ACCEPTED,
    401: Claude.KEY_REFUSED,
    403: Claude.NOT_ALLOWED,
    413: Claude.CONVERSATION_TOO_LONG,
    429: Claude.RATE_LIMITED,
    529: Claude.OVERLOADED,
}


DEFERRED = "tool_deferred"
"""The CLI's word for the end of a turn that waits for people's answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the agent's part of a turn ended.

    `failure` and `cause` say why it did not end well, for people and for the operator. `too_long`: the conversation no
    longer fits into a request, even compacted. `new_session`: the turn went on in a new session, and why. `stopped`:
    somebody stopped it. `taken`: the ids of the messages that came while it worked, and that the agent has read, and of
    the answers that it got. `deferred`: the id of the question for whose answer it waits.
    """

    text: str
    session_id: str | None
    failure: Failed | BudgetUsedUp | TimeUp | None = None
    cause: str = ""
    cost_usd: float | None = None
    too_long: bool = False
    new_session: NewSession | None = None
    stopped: StoppedBy | None = None
    taken: tuple[str, ...] = ()
    deferred: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The CLI waits before it asks Claude again: the HTTP status (0 if no answer came), and the wait in seconds."""

    status: int
    seconds: float
    attempt: int

    @property
    def reason(self) -> str:
        """The sentence that people read on the card."""
        words = {429: "it is rate limited", 529: "it is overloaded"}.get(self.status, "it did not answer")
        return f"Waiting for Claude: {words}, next try ({self.attempt + 1}) in {self.seconds:.0f} s"

    @property
    def claude(self) -> Claude:
        """The reason as a note has it."""
        return _BY_STATUS[self.status] if self.status in (429, 529) else Claude.NO_ANSWER


def read(result: ResultMessage, kind: str | None, *, budget_usd: float, cost_usd: float | None) -> Outcome:
    """Read the CLI's result; its subtype alone says nothing (an API error comes as "success").

    `kind`: the SDK's word for the error that the CLI said last, if it said one.
    """
    text = (result.result or "").strip()
    if result.terminal_reason == DEFERRED:
        return Outcome(text, result.session_id, cost_usd=cost_usd)
    if not result.is_error and result.terminal_reason in (None, "completed"):
        return Outcome(text or "Done.", result.session_id, cost_usd=cost_usd)
    status = result.api_error_status or 0
    too_long = result.terminal_reason == "prompt_too_long" or status == 413
    failure: Failed | BudgetUsedUp
    if result.subtype == "error_max_budget_usd" or "budget" in text:
        failure = BudgetUsedUp(budget_usd=budget_usd)
    elif result.stop_reason == "refusal":
        failure = Failed(why=Claude.DECLINED)
    elif too_long:
        failure = Failed(why=Claude.CONVERSATION_TOO_LONG)
    else:
        other = Claude.SERVER_ERROR if status >= 500 else Claude.NO_ANSWER
        failure = Failed(why=_BY_KIND.get(kind or "") or _BY_STATUS.get(status, other))
    cause = f"{result.subtype}, {result.terminal_reason}, {result.stop_reason}, HTTP {result.api_error_status}, {kind}"
    return Outcome("", result.session_id, failure, cause, cost_usd, too_long)
