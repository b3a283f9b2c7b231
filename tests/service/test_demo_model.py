"""The demo model, driven by the real Claude Code CLI: its words are true, and it fails as Claude does."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from claude_agent_sdk import AssistantMessage, ClaudeSDKClient, Message, ToolUseBlock
from claude_cli import Desk

from peerbot.errors import SettingsError
from peerbot.local.model import DemoModel
from peerbot.protocol.documents import PersonInput
from peerbot.worker.prompts import Asked, prompt_of

INTRODUCTION = (
    "I am PeerBot's demo model, not Claude: I play a few fixed pieces, and Claude Code does the work for real."
)
PRIMES = "Ada Lovelace (U123) wrote:\nCreate a simple Python script that prints the first ten primes, and run it"


@pytest.fixture
async def model() -> AsyncIterator[DemoModel]:
    async with DemoModel() as server:
        yield server


@pytest.fixture
def desk(model: DemoModel, tmp_path: Path) -> Desk:
    return Desk.at(tmp_path, model.url, model.api_key)


# --- The pieces, with the CLI doing the work


async def test_a_script_is_written_run_committed_and_its_real_output_quoted(desk: Desk, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "sitecustomize.py").write_text("print('only who ran it can know this: 61803')\n")
    desk.env = {"PYTHONPATH": str(planted)}

    answer = await desk.ask(PRIMES)

    assert answer.first_words.startswith(INTRODUCTION)
    assert answer.text.startswith(INTRODUCTION)
    assert "only who ran it can know this: 61803\n2 3 5 7 11 13 17 19 23 29" in answer.text
    assert desk.python("primes.py").stdout == "2 3 5 7 11 13 17 19 23 29\n"
    assert desk.git("log", "--format=%s") == "Add primes.py, which prints the first ten primes\n"
    assert desk.git("log", "--format=%h").strip() in answer.text
    assert desk.git("status", "--porcelain") == ""


async def test_a_script_that_is_there_already_is_written_over_and_no_empty_commit_made(desk: Desk) -> None:
    (desk.repository / "primes.py").write_text("print('an old one')\n")

    first, again = [answer async for answer in desk.converse(PRIMES, "primes once more")]

    assert "2 3 5 7 11 13 17 19 23 29" in first.text
    assert "Nothing new to commit" in again.text
    assert len(desk.git("log", "--format=%h").splitlines()) == 1


async def test_what_can_not_be_written_is_told_with_the_reason(desk: Desk) -> None:
    (desk.repository / "primes.py").mkdir()

    answer = await desk.ask(PRIMES)

    assert "I could not write `primes.py`:" in answer.text
    assert "directory" in answer.text
    assert answer.commands == []


@pytest.mark.parametrize("todo_tool", ["TodoWrite", "TaskUpdate"])
async def test_the_plan_moves_to_its_end_in_whichever_todo_tool_there_is(desk: Desk, todo_tool: str) -> None:
    desk.env = {"CLAUDE_CODE_ENABLE_TASKS": "0" if todo_tool == "TodoWrite" else "1"}

    answer = await desk.ask(PRIMES)

    assert {call.name for call in answer.calls} >= {todo_tool, "Write", "Bash"}
    assert not [result for result in answer.results if result.is_error]
    if todo_tool == "TodoWrite":
        states = [[todo["status"] for todo in call.input["todos"]] for call in answer.calls if call.name == todo_tool]
        assert states == [
            ["in_progress", "pending", "pending"],
            ["completed", "in_progress", "pending"],
            ["completed", "completed", "in_progress"],
            ["completed", "completed", "completed"],
        ]
    else:
        updates = [(call.input["taskId"], call.input["status"]) for call in answer.calls if call.name == todo_tool]
        assert [task for task, status in updates if status == "completed"] == ["1", "2", "3"]


async def test_a_failing_test_is_brought_along_seen_to_fail_mended_and_seen_to_pass(desk: Desk) -> None:
    first, second = [answer async for answer in desk.converse("Please fix the failing test.", "mend the test again")]

    assert first.text.index("FAILED (failures=1)") < first.text.index("\nOK\n")
    assert desk.python("-m", "unittest", "test_calc").returncode == 0
    assert desk.git("log", "--format=%s").splitlines() == [
        "Divide the mean by all of the numbers",
        "Add a sample with a failing test",
    ]
    desk.git("checkout", "-q", "HEAD~1")
    assert "failures=1" in desk.python("-m", "unittest", "test_calc").stderr
    plans = [call.input for call in first.calls if call.name == "TodoWrite"]
    assert len(plans) == 6
    assert all(plan != following for plan, following in pairwise(plans))
    assert "nothing to fix" in second.text
    assert "Edit" not in {call.name for call in second.calls}


async def test_a_flaw_that_it_does_not_know_is_left_alone_and_said_so(desk: Desk) -> None:
    (desk.repository / "calc.py").write_text("def mean(numbers):\n    return 7\n")
    (desk.repository / "test_calc.py").write_text("raise SystemExit('this sample is not the one')\n")

    answer = await desk.ask("fix the failing test")

    assert "not because of the flaw that I know" in answer.text
    assert "this sample is not the one" in answer.text
    assert (desk.repository / "calc.py").read_text() == "def mean(numbers):\n    return 7\n"


async def test_a_question_is_answered_from_the_files_and_nothing_changes(desk: Desk) -> None:
    (desk.repository / "README.md").write_text("# Zanzibar\n\nCounts the clove trees.\n")
    (desk.repository / "pyproject.toml").write_text("[project]\nname = 'cloves'\n")

    about_all, about_one, about_nothing = [
        answer
        async for answer in desk.converse("What does this repository do?", "Explain pyproject.toml", "Is it the same?")
    ]

    assert "# Zanzibar\n\nCounts the clove trees." in about_all.text
    assert "[project]\nname = 'cloves'" in about_one.text
    assert "# Zanzibar" in about_nothing.text
    assert desk.git("status", "--porcelain") == "?? README.md\n?? pyproject.toml\n"


async def test_a_question_in_an_empty_repository_is_answered_honestly(desk: Desk) -> None:
    answer = await desk.ask("What is in here?")

    assert "I found no file" in answer.text


async def test_a_slow_turn_takes_as_long_as_asked_and_shows_its_parts(desk: Desk) -> None:
    answer = await desk.ask("take 2 seconds")

    assert answer.result.duration_ms >= 2000
    assert len(answer.commands) == 2
    assert "1 of 2 seconds\n2 of 2 seconds" in answer.text


async def test_a_command_is_run_exactly_as_written_and_its_output_is_quoted_verbatim(desk: Desk) -> None:
    lines = "for word in one two; do\n  echo \"$word\" '`tick`'\ndone\necho '```' >&2\nexit 3"

    many, failing, long = [
        answer
        async for answer in desk.converse(
            f"What is slow in this Python script? run:\n```bash\n{lines}\n```",
            "run `printf 'a  b\\n\\tc\\n'`",
            "run: seq 1 4000",
        )
    ]

    assert many.commands == [lines]
    assert "The command failed." in many.text
    assert "\n````\nExit code 3\none `tick`\ntwo `tick`\n```\n````" in many.text
    assert "\n```\na  b\n\tc\n```" in failing.text
    assert "The command ran." in failing.text
    assert len(long.text) < 9000
    assert "characters left out" in long.text
    assert "\n4000\n" in long.text


async def test_anything_else_gets_the_list_of_pieces(desk: Desk) -> None:
    answer = await desk.ask("Ada Lovelace (U123) wrote:\nSing me a song")

    assert answer.calls == []
    assert answer.text.startswith(INTRODUCTION)
    for piece in ("run a command", "answer a question", "fix a failing test", "take a while", "write a script"):
        assert piece in answer.text


# --- It remembers nothing and knows everything


async def test_a_session_that_is_resumed_elsewhere_knows_the_first_turn(desk: Desk, tmp_path: Path) -> None:
    first = await desk.ask(PRIMES)
    fresh = tmp_path / "fresh"
    [transcript] = desk.home.glob("projects/*/*.jsonl")
    (fresh / transcript.parent.relative_to(desk.home)).mkdir(parents=True)
    shutil.copy(transcript, fresh / transcript.relative_to(desk.home))
    desk.home = fresh

    second = await desk.ask("What is in primes.py?", resume=first.result.session_id)

    asked = "“Create a simple Python script that prints the first ten primes, and run it”"
    assert second.text.startswith(f"Earlier in this thread you asked: {asked}.")
    assert INTRODUCTION not in second.text
    assert "candidate += 1" in second.text


async def test_a_compacted_conversation_still_knows_what_was_asked(desk: Desk) -> None:
    _, _, after = [answer async for answer in desk.converse("Sing me a song", "/compact", "run `echo still here`")]

    assert after.text.startswith("Earlier in this thread you asked: “Sing me a song”.")
    assert "still here" in after.text


async def test_a_turn_goes_on_when_the_server_is_restarted_in_its_middle(desk: Desk, model: DemoModel) -> None:
    successor = DemoModel(port=int(model.url.rpartition(":")[2]), api_key=model.api_key)

    async def restart(_client: ClaudeSDKClient, message: Message) -> None:
        if successor.first_request_at is None and "Part 1 of 2" in str(message) and "'Bash'" in str(message):
            await model.close()
            await successor.start()

    try:
        [answer] = [answer async for answer in desk.converse("take 2 seconds", meanwhile=restart)]
    finally:
        await successor.close()

    assert "1 of 2 seconds\n2 of 2 seconds" in answer.text
    assert len(answer.commands) == 2
    assert successor.requests >= 2


async def test_what_arrives_during_a_turn_is_answered_at_its_end(desk: Desk) -> None:
    async def steer(client: ClaudeSDKClient, message: Message) -> None:
        if isinstance(message, AssistantMessage) and any(
            isinstance(block, ToolUseBlock) and "1 of 1" in str(block.input.get("description"))
            for block in message.content
        ):
            await client.query("Bob (U456) wrote:\nrun `echo and this too`")

    [answer] = [answer async for answer in desk.converse("take 1 second", meanwhile=steer)]

    assert "That took 1 seconds" in answer.text
    assert "and this too" in answer.text


async def test_a_turn_that_was_interrupted_is_over(desk: Desk) -> None:
    async def interrupt(client: ClaudeSDKClient, message: Message) -> None:
        if isinstance(message, AssistantMessage) and "Part 1 of 6" in str(message) and "'Bash'" in str(message):
            await client.interrupt()

    prompts = ("take 60 seconds", "run `echo next`")
    stopped, after = [answer async for answer in desk.converse(*prompts, meanwhile=interrupt)]

    assert (stopped.result.subtype, stopped.result.is_error) == ("error_during_execution", True)
    assert after.text.startswith("Earlier in this thread you asked: “take 60 seconds”.")
    assert after.commands == ["echo next"]


# --- The piece that answers a message


async def post(model: DemoModel, body: dict[str, Any]) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers={"x-api-key": model.api_key}) as client,
        client.post(
            f"{model.url}/v1/messages", json={"model": "claude-opus-5-5", "max_tokens": 1000} | body
        ) as response,
    ):
        assert response.status == 200
        document: dict[str, Any] = await response.json()
        return document


async def ask_over_http(model: DemoModel, content: str) -> dict[str, Any]:
    return await post(model, {"messages": [{"role": "user", "content": content}], "tools": [{"name": "Bash"}]})


def command_of(document: dict[str, Any]) -> str:
    return str(
        next((b["input"].get("command", b["input"]) for b in document["content"] if b["type"] == "tool_use"), "")
    )


@pytest.mark.parametrize(
    ("message", "called"),
    [
        ("Create a simple Python script that prints the first ten primes, and run it", "'file_path': 'primes.py'"),
        ("write a script called sieve.py with primes", "'file_path': 'sieve.py'"),
        ("PYTHON FIBONACCI PLEASE", "'file_path': 'fibonacci.py'"),
        ("Could you write a script?", "'file_path': 'hello.py'"),
        ("a fizz buzz program", "'file_path': 'fizzbuzz.py'"),
        ("fix the failing test", "ls calc.py test_calc.py"),
        ("Could you mend it?", "ls calc.py test_calc.py"),
        ("What does the Python script do?", "git ls-files"),
        ("explain the slow tests", "git ls-files"),
        ("is this a library?", "git ls-files"),
        ("take a minute", '"of 60 seconds"'),
        ("take 7 seconds", '"of 7 seconds"'),
        ("take 1 minute", '"of 60 seconds"'),
        ("take 900 seconds", '"of 120 seconds"'),
        ("a slow one", '"of 60 seconds"'),
        ("fix the failing test, run `make`", "make"),
        ("run ```\nmake\nmake install\n```", "make\nmake install"),
        ("Run: make test", "make test"),
        ("what can you do?", ""),
        ("hello", ""),
        ("/clear", ""),
        ("", ""),
    ],
)
async def test_the_words_of_a_message_choose_the_piece(model: DemoModel, message: str, called: str) -> None:
    document = await ask_over_http(model, message)

    assert called in command_of(document)
    assert bool(called) == (document["stop_reason"] == "tool_use")


async def test_what_stood_in_the_thread_before_and_reminders_are_no_orders(model: DemoModel) -> None:
    message = (
        "<system-reminder>run `echo reminder`</system-reminder>"
        "<earlier-messages>\nBob (U2) wrote:\nrun `echo earlier`\n</earlier-messages>\n\n"
        "Ada Lovelace (U1) wrote:\nfix the failing test"
    )

    assert command_of(await ask_over_http(model, message)) == "ls calc.py test_calc.py"


async def test_two_inputs_in_one_prompt_are_both_answered_in_order(model: DemoModel) -> None:
    both = "Ada (U1) wrote:\nrun `echo ada`\n\nBob (U2) wrote:\nrun `echo bob`"
    first = await ask_over_http(model, both)
    assert command_of(first) == "echo ada"

    block = first["content"][-1]
    messages = [
        {"role": "user", "content": both},
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": block["id"], "content": "ada"}]},
    ]
    assert command_of(await post(model, {"messages": messages, "tools": [{"name": "Bash"}]})) == "echo bob"


async def test_of_a_step_that_was_cut_between_two_calls_only_the_rest_is_wanted_again(model: DemoModel) -> None:
    offered = {"tools": [{"name": "Bash"}, {"name": "TodoWrite"}, {"name": "Write"}]}
    asked = {"role": "user", "content": "write a script"}
    _, todo, write = (await post(model, {"messages": [asked], **offered}))["content"]
    assert (todo["name"], write["name"]) == ("TodoWrite", "Write")

    messages = [
        asked,
        {"role": "assistant", "content": [todo]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": todo["id"], "content": "Done."}]},
    ]
    [again] = (await post(model, {"messages": messages, **offered}))["content"]

    assert (again["name"], again["input"]) == ("Write", write["input"])


async def test_what_was_interrupted_before_an_answer_began_is_not_played_later(model: DemoModel) -> None:
    contents = ["run `echo stopped`", [{"type": "text", "text": "[Request interrupted by user]"}], "run `echo next`"]
    messages = [{"role": "user", "content": content} for content in contents]

    document = await post(model, {"messages": messages, "tools": [{"name": "Bash"}]})

    assert command_of(document) == "echo next"
    assert document["content"][0]["text"].startswith("Earlier in this thread you asked: “run `echo stopped`”.")


async def test_what_a_new_run_asks_again_is_done_once(model: DemoModel) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "run `make`"}] * 2
    first = await post(model, {"messages": messages, "tools": [{"name": "Bash"}]})
    result = {"type": "tool_result", "tool_use_id": first["content"][-1]["id"], "content": "made"}
    messages += [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]

    last = await post(model, {"messages": messages, "tools": [{"name": "Bash"}]})

    assert last["stop_reason"] == "end_turn"
    assert last["content"][0]["text"].count("made") == 1


async def test_the_work_of_a_run_that_died_before_it_saved_anything_is_done_again(model: DemoModel) -> None:
    asked = [PersonInput(id="1.000001-message", user="UADA", name="Ada", text="write a script")]
    offered = {"tools": [{"name": "Write"}]}
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt_of(asked)}]
    first = await post(model, {"messages": messages, **offered})
    result = {"type": "tool_result", "tool_use_id": first["content"][-1]["id"], "content": "Written."}
    messages += [{"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]

    again = await post(
        model, {"messages": [*messages, {"role": "user", "content": Asked(asked, True, None).first}], **offered}
    )

    assert again["content"][-1]["input"] == first["content"][-1]["input"]


async def test_a_request_without_tools_is_answered_briefly_and_plays_nothing(model: DemoModel) -> None:
    titled = {"format": {"type": "json_schema", "schema": {"type": "object", "required": ["title"]}}}
    content = "<session>\nrun `make` at once, and do not wait for anything\n</session>\n\nWrite the title."

    document = await post(model, {"messages": [{"role": "user", "content": content}], "output_config": titled})

    [block] = document["content"]
    assert json.loads(block["text"]) == {"title": "PeerBot demo: run `make` at once, and do"}
    assert document["stop_reason"] == "end_turn"


# --- The wire


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"Authorization": "Bearer wrong"}])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/models"])
async def test_nobody_is_answered_without_the_key(model: DemoModel, headers: dict[str, str], path: str) -> None:
    async with aiohttp.ClientSession(headers=headers) as client, client.post(f"{model.url}{path}", json={}) as response:
        assert response.status == 401
        assert (await response.json())["error"] == {"type": "authentication_error", "message": "invalid x-api-key"}
    assert model.requests == 0


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b'{"messages": []}', "model: Field required"),
        (b'{"model": "m", "messages": []}', "at least one message"),
        (b'{"model": "m", "messages": [{"role": "judge", "content": ""}]}', "messages.0.role"),
        (b'{"model": "m", "messages": [{"role": "user"}]}', "messages.0.content"),
        (b'{"model": "m", "messages": [{"role": "user", "content": ["x"]}]}', "messages.0.content"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [1]}', "tools"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_malformed_request_is_told_what_is_wrong(model: DemoModel, path: str, body: bytes, told: str) -> None:
    headers = {"Authorization": f"Bearer {model.api_key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(f"{model.url}{path}", data=body) as response,
    ):
        assert response.status == 400
        error = await response.json()
    assert (error["type"], error["error"]["type"]) == ("error", "invalid_request_error")
    assert told in error["error"]["message"]
    assert error["request_id"] == response.headers["request-id"]


async def test_small_questions_of_the_api_are_answered(model: DemoModel) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 4000}]}
    async with aiohttp.ClientSession(model.url) as client:
        async with client.head("/api/hello") as response:
            assert response.status == 200
        client.headers["x-api-key"] = model.api_key
        async with client.post("/v1/messages/count_tokens", json=body) as response:
            assert 900 < (await response.json())["input_tokens"] < 1100
        async with client.get("/v1/models") as response:
            assert (await response.json())["error"]["type"] == "not_found_error"


async def test_a_port_that_is_taken_is_told_in_one_sentence(model: DemoModel) -> None:
    with pytest.raises(SettingsError, match="another program"):
        await DemoModel(port=int(model.url.rpartition(":")[2])).start()


async def test_it_keeps_count_for_tests_and_benches(model: DemoModel) -> None:
    before = time.monotonic()
    for number in range(52):
        await ask_over_http(model, f"hello {number}")

    assert model.requests == 52
    assert model.first_request_at is not None
    assert before <= model.first_request_at <= time.monotonic()
    assert [body["messages"][0]["content"] for body in model.seen] == [f"hello {number}" for number in range(2, 52)]


# --- Faults, and the SDK's reactions to them, which the worker relies on


@pytest.mark.parametrize(
    ("status", "retried", "kind"),
    [(400, 0, "unknown"), (401, 1, "authentication_failed"), (429, 1, "rate_limit"), (529, 1, "server_error")],
)
async def test_an_error_that_lasts_ends_as_success_with_is_error(
    desk: Desk, model: DemoModel, status: int, retried: int, kind: str
) -> None:
    model.faults.error(status, times=20, retry_after_seconds=0)

    answer = await desk.ask("hello")

    assert answer.result.subtype == "success"
    assert answer.result.is_error
    assert answer.result.terminal_reason == "api_error"
    assert answer.result.api_error_status == status
    assert [retry["error_status"] for retry in answer.retries] == [status] * retried
    [last] = [message for message in answer.messages if isinstance(message, AssistantMessage)]
    assert (last.model, last.error) == ("<synthetic>", kind)


async def test_a_single_400_is_swallowed_by_the_cli(desk: Desk, model: DemoModel) -> None:
    model.faults.error(400)

    answer = await desk.ask("hello")

    assert (answer.result.is_error, answer.result.terminal_reason) == (False, "completed")
    assert answer.retries == []
    assert model.requests == 2


@pytest.mark.parametrize("status", [429, 529])
async def test_an_error_that_passes_is_retried_and_told_as_it_happens(
    desk: Desk, model: DemoModel, status: int
) -> None:
    model.faults.error(status, retry_after_seconds=1)

    answer = await desk.ask("hello")

    assert (answer.result.is_error, answer.result.terminal_reason) == (False, "completed")
    [retry] = answer.retries
    assert (retry["attempt"], retry["max_retries"], retry["error_status"]) == (1, 1, status)
    assert retry["retry_delay_ms"] >= 500
    assert answer.text.startswith(INTRODUCTION)


async def test_a_cut_text_is_asked_for_again_and_told_as_a_retry(desk: Desk, model: DemoModel) -> None:
    model.faults.cut(inside="text")

    answer = await desk.ask("hello")

    assert (answer.result.is_error, answer.result.terminal_reason) == (False, "completed")
    assert [(retry["error_status"], retry["error"]) for retry in answer.retries] == [(None, "unknown")]
    assert answer.text.startswith(INTRODUCTION)


async def test_a_cut_tool_call_is_taken_up_where_it_broke_and_done_once(desk: Desk, model: DemoModel) -> None:
    spoken = asyncio.Event()
    model.faults.cut(inside="tool_use", after=spoken)

    async def hear(_client: ClaudeSDKClient, message: Message) -> None:
        if isinstance(message, AssistantMessage):
            spoken.set()  # a CLI that has not finished the text by the cut asks for all of it again

    [answer] = [answer async for answer in desk.converse("run `echo once >> count; cat count`", meanwhile=hear)]

    assert not answer.result.is_error
    assert answer.retries == []  # the CLI keeps the finished text and asks for the rest, without a word
    assert str(answer.messages).count("I'll run it.") == 1
    assert (desk.repository / "count").read_text() == "once\n"
    assert "```\nonce\n```" in answer.text


async def test_a_connection_that_stays_broken_ends_in_an_api_error(desk: Desk, model: DemoModel) -> None:
    model.faults.cut(times=20)

    answer = await desk.ask("hello")

    assert (answer.result.is_error, answer.result.terminal_reason) == (True, "api_error")
    assert answer.result.api_error_status is None
    assert model.seen[-1].get("stream") is not True  # the CLI's last try does not stream


async def test_a_refusal_gets_one_more_try_and_then_ends_the_turn(desk: Desk, model: DemoModel) -> None:
    model.faults.refuse(times=2)
    refused = await desk.ask("hello")
    assert refused.result.is_error
    assert (refused.result.stop_reason, refused.result.terminal_reason) == ("refusal", "api_error")
    assert len(refused.system("model_refusal_no_fallback")) == 1

    model.faults.refuse()
    tried_again = await desk.ask("run `echo fine`")
    assert not tried_again.result.is_error
    assert "fine" in tried_again.text


async def test_a_delay_keeps_the_caller_waiting(model: DemoModel) -> None:
    model.faults.delay(0.2)
    began = time.monotonic()
    await ask_over_http(model, "hello")
    assert 0.2 <= time.monotonic() - began < 2


async def test_a_status_that_the_api_does_not_have_is_refused(model: DemoModel) -> None:
    with pytest.raises(ValueError, match="418"):
        model.faults.error(418)
