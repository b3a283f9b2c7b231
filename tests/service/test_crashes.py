"""A crash at every write: whoever writes is killed before and after each of its writes, and the conversation ends well.

A dry run of each scenario (`crash_scenarios.py`) lists its writes. Then each is played again with a dispatcher or a
worker that dies there. Scenarios begin where something went wrong already, so that recoveries are crashed too.
"""

import asyncio
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from crash_lanes import Lane, Outcome
from crash_points import CHECKPOINT, STATE, STATE_AT_END, STATE_BEFORE, Point, Side, Write
from crash_scenarios import FIRST_TURN, FOLLOWING_TURN, OTHERS, Scenario
from gcs_server import gcs_server, make_bucket

from peerbot import logs

LANES = 5
"""Systems that play points side by side: more than there are cores, since a point waits half of its time."""

TRIES = 3
"""How often to play a point whose write did not come: the number of edits and parts is a matter of time."""

Case = tuple[Scenario, Point]

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with gcs_server() as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield url


@pytest.fixture
async def lanes(google: str, tmp_path: Path) -> AsyncIterator[list[Lane]]:
    async with AsyncExitStack() as stack:
        lanes = []
        for number in range(LANES):
            bucket = f"lane-{number}-{uuid.uuid4().hex}"
            make_bucket(google, bucket)
            lane = Lane(tmp_path / str(number), google=google, bucket=bucket)
            lanes.append(await stack.enter_async_context(lane))
        yield lanes


class Play:
    """All points of all scenarios, shared out among the lanes."""

    def __init__(self, lanes: list[Lane]) -> None:
        self._lanes = lanes
        self.writes: dict[Scenario, list[Write]] = {}
        self.outcomes: dict[Case, Outcome] = {}
        self.late: list[str] = []

    async def dry(self, scenarios: list[Scenario]) -> None:
        """Play each scenario without a crash, and note its writes."""
        waiting = deque(scenarios)

        async def play(lane: Lane) -> None:
            while waiting:
                scenario = waiting.popleft()
                self.writes[scenario] = await lane.writes(scenario)
                if scenario is FIRST_TURN:
                    self.writes[FOLLOWING_TURN] = await lane.writes(FOLLOWING_TURN)

        await asyncio.gather(*(play(lane) for lane in self._lanes))

    async def all(self, cases: list[Case]) -> None:
        """Play each case. Play a case again, some times, if its write did not come."""
        waiting = deque((case, 1) for case in cases if case[0] is not FOLLOWING_TURN)
        following = deque((case, 1) for case in cases if case[0] is FOLLOWING_TURN)

        async def play(lane: Lane) -> None:
            while waiting or following:
                if not waiting and lane.going is None:
                    await lane.play(FIRST_TURN, None)
                    continue
                source = following if following and lane.going else waiting
                if not source:
                    continue
                case, tries = source.popleft()
                outcome = await self._one(lane, case, further=not following)
                if not outcome.reached and not outcome.problems and tries < TRIES:
                    source.append((case, tries + 1))
                else:
                    self.outcomes[case] = outcome
            await lane.end()
            self.late += lane.late

        await asyncio.gather(*(play(lane) for lane in self._lanes))

    async def _one(self, lane: Lane, case: Case, *, further: bool) -> Outcome:
        """Play a case. A first turn is followed by a further message: the next case of a follow-up, or `further`."""
        scenario, point = case
        outcome = await lane.play(scenario, point, real_wait=_waits_really(case))
        if scenario is FIRST_TURN and further and not outcome.problems:
            after = await lane.play(FOLLOWING_TURN, None)
            outcome = replace(outcome, problems=after.problems)
        _tell(f"{scenario}, {point}: {outcome}")
        if scenario is FOLLOWING_TURN:
            lane.going = None
        return outcome


@pytest.mark.crash
async def test_a_crash_before_and_after_each_write_ends_well(lanes: list[Lane]) -> None:
    await _crash(lanes, lambda writes: [case for scenario in writes for case in _cases(scenario, writes[scenario])])


