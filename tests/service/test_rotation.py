"""A token that changes in a mounted Secret reaches the dispatcher: it ends, and is started with the new one."""

import asyncio
from pathlib import Path

from system import System, eventually


async def test_a_dispatcher_ends_when_a_token_changes_and_not_for_one_that_it_could_not_use(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    async with System(tmp_path) as system:
        (tokens / "slack-bot-token").write_text(system.slack.bot_token + "\n")
        (tokens / "github-token").write_text(system.github.token)
        dispatcher = await system.start(PEERBOT_TOKENS_DIR=str(tokens))
        turn = await system.ask("Hello!")
        assert turn.status == "done"

        (tokens / "slack-bot-token").write_text("xapp-planted")  # somebody mixed them up
        await eventually(lambda: system.logged("new_token_not_usable"), 30)
        assert dispatcher.returncode is None
        (tokens / "slack-bot-token").write_text("")  # a secret manager that writes slowly
        (tokens / "github-token").write_text("ghp-planted")
        assert await asyncio.wait_for(dispatcher.wait(), 60) == 0

        (line,) = system.logged("tokens_changed")
        assert line["tokens"] == ["github_token"]
        assert len(system.logged("new_token_not_usable")) == 1
        assert "planted" not in system.log_file.read_text()
