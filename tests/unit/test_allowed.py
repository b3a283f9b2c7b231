"""What may pass to Claude: what the pinned CLI sends, and nothing by which a request could reach further."""

import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.claude import allowed
from peerbot.claude.allowed import NotAllowed, betas, check
from peerbot.errors import SettingsError
from peerbot.settings import SERVER_TOOLS, load

NONE: frozenset[str] = frozenset()
SEARCH = frozenset({"web_search"})
URL = "https://evil.example/?q=secret"
TOOL = {"name": "Bash", "description": "runs", "input_schema": {"type": "object"}}


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **fields}


def said(*blocks: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return body(messages=[{"role": role, "content": list(blocks)}])


def refused(request: Any, server_tools: frozenset[str] = NONE) -> str:
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    with pytest.raises(NotAllowed) as caught:
        check(data, server_tools)
    return str(caught.value)


ATTACKS = {
    "another server by MCP": body(mcp_servers=[{"type": "url", "url": URL, "name": "x"}]),
    "an MCP toolset": body(tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]),
    "a web fetch": body(tools=[{"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 5}]),
    "a web search": body(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 5}]),
    "a program on Claude's servers": body(tools=[{"type": "code_execution_20250825", "name": "code_execution"}]),
    "tools that such a program may call": body(tools=[TOOL | {"allowed_callers": ["code_execution_20250825"]}]),
    "another model as an adviser": body(tools=[{"type": "advisor_20260301", "name": "advisor", "model": "x"}]),
    "skills": body(container={"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}),
    "a container": body(container="container_1"),
    "a picture at an address": said({"type": "image", "source": {"type": "url", "url": URL}}),
    "a document at an address": said({"type": "document", "source": {"type": "url", "url": URL}}),
    "an uploaded file": said({"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
    "an uploaded file for a container": said({"type": "container_upload", "file_id": "file_1"}),
    "an address beside the data": said(
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA==", "url": URL}}
    ),
    "an address in a document's content": said(
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "image", "source": {"type": "url", "url": URL}}]},
        }
    ),
    "an address in a tool's result": said(
        {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "image", "source": {"type": "url", "url": URL}}],
        }
    ),
    "an address in the system prompt": body(system=[{"type": "image", "source": {"type": "url", "url": URL}}]),
    "an address in a message of the system": body(
        messages=[{"role": "system", "content": [{"type": "document", "source": {"type": "url", "url": URL}}]}]
    ),
    "a tool that is added later": said(
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"type": "web_fetch_20250910"}}},
        role="system",
    ),
    "a call of a program on Claude's servers": said(
        {"type": "tool_use", "id": "t", "name": "x", "input": {}, "caller": {"type": "code_execution_20250825"}},
        role="assistant",
    ),
    "a call of a tool on Claude's servers": said(
        {"type": "server_tool_use", "id": "t", "name": "web_fetch", "input": {"url": URL}}, role="assistant"
    ),
    "a call by MCP": said(
        {"type": "mcp_tool_use", "id": "t", "name": "x", "server_name": "x", "input": {}}, role="assistant"
    ),
    "a summary that the API writes": body(context_management={"edits": [{"type": "compact_20260112"}]}),
    "compaction": body(compaction={"enabled": True}),
    "fast answers": body(speed="fast"),
    "another tier": body(service_tier="auto"),
    "another region": body(inference_geo="us"),
    "another payer": body(billing_policy={"type": "x"}),
    "other models instead": body(fallbacks=[{"model": "claude-opus-4-1"}]),
    "a conversation that the API keeps": body(thread={"id": "thread_1"}),
    "a batch": body(requests=[]),
    "a field by another case": body(MCP_Servers=[{"type": "url", "url": URL, "name": "x"}]),
    "a field of a block by another case": said(
        {"type": "image", "source": {"type": "text", "data": "", "Type": "url", "URL": URL}}
    ),
    "a body that is no object": [],
    "messages that are no list": body(messages={"role": "user", "content": "hi"}),
    "content that is one block": body(messages=[{"role": "user", "content": {"type": "text", "text": "hi"}}]),
    "a type that is no text": said({"type": ["image"], "source": {"type": "url", "url": URL}}),
    "a part of another form": body(thinking=[{"type": "adaptive"}]),
    "a stream that is neither": body(stream="false"),
    "tokens that are no number": body(max_tokens="1"),
    "tokens below nothing": body(max_tokens=-1),
    "a fraction of a token": body(max_tokens=1e3),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_reaches_further_is_refused(name: str) -> None:
    sentence = refused(ATTACKS[name])
    assert sentence.endswith(".")
    assert URL not in sentence