@pytest.mark.slow
async def test_a_crash_before_and_after_each_kind_of_write_ends_well(lanes: list[Lane]) -> None:
    """Each kind once, in the first scenario that is sure to have it. Repetitions and other recoveries are left out.

    Where people press something, only the points after the writes are played: those before are nearly the same states.
    """

    def choose(writes: dict[Scenario, list[Write]]) -> list[Case]:
        kinds: dict[tuple[str, str], list[Case]] = {}
        for scenario in (FIRST_TURN, FOLLOWING_TURN, *OTHERS):
            for write in writes[scenario]:
                cases, kind = _cases(scenario, [write]), (write.service, write.what)
                cases = cases[1:] if scenario.then else cases
                if kind not in kinds or (_must_come(cases[0]) and not _must_come(kinds[kind][0])):
                    kinds[kind] = cases
        return [case for cases in kinds.values() for case in cases]

    await _crash(lanes, choose)


async def _crash(lanes: list[Lane], choose: Callable[[dict[Scenario, list[Write]]], list[Case]]) -> None:
    logs.configure("WARNING")  # the table is for people
    began = time.monotonic()
    play = Play(lanes)
    await play.dry([FIRST_TURN, *OTHERS])
    _tell(f"dry runs: {time.monotonic() - began:.0f} s")
    cases = choose(play.writes)
    await play.all(cases)

    for scenario, writes in play.writes.items():
        _tell(f"\n**{scenario}**\n\n| write | before | after |\n|---|---|---|")
        for write in writes:
            shown = [str(play.outcomes[case]) for case in _cases(scenario, [write]) if case in play.outcomes]
            if shown:
                _tell(f"| {write} | {' | '.join(shown)} |")
    _tell(
        "\n| scenario | writes | points | ended well | did not come | median | longest |\n|---|---|---|---|---|---|---|"
    )
    for scenario in play.writes:
        _tell(_summary(scenario, [outcome for case, outcome in play.outcomes.items() if case[0] is scenario]))
    unwell = [
        f"{scenario}, {point}: {outcome}" for (scenario, point), outcome in play.outcomes.items() if outcome.problems
    ]
    possible = 2 * sum(map(len, play.writes.values()))
    missed = sum(not outcome.reached and not outcome.problems for outcome in play.outcomes.values())
    _tell(
        f"\n{len(cases)} of {possible} points in {time.monotonic() - began:.0f} s; "
        f"{len(play.outcomes) - len(unwell) - missed} ended well, {len(unwell)} did not, {missed} did not come"
    )

    assert set(play.outcomes) == set(cases)
    assert unwell == []
    assert play.late == []
    assert [case for case, outcome in play.outcomes.items() if not outcome.reached and _must_come(case)] == []


def _cases(scenario: Scenario, writes: list[Write]) -> list[Case]:
    sides: tuple[Side, ...] = ("before", "after")
    return [(scenario, Point(write, side)) for write in writes for side in sides]


def _summary(scenario: Scenario, outcomes: list[Outcome]) -> str:
    """A scenario in one row; the times are from the crash until all was well."""
    played = [outcome for outcome in outcomes if outcome.reached]
    well = [outcome for outcome in played if not outcome.problems]
    seconds = [outcome.seconds for outcome in well] or [0.0]
    times = f"{median(seconds):.0f} s | {max(seconds):.0f} s"
    return (
        f"| {scenario} | {len(outcomes) // 2} | {len(played)} | {len(well)} | {len(outcomes) - len(played)} | {times} |"
    )


def _tell(line: str) -> None:
    """Show a line while `make crashes` goes on."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _waits_really(case: Case) -> bool:
    """Whether the minute really passes. Elsewhere unposted answers are made a minute older instead."""
    return case == (FIRST_TURN, Point(Write("journal", "create turns/{n}.json"), "after"))


def _must_come(case: Case) -> bool:
    """Whether each play has this write. The number of some writes depends on the machine's speed.

    That holds for checkpoints too, unless their scenario waits for them.
    """
    scenario, write = case[0], case[1].write
    varies = ("chat.update (card)", "create sessions/…/part", "progress", "keep a part of the session")
    checkpoints = (CHECKPOINT, f"create {STATE}", STATE_BEFORE, STATE_AT_END)
    if write.what in checkpoints:
        return write.number == 1 and "PEERBOT_CHECKPOINT_SECONDS" in scenario.settings
    return write.number == 1 and (write.what not in varies or scenario in (FIRST_TURN, FOLLOWING_TURN))
