"""Documents of the release before are read, and the moments of a turn stand in their order."""

from datetime import UTC, datetime, timedelta

from peerbot.conversation.documents import Input, RunStarted, Turn, TurnTimes, Usage
from peerbot.protocol.documents import TurnResult
from peerbot.web.moments import Worker, moments_of, of_the_turn, times_of

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def test_documents_of_the_release_before_are_read_without_what_is_new() -> None:
    turn = '{"schema": 1, "nonce": "n", "k": 1, "run": 1, "answers": [], "status": "done", "text": ""}'
    assert Turn.model_validate_json(turn).times == TurnTimes()
    assert RunStarted.model_validate_json('{"supervisor_hash": "a", "agent_hash": "b"}').held is None
    assert Usage.model_validate_json('{"spent": []}').first_request_at is None
    result = TurnResult.model_validate_json('{"answers": [], "status": "done", "text": "", "seconds": 1}')
    assert result.times == TurnTimes()


def test_moments_stand_in_the_order_in_which_they_happened() -> None:
    said = Input(
        team="T1", channel="C1", thread_ts="1", ts=f"{AT.timestamp():.6f}", user="U1", text="", event_id="E1",
        received_at=after(1),
    )  # fmt: skip
    killed = Worker(
        number=1, name="one", reserved=after(2), started=after(3), closed=after(6), end="crashed", because="it crashed"
    )
    second = Worker(number=2, name="two", reserved=after(7), started=after(8), closed=None, end="", because="")
    times = TurnTimes(cloned=after(9), first_request=after(4), saved=after(10), saves=3, pushed=after(12))
    found = of_the_turn([*moments_of([said], [killed, second]), *times_of(times)], after(13))
    assert [moment.what for moment in found] == [
        "said", "recorded", "reserved", "started", "requested", "interrupted", "reserved", "started", "cloned", "saved",
        "pushed",
    ]  # fmt: skip