def test_a_request_without_them_passes() -> None:
    """So the attacks above are refused for what they attack with."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [picture, {"type": "text", "text": URL}]}
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"type": "url"}, "caller": {"type": "direct"}}
    bound = check(
        json.dumps(
            body(
                messages=[{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, picture]}],
                system=[{"type": "text", "text": URL}],
                tools=[TOOL, TOOL | {"type": "custom"}],
                stream=True,
            )
        ).encode(),
        NONE,
    )
    assert bound.streams
    assert bound.tokens.output == 100


DIFFERENTIALS = {
    "a key twice": b'{"model":"m","max_tokens":1,"max_tokens":9,"messages":[]}',
    "a key twice, once escaped": b'{"model":"m","max_tokens":1,"max_t\\u006fkens":9,"messages":[]}',
    "a key twice in a block": b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":'
    b'[{"type":"image","source":{"type":"base64","data":"","type":"url"}}]}]}',
    "NaN": b'{"model":"m","max_tokens":NaN,"messages":[]}',
    "infinity": b'{"model":"m","max_tokens":1,"temperature":Infinity,"messages":[]}',
    "bytes that are no UTF-8": b'{"model":"m\xff","max_tokens":1,"messages":[]}',
    "UTF-16": '{"model":"m","max_tokens":1,"messages":[]}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"model":"m","max_tokens":1,"messages":[]}',
    "two documents": b'{"model":"m","max_tokens":1,"messages":[]}{"mcp_servers":[]}',
    "a comment": b'/* */{"model":"m","max_tokens":1,"messages":[]}',
    "a comma too many": b'{"model":"m","max_tokens":1,"messages":[],}',
    "half a surrogate": b'{"model":"m","max_tokens":1,"messages":[],"metadata":{"user_id":"\\ud83d"}}',
    "a number without end": b'{"model":"m","max_tokens":' + b"9" * 100_000 + b',"messages":[]}',
    "very deep": b'{"model":"m","max_tokens":1,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "very many objects": b'{"model":"m","max_tokens":1,"messages":[' + b"{}," * 300_000 + b"{}]}",
    "very many values": b'{"model":"m","max_tokens":1,"messages":[' + b"0," * 3_000_000 + b"0]}",
    "nothing": b"",
}


@pytest.mark.parametrize("name", DIFFERENTIALS)
def test_what_two_readers_could_read_in_two_ways_is_refused(name: str) -> None:
    refused(DIFFERENTIALS[name])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(sorted(allowed._FIELDS | {"container", "mcp_servers", "speed"}))


@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_whatever_a_body_holds_it_is_allowed_or_refused(fields: dict[str, Any]) -> None:
    try:
        check(json.dumps(body(**fields)).encode(), SEARCH)
    except NotAllowed:
        return
    assert fields.keys() <= allowed._FIELDS


def test_a_web_search_passes_if_the_operator_allows_it_and_has_a_price() -> None:
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
    bound = check(json.dumps(body(tools=[tool])).encode(), SEARCH)
    assert bound.tokens.searches == 8
    assert bound.usd > 0.08
    assert "max_uses" in refused(body(tools=[{"type": "web_search_20250305", "name": "web_search"}]), SEARCH)
    refused(body(tools=[tool | {"type": "web_search_20260318"}]), SEARCH)
    refused(ATTACKS["a web fetch"], SEARCH)
    assert allowed.SERVER_TOOLS.keys() == SERVER_TOOLS


def test_an_operator_can_only_allow_tools_that_have_a_price() -> None:
    with pytest.raises(SettingsError, match="PEERBOT_SERVER_TOOLS: PeerBot only knows web_search"):
        load(peerbot_server_tools="web_search, code_execution")


def test_of_the_betas_those_pass_that_are_known() -> None:
    header = "claude-code-20250219, files-api-2025-04-14,mcp-client-2025-11-20, ,effort-2025-11-24"
    assert betas(header, NONE) == "claude-code-20250219,effort-2025-11-24"
    assert betas("fast-mode-2026-02-01", NONE) == ""
    assert betas("web-search-2025-03-05", NONE) == ""
    assert betas("web-search-2025-03-05", SEARCH) == "web-search-2025-03-05"


@pytest.mark.parametrize(
    ("request_body", "least", "most"),
    [
        (body(messages=[{"role": "user", "content": "x" * 100_000}]), 100_000, 100_200),
        (said({"type": "image", "source": {"type": "base64", "data": "A" * 1_000_000}}), 5_000, 5_300),
        (said({"type": "document", "source": {"type": "base64", "data": "A" * 1000}}), 200_000, 200_300),
        (body(messages=[{"role": "user", "content": "x" * 5_000_000}]), 1_000_000, 1_000_000),
    ],
)
def test_the_most_that_a_request_can_read_follows_from_its_size(
    request_body: dict[str, Any], least: int, most: int
) -> None:
    assert least <= check(json.dumps(request_body).encode(), NONE).tokens.input <= most


def test_what_goes_into_the_cache_costs_more() -> None:
    def dear(**cache: Any) -> float:
        return check(json.dumps(said({"type": "text", "text": "x" * 9000, **cache})).encode(), NONE).usd

    plain, minutes = dear(), dear(cache_control={"type": "ephemeral"})
    hour = dear(cache_control={"type": "ephemeral", "ttl": "1h"})
    assert plain < minutes < hour
    assert hour == pytest.approx(2 * plain, rel=0.2)


# What Anthropic's own SDK knows: each is allowed or refused, on purpose.
ON_PURPOSE = {
    "fields": {
        "refused": {
            "billing_policy", "compaction", "container", "diagnostics", "fallback_credit_token", "fallbacks",
            "inference_geo", "mcp_servers", "service_tier", "speed", "thread",
        },
        "in the header": {"betas", "user_profile_id", "workspace_id"},
        "of older models": {"temperature", "top_k", "top_p"},
    },
    "blocks": {
        "only with a server tool": {"server_tool_use", "web_search_tool_result"},
        "refused": {
            "advisor_tool_result", "bash_code_execution_tool_result", "browser_state", "code_execution_tool_result",
            "compaction", "container_upload", "fallback", "mcp_tool_listing", "mcp_tool_result", "mcp_tool_use",
            "search_result", "text_editor_code_execution_tool_result", "tool_search_tool_result",
            "web_fetch_tool_result",
        },
    },
}  # fmt: skip


def types_of(union: Any) -> set[str]:
    """The values of `type` of all members of a union of the SDK."""
    found: set[str] = set()
    for member in get_args(union):
        found |= types_of(member) if get_args(member) else _type(member)
    return found


def _type(member: Any) -> set[str]:
    if member is str or not isinstance(member, type):
        return set()
    fields = getattr(member, "model_fields", None)
    kind = fields["type"].annotation if fields else get_type_hints(member)["type"]
    names = get_args(kind)
    return {name for name in names if isinstance(name, str)}


def test_every_field_and_block_that_anthropics_sdk_knows_is_allowed_or_refused_on_purpose() -> None:
    from anthropic.types.beta import beta_content_block_param, beta_tool_result_block_param
    from anthropic.types.beta.message_create_params import MessageCreateParamsBase

    fields = set(MessageCreateParamsBase.__annotations__)
    ours = ON_PURPOSE["fields"]
    assert fields >= ours["refused"] | ours["in the header"], "they are the SDK's own names"
    passing = fields - ours["refused"] - ours["in the header"]
    assert passing | ours["of older models"] | {"stream"} == allowed._FIELDS

    known = types_of(beta_content_block_param.BetaContentBlockParam)
    known |= types_of(beta_tool_result_block_param.Content)
    ours = ON_PURPOSE["blocks"]
    assert known == allowed._BLOCKS.keys() | ours["refused"] | ours["only with a server tool"]
    assert allowed._TOOLS_BLOCKS.keys() == ours["only with a server tool"]


def test_anthropics_sdk_reads_the_same_events() -> None:
    from anthropic._streaming import SSEDecoder

    from peerbot.claude.events import EventReader

    data = (
        b'event: message_start\ndata: {"type": "message_start"}\n\n: a comment\n\nevent: ping\r\ndata: {"type":\r\n'
        b'data: "ping"}\r\n\r\nid: 7\ndata:{"type": "message_delta", "usage": {"output_tokens": 1}}\n\n'
    )
    theirs = [json.loads(event.data) for event in SSEDecoder().iter_bytes(iter([data])) if event.data]
    reader = EventReader()
    assert [event for at in data for event, _ in reader.feed(bytes([at]))] == theirs
