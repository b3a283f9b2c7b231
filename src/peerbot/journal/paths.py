"""The journal's keys (decision 0001): the one place that makes them and reads them back."""

import re

from peerbot.conversation.keys import Conversation, input_ts

CONVERSATIONS = "conversations/"
PENDING = "pending/"
CLAIM = "repost-"
_INPUT_ID = re.compile(r"\d{1,12}\.\d{6}-[a-z_]{1,30}")
_PART = re.compile(r"/([1-9]\d{0,8})/part-(\d{6})\.json$")
_NUMBERED = re.compile(r"([1-9]\d{0,8})\.([a-z]+(?:-[1-9]\d{0,8})?)")


def folder(conversation: Conversation) -> str:
    """Name the folder of all that the journal keeps of a conversation, except its markers."""
    return f"{CONVERSATIONS}{conversation}/"


def conversation_document(conversation: Conversation) -> str:
    """Name `conversation.json`."""
    return f"conversations/{conversation}/conversation.json"


def told(conversation: Conversation) -> str:
    """Name the claim to tell its thread that a document can't be read."""
    return f"conversations/{conversation}/unreadable.told"


def branches(conversation: Conversation) -> str:
    """Name the folder of the branches that it had after its first."""
    return f"conversations/{conversation}/branches/"


def branch(conversation: Conversation, i: int) -> str:
    """Name its `i`th branch, from 2 on."""
    return f"{branches(conversation)}{i}.json"


def work(conversation: Conversation, turn: int, run: int) -> str:
    """Name the commits of turn `turn` that run `run` could not push."""
    return f"conversations/{conversation}/work/{turn}/{run}.bundle"


def inputs(conversation: Conversation) -> str:
    """The folder of its inputs."""
    return f"conversations/{conversation}/inputs/"


def input_document(conversation: Conversation, input_id: str) -> str:
    """Name one input. Raises `ValueError` for an invalid name: names come from workers too."""
    return f"{inputs(conversation)}{_checked(input_id)}.json"


def runs(conversation: Conversation) -> str:
    """The folder of its runs."""
    return f"conversations/{conversation}/runs/"


def run_document(conversation: Conversation, n: int, kind: str = "json") -> str:
    """Name run `n`'s reservation, or its `started` or `closed`."""
    return f"{runs(conversation)}{n}.{kind}"


def turns(conversation: Conversation) -> str:
    """The folder of its turns."""
    return f"conversations/{conversation}/turns/"


def turn_document(conversation: Conversation, k: int, kind: str = "json") -> str:
    """Name turn `k`, or its `card` or `posted`."""
    return f"{turns(conversation)}{k}.{kind}"


def sessions(conversation: Conversation, turn: int) -> str:
    """Name the folder of the transcripts of turn `turn`: one folder for each run that worked on it."""
    return f"conversations/{conversation}/sessions/{turn}/"


def session(conversation: Conversation, turn: int, run: int) -> str:
    """Name the folder of the transcript that run `run` wrote while it worked on turn `turn`."""
    return f"{sessions(conversation, turn)}{run}/"


def session_part(conversation: Conversation, turn: int, run: int, part: int) -> str:
    """Name one part of it, padded so that keys sort in the parts' order."""
    return f"{session(conversation, turn, run)}part-{part:06d}.json"


def session_whole(conversation: Conversation, turn: int, run: int) -> str:
    """Name the whole of it, compressed."""
    return f"{session(conversation, turn, run)}whole.json.gz"


def pending(conversation: Conversation) -> str:
    """The folder of its markers."""
    return f"{PENDING}{conversation}/"


def marker(conversation: Conversation, input_id: str) -> str:
    """Name one input's marker. Raises `ValueError` like `input_document`."""
    return f"{pending(conversation)}{_checked(input_id)}"


def repository(owner: str, name: str) -> str:
    """Name the owner of a repository's name. Lower case, since forges take `Ada` and `ada` for one name."""
    return f"repositories/{owner.lower()}/{name.lower()}.json"


def choices(kind: str, identity: str) -> str:
    """Name the folder of the choices for a user or a channel (`team-id`)."""
    return f"settings/{kind}/{identity}/"


def choice(kind: str, identity: str, seq: int) -> str:
    """Name one choice."""
    return f"{choices(kind, identity)}{seq}.json"


def parse_marker(key: str) -> tuple[Conversation, str]:
    """Read a marker's key back; `ValueError` if it is none."""
    path, _, input_id = key.removeprefix(PENDING).rpartition("/")
    return Conversation.parse(path), _checked(input_id)


def parse_input(key: str) -> str:
    """Read the name of an input's document back; `ValueError` if it is none."""
    return _checked(key.rpartition("/")[2].removesuffix(".json"))


def parse_conversation(key: str) -> tuple[Conversation, str]:
    """Read the conversation of a key under `CONVERSATIONS` back, and the rest; `ValueError` if it is none."""
    team, channel, thread_ts, rest = key.removeprefix(CONVERSATIONS).split("/", 3)
    return Conversation(team, channel, thread_ts), rest


def parse_numbered(key: str) -> tuple[int, str] | None:
    """Read number and kind of a run's or turn's document; None for files that this release does not know."""
    match = _NUMBERED.fullmatch(key.rpartition("/")[2])
    return (int(match[1]), match[2]) if match else None


def parse_claim(kind: str) -> int:
    """Read the number of a claim (`repost-2`); 0 for a document of another kind."""
    return int(kind.removeprefix(CLAIM)) if kind.startswith(CLAIM) else 0


def parse_session_part(key: str) -> tuple[int, int] | None:
    """Read run and part of a transcript's part; None for any other key (a whole)."""
    match = _PART.search(key)
    return (int(match[1]), int(match[2])) if match else None


def in_order(input_ids: list[str]) -> list[str]:
    """Sort inputs by the time at which Slack says that they happened."""
    return sorted(input_ids, key=lambda input_id: (*map(int, input_ts(input_id).split(".")), input_id))


def _checked(input_id: str) -> str:
    if not _INPUT_ID.fullmatch(input_id):
        raise ValueError(f"not an input: {input_id!r}")
    return input_id
