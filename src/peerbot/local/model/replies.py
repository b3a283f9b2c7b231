"""An answer of the model on the wire: one JSON document, or the events of a stream with the same content."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

MODEL_NAME = "peerbot-demo"
"""The model that all answers name, whatever model was asked for, so that nobody takes them for Claude's."""

_CHARACTERS_PER_TOKEN = 4
_SMALLEST_CHUNK = 12
_CHUNKS_PER_BLOCK = 40


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model wants to use."""

    name: str
    input: Document


@dataclass(frozen=True, slots=True)
class Reply:
    """The model's words and the tools that it wants; without calls the turn is over."""

    text: str
    calls: tuple[ToolCall, ...] = ()


def input_tokens(body: Document) -> int:
    """Guess how many tokens a request is."""
    return _tokens([body.get("system"), body.get("tools"), body["messages"]])


def usage(body: Document, reply: Reply) -> Document:
    """Make up plausible figures: all but the last message comes from the prompt cache, as it would with Claude."""
    fresh = _tokens(body["messages"][-1])
    said = reply.text + "".join(json.dumps(call.input) for call in reply.calls)
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": max(0, input_tokens(body) - fresh),
        "output_tokens": _tokens(said),
    }


def message(body: Document, reply: Reply) -> Document:
    """Make the answer's JSON document, with ids of its own (Claude Code merges messages of equal id)."""
    content: list[Document] = [{"type": "text", "text": reply.text}] if reply.text else []
    content += [
        {"type": "tool_use", "id": f"toolu_{secrets.token_hex(12)}", "name": call.name, "input": call.input}
        for call in reply.calls
    ]
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": MODEL_NAME,
        "content": content,
        "stop_reason": "tool_use" if reply.calls else "end_turn",
        "stop_sequence": None,
        "usage": usage(body, reply),
    }


def refusal(body: Document, reply: Reply) -> Document:
    """Make an answer that a classifier stopped before it came to its tool calls."""
    return message(body, Reply(reply.text)) | {"stop_reason": "refusal"}


def cut_short(body: Document, reply: Reply) -> Document:
    """Make an answer that ran out of tokens half-way through its text."""
    return message(body, Reply(reply.text[: max(1, len(reply.text) // 2)])) | {"stop_reason": "max_tokens"}


def events(document: Document) -> Iterator[Document]:
    """Split the document into the events that a stream sends."""
    head = document | {
        "content": [],
        "stop_reason": None,
        "usage": document["usage"] | {"output_tokens": 1},
    }
    yield {"type": "message_start", "message": head}
    yield {"type": "ping"}
    for index, block in enumerate(document["content"]):
        if block["type"] == "text":
            start, whole, delta = block | {"text": ""}, block["text"], ("text_delta", "text")
        else:
            start, whole, delta = (
                block | {"input": {}},
                json.dumps(block["input"]),
                ("input_json_delta", "partial_json"),
            )
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for chunk in _chunks(whole):
            yield {"type": "content_block_delta", "index": index, "delta": {"type": delta[0], delta[1]: chunk}}
        yield {"type": "content_block_stop", "index": index}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": document["stop_reason"], "stop_sequence": None},
        "usage": {"output_tokens": document["usage"]["output_tokens"]},
    }
    yield {"type": "message_stop"}


def error(error_type: str, text: str) -> Document:
    """Make an error document in the API's form."""
    return {
        "type": "error",
        "error": {"type": error_type, "message": text},
        "request_id": f"req_{secrets.token_hex(12)}",
    }


def _chunks(text: str) -> Iterator[str]:
    size = max(_SMALLEST_CHUNK, len(text) // _CHUNKS_PER_BLOCK)
    return (text[at : at + size] for at in range(0, len(text), size))


def _tokens(value: object) -> int:
    return max(1, len(json.dumps(value, ensure_ascii=False)) // _CHARACTERS_PER_TOKEN)
