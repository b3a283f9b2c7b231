"""The journal's keys (decision 0001): the one place that makes them and reads them back."""

import re

from peerbot.conversation import keys
from peerbot.conversation.keys import Conversation
from peerbot.conversation.limits import Purse

CONVERSATIONS = "conversations/"
PENDING = "pending/"
PULLS = "pulls/"
CONVERSATION_DOCUMENT = "conversation.json"
PLACE = "place.json"
REMOVED = "removed"
CLAIM = "repost-"
USED = "used-"
_INPUT_ID = re.compile(r"\d{1,12}\.\d{6}-[a-z_]{1,30}")
_PART = re.compile(r"/([1-9]\d{0,8})/part-(\d{6})\.json$")
_WORK = re.compile(r"/work/([1-9]\d{0,8})/([1-9]\d{0,8})/(\d{1,9})\.bundle$")
_QUESTION = re.compile(r"/questions/([1-9]\d{0,5})/([1-9]\d{0,2})\.([a-z]+)$")
_WATCHED = re.compile(r"([1-9]\d{0,8})-([1-9]\d{0,8})-(\d{1,12}\.\d{6})(?:\.json|/(look|shown)-([1-9]\d{0,8}))")
_NUMBERED = re.compile(r"([1-9]\d{0,8})\.([a-z]+(?:-[1-9]\d{0,8})?)")


def folder(conversation: Conversation) -> str:
    """Name the folder of all that the journal keeps of a conversation, except its markers."""
    return f"{CONVERSATIONS}{conversation}/"


def conversation_document(conversation: Conversation) -> str:
    """Name `conversation.json`."""
    return f"conversations/{conversation}/{CONVERSATION_DOCUMENT}"


def place(conversation: Conversation) -> str:
    """Name what stays of `conversation.json` when a conversation was removed."""
    return f"conversations/{conversation}/{PLACE}"


def forgotten(name: str) -> str:
    """Name the receipt of something that was forgotten."""
    return f"forgotten/{name}.json"


def picked(conversation: Conversation) -> str:
    """Name the repository that somebody picked for it."""
    return f"conversations/{conversation}/repository.json"


def asked(conversation: Conversation) -> str:
    """Name the folder of the notes that we asked people to pick one."""
    return f"conversations/{conversation}/asked/"


def asked_for(conversation: Conversation, input_id: str) -> str:
    """Name the folder of the notes on menus for a message that waits. Raises `ValueError` like `input_document`."""
    return f"{asked(conversation)}{_checked(input_id)}/"


def app_day(team: str, bot: str, day: str) -> str:
    """Name the folder of the messages that an app has given on a day (`2026-11-30`)."""
    return f"apps/{team}-{bot}/{day}/"


def told(conversation: Conversation) -> str:
    """Name the claim to tell its thread that a document can't be read."""
    return f"conversations/{conversation}/unreadable.told"


def branches(conversation: Conversation) -> str:
    """Name the folder of the branches that it had after its first."""
    return f"conversations/{conversation}/branches/"


def branch(conversation: Conversation, i: int) -> str:
    """Name its `i`th branch, from 2 on."""
    return f"{branches(conversation)}{i}.json"


def works(conversation: Conversation) -> str:
    """Name the folder of the work that no branch has."""
    return f"conversations/{conversation}/work/"


def work(conversation: Conversation, turn: int, run: int, part: int | None) -> str:
    """Name the state that run `run` saved in turn `turn`, its `part`th; None: as the release before named it."""
    return (
        f"{works(conversation)}{turn}/{run}.bundle"
        if part is None
        else f"{works(conversation)}{turn}/{run}/{part}.bundle"
    )


def inputs(conversation: Conversation) -> str:
    """The folder of its inputs."""
    return f"conversations/{conversation}/inputs/"


def input_document(conversation: Conversation, input_id: str) -> str:
    """Name one input. Raises `ValueError` for an invalid name: names come from workers too."""
    return f"{inputs(conversation)}{_checked(input_id)}.json"


def settled_input(conversation: Conversation, input_id: str) -> str:
    """Name what was settled about an input that had no effect. Raises `ValueError` like `input_document`."""
    return f"conversations/{conversation}/settled/{_checked(input_id)}.json"


def told_again(conversation: Conversation, input_id: str, i: int) -> str:
    """Name the `i`th claim to tell an input's author again that it had no effect. Raises like `input_document`."""
    return f"conversations/{conversation}/settled/{_checked(input_id)}.again-{i}"


def chosen(conversation: Conversation, turn: int) -> str:
    """Name the folder that says which choice about the answer of turn `turn` has the effect."""
    return f"conversations/{conversation}/chosen/{turn}/"


def chosen_document(conversation: Conversation, turn: int, i: int) -> str:
    """Name the `i`th choice, from 1 on."""
    return f"{chosen(conversation, turn)}{i}.json"


