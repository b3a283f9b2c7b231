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


ABSENT: Any = None  # the default of a field that may be left out, but may not be null


class Strict(BaseModel):
    """A part that takes no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Block(Strict):
    """What every block has."""

    block_id: str = Field(default="", max_length=255)


# Texts


class PlainText(Strict):
    """A text without marks."""

    type: Literal["plain_text"]
    text: str = Field(min_length=1, max_length=3000)
    emoji: bool = True


class _Mrkdwn(Strict):
    type: Literal["mrkdwn"]
    text: str = Field(min_length=1, max_length=3000)
    verbatim: bool = False


_Text = Annotated[PlainText | _Mrkdwn, Field(discriminator="type")]


def at_most(characters: int) -> Any:
    """Bound a text's length."""

    def check(text: PlainText | _Mrkdwn) -> PlainText | _Mrkdwn:
        if len(text.text) > characters:
            raise ValueError(f"text should have at most {characters} characters")
        return text

    return AfterValidator(check)


# Rich text


class _Style(Strict):
    bold: bool = False
    italic: bool = False
    strike: bool = False
    code: bool = False


class _TextLeaf(Strict):
    type: Literal["text"]
    text: str = Field(min_length=1)
    style: _Style = _Style()


class _LinkLeaf(Strict):
    type: Literal["link"]
    url: str = Field(min_length=1)
    text: str = ""
    style: _Style = _Style()


class _UserLeaf(Strict):
    type: Literal["user"]
    user_id: str


class _ChannelLeaf(Strict):
    type: Literal["channel"]
    channel_id: str


class _EmojiLeaf(Strict):
    type: Literal["emoji"]
    name: str


_Leaf = Annotated[_TextLeaf | _LinkLeaf | _UserLeaf | _ChannelLeaf | _EmojiLeaf, Field(discriminator="type")]


class _RichSection(Strict):
    type: Literal["rich_text_section"]
    elements: list[_Leaf]


class _RichList(Strict):
    type: Literal["rich_text_list"]
    style: Literal["bullet", "ordered"]
    elements: list[_RichSection]
    indent: int = 0


class _RichPreformatted(Strict):
    type: Literal["rich_text_preformatted"]
    elements: list[Annotated[_TextLeaf | _LinkLeaf, Field(discriminator="type")]]


class _RichQuote(Strict):
    type: Literal["rich_text_quote"]
    elements: list[_Leaf]


class _RichText(Block):
    type: Literal["rich_text"]
    elements: list[
        Annotated[_RichSection | _RichList | _RichPreformatted | _RichQuote, Field(discriminator="type")]
    ] = Field(min_length=1)


# Blocks


class _Button(Strict):
    type: Literal["button"]
    text: Annotated[PlainText, at_most(75)]
    action_id: str = Field(default="", max_length=255)
    value: str = Field(default="", max_length=2000)
    url: str = Field(default="", max_length=3000)
    style: Literal["primary", "danger"] = ABSENT
    accessibility_label: str = Field(default="", max_length=75)


class Divider(Block):
    """A line."""

    type: Literal["divider"]


class Header(Block):
    """A headline."""

    type: Literal["header"]
    text: Annotated[PlainText, at_most(150)]


class Section(Block):
    """A text, and a button beside it."""

    type: Literal["section"]
    text: _Text = ABSENT
    fields_: list[Annotated[_Text, at_most(2000)]] = Field(default=ABSENT, alias="fields", max_length=10)
    accessory: _Button = ABSENT

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.text or self.fields_):
            raise ValueError("text or fields should be given")
        return self


class Context(Block):
    """Small print."""

    type: Literal["context"]
    elements: list[_Text] = Field(min_length=1, max_length=10)


class Option(Strict):
    """One of several choices."""

    text: Annotated[PlainText, at_most(75)]
    value: str = Field(min_length=1, max_length=150)
    description: Annotated[PlainText, at_most(75)] = ABSENT


class StaticSelect(Strict):
    """A menu."""

    type: Literal["static_select"]
    options: list[Option] = Field(min_length=1, max_length=100)
    action_id: str = Field(default="", max_length=255)
    placeholder: Annotated[PlainText, at_most(150)] = ABSENT
    initial_option: Option = ABSENT

    @model_validator(mode="after")
    def _begins_with_one_of_them(self) -> Self:
        if self.initial_option and self.initial_option not in self.options:
            raise ValueError("initial_option should be one of the options")
        return self


class _MenuOption(Option):
    url: str = Field(default="", max_length=3000)


class _Overflow(Strict):
    type: Literal["overflow"]
    action_id: str = Field(default="", max_length=255)
    options: list[_MenuOption] = Field(min_length=1, max_length=5)


class _FieldOption(Option):
    text: Annotated[_Text, at_most(75)]  # type: ignore[assignment]
    description: Annotated[_Text, at_most(75)] = ABSENT  # type: ignore[assignment]


class _Field(Strict):
    action_id: str = Field(default="", max_length=255)
    options: list[_FieldOption] = Field(min_length=1, max_length=10)


class _Radios(_Field):
    type: Literal["radio_buttons"]
    initial_option: _FieldOption = ABSENT


class _Checks(_Field):
    type: Literal["checkboxes"]
    initial_options: list[_FieldOption] = ABSENT


_Element = Annotated[_Button | StaticSelect | _Overflow | _Radios | _Checks, Field(discriminator="type")]


class Actions(Block):
    """Buttons, menus and fields."""

    type: Literal["actions"]
    elements: list[Annotated[_Button | StaticSelect | _Overflow | _Radios | _Checks, Field(discriminator="type")]] = (
        Field(min_length=1, max_length=25)
    )

    @model_validator(mode="after")
    def _elements_are_told_apart(self) -> Self:
        if _repeat([element.action_id for element in self.elements if element.action_id]):
            raise ValueError("action_id should be unique")
        return self


class _FeedbackButton(Strict):
    text: Annotated[PlainText, at_most(75)]
    value: str = Field(min_length=1, max_length=2000)
    accessibility_label: str = Field(default="", max_length=75)


class _FeedbackButtons(Strict):
    type: Literal["feedback_buttons"]
    action_id: str = Field(default="", max_length=255)
    positive_button: _FeedbackButton
    negative_button: _FeedbackButton


class _ContextActions(Block):
    type: Literal["context_actions"]
    elements: list[_FeedbackButtons] = Field(min_length=1, max_length=5)


class _Markdown(Block):
    type: Literal["markdown"]
    text: str = Field(min_length=1, max_length=MARKDOWN_LIMIT)


class _Source(Strict):
    type: Literal["url"]
    url: str = Field(min_length=1)
    text: str


class _TaskCard(Block):
    type: Literal["task_card"]
    task_id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    status: Literal["pending", "in_progress", "complete", "error"]
    details: _RichText = ABSENT
    output: _RichText = ABSENT
    sources: list[_Source] = []


class _Plan(Block):
    type: Literal["plan"]
    title: str = Field(min_length=1)
    tasks: list[_TaskCard] = Field(default=[], max_length=50)

    @model_validator(mode="after")
    def _tasks_are_told_apart(self) -> Self:
        if _repeat([task.task_id for task in self.tasks]):
            raise ValueError("task_id should be unique")
        return self


_AnyBlock = Annotated[
    Actions | Context | _ContextActions | Divider | Header | _Markdown | _Plan | _RichText | Section | _TaskCard,
    Field(discriminator="type"),
]
_BLOCKS = TypeAdapter(Annotated[list[_AnyBlock], Field(max_length=BLOCKS_LIMIT)])
