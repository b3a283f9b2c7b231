"""Whether Slack would take a message's blocks: Block Kit's rules for the blocks that PeerBot writes.

Slack refuses unknown things, and so do these models: a surplus field, a type that PeerBot does not use yet.
`tests/service/test_local_slack_shapes.py` compares them with Slack's own types.
"""

import secrets
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from peerbot.local.slack.expand import expanded
from peerbot.local.slack.shapes import Object

BLOCKS_LIMIT = 50  # of a message, counted after Slack has made blocks of its markdown
MESSAGE_LIMIT = 13_200  # characters of JSON; Slack does not document the limit, people measured it
_TOO_MANY = f"no more than {BLOCKS_LIMIT} items allowed"
MARKDOWN_LIMIT = 12_000  # characters, all markdown blocks of a message together


def problems(blocks: Any, lacking: Collection[str] = ()) -> list[str]:
    """List the faults that Slack would refuse the blocks for, each with its place; empty if Slack would take them.

    `lacking`: types of blocks that this workspace does not have.
    """
    try:
        _BLOCKS.validate_python(blocks)
    except ValidationError as error:
        return [_named(problem["type"], problem["msg"], problem["loc"], problem["input"]) for problem in error.errors()]
    unknown = [(i, block["type"]) for i, block in enumerate(blocks) if block["type"] in lacking]
    if unknown:
        return [f"unsupported type: {kind} [json-pointer:/blocks/{i}/type]" for i, kind in unknown]
    return [f"{problem} [json-pointer:/blocks]" for problem in _whole(blocks)]


def named(blocks: list[Object]) -> list[Object]:
    """Return the blocks as Slack keeps them: each with a `block_id`."""
    return [block if block.get("block_id") else block | {"block_id": secrets.token_urlsafe(4)} for block in blocks]


def _named(kind: str, said: str, place: tuple[int | str, ...], given: Any) -> str:
    if kind == "union_tag_invalid" and len(place) == 1:
        return f"unsupported type: {given['type']} [json-pointer:/blocks/{place[0]}/type]"
    if kind == "too_long" and not place:
        said = _TOO_MANY
    return f"{said} [json-pointer:{_pointer(place)}]"


def _pointer(place: tuple[int | str, ...]) -> str:
    # pydantic puts the block's type between its index and its field
    return "/".join(["/blocks", *map(str, place[:1]), *map(str, place[2:])])


def _whole(blocks: list[Object]) -> Iterator[str]:
    kinds = [block["type"] for block in blocks]
    if sum(expanded(block["text"]) if block["type"] == "markdown" else 1 for block in blocks) > BLOCKS_LIMIT:
        yield _TOO_MANY
    if sum(len(block["text"]) for block in blocks if block["type"] == "markdown") > MARKDOWN_LIMIT:
        yield f"markdown blocks should have at most {MARKDOWN_LIMIT} characters together"
    if "plan" in kinds and "task_card" in kinds:
        yield "a plan and a task_card can't stand beside each other"
    if _repeat([block["block_id"] for block in blocks if block.get("block_id")]):
        yield "block_id should be unique"


def _repeat(identities: list[str]) -> bool:
    return len(set(identities)) < len(identities)


_ABSENT: Any = None  # the default of a field that may be left out, but may not be null


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Block(_Strict):
    block_id: str = Field(default="", max_length=255)


# Texts


class _PlainText(_Strict):
    type: Literal["plain_text"]
    text: str = Field(min_length=1, max_length=3000)
    emoji: bool = True


class _Mrkdwn(_Strict):
    type: Literal["mrkdwn"]
    text: str = Field(min_length=1, max_length=3000)
    verbatim: bool = False


_Text = Annotated[_PlainText | _Mrkdwn, Field(discriminator="type")]


def _at_most(characters: int) -> Any:
    def check(text: _PlainText | _Mrkdwn) -> _PlainText | _Mrkdwn:
        if len(text.text) > characters:
            raise ValueError(f"text should have at most {characters} characters")
        return text

    return AfterValidator(check)


# Rich text


class _Style(_Strict):
    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False


class _TextLeaf(_Strict):
    type: Literal["text"]
    text: str = Field(min_length=1)
    style: _Style = _Style()


class _LinkLeaf(_Strict):
    type: Literal["link"]
    url: str = Field(min_length=1)
    text: str = ""
    style: _Style = _Style()


class _UserLeaf(_Strict):
    type: Literal["user"]
    user_id: str


class _ChannelLeaf(_Strict):
    type: Literal["channel"]
    channel_id: str


class _EmojiLeaf(_Strict):
    type: Literal["emoji"]
    name: str


_Leaf = Annotated[_TextLeaf | _LinkLeaf | _UserLeaf | _ChannelLeaf | _EmojiLeaf, Field(discriminator="type")]


class _RichSection(_Strict):
    type: Literal["rich_text_section"]
    elements: list[_Leaf]


