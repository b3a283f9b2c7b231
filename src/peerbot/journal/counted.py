"""Counts what the journal takes: each document once, by the process whose create won (`metrics.py`).

So all replicas' counters together say what the journal says, however often an event comes or a step is tried.
"""

from peerbot import metrics
from peerbot.conversation.documents import Document, Input, Posted, RepostClaim, Run, RunClosed, Turn
from peerbot.conversation.keys import input_ts
from peerbot.conversation.questions import Question, QuestionSettled


def count(document: Document) -> None:
    """Count a document that was created now."""
    match document:
        case Input():
            metrics.inputs.labels(document.kind).inc()
        case Run():
            metrics.runs_reserved.inc()
            if document.serves:
                oldest = min(float(input_ts(identity)) for identity in document.serves)
                waited = document.reserved_at.timestamp() - oldest
                metrics.run_start_seconds.labels("reserved").observe(max(0.0, waited))
        case RunClosed():
            metrics.run_ends.labels(document.reason.value).inc()
        case Turn():
            status = _status(document)
            metrics.turns.labels(status).inc()
            if document.seconds is not None:
                metrics.turn_seconds.labels(status).observe(document.seconds)
        case Posted():
            metrics.answers.labels("let_go" if document.refused else "posted").inc()
        case RepostClaim():
            metrics.answers.labels("again").inc()
        case Question():
            metrics.questions.labels(document.kind).inc()
        case QuestionSettled():
            metrics.questions_settled.labels(document.how).inc()


def _status(turn: Turn) -> str:
    return "stopped" if turn.stopped else "asks" if turn.deferred else turn.status.value
