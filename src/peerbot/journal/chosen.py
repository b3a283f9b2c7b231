"""What people chose about an answer: which choice has the effect, and how far that is (decision 0029).

Of all choices about a turn one has an effect: the one in the newest `chosen/{k}/{i}.json` that is not settled.
"""

from collections.abc import Collection

from peerbot.conversation.choices import Act, act_of
from peerbot.conversation.documents import Chosen, Feedback, Input, Settled, TurnStatus, WentBack
from peerbot.conversation.keys import Conversation, input_kind
from peerbot.conversation.questions import parse_question_id
from peerbot.journal import paths
from peerbot.journal.journal import Journal


async def holds(journal: Journal, conversation: Conversation, turn: int) -> tuple[int, Chosen | None]:
    """Find the choice about a turn that has the effect, and the number of the newest; None if there is none now."""
    n = max(await journal.numbered(paths.chosen(conversation, turn)), default=0)
    found = await journal.read(paths.chosen_document(conversation, turn, n), Chosen) if n else None
    if found and await journal.read(paths.settled_input(conversation, found.input), Settled):
        found = None
    return n, found


async def choose(journal: Journal, choice: Input) -> bool:
    """Let a choice have the effect; False if another one has it."""
    assert choice.turn is not None
    n, found = await holds(journal, choice.conversation, choice.turn)
    if found:
        return found.input == choice.id
    wanted = Chosen(input=choice.id, act=choice.act, user=choice.user)
    return await journal.create(paths.chosen_document(choice.conversation, choice.turn, n + 1), wanted)


async def agent_answers(journal: Journal, choice: Input) -> bool:
    """Whether the agent has to answer this choice: it has the effect, and if it is a retry, the branch is back."""
    act = act_of(choice.act)
    if act is None or not act.asks or choice.turn is None:
        return False
    _, found = await holds(journal, choice.conversation, choice.turn)
    if found is None or found.input != choice.id:
        return False
    return act is Act.CONTINUE or await went_back(journal, choice.conversation, choice.turn) is not None


async def retry_among(journal: Journal, conversation: Conversation, inputs: Collection[str]) -> Input | None:
    """Find the retry among these inputs that the agent answers; None if there is none."""
    for identity in inputs:
        item = await journal.input(conversation, identity) if input_kind(identity) == "choice" else None
        if item and item.act == Act.RETRY and await agent_answers(journal, item):
            return item
    return None


async def went_back(journal: Journal, conversation: Conversation, turn: int) -> WentBack | None:
    """Read that the branch is back before a turn; None if nobody has said so."""
    return await journal.read(paths.went_back(conversation, turn), WentBack)


async def go_back(journal: Journal, conversation: Conversation, back: WentBack) -> WentBack:
    """Note that the branch is back before a turn; returns what holds."""
    key = paths.went_back(conversation, back.turn)
    return back if await journal.create(key, back) else await journal.read_existing(key, WentBack)


async def give_feedback(journal: Journal, choice: Input) -> None:
    """Keep what a person thinks of an answer."""
    assert choice.turn is not None
    key = paths.feedback(choice.conversation, choice.turn, choice.user, choice.id)
    await journal.create(key, Feedback(user=choice.user, good=choice.act == Act.GOOD))


async def newest_answer(journal: Journal, conversation: Conversation) -> int:
    """Find the newest turn that is no refusal: choices are about that one; 0 if there is none."""
    for k in reversed(await journal.turn_numbers(conversation)):
        turn = await journal.turn(conversation, k)
        if turn is None or turn.status is not TurnStatus.REFUSED:
            return k
    return 0


async def requests(journal: Journal, conversation: Conversation, inputs: Collection[str]) -> list[Input]:
    """Find the messages and edits that stand behind these inputs.

    A choice stands for those of its turn, an answer for those of the turn in which the agent asked.
    """
    found: list[Input] = []
    seen: set[int] = set()
    waiting = list(inputs)
    while waiting:
        item = await journal.input(conversation, waiting.pop(0))
        if item is None or item.kind in ("stop", "delete"):
            continue
        number = parse_question_id(item.of)[0] if item.kind == "answer" else item.turn
        if item.kind not in ("choice", "answer"):
            found.append(item)
        elif number is not None and number not in seen:
            seen.add(number)
            turn = await journal.turn(conversation, number)
            waiting = [*(turn.inputs if turn else ()), *waiting]
    return found
