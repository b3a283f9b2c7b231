"""The plan of a chaos run: who writes which message when, and all faults. The same seed makes the same plan.

Faults come after a number of conversations has begun, not at a time, so a slower machine meets the same faults at the
same places.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

When = Literal["first", "at once", "during", "after"]
Work = Literal["talk", "write", "commit", "slow", "ask"]
Act = Literal["stop: the word", "stop: the button", "stop: a sign", "edit", "delete"]
Answer = Literal["a button", "a button, twice", "two people at once", "words", "words and a button at once"]
Choice = Literal["continue", "retry", "undo", "new_session", "terminal", "good", "bad"]
Pick = Literal["a menu", "a menu, twice", "two people at once", "words", "words and a menu at once"]
How = Literal["once", "twice", "two people at once"]

PEOPLE = 25
CHANNELS = 25  # Slack takes about one message a second in each
MENU_CHANNELS = 3  # in which people have to choose a repository
REPOSITORIES = ("team/product", "team/tools")


class Kind(StrEnum):
    """The kinds of faults, and how each is counted."""

    WORKER_KILLED = "worker: SIGKILL"
    WORKER_FROZEN = "worker: SIGSTOP, then SIGCONT"
    DISPATCHER_KILLED = "dispatcher: SIGKILL"
    DISPATCHER_FROZEN = "dispatcher: SIGSTOP, then SIGCONT"
    DISPATCHER_ENDED = "dispatcher: SIGTERM"
    EVENT_AGAIN = "Slack: an event delivered again"
    EVENTS_TWICE = "Slack: every event twice, for some seconds"
    SOCKETS_DROPPED = "Slack: sockets dropped"
    SLACK_LIMIT = "Slack: 429 with Retry-After"
    SLACK_BROKEN = "Slack: 503"
    SLACK_DROPPED = "Slack: dropped after it was taken"
    STORE_AWAY = "store: 503 for seconds"
    STORE_SLOW = "store: slow for seconds"
    STORE_DROPPED = "store: answer lost"
    GITHUB_AWAY = "GitHub: 503 for seconds"
    GITHUB_DROPPED = "GitHub: answer lost"
    MODEL_BUSY = "model: 529"
    MODEL_CUT = "model: stream cut"


RATES = {
    Kind.WORKER_KILLED: 0.15,
    Kind.WORKER_FROZEN: 0.08,
    Kind.DISPATCHER_KILLED: 0.04,
    Kind.DISPATCHER_FROZEN: 0.04,
    Kind.DISPATCHER_ENDED: 0.01,
    Kind.EVENT_AGAIN: 0.15,
    Kind.EVENTS_TWICE: 0.04,
    Kind.SOCKETS_DROPPED: 0.02,
    Kind.SLACK_LIMIT: 0.08,
    Kind.SLACK_BROKEN: 0.10,
    Kind.SLACK_DROPPED: 0.15,
    Kind.STORE_AWAY: 0.03,
    Kind.STORE_SLOW: 0.03,
    Kind.STORE_DROPPED: 0.10,
    Kind.GITHUB_AWAY: 0.04,
    Kind.GITHUB_DROPPED: 0.06,
    Kind.MODEL_BUSY: 0.05,
    Kind.MODEL_CUT: 0.05,
}
"""How many of each kind a conversation meets, on average."""

ACTS: dict[Act, float] = {
    "stop: the word": 0.06,
    "stop: the button": 0.06,
    "stop: a sign": 0.04,
    "edit": 0.08,
    "delete": 0.04,
}
"""How many messages meet each, on average: what their author does with them afterwards …"""

ANSWERS: dict[Answer, float] = {
    "a button": 0.03,
    "a button, twice": 0.03,
    "two people at once": 0.03,
    "words": 0.03,
    "words and a button at once": 0.03,
}
"""… how people answer what the agent asks about them …"""

CHOICES: dict[Choice, float] = {
    "continue": 0.05,
    "retry": 0.06,
    "undo": 0.05,
    "new_session": 0.04,
    "terminal": 0.02,
    "good": 0.03,
    "bad": 0.03,
}
"""… and which button below its answer somebody presses."""

PICKS: dict[Pick, float] = {
    "a menu": 0.02,
    "a menu, twice": 0.02,
    "two people at once": 0.02,
    "words": 0.02,
    "words and a menu at once": 0.02,
}
"""How many conversations begin where several repositories fit, on average, and how people choose one."""

SECONDS = {
    Kind.WORKER_FROZEN: (1.0, 8.0),
    # A poster that is frozen for longer than its claim holds is a known limit (docs/known-flaws.md): far from that.
    Kind.DISPATCHER_FROZEN: (1.0, 12.0),
    Kind.EVENTS_TWICE: (1.0, 4.0),
    Kind.SLACK_LIMIT: (1.0, 3.0),  # what `Retry-After` says
    Kind.STORE_AWAY: (1.0, 6.0),
    Kind.STORE_SLOW: (1.0, 5.0),
    Kind.GITHUB_AWAY: (1.0, 6.0),
}
"""How long a fault that lasts does."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `token` is in its text, in the file that its work writes and, told otherwise, in its answer."""

    token: str  # c012-m2
    when: When
    seconds: float  # after what `when` names
    person: int
    work: Work
    act: Act | None = None  # what its author does with it afterwards
    act_seconds: float = 0.0  # how soon after the message
    answer: Answer | None = None  # how people answer the agent's question about it
    answer_seconds: float = 0.0  # how soon after the question
    choice: Choice | None = None  # the button below its answer that somebody presses, if it is there
    how: How = "once"
    choice_seconds: float = 0.0  # how soon after the answer

    @property
    def text(self) -> str:
        """Return the text to the bot: a command for the demo model, which may run again after an interruption.

        A file that is there already stays as it is. If work got lost and was done again, its file has other bytes.
        """
        if self.work == "ask":
            return f"ask me which {self.token}"
        lines = {
            "talk": [],
            "write": [_write(f"{self.token}.txt")],
            "commit": [_write(f"{self.token}.txt"), _commit(f"{self.token}.txt")],
            "slow": [_write(f"{self.token}-a.txt"), _WAIT, _write(f"{self.token}-b.txt")],
        }[self.work]
        told = [f"printf 'did:%s\\n' {self.token}"]  # so that the answer has something that the question does not have
        return "run ```\n" + "\n".join([*lines, *told]) + "\n```"

    @property
    def told(self) -> str:
        """Return the text that its final answer has, and no other message."""
        return self.asks if self.work == "ask" else f"did:{self.token}"

    @property
    def asks(self) -> str:
        """Return what the agent asks people about it."""
        return f"Which {self.token}?"


