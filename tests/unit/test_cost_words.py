"""What work costs is said in dollars and tokens, and a used-up budget says which, until when, and who may raise it."""

import pytest

from peerbot.conversation.documents import Turn, TurnStatus
from peerbot.conversation.limits import Scope
from peerbot.conversation.notes import BudgetNear, BudgetUsedUp
from peerbot.conversation.spent import Spent, dollars, summed
from peerbot.slack.cost_words import cost, turn_cost
from peerbot.slack.words import note_words


def of(model: str, usd: float, **tokens: int) -> Spent:
    return Spent(model=model, usd=usd, **tokens)


def test_a_line_has_dollars_and_the_tokens_read_and_written() -> None:
    spent = [
        of("opus", 0.4, input=1_000, cache_read=100_000, cache_write=17_000, output=2_000),
        of("haiku", 0.02, output=300),
    ]
    assert cost(spent) == ["$0.42", "118k tokens read, 2.3k written"]
    assert cost([]) == []


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(0, "0"), (999, "999"), (1_000, "1.0k"), (9_949, "9.9k"), (9_950, "10k"), (999_499, "999k"), (999_500, "1.0M"),
     (12_345_678, "12M")],
)  # fmt: skip
def test_tokens_are_written_in_three_digits_or_so(tokens: int, said: str) -> None:
    assert cost([of("opus", 1, input=tokens)])[1] == f"{said} tokens read, 0 written"


def test_a_turn_of_an_earlier_release_has_dollars_alone() -> None:
    turn = Turn(k=1, run=1, inputs=[], status=TurnStatus.DONE, text="", cost_usd=0.3149)
    assert turn_cost(turn) == ["$0.31"]
    assert turn_cost(turn.model_copy(update={"cost_usd": None})) == []
    assert turn_cost(turn.model_copy(update={"spent": [of("opus", 0.001)]})) == [
        "less than $0.01", "0 tokens read, 0 written"
    ]  # fmt: skip


def test_sums_are_by_model_and_many_models_do_not_make_a_document_grow() -> None:
    spent = summed([of("opus", 1, output=1), of("haiku", 2, output=2), of("opus", 4, output=4, searches=1)])
    assert [(each.model, each.usd, each.requests, each.output) for each in spent] == [
        ("opus", 5, 2, 5), ("haiku", 2, 1, 2)
    ]  # fmt: skip
    many = summed(of(f"model-{i}", 1) for i in range(1000))
    assert len(many) <= 21
    assert dollars(many) == 1000


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        (Scope.TURN, ["This turn's budget of $50", "Write here again", "`PEERBOT_RUN_BUDGET_USD`"]),
        (Scope.THREAD, ["This thread's budget of $50", "Start a new thread", "`PEERBOT_THREAD_BUDGET_USD`"]),
        (Scope.PERSON, ["Your budget of $50 for December", "on 1 January", "`PEERBOT_PERSON_MONTH_BUDGET_USD`"]),
        (Scope.CHANNEL, ["This channel's budget of $50 for December", "on 1 January"]),
        (Scope.MONTH, ["The budget for everybody of $50 for December", "on 1 January", "`PEERBOT_MONTH_BUDGET_USD`"]),
    ],
)
def test_a_used_up_budget_says_which_until_when_and_who_may_raise_it(scope: Scope, words: list[str]) -> None:
    month = "" if scope in (Scope.TURN, Scope.THREAD) else "2026-12"
    said = note_words(BudgetUsedUp(budget_usd=50, scope=scope, month=month))
    assert all(word in said for word in [*words, "is used up", "PeerBot operator"]), said


def test_a_budget_that_is_nearly_spent_says_how_much_is() -> None:
    said = note_words(BudgetNear(budget_usd=12.5, spent_usd=10.256, scope=Scope.CHANNEL, month="2026-11"))
    assert "This channel's budget of $12.50 for November is nearly spent: $10.26 so far" in said
    by_channel = BudgetUsedUp(budget_usd=5, scope=Scope.CHANNEL, month="2026-11", set_by="channel")
    assert "ask a member of this channel to raise it" in note_words(by_channel)


def test_months_that_no_calendar_has_are_refused() -> None:
    """Notes come from workers, and anybody may have taken one over."""
    for month in ("2026-13", "2026-00", "26-1", "2026-11\n", "x"):
        with pytest.raises(ValueError, match="month"):
            BudgetUsedUp(budget_usd=1, scope=Scope.MONTH, month=month)


def test_an_apps_own_budget_names_the_setting_that_has_it() -> None:
    used_up = note_words(BudgetUsedUp(budget_usd=5, scope=Scope.PERSON, month="2026-11", of_app=True))
    near = note_words(BudgetNear(budget_usd=5, spent_usd=4.5, scope=Scope.PERSON, month="2026-11", of_app=True))
    for said in (used_up, near):
        assert "This app's budget of $5 for November" in said
        assert "`PEERBOT_ALLOWED_APPS`" in said
