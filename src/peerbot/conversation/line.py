"""The order of the line when conversations outnumber places: people take turns, however many threads each has.

Pure: the order depends on the arguments alone, so that every replica finds the same one.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from peerbot.conversation.keys import Conversation


@dataclass(frozen=True, slots=True)
class Waiting:
    """A conversation in line: the `ts` of its first waiting message, that message's author, and if it lost a place."""

    since: str
    person: str
    interrupted: bool = False


def in_turn(
    waiting: Mapping[Conversation, Waiting], running: Iterable[str], served_at: Mapping[str, float]
) -> list[Conversation]:
    """Put the waiting conversations in order.

    `running` names the person of each run, and `served_at` says when a person last got a place, in seconds since 1970.
    Each person's conversations are served in the order in which they came. The person with fewer places comes first. If
    two have the same number, a person who got no place since they began to wait comes first, then the person whose last
    place is longer ago. A place whose run was interrupted does not count: otherwise newcomers would overtake the person
    who waited longest.
    """
    places = Counter(running)
    heads: defaultdict[str, deque[Conversation]] = defaultdict(deque)
    for conversation in sorted(waiting, key=lambda c: (waiting[c].since, c)):
        heads[waiting[conversation].person].append(conversation)

    def before_others(person: str) -> tuple[int, float, str, str]:
        first = waiting[heads[person][0]]
        last = served_at.get(person, 0.0)
        served = last > float(first.since) and not first.interrupted
        return places[person], last if served else 0.0, first.since, person

    line: list[Conversation] = []
    while heads:
        person = min(heads, key=before_others)
        line.append(heads[person].popleft())
        places[person] += 1
        if not heads[person]:
            del heads[person]
    return line