_WAIT = 'python3 -c "import time; time.sleep(3)"'


def _write(file: str) -> str:
    # In one command, since a checkpoint may come in between: it has to see all of the file or none.
    return f"[ -e {file} ] || (date +%s%N > .git/new && mv .git/new {file})"


def _commit(file: str) -> str:
    return f"git add {file}; git diff --cached --quiet || git commit -qm {file}"


@dataclass(frozen=True, slots=True)
class Talk:
    """One conversation."""

    number: int
    messages: tuple[Message, ...]
    pick: Pick | None = None  # how people choose a repository; None: only one fits
    pick_seconds: float = 0.0  # how soon after the menu


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: `wait` seconds after conversation `after` began, for `seconds`, to the victim that `pick` chooses."""

    kind: Kind
    after: int
    wait: float
    seconds: float
    pick: float  # 0 to 1, among those that are there


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is decided before a run."""

    seed: int
    talks: tuple[Talk, ...]
    blows: tuple[Blow, ...]

    @property
    def messages(self) -> int:
        """How many messages are sent, all told."""
        return sum(len(talk.messages) for talk in self.talks)


def make_plan(seed: int, conversations: int) -> Plan:
    """Decide everything. Talks and faults have a source of chance each, so that one can change without the other."""
    talks = random.Random(f"{seed} talks")
    faults = random.Random(f"{seed} faults")
    people = random.Random(f"{seed} acts")
    made = [_talk(talks, number) for number in range(1, conversations + 1)]
    messages = {message.token: message for talk in made for message in talk.messages}
    _with_answers(people, messages)
    _with_acts(people, messages)
    _with_choices(people, messages)
    picks = _picks(random.Random(f"{seed} picks"), conversations)
    talks_made = (
        Talk(talk.number, tuple(messages[message.token] for message in talk.messages), *picks.get(talk.number, ()))
        for talk in made
    )
    return Plan(seed, tuple(talks_made), tuple(_blows(faults, conversations)))


