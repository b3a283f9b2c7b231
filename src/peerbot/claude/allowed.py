"""What a worker may send to Claude: the parts of a request that the pinned CLI uses, and nothing else (decision 0024).

Claude's API can do much that the CLI does not ask of it: call other servers, fetch addresses, read files of the
workspace's account, bill in other ways. So everything is refused that is not on the lists of this module. A test plays
the real CLI and fails if it sends more.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jiter

from peerbot.claude.prices import CACHE_WRITE_1H, CACHE_WRITE_5M, Tokens
from peerbot.claude.usage import Bound
from peerbot.errors import Refused

SERVER_TOOLS = {
    "web_search": ("web_search_20250305", {"max_uses", "allowed_domains", "blocked_domains", "user_location"}),
}
"""The tools of Claude's servers that an operator may allow: the version that the CLI uses, and its fields."""

BETAS = {
    "claude-code-20250219",
    "context-management-2025-06-27",
    "effort-2025-11-24",
    "extended-cache-ttl-2025-04-11",
    "interleaved-thinking-2025-05-14",
    "mid-conversation-tool-changes-2026-07-01",
    "per-turn-control-2026-07-01",
    "structured-outputs-2025-12-15",
    "task-budgets-2026-03-13",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
}
_TOOLS_BETAS = {"web_search": {"web-search-2025-03-05"}}

_FIELDS = {
    "cache_control", "context_management", "max_tokens", "messages", "metadata", "model", "output_config",
    "stop_sequences", "stream", "system", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p",
}  # fmt: skip
_PARTS = {
    "metadata": {"user_id"},
    "output_config": {"effort", "format", "task_budget"},
    "thinking": {"type", "budget_tokens", "display"},
    "tool_choice": {"type", "name", "disable_parallel_tool_use"},
}
"""The fields of a request that are objects, and what these may hold."""

