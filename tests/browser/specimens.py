"""One specimen of every block and element that Slack may get of us, with what has to be visible of it, in its order.

`tests/unit/test_specimens.py` compares them with what the code writes.
"""

from typing import Any

from peerbot.local.slack.shapes import GENERAL, PERSON


def text(words: str, kind: str = "plain_text") -> dict[str, Any]:
    """A text object."""
    return {"type": kind, "text": words}


def rich(*elements: dict[str, Any]) -> dict[str, Any]:
    """Rich text of one section."""
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": list(elements)}]}


def leaf(words: str, **style: bool) -> dict[str, Any]:
    """A piece of rich text."""
    return {"type": "text", "text": words, "style": style}


def field(name: str, **element: Any) -> dict[str, Any]:
    """A field of a form."""
    label, hint = text(f"Field {name}"), text(f"Hint {name}")
    element |= {"action_id": name}
    return {"type": "input", "block_id": name, "label": label, "hint": hint, "optional": True, "element": element}


MARKDOWN = "# Title\n\n| a | b |\n|--|--:|\n| one | two |\n\n```python\nprint(1)\n```\n- [x] done"
OPTIONS = [{"text": text(f"Option {n}"), "value": f"o{n}", "description": text(f"About {n}")} for n in (1, 2)]
BUTTON = {"type": "button", "text": text("Press :tada:"), "action_id": "press", "value": "p"}
MESSAGES: list[tuple[list[dict[str, Any]], list[str]]] = [
    ([{"type": "header", "text": text("A headline")}, {"type": "divider"}], ["A headline"]),
    (
        [{"type": "section", "text": text("*bold* _it_ ~gone~ `code` <https://example.com|a link> <@U0ADA000001> "
         "<#C0GENERAL01> &lt;b&gt; :tada:\n> quoted\n```let x = 1```", "mrkdwn"), "accessory": BUTTON}],
        ["bold it gone code a link @ada #general <b> 🎉", "quoted", "let x = 1", "Press 🎉"],
    ),
    ([{"type": "section", "fields": [text("One", "mrkdwn"), text("Two", "mrkdwn")]}], ["One", "Two"]),
    ([{"type": "context", "elements": [text("small print", "mrkdwn"), text("plain")]}], ["small print", "plain"]),
    (
        [{"type": "actions", "elements": [
            BUTTON | {"style": "primary", "action_id": "a1"},
            BUTTON | {"style": "danger", "action_id": "a2", "text": text("Remove"), "accessibility_label": "Take away"},
            BUTTON | {"action_id": "a3", "url": "https://example.com/x", "text": text("Open it")},
            {"type": "static_select", "action_id": "a4", "options": OPTIONS, "placeholder": text("Which one"),
             "initial_option": OPTIONS[1]},
            {"type": "overflow", "action_id": "a5", "options": OPTIONS},
            {"type": "radio_buttons", "action_id": "a6", "options": OPTIONS, "initial_option": OPTIONS[0]},
            {"type": "checkboxes", "action_id": "a7", "options": OPTIONS, "initial_options": OPTIONS},
        ]}],
        ["Press 🎉", "Remove", "Open it", "Which one", "Option 1", "Option 2", "⋯", "Option 1", "About 1", "Option 2",
         "About 2", "Option 1", "About 1", "Option 2", "About 2", "Option 1", "About 1", "Option 2", "About 2"],
    ),
    (
        [{"type": "context_actions", "elements": [{"type": "feedback_buttons", "action_id": "f",
          "positive_button": {"text": text(":+1:"), "value": "y", "accessibility_label": "Good"},
          "negative_button": {"text": text(":-1:"), "value": "n", "accessibility_label": "Bad"}}]}],
        ["👍", "👎"],
    ),
    ([{"type": "markdown", "text": MARKDOWN}], ["Title", "a", "b", "one", "two", "print(1)", "☑ done"]),
    (
        [{"type": "plan", "title": "The plan", "tasks": [
            {"type": "task_card", "task_id": str(n), "title": f"Task {state}", "status": state,
             "details": rich(leaf(f"about {state}")), "output": rich(leaf(f"{state} gave")),
             "sources": [{"type": "url", "url": "https://example.com/s", "text": f"from {state}"}]}
            for n, state in enumerate(("pending", "in_progress", "complete", "error"))]}],
        ["The plan", "1 of 4", "Task pending, to do", "about pending", "pending gave", "from pending",
         "Task in_progress, at work", "about in_progress", "Task complete, done", "Task error, failed", "about error"],
    ),
    (
        [{"type": "task_card", "task_id": "t", "title": "Alone", "status": "complete"}],
        ["Alone, done"],
    ),
    (
        [{"type": "rich_text", "elements": [
            {"type": "rich_text_section", "elements": [
                leaf("plain "), leaf("bold", bold=True), leaf("it", italic=True), leaf("gone", strike=True),
                leaf("code", code=True),
                {"type": "link", "url": "https://example.com", "text": "link", "style": {"bold": True}},
                {"type": "user", "user_id": PERSON}, {"type": "channel", "channel_id": GENERAL},
                {"type": "emoji", "name": "tada"}]},
            {"type": "rich_text_list", "style": "ordered", "indent": 1,
             "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "an item"}]}]},
            {"type": "rich_text_preformatted", "elements": [{"type": "text", "text": "fixed"}]},
            {"type": "rich_text_quote", "elements": [{"type": "text", "text": "said"}]}]}],
        ["plain bolditgonecodelink@ada#general🎉", "an item", "fixed", "said"],
    ),
]  # fmt: skip
MODAL: dict[str, Any] = {
    "type": "modal",
    "title": text("A form"),
    "submit": text("Send it"),
    "close": text("No"),
    "blocks": [
        {"type": "section", "text": text("Before the fields", "mrkdwn")},
        field("a", type="plain_text_input", initial_value="there"),
        field("b", type="plain_text_input", multiline=True, placeholder=text("Say more")),
        field("c", type="number_input", is_decimal_allowed=True, initial_value="7", placeholder=text("How many")),
        field("d", type="static_select", options=OPTIONS, initial_option=OPTIONS[0]),
        field("e", type="checkboxes", options=OPTIONS, initial_options=OPTIONS[:1]),
        field("f", type="multi_users_select", initial_users=[PERSON], placeholder=text("Who")),
    ],
}
HOME: dict[str, Any] = {"type": "home", "blocks": [MESSAGES[0][0][0]]}