def _picks(chance: random.Random, conversations: int) -> dict[int, tuple[Pick, float]]:
    """Let some conversations begin where people have to choose a repository, in each way at least once."""
    left = list(range(1, conversations + 1))
    chance.shuffle(left)
    found: dict[int, tuple[Pick, float]] = {}
    for pick, rate in PICKS.items():
        for _ in range(max(1, round(rate * conversations))):
            if left:
                found[left.pop()] = pick, chance.uniform(0.0, 3.0)
    return found


def _with_answers(chance: random.Random, messages: dict[str, Message]) -> None:
    """Let some messages make the agent ask people."""
    for answer, rate in ANSWERS.items():
        for message in _some(chance, messages, rate, lambda m: m.answer is None):
            asks = replace(message, work="ask", answer=answer, answer_seconds=chance.uniform(0.0, 3.0))
            messages[message.token] = asks


def _with_acts(chance: random.Random, messages: dict[str, Message]) -> None:
    """Let people stop, edit and delete some of their messages. The first of a thread stays: it carries the thread."""
    for act, rate in ACTS.items():
        for message in _some(chance, messages, rate, lambda m: not m.act and (act != "delete" or m.when != "first")):  # noqa: B023
            messages[message.token] = replace(message, act=act, act_seconds=chance.uniform(0.0, 6.0))


def _with_choices(chance: random.Random, messages: dict[str, Message]) -> None:
    """Let people press something below some answers. Continue needs work that was stopped, Undo work that is kept."""

    def fits(message: Message) -> bool:
        if message.choice or message.act == "delete":
            return False
        if choice == "continue":
            return bool(message.act and message.act.startswith("stop"))
        return choice != "undo" or message.work in ("write", "commit", "slow")

    for choice, rate in CHOICES.items():
        for message in _some(chance, messages, rate, fits):
            how: How = chance.choices(("once", "twice", "two people at once"), (50, 25, 25))[0]
            seconds = chance.uniform(0.0, 2.0)
            work: Work = "slow" if choice == "continue" and message.work != "ask" else message.work
            chosen = replace(message, work=work, choice=choice, how=how, choice_seconds=seconds)
            messages[message.token] = chosen


def _some(
    chance: random.Random, messages: dict[str, Message], rate: float, fits: Callable[[Message], bool]
) -> list[Message]:
    """Choose messages: as many as the rate says, and at least one, so that a short run has each kind, too."""
    found = [message for message in messages.values() if fits(message)]
    return chance.sample(found, min(len(found), max(1, round(rate * len(messages)))))


def _talk(chance: random.Random, number: int) -> Talk:
    people = [chance.randrange(PEOPLE) for _ in range(2)]
    messages = []
    for position in range(1, chance.choices((1, 2, 3, 4), (72, 15, 8, 5))[0] + 1):
        when: When = "first"
        if position > 1:
            when = chance.choices(("at once", "during", "after"), (25, 35, 40))[0]
        messages.append(
            Message(
                token=f"c{number:03d}-m{position}",
                when=when,
                seconds=chance.uniform(0, 0.6 if when == "during" else 3.0) if when != "at once" else 0.0,
                person=people[0] if position == 1 else chance.choice(people),
                work=chance.choices(("talk", "write", "commit", "slow"), (50, 20, 15, 15))[0],
            )
        )
    return Talk(number, tuple(messages))


def _blows(chance: random.Random, conversations: int) -> Iterator[Blow]:
    for kind, rate in RATES.items():
        expected = rate * conversations
        for _ in range(max(1, round(expected))):  # a short run meets each kind, too
            shortest, longest = SECONDS.get(kind, (0.0, 0.0))
            yield Blow(
                kind,
                after=chance.randint(1, conversations),
                wait=chance.uniform(0.0, 3.0),
                seconds=chance.uniform(shortest, longest),
                pick=chance.random(),
            )
