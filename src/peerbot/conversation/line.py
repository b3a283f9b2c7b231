"""Who is next when there are more conversations than places: people take turns, however many threads each has.

Pure, and decided by what is said alone, so that every replica comes to the same order.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from peerbot.conversation.keys import Conversation


@dataclass(frozen=True, slots=True)
class Waiting:
    """A conversation that waits: since which message (its `ts`), whose that is, and whether it lost a place."""

    since: str
    person: str
    interrupted: bool = False


def in_turn(
    waiting: Mapping[Conversation, Waiting], running: Iterable[str], served_at: Mapping[str, float]
) -> list[Conversation]:
    """Put who waits in order.

    `running` names the person of each run that there is, `served_at` says when somebody last got a place, in seconds
    since 1970. Each person's conversations are served in the order in which they came. Of two people, who has fewer
    places comes first; of those who have as many, who got none, or got theirs longer ago, since they wait. A place
    whose run was interrupted was none: else whoever comes anew would be served before who has waited longest.
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
