"""The faults of a chaos run, as they happen: to processes by signals, to services at their doors."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from doors import Door
from faulty_proxy import Fault
from plan import Blow, Kind
from processes import Found, send

if TYPE_CHECKING:
    from world import ChaosSystem

_T = TypeVar("_T")

WORKER_DEATHS = 2
"""A conversation's worker is killed at most so often: after three deaths its message is answered with the reason."""

_WAITS = "waits for a call"


class Blows:
    """Strikes a system as planned, and counts what has happened."""

    def __init__(self, system: "ChaosSystem") -> None:
        self._system = system
        self.counts: Counter[Kind] = Counter()
        self.story: list[str] = []  # what was done, with the time
        self.ended: set[int] = set()  # dispatchers that were ended, by their process ids
        self._last = time.time()
        self._frozen: set[int] = set()
        self._deaths: Counter[str] = Counter()  # of workers, by conversation
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def last_fault(self) -> float:
        """When the last fault ended, or met its call; seconds since 1970."""
        return max([self._last, *(door.weather.last_met for door in self._system.doors)])

    def strike(self, blow: Blow) -> None:
        """Let a fault happen when it is due."""
        task = asyncio.create_task(self._strike(blow))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def calm(self) -> None:
        """Wait until no fault is under way, and forget what waits for a call that never came."""
        await asyncio.gather(*self._under_way)
        for door in self._system.doors:
            door.weather.clear()
        self._system.model.faults.clear()

    async def close(self) -> None:
        """End every fault."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        for pid in self._frozen:
            send(pid, signal.SIGCONT)

    async def _strike(self, blow: Blow) -> None:
        await asyncio.sleep(blow.wait)
        strike = getattr(self, f"_{blow.kind.name.lower()}")
        for _ in range(50):  # until there is a victim
            told = await strike(blow)
            if told:
                if told != _WAITS:
                    self._landed(blow.kind, told)
                return
            await asyncio.sleep(0.2)

    def _landed(self, kind: Kind, told: str) -> None:
        self.counts[kind] += 1
        self._tell(f"{kind}: {told}")
        self._last = time.time()

    def _tell(self, line: str) -> None:
        self.story.append(f"{time.time():.3f} {line}")

    async def _worker_killed(self, blow: Blow) -> str:
        workers = [w for w in self._system.workers() if self._deaths[_conversation(w)] < WORKER_DEATHS]
        if worker := _choose(workers, blow):
            self._deaths[_conversation(worker)] += 1
            return worker.run if send(worker.pid, signal.SIGKILL) else ""
        return ""

    async def _worker_frozen(self, blow: Blow) -> str:
        worker = _choose(self._system.workers(), blow)
        return f"{worker.run} for {blow.seconds:.1f} s" if worker and await self._freeze(worker.pid, blow) else ""

    async def _dispatcher_killed(self, blow: Blow) -> str:
        return self._end_one(blow, signal.SIGKILL)

    async def _dispatcher_ended(self, blow: Blow) -> str:
        return self._end_one(blow, signal.SIGTERM)

    def _end_one(self, blow: Blow, number: signal.Signals) -> str:
        dispatcher = _choose([d for d in self._system.alive if d.pid not in self.ended], blow)
        if dispatcher is None:
            return ""
        self.ended.add(dispatcher.pid)
        dispatcher.send_signal(number)
        return f"process {dispatcher.pid}"

    async def _dispatcher_frozen(self, blow: Blow) -> str:
        dispatcher = _choose([d for d in self._system.alive if d.pid not in self._frozen], blow)
        if dispatcher and await self._freeze(dispatcher.pid, blow):
            return f"process {dispatcher.pid} for {blow.seconds:.1f} s"
        return ""

    async def _freeze(self, pid: int, blow: Blow) -> bool:
        if not send(pid, signal.SIGSTOP):
            return False
        self._tell(f"process {pid} frozen")
        self._frozen.add(pid)
        await asyncio.sleep(blow.seconds)
        self._frozen.discard(pid)
        send(pid, signal.SIGCONT)
        return True

    async def _event_again(self, blow: Blow) -> str:
        begun = [(course.conversation, course) for course in self._system.courses if course.conversation]
        said = [(conversation, said) for conversation, course in begun for said in course.said]
        if chosen := _choose(said[-50:], blow):
            conversation, again = chosen
            self._system.slack.redeliver(conversation.channel, again.identity.partition("-")[0])
            return again.message.token
        return ""

    async def _events_twice(self, blow: Blow) -> str:
        self._system.slack.faults.duplicate_events = True
        await asyncio.sleep(blow.seconds)
        self._system.slack.faults.duplicate_events = False
        return f"for {blow.seconds:.1f} s"

    async def _sockets_dropped(self, _blow: Blow) -> str:
        self._system.slack.drop_sockets()
        return "all"

    async def _slack_limit(self, blow: Blow) -> str:
        return self._meets(self._system.slack_door, blow, max(1, round(blow.seconds)), _calls(blow))

    async def _slack_broken(self, blow: Blow) -> str:
        return self._meets(self._system.slack_door, blow, Fault.BUSY, _calls(blow))

    async def _slack_dropped(self, blow: Blow) -> str:
        return self._meets(self._system.slack_door, blow, Fault.LOSE_ANSWER, _calls(blow))

    async def _store_away(self, blow: Blow) -> str:
        return await self._away(self._system.store_door, blow)

    async def _store_slow(self, blow: Blow) -> str:
        self._system.store_door.weather.slow_until = time.monotonic() + blow.seconds
        await asyncio.sleep(blow.seconds)
        return f"for {blow.seconds:.1f} s"

    async def _store_dropped(self, blow: Blow) -> str:
        return self._meets(self._system.store_door, blow, Fault.LOSE_ANSWER, lambda request: request.method != "GET")

    async def _github_away(self, blow: Blow) -> str:
        return await self._away(self._system.github_door, blow)

    async def _github_dropped(self, blow: Blow) -> str:
        return self._meets(self._system.github_door, blow, Fault.LOSE_ANSWER, lambda request: request.method != "GET")

    async def _model_busy(self, blow: Blow) -> str:
        self._system.model.faults.error(529)
        return "the next request"

    async def _model_cut(self, blow: Blow) -> str:
        self._system.model.faults.cut(inside="tool_use" if blow.pick < 0.5 else "text")
        return "the next answer"

    async def _away(self, door: Door, blow: Blow) -> str:
        door.weather.away_until = time.monotonic() + blow.seconds
        await asyncio.sleep(blow.seconds)
        return f"for {blow.seconds:.1f} s"

    def _meets(self, door: Door, blow: Blow, fault: Fault | int, fits: Callable[[web.Request], bool]) -> str:
        door.weather.next.append((fault, fits, lambda: self._landed(blow.kind, "a call")))
        return _WAITS


def _calls(blow: Blow) -> Callable[[web.Request], bool]:
    """Which of Slack's calls a fault meets: a message, or the next of any kind."""
    methods = ("chat.postMessage",) if blow.pick < 0.7 else ("chat.", "reactions.", "conversations.")
    return lambda request: request.path.rpartition("/")[2].startswith(methods)


def _choose(victims: Sequence[_T], blow: Blow) -> _T | None:
    return victims[int(blow.pick * len(victims))] if victims else None


def _conversation(worker: Found) -> str:
    return worker.run.rpartition("-")[0]