def went_back(conversation: Conversation, turn: int) -> str:
    """Name the note that the branch is back at the commit before turn `turn`."""
    return f"conversations/{conversation}/back/{turn}.json"


def feedback(conversation: Conversation, turn: int, user: str, input_id: str) -> str:
    """Name what a person said of the answer of turn `turn`. Raises `ValueError` like `input_document`."""
    return f"conversations/{conversation}/feedback/{turn}/{user}-{keys.input_ts(_checked(input_id))}.json"


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


def slices(conversation: Conversation, turn: int) -> str:
    """Name the folder of the slices of turn `turn`'s budget."""
    return f"conversations/{conversation}/spent/{turn}/"


def slice_document(conversation: Conversation, turn: int, i: int, kind: str = "json") -> str:
    """Name the `i`th slice, what was `returned` of it, or a report (`used-3`) of the dispatcher that took it."""
    return f"{slices(conversation, turn)}{i}.{kind}"


def sent_files(conversation: Conversation, turn: int) -> str:
    """Name the folder of the files that the agent sends in turn `turn`."""
    return f"conversations/{conversation}/sent/{turn}/"


def sent_file(conversation: Conversation, turn: int, i: int, kind: str = "json") -> str:
    """Name the `i`th of them, or the note that it is `shown`."""
    return f"{sent_files(conversation, turn)}{i}.{kind}"


def questions(conversation: Conversation) -> str:
    """Name the folder of what the agent asked people."""
    return f"conversations/{conversation}/questions/"


def question_document(conversation: Conversation, turn: int, i: int, kind: str = "json") -> str:
    """Name the `i`th question of turn `turn`, or where it is (`posted`), what `settled` it, or that this is `shown`."""
    return f"{questions(conversation)}{turn}/{i}.{kind}"


def parse_question(key: str) -> tuple[int, int, str] | None:
    """Read turn, number and kind of a question's document back; None for any other key."""
    match = _QUESTION.search(key)
    return (int(match[1]), int(match[2]), match[3]) if match else None


def budget(purse: Purse) -> str:
    """Name the folder of a purse's entries."""
    return f"budgets/{purse.path}/"


def budget_entry(purse: Purse, i: int) -> str:
    """Name its `i`th entry, from 1 on."""
    return f"{budget(purse)}{i}.json"


def budget_told(purse: Purse, cents: int) -> str:
    """Name the claim to tell that a budget of so many cents is nearly spent."""
    return f"{budget(purse)}near/{cents}.json"


def spent_by(purse: Purse) -> str:
    """Name the folder of what the turns of a person or a channel have cost in a month."""
    return f"spent-by/{purse.path}/"


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


def pulls(conversation: Conversation | None = None) -> str:
    """Name the folder of the pull requests that are watched, in a conversation or everywhere."""
    return f"{PULLS}{conversation}/" if conversation else PULLS


def watched(conversation: Conversation, name: str) -> str:
    """Name the document of a pull request that is watched."""
    return f"{pulls(conversation)}{name}.json"


def look(watched: str, slot: int) -> str:
    """Name the claim to look at it for the `slot`th time."""
    return f"{watched.removesuffix('.json')}/look-{slot}"


def shown(watched: str, i: int) -> str:
    """Name the note, the `i`th, of what its answer shows."""
    return f"{watched.removesuffix('.json')}/shown-{i}"


def repository(owner: str, name: str) -> str:
    """Name the owner of a repository's name. Lower case, since forges take `Ada` and `ada` for one name."""
    return f"repositories/{owner.lower()}/{name.lower()}.json"


def settled(owner: str, name: str) -> str:
    """Name the folder of what was settled about a repository's name."""
    return f"{repository(owner, name).removesuffix('.json')}/"


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


def parse_watched(key: str) -> tuple[Conversation, int, int, str, str, int] | None:
    """Read the key of anything about a watched pull request back: conversation, number, turn, `ts`, kind, which one.

    Of the document itself the kind is empty. None for files that are not ours.
    """
    try:
        team, channel, thread_ts, rest = key.removeprefix(PULLS).split("/", 3)
        conversation = Conversation(team, channel, thread_ts)
    except ValueError:
        return None
    if not (found := _WATCHED.fullmatch(rest)):
        return None
    return conversation, int(found[1]), int(found[2]), found[3], found[4] or "", int(found[5] or 0)


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


def parse_work(key: str) -> tuple[int, int, int] | None:
    """Read turn, run and part of a saved state; None for any other key."""
    match = _WORK.search(key)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def in_order(input_ids: list[str]) -> list[str]:
    """Sort inputs by the time at which Slack says that they happened."""
    return sorted(input_ids, key=keys.in_order)


def _checked(input_id: str) -> str:
    if not _INPUT_ID.fullmatch(input_id):
        raise ValueError(f"not an input: {input_id!r}")
    return input_id
