"""The sentences about what the agent asks people: the question, its end, and a click without an effect. Pure."""

from peerbot.conversation.questions import APPROVE, REJECT, Question, QuestionSettled, said
from peerbot.slack.blocks import line

WAITS = (
    "I am waiting for the answer to my question above. My work so far is kept. Answer whenever you like, also next "
    "week: then I go on from there."
)
HOW_TO_ANSWER = "Or answer in the thread, in your own words."
HOW_TO_CHANGE = "To change it, write in the thread what should be different."
NOTHING_CHOSEN = "Choose something first, or answer in the thread in your own words."
NO_QUESTION = "I don't know this question any more, so nothing happened. Write in the thread what you want."
TOOK_BACK = "I no longer wait for an answer. Write in the thread to go on."
SUBMIT = "Submit"
_BEEN = {APPROVE: "approved", REJECT: "rejected"}


def opening(question: Question, mention: str) -> str:
    """Say that the agent asks; `mention` notifies the person."""
    if question.kind == "plan":
        return f"{mention} This is my plan. Shall I do it?"
    return f"{mention} I have a question:" if len(question.items) == 1 else f"{mention} I have some questions:"


def outcome(question: Question, settled: QuestionSettled, at: str) -> str:
    """Say what became of a question, in mrkdwn without the name's or the answer's own markup. `at`: the time."""
    name = line(settled.name, 80) or "somebody"
    match settled.how:
        case "stopped":
            return f"Stopped by {name} · {at}. Nothing was decided."
        case "ended":
            return f"The work ended without an answer · {at}. Nothing was decided."
        case "asked_again":
            return f"I asked another question instead · {at}. Nothing was decided."
    if question.kind == "plan" and settled.choices:
        return f"{_BEEN[settled.choices[0][0]].capitalize()} by {name} · {at}"
    return f"{'Chosen' if settled.choices else 'Answered'} by {name} · {at}"


def answered_before(question: Question, settled: QuestionSettled, at: str) -> str:
    """Tell somebody that their answer came too late, and what was decided."""
    name = line(settled.name, 80) or "Somebody"
    match settled.how:
        case "stopped":
            return f"{name} stopped this work {at}, so your answer changed nothing. Write in the thread to go on."
        case "ended":
            return f"This work had ended {at} without an answer, so yours changed nothing. Write here to go on."
        case "asked_again":
            return "I have asked another question instead of this one. Answer that one."
    if question.kind == "plan" and settled.choices:
        return f"{name} {_BEEN[settled.choices[0][0]]} this plan {at}."
    return f"{name} answered this {at}: {line(said(settled), 300)}"


def not_theirs(name: str) -> str:
    """Tell somebody that another person decides."""
    return f"Only {line(name, 80)} can decide this. Write in the thread if you want to add something."