class _RichList(_Strict):
    type: Literal["rich_text_list"]
    style: Literal["bullet", "ordered"]
    elements: list[_RichSection]
    indent: int = 0


class _RichPreformatted(_Strict):
    type: Literal["rich_text_preformatted"]
    elements: list[Annotated[_TextLeaf | _LinkLeaf, Field(discriminator="type")]]


class _RichQuote(_Strict):
    type: Literal["rich_text_quote"]
    elements: list[_Leaf]


class _RichText(_Block):
    type: Literal["rich_text"]
    elements: list[
        Annotated[_RichSection | _RichList | _RichPreformatted | _RichQuote, Field(discriminator="type")]
    ] = Field(min_length=1)


# Blocks


class _Divider(_Block):
    type: Literal["divider"]


class _Header(_Block):
    type: Literal["header"]
    text: Annotated[_PlainText, _at_most(150)]


class _Section(_Block):
    type: Literal["section"]
    text: _Text = _ABSENT
    fields_: list[Annotated[_Text, _at_most(2000)]] = Field(default=_ABSENT, alias="fields", max_length=10)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.text or self.fields_):
            raise ValueError("text or fields should be given")
        return self


class _Context(_Block):
    type: Literal["context"]
    elements: list[_Text] = Field(min_length=1, max_length=10)


class _Button(_Strict):
    type: Literal["button"]
    text: Annotated[_PlainText, _at_most(75)]
    action_id: str = Field(default="", max_length=255)
    value: str = Field(default="", max_length=2000)
    url: str = Field(default="", max_length=3000)
    style: Literal["primary", "danger"] = _ABSENT
    accessibility_label: str = Field(default="", max_length=75)


class _Option(_Strict):
    text: Annotated[_Text, _at_most(75)]
    value: str = Field(min_length=1, max_length=150)
    description: Annotated[_Text, _at_most(75)] = _ABSENT


class _MenuOption(_Option):
    text: Annotated[_PlainText, _at_most(75)]
    description: Annotated[_PlainText, _at_most(75)] = _ABSENT
    url: str = Field(default="", max_length=3000)


class _Overflow(_Strict):
    type: Literal["overflow"]
    action_id: str = Field(default="", max_length=255)
    options: list[_MenuOption] = Field(min_length=1, max_length=5)


class _Field(_Strict):
    action_id: str = Field(default="", max_length=255)
    options: list[_Option] = Field(min_length=1, max_length=10)


class _Radios(_Field):
    type: Literal["radio_buttons"]
    initial_option: _Option = _ABSENT


class _Checks(_Field):
    type: Literal["checkboxes"]
    initial_options: list[_Option] = _ABSENT


class _Actions(_Block):
    type: Literal["actions"]
    elements: list[Annotated[_Button | _Overflow | _Radios | _Checks, Field(discriminator="type")]] = Field(
        min_length=1, max_length=25
    )

    @model_validator(mode="after")
    def _elements_are_told_apart(self) -> Self:
        if _repeat([element.action_id for element in self.elements if element.action_id]):
            raise ValueError("action_id should be unique")
        return self


class _FeedbackButton(_Strict):
    text: Annotated[_PlainText, _at_most(75)]
    value: str = Field(min_length=1, max_length=2000)
    accessibility_label: str = Field(default="", max_length=75)


class _FeedbackButtons(_Strict):
    type: Literal["feedback_buttons"]
    action_id: str = Field(default="", max_length=255)
    positive_button: _FeedbackButton
    negative_button: _FeedbackButton


class _ContextActions(_Block):
    type: Literal["context_actions"]
    elements: list[_FeedbackButtons] = Field(min_length=1, max_length=5)


class _Markdown(_Block):
    type: Literal["markdown"]
    text: str = Field(min_length=1, max_length=MARKDOWN_LIMIT)


class _Source(_Strict):
    type: Literal["url"]
    url: str = Field(min_length=1)
    text: str


class _TaskCard(_Block):
    type: Literal["task_card"]
    task_id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    status: Literal["pending", "in_progress", "complete", "error"]
    details: _RichText = _ABSENT
    output: _RichText = _ABSENT
    sources: list[_Source] = []


class _Plan(_Block):
    type: Literal["plan"]
    title: str = Field(min_length=1)
    tasks: list[_TaskCard] = Field(default=[], max_length=50)

    @model_validator(mode="after")
    def _tasks_are_told_apart(self) -> Self:
        if _repeat([task.task_id for task in self.tasks]):
            raise ValueError("task_id should be unique")
        return self


_AnyBlock = Annotated[
    _Actions | _Context | _ContextActions | _Divider | _Header | _Markdown | _Plan | _RichText | _Section | _TaskCard,
    Field(discriminator="type"),
]
_BLOCKS = TypeAdapter(Annotated[list[_AnyBlock], Field(max_length=BLOCKS_LIMIT)])