_BLOCKS = {
    "text": {"text", "citations"},
    "image": {"source"},
    "document": {"source", "title", "context", "citations"},
    "tool_use": {"id", "name", "input", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error"},
    "tool_reference": {"tool_name"},
    "tool_addition": {"tool"},
    "tool_removal": {"tool"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
_TOOLS_BLOCKS = {
    "server_tool_use": {"id", "name", "input", "caller"},
    "web_search_tool_result": {"tool_use_id", "content", "caller"},
}
"""The blocks that only server tools make."""

_TOOL = {"name", "description", "input_schema", "type", "strict", "defer_loading", "eager_input_streaming"}
_EDITS = {"clear_thinking_20251015", "clear_tool_uses_20250919"}
_SOURCES = {"base64", "text"}

_MOST_TOKENS = 1_000_000  # no model reads more
_PICTURE_TOKENS = 5_000
_DOCUMENT_TOKENS = 200_000  # a PDF is packed: its size tells nothing
_SEARCH_TOKENS = 50_000
_MOST_USES = 20
_MOST = {b"{": 50_000, b"[": 50_000, b":": 300_000, b",": 1_000_000}
"""More than a conversation that fits into a model has. They bound the time and the memory that it takes to read one."""


class NotAllowed(Refused):
    """This is not allowed in a request to Claude."""


@dataclass(slots=True)
class _Seen:
    """What a body's check has counted on its way."""

    server_tools: frozenset[str]
    caches: float = 1.0  # the price of an input token that is written into the cache
    pictures: int = 0
    documents: int = 0
    packed_bytes: int = 0
    uses: int = 0


def check(body: bytes, server_tools: frozenset[str]) -> Bound:
    """Check the body of a request for messages, or for the count of their tokens; returns the most that it can use.

    Every byte of it has been checked: keys stand only once, so that no other reader sees another request in it. Raises
    `NotAllowed`, with a sentence for the agent.
    """
    if any(body.count(sign) > most for sign, most in _MOST.items()):
        raise NotAllowed("PeerBot does not read a request that has so many parts.")
    try:
        request = jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="none")
    except ValueError as error:
        raise NotAllowed(f"The request body is not valid JSON: {error}") from error
    if not isinstance(request, dict):
        raise NotAllowed("The request body is not a JSON object.")
    seen = _Seen(server_tools)
    _fields(seen, request, _FIELDS, "the request")
    for name, names in _PARTS.items():
        _part(request.get(name), names, name, "the request")
    _edits(request.get("context_management"))
    for tool in _objects(request.get("tools", []), "tools"):
        _tool(seen, tool)
    _content(seen, request.get("system", []), "system")
    for message in _objects(request.get("messages", []), "messages"):
        _fields(seen, message, {"role", "content", "output_config"}, "a message")
        _part(message.get("output_config"), {"effort"}, "output_config", "a message")
        _content(seen, message.get("content", []), "a message")
    return _bound(request, len(body), seen)


def betas(header: str, server_tools: frozenset[str]) -> str:
    """Keep those betas of an `anthropic-beta` header that may pass.

    Others are dropped, not refused: a beta only permits fields, blocks and tools, and those are refused by themselves.
    """
    allowed = BETAS.union(*(_TOOLS_BETAS[tool] for tool in server_tools))
    return ",".join(beta for each in header.split(",") if (beta := each.strip()) in allowed)


def _bound(request: Mapping[str, Any], size: int, seen: _Seen) -> Bound:
    model, most = request.get("model"), request.get("max_tokens", 0)
    if not isinstance(model, str) or type(most) is not int or most < 0:
        raise NotAllowed("The request needs a `model` and a whole number of `max_tokens`.")
    if type(request.get("stream", False)) is not bool:
        raise NotAllowed("`stream` is true or false.")
    # A token is at least one byte of text.
    tokens = size - seen.packed_bytes + seen.pictures * _PICTURE_TOKENS + seen.documents * _DOCUMENT_TOKENS
    tokens = min(tokens * (1 + seen.uses) + seen.uses * _SEARCH_TOKENS, _MOST_TOKENS * (1 + seen.uses))
    return Bound(
        model=model,
        streams=request.get("stream", False),
        tokens=Tokens(
            input=tokens if seen.caches == 1.0 else 0,
            cache_write_5m=tokens if seen.caches == CACHE_WRITE_5M else 0,
            cache_write_1h=tokens if seen.caches == CACHE_WRITE_1H else 0,
            output=most,
            searches=seen.uses,
        ),
    )


def _fields(seen: _Seen, value: Mapping[str, Any], names: Iterable[str], where: str) -> None:
    """Check that an object has these fields alone, and how it is cached."""
    if unknown := value.keys() - names:
        raise _refusal(f"`{min(unknown)[:60]}`", where)
    if (cache := value.get("cache_control")) is not None:
        _part(cache, {"type", "ttl"}, "cache_control", where)
        seen.caches = max(seen.caches, CACHE_WRITE_5M if cache.get("ttl", "5m") == "5m" else CACHE_WRITE_1H)


def _part(part: object, names: set[str], name: str, where: str) -> None:
    """Check a field that is an object."""
    if part is not None and (not isinstance(part, dict) or part.keys() - names):
        raise _refusal(f"`{name}` of this form", where)


def _content(seen: _Seen, content: object, where: str) -> None:
    """Check the content of a message, a tool's result or the system prompt: a text, or blocks."""
    if isinstance(content, str) or content is None:
        return
    for block in _objects(content, where):
        kind = block.get("type")
        names = _BLOCKS.get(kind) if isinstance(kind, str) else None
        if names is None and isinstance(kind, str) and seen.server_tools:
            names = _TOOLS_BLOCKS.get(kind)
        if names is None:
            raise _refusal(f"a block of type `{str(kind)[:60]}`", where)
        _fields(seen, block, {"type", "cache_control", *names}, f"a block of type `{kind}`")
        if look := _LOOKS.get(str(kind)):
            look(seen, block)


def _source(seen: _Seen, block: Mapping[str, Any]) -> None:
    """Check that a picture or a document is in the request itself, not at an address or among uploaded files."""
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind not in _SOURCES:
        raise _refusal(f"a source of type `{str(kind)[:60]}`", f"a block of type `{block['type']}`")
    _fields(seen, source, {"type", "media_type", "data"}, "a source")
    if kind == "base64":
        seen.packed_bytes += len(source["data"]) if isinstance(source.get("data"), str) else 0
        seen.pictures += block["type"] == "image"
        seen.documents += block["type"] == "document"


def _caller(_seen: _Seen, block: Mapping[str, Any]) -> None:
    """Check that Claude itself called a tool, not a program on its servers."""
    if block.get("caller") not in (None, {"type": "direct"}):
        raise _refusal("`caller` of this form", f"a block of type `{block['type']}`")


def _change(_seen: _Seen, block: Mapping[str, Any]) -> None:
    """Check that a change of the tools only names a tool that the request defines."""
    tool = block.get("tool")
    if not isinstance(tool, dict) or tool.get("type") != "tool_reference" or tool.keys() - {"type", "name"}:
        raise _refusal("`tool` of this form", f"a block of type `{block['type']}`")


_LOOKS: dict[str, Callable[[_Seen, Mapping[str, Any]], None]] = {
    "image": _source,
    "document": _source,
    "tool_use": _caller,
    "server_tool_use": _caller,
    "tool_addition": _change,
    "tool_removal": _change,
    "tool_result": lambda seen, block: _content(seen, block.get("content"), "a tool's result"),
}


def _tool(seen: _Seen, tool: Mapping[str, Any]) -> None:
    """Check a tool: one that the worker runs, or one of the servers' that the operator allows."""
    kind = tool.get("type", "custom")
    if kind in (None, "custom"):
        _fields(seen, tool, {"cache_control", *_TOOL}, "a tool")
        return
    for name, (version, names) in SERVER_TOOLS.items():
        if kind == version and name in seen.server_tools:
            _fields(seen, tool, {"type", "name", "cache_control", *names}, f"the tool `{name}`")
            uses = tool.get("max_uses")
            if type(uses) is not int or not 0 < uses <= _MOST_USES:
                raise NotAllowed(f"The tool `{name}` needs `max_uses`, at most {_MOST_USES}.")
            seen.uses += uses
            return
    raise _refusal(f"a tool of type `{str(kind)[:60]}`", "the request (see PEERBOT_SERVER_TOOLS)")


def _edits(management: object) -> None:
    """Check what the API may leave out of the conversation: it may drop parts, not write a summary, which it bills."""
    if management is None:
        return
    if not isinstance(management, dict) or management.keys() - {"edits"}:
        raise _refusal("`context_management` of this form", "the request")
    for edit in _objects(management.get("edits", []), "context_management"):
        if edit.get("type") not in _EDITS:
            raise _refusal(f"an edit of type `{str(edit.get('type'))[:60]}`", "context_management")


def _objects(value: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise NotAllowed(f"PeerBot expects a list of objects in {where}.")
    return value


def _refusal(what: str, where: str) -> NotAllowed:
    return NotAllowed(f"PeerBot does not pass {what} on to Claude, in {where}.")
