"""Apps that the operator allows give work by a message that mentions the bot, within a budget of their own."""

from pathlib import Path

from system import System, eventually, full_text

from peerbot.conversation.keys import Conversation
from peerbot.journal import apps
from peerbot.local.slack.shapes import OTHER_BOT

QUESTION = "what is in this repository?"


async def alert(system: System, text: str, thread_ts: str | None = None) -> tuple[Conversation, str]:
    general = system.slack.general
    ts = await system.slack.app_says(general, text, thread_ts=thread_ts)
    return Conversation(system.slack.team, general, thread_ts or ts), f"{ts}-message"


async def test_an_allowed_app_is_answered_and_its_budget_is_its_own(tmp_path: Path) -> None:
    settings = {"PEERBOT_ALLOWED_APPS": f"{OTHER_BOT}=0.06", "PEERBOT_ALLOWED_USERS": "U0ADA000001"}
    async with System(tmp_path, settings | {"WORKER_IDLE_SECONDS": "0"}) as system:
        await system.start()
        mention = system.slack.mention()
        await alert(system, "CPU at 99 %")
        conversation, identity = await alert(system, f"{mention} {QUESTION}")
        turn = await system.answer(conversation, identity)
        assert turn.status == "done"
        assert '<message from="Alerts" user="B0ALERTS001">' in system.read_by_model()
        await alert(system, f"{mention} and again", thread_ts=conversation.thread_ts)  # in a thread it is not heard
        await system.delivered()
        assert len([file for file in system.files(conversation) if "/inputs/" in file]) == 1
        assert (await system.ask(QUESTION, thread=conversation)).status == "done", "people go on in its thread"

        script = f"{mention} Create a simple Python script that prints the first ten primes, and run it"
        for _ in range(4):
            turn = await system.answer(*await alert(system, script))
            if turn.status == "failed":
                break
        said = full_text(turn)
        assert "This app's budget of $0.06" in said
        assert "`PEERBOT_ALLOWED_APPS`" in said, "the setting that has it"
        assert (await system.ask(QUESTION)).status == "done", "a person's budget is another one"


async def test_an_app_that_is_not_allowed_is_not_heard(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_ALLOWED_APPS": "B0ELSE"}) as system:
        await system.start()
        conversation, _ = await alert(system, f"{system.slack.mention()} {QUESTION}")
        await system.delivered()
        assert system.files(conversation) == []


async def test_an_app_that_asks_again_and_again_is_stopped_for_the_day(tmp_path: Path) -> None:
    async with System(tmp_path, {"PEERBOT_ALLOWED_APPS": OTHER_BOT}) as system:
        await system.start()
        first, identity = await alert(system, f"{system.slack.mention()} {QUESTION}")
        await system.answer(first, identity)
        [counted] = (tmp_path / "journal" / "apps").rglob("*-message")
        for number in range(apps.MOST_A_DAY - 1):
            (counted.parent / f"{1_000_000_000 + number}.000001-message").write_bytes(counted.read_bytes())
        told = await system.answer(*await alert(system, f"{system.slack.mention()} {QUESTION}"))
        assert "asked me very often today" in full_text(told)
        later = [await alert(system, f"{system.slack.mention()} {QUESTION}") for _ in range(3)]
        await system.delivered()
        await eventually(lambda: len(system.logged("app_asks_too_often")) == 3)
        assert [system.files(conversation) for conversation, _ in later] == [[], [], []]
