"""Titles and bodies of pull requests, made for people to read.

What people and the model wrote is quoted, but does nothing on GitHub by itself: it mentions nobody, closes no issue
and brings no HTML.
"""

import re

_TITLE_CHARACTERS = 72
_REQUEST_CHARACTERS = 4_000
_BODY_CHARACTERS, _MOST_CHARACTERS = 60_000, 65_536  # what we write, and what GitHub takes
_BEGIN, _END = (
    "<!-- What PeerBot writes. It is written anew; the rest is yours. -->",
    "<!-- End of what PeerBot writes. -->",
)

# Control characters but tab and newline, and those that turn the direction of text around.
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# Code on one line, outside tables: read narrowly, so that nothing is taken for code that GitHub does not take for it.
_CODE = re.compile(r"(?<![\\`])(`{1,2})(?!`)[^`|\n]+\1(?!`)")
_ADDRESS = re.compile(r"<https?://[^\s<>`]+>")
# After `_` too: it may be emphasis, and is gone when GitHub looks for names.
_MENTION = re.compile(r"(?<![A-Za-z0-9])@+(?=[A-Za-z0-9])")
_MARKUP = re.compile(r"^(?:[#>*-]+\s+)+")
_CLOSING = re.compile(
    r"(?<![A-Za-z0-9])(close[sd]?|fix(?:e[sd])?|resolve[sd]?)(:\s*|\s+)"
    r"(?=[\[*_(]*(?:#\d|GH-\d|[\w.-]+/[\w.-]+#\d|https?://\S+/(?:issues|pull)/\d))",
    re.IGNORECASE,
)


def one_line(text: str, limit: int) -> str:
    """Put `text` on one line of at most `limit` characters, cut between words if possible."""
    line = " ".join(_visible(text).split())
    if len(line) <= limit:
        return line
    cut = line[: limit - 1]
    at_word = cut.rsplit(" ", 1)[0]
    return (at_word if len(at_word) > limit // 2 else cut).rstrip(" ,;:-") + "…"


def pull_request_title(text: str) -> str:
    """Take the first sentence of the request as a title, in at most 72 characters."""
    lines = (_MARKUP.sub("", line.replace("`", "").strip()) for line in _visible(text).splitlines())
    first = next((line for line in lines if line), "")
    sentence = re.split(r"(?<=[.!?])\s", first, maxsplit=1)[0].rstrip(".")
    plain = _CLOSING.sub(r"\1\2issue ", _MENTION.sub("", sentence))
    title = one_line(plain, _TITLE_CHARACTERS)
    return title[:1].upper() + title[1:] if title else "Changes by PeerBot"


def pull_request_body(*, request: str, answer: str, requester: str, thread_url: str | None, run: str) -> str:
    """Write the request, its author, the answer, and where to read more; at most 60,000 characters.

    `thread_url` is left out if it is no web address; `run` is the run's name, for the operator.
    """
    asked = _visible(request).strip()
    if len(asked) > _REQUEST_CHARACTERS:
        asked = asked[:_REQUEST_CHARACTERS].rstrip() + " …"
    quoted = "\n".join(f"> {line}".rstrip() for line in _neutral(asked).splitlines())
    name = _MENTION.sub("@\u200b", re.sub(r"([\\`*_{}\[\]()#+!|<>~&-])", r"\\\1", one_line(requester, 80)))
    thread = f" in [this thread]({thread_url})" if re.fullmatch(r"https?://[^\s()<>]+", thread_url or "") else ""
    head = f"**{name}** asked{thread}:\n\n{quoted}\n\n"
    foot = f"\n\n---\n*Made by PeerBot, run `{re.sub(r'[^A-Za-z0-9._/-]', '', run)}`.*\n"
    return head + _bounded(_visible(answer).strip(), _BODY_CHARACTERS - len(head) - len(foot)) + foot


def with_section(there: str | None, ours: str) -> str:
    """Put `ours` in the place of PeerBot's section of a pull request's body; the rest stays as people left it.

    If the body has no such section yet, it comes last. If there is no room for it, the body stays as it is.
    """
    before, after = (there or "").replace("\r\n", "\n").strip(), ""
    if _BEGIN in before and _END in before.partition(_BEGIN)[2]:
        before, _, rest = before.partition(_BEGIN)
        after = rest.rpartition(_END)[2]  # the last: code that was quoted may look like one
    parts = (before.strip(), f"{_BEGIN}\n\n{ours.strip()}\n\n{_END}", after.strip())
    body = "\n\n".join(part for part in parts if part) + "\n"
    return body if len(body) <= _MOST_CHARACTERS else there or ""


def _bounded(answer: str, limit: int) -> str:
    """Neutralise the answer and cut it to `limit` characters; an answer that is cut says so."""
    text, kept = _neutral(answer), len(answer)
    while len(text) > limit:
        kept = min(kept * 9 // 10, limit)
        text = _neutral(answer[:kept]).rstrip() + "\n\n*(shortened: the whole answer is in the thread)*"
    return text


def _visible(text: str) -> str:
    return _INVISIBLE.sub("", _TERMINAL_CODE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def _neutral(markdown: str) -> str:
    """Make Markdown mention nobody, close nothing and hold no HTML. Code stays as it is; an open fence is closed."""
    lines, fence = [], ""
    for line in markdown.splitlines():
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
            lines.append(line)
        elif mark and not (mark[1].startswith("`") and "`" in line[mark.end() :]):
            fence = mark[1]
            lines.append(line)
        else:
            lines.append(_neutral_line(line))
    return "\n".join([*lines, fence] if fence else lines)


def _neutral_line(line: str) -> str:
    """Neutralise a line outside fences, but keep code and addresses in `<…>`."""
    kept = re.compile(f"{_CODE.pattern}|({_ADDRESS.pattern})")
    parts, position = [], 0
    for match in kept.finditer(line):
        parts += [_neutral_text(line[position : match.start()]), match[0]]
        position = match.end()
    return "".join([*parts, _neutral_text(line[position:])])


def _neutral_text(text: str) -> str:
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", re.sub(r"&(?=[#A-Za-z])", "&amp;", text))  # no `&commat;` either
    return _CLOSING.sub(r"\1\2issue ", _MENTION.sub("@\u200b", text))  # a space of no width: no longer a name
