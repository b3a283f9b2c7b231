"""How the agent's part of a turn ended: its answer, or one sentence for people and a cause for the operator. Pure."""

from dataclasses import dataclass

from claude_agent_sdk import ResultMessage

GO_ON = "Write here again to go on."

_BY_KIND = {
    "billing_error": "Claude's API refused the request: the account's credit is used up. Whoever runs PeerBot has to "
    "add some; then write here again to go on.",
    "model_not_found": "Claude's API does not have the model that is asked for, or the key may not use it. Whoever "
    "runs PeerBot has to check `PEERBOT_MODEL`; then write here again to go on.",
    "max_output_tokens": "Claude's answer was too long and was cut off, again and again. Ask for it in smaller parts.",
}
_BY_STATUS = {
    400: "Claude did not accept the request. Say it in other words, or begin a new thread.",
    401: "Claude's API refused the key. Whoever runs PeerBot has to check `ANTHROPIC_API_KEY`.",
    403: "Claude's API did not allow the request. Whoever runs PeerBot has to check the key's rights and limits.",
    413: "The conversation has become too long for Claude. Begin a new thread.",
    429: "Claude's rate limit is reached. Write here again in a few minutes to go on.",
    529: "Claude is overloaded or does not answer. Write here again in a few minutes to go on.",
}
_SERVER_ERROR = "Claude's API has a problem. Write here again in a few minutes to go on."
_UNKNOWN_FAILURE = f"Claude did not answer. {GO_ON}"
_REFUSED = "Claude declined to go on with this. Say what you need in other words, or begin a new thread."
_TOO_LONG = _BY_STATUS[413]
_NO_ANSWER = "Claude does not answer"
_WAITED_FOR = {
    429: "Claude's rate limit is reached",
    529: "Claude is overloaded or does not answer",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the agent's part of a turn ended. `failure`: a sentence for people, where it did not end well, and `cause`
    the same for the operator. `too_long`: the conversation does not fit into a request any more, compacted or not.
    `note`: what people are to know besides."""

    text: str
    session_id: str | None
    failure: str | None = None
    cause: str = ""
    cost_usd: float | None = None
    too_long: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The CLI waits before it asks Claude again: what for (an HTTP status, 0 where nothing came), and how long."""

    status: int
    seconds: float
    attempt: int

    @property
    def reason(self) -> str:
        """What it waits for, as people read it on the card."""
        words = {429: "it is rate limited", 529: "it is overloaded"}.get(self.status, "it did not answer")
        return f"Waiting for Claude: {words}, next try ({self.attempt + 1}) in {self.seconds:.0f} s"


def read(result: ResultMessage, kind: str | None, *, budget_usd: float, cost_usd: float | None) -> Outcome:
    """Read the CLI's result; its subtype alone says nothing (an API error comes as "success").

    `kind`: the SDK's word for the error that the CLI said last, if it said one.
    """
    text = (result.result or "").strip()
    if not result.is_error and result.terminal_reason in (None, "completed"):
        return Outcome(text or "Done.", result.session_id, cost_usd=cost_usd)
    status = result.api_error_status or 0
    too_long = result.terminal_reason == "prompt_too_long" or status == 413
    if result.subtype == "error_max_budget_usd" or "budget" in text:
        failure = (
            f"This worker's budget of ${budget_usd:g} is used up. Write here again to go on with a new "
            "one, or ask whoever runs PeerBot to raise `PEERBOT_RUN_BUDGET_USD`."
        )
    elif result.stop_reason == "refusal":
        failure = _REFUSED
    elif too_long:
        failure = _TOO_LONG
    else:
        server_error = _SERVER_ERROR if status >= 500 else _UNKNOWN_FAILURE
        failure = _BY_KIND.get(kind or "") or _BY_STATUS.get(status, server_error)
    cause = f"{result.subtype}, {result.terminal_reason}, {result.stop_reason}, HTTP {result.api_error_status}, {kind}"
    return Outcome("", result.session_id, failure, cause, cost_usd, too_long)


def over_time(minutes: float, waiting: Waiting | None, standing: str, last_words: str) -> str:
    """What people are told of a turn that reached its limit.

    What it waited for, or what is done and left (`standing`) and what the agent said last.
    """
    if waiting:
        why = _WAITED_FOR.get(waiting.status, _NO_ANSWER)
        return f"{why}, also after {minutes:g} min of trying. Write here again in a few minutes to go on."
    sentence = f"The limit of {minutes:g} min for one turn was reached, so I stopped. {GO_ON}"
    last = f"The last that I said:\n\n{last_words}" if last_words else ""
    return "\n\n".join(filter(None, (sentence, standing, last)))
