"""The real Claude Code CLI at work in a repository of its own, for the tests of the model servers."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    Message,
    ResultMessage,
    SystemMessage,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

TOOLS = ["Bash", "Read", "Write", "Edit", "Glob", "Grep", "TodoWrite", "TaskCreate", "TaskUpdate"]
TODO_WRITE = {"CLAUDE_CODE_ENABLE_TASKS": "0"}  # which of the two todo tools of TOOLS the CLI offers
_ANSWER_SECONDS = 90  # a busy machine takes many times as long as a quiet one


@dataclass
class Answer:
    """Everything that came out of the SDK for one prompt."""

    messages: list[Message] = field(default_factory=list)

    @property
    def result(self) -> ResultMessage:
        [result] = [message for message in self.messages if isinstance(message, ResultMessage)]
        return result

    @property
    def text(self) -> str:
        return self.result.result or ""

    @property
    def first_words(self) -> str:
        return next(block.text for block in self._blocks(AssistantMessage) if isinstance(block, TextBlock))

    @property
    def calls(self) -> list[ToolUseBlock]:
        return [block for block in self._blocks(AssistantMessage) if isinstance(block, ToolUseBlock)]

    @property
    def results(self) -> list[ToolResultBlock]:
        return [block for block in self._blocks(UserMessage) if isinstance(block, ToolResultBlock)]

    @property
    def commands(self) -> list[str]:
        return [call.input["command"] for call in self.calls if call.name == "Bash"]

    @property
    def retries(self) -> list[dict[str, Any]]:
        return self.system("api_retry")

    def system(self, subtype: str) -> list[dict[str, Any]]:
        messages = (message for message in self.messages if isinstance(message, SystemMessage))
        return [message.data for message in messages if message.subtype == subtype]

    def _blocks(self, kind: type[AssistantMessage] | type[UserMessage]) -> list[object]:
        messages = (message for message in self.messages if isinstance(message, kind))
        return [block for message in messages if isinstance(message.content, list) for block in message.content]


@dataclass
class Desk:
    """A repository, a home for the CLI, and the model server that it uses."""

    repository: Path
    home: Path
    base_url: str
    api_key: str
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path, base_url: str, api_key: str) -> "Desk":
        desk = cls(folder / "repository", folder / "home", base_url, api_key)
        desk.repository.mkdir()
        desk.git("init", "-q", "-b", "main")
        desk.git("config", "user.name", "Test")
        desk.git("config", "user.email", "test@example.org")
        return desk

    def git(self, *arguments: str) -> str:
        return self._run("git", *arguments).stdout

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(sys.executable, "-B", *arguments, check=False)

    async def ask(self, prompt: str, *, resume: str | None = None) -> Answer:
        """Start the CLI, ask once, end it."""
        [answer] = [answer async for answer in self.converse(prompt, resume=resume)]
        return answer

    async def converse(
        self,
        *prompts: str,
        resume: str | None = None,
        meanwhile: Callable[[ClaudeSDKClient, Message], Any] | None = None,
    ) -> AsyncIterator[Answer]:
        """Ask one thing after the other in one CLI; `meanwhile` sees each message as it comes."""
        async with asyncio.timeout(_ANSWER_SECONDS), ClaudeSDKClient(self._options(resume)) as client:
            for prompt in prompts:
                answer = Answer()
                await client.query(prompt)
                async for message in client.receive_response():
                    answer.messages.append(message)
                    if meanwhile:
                        await meanwhile(client, message)
                yield answer

    def _options(self, resume: str | None) -> ClaudeAgentOptions:
        environment = {
            "CLAUDE_CONFIG_DIR": str(self.home),
            "ANTHROPIC_BASE_URL": self.base_url,
            "ANTHROPIC_AUTH_TOKEN": self.api_key,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",
            "IS_SANDBOX": "1",
        }
        return ClaudeAgentOptions(
            cwd=self.repository,
            tools=TOOLS,
            permission_mode="bypassPermissions",
            setting_sources=[],
            resume=resume,
            env=environment | TODO_WRITE | self.env,
        )

    def _run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.repository, check=check, text=True, capture_output=True, timeout=_ANSWER_SECONDS
        )
