"""Masks secrets in what is shown: the formats of well-known tokens, and lines that look like a secret's setting.

This is best effort, and the page says so: a secret of no known format stays. Each format has words of which one must be
in the text before its pattern is tried, so that a text without secrets costs a few searches.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIECE_CHARS = 64 * 1024
"""A longer text is masked in pieces: a search holds Python's lock to its end, and the event loop waits for that."""

_LONGEST_KEY_CHARS = 16 * 1024  # of a private key, with its first and last line
_KEY_BEGINS, _KEY_ENDS = "-----BEGIN", "PRIVATE KEY-----"
_END = r"(?![A-Za-z0-9])"


@dataclass(frozen=True, slots=True)
class _Format:
    """A kind of secret: what to call it, the words of which one is in it, and its pattern.

    If the pattern has a group `secret`, only that is masked.
    """

    name: str
    words: tuple[str, ...]
    pattern: re.Pattern[str]


def _format(name: str, words: tuple[str, ...], pattern: str) -> _Format:
    return _Format(name, words, re.compile(pattern))


_FORMATS = (
    _format(
        "private key",
        (_KEY_ENDS,),
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[\s\S]{0,16000}?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
    ),
    _format("GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9_]{20,300}"),
    _format("GitHub token", ("github_pat_",), r"github_pat_[A-Za-z0-9_]{20,300}"),
    _format("GitLab token", ("glpat-",), r"glpat-[A-Za-z0-9_.-]{20,100}"),
    _format("Slack token", ("xox", "xapp-", "xwfp-"), r"(?:xox[a-z](?:\.xox[a-z])?|xapp|xwfp)-[A-Za-z0-9-]{10,400}"),
    _format("Slack webhook", ("hooks.slack",), r"https://hooks\.slack(?:-gov)?\.com/[a-z]+/[A-Za-z0-9/_-]{20,200}"),
    _format("API key", ("sk-",), r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,300}"),
    _format("Stripe key", ("k_live_", "k_test_"), r"[rsp]k_(?:live|test)_[A-Za-z0-9]{16,200}"),
    _format("AWS key", ("AKIA", "ASIA"), rf"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{{16}}{_END}"),
    _format("Google key", ("AIza",), r"AIza[A-Za-z0-9_-]{35}"),
    _format("Google token", ("ya29.", "GOCSPX-", "1//0"), r"(?:ya29\.|GOCSPX-|1//0)[A-Za-z0-9_-]{20,2000}"),
    _format("npm token", ("npm_",), rf"npm_[A-Za-z0-9]{{36}}{_END}"),
    _format("PyPI token", ("pypi-",), r"pypi-[A-Za-z0-9_-]{50,400}"),
    _format("Docker token", ("dckr_pat_",), r"dckr_pat_[A-Za-z0-9_-]{20,100}"),
    _format("Hugging Face token", ("hf_",), r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,100}"),
    _format("SendGrid key", ("SG.",), r"SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{40,50}"),
    _format("JSON web token", ("eyJ",), r"eyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{8,2000}"),
    _format(
        "credential",
        ("uthorization", "UTHORIZATION"),
        r"(?i:authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:bearer|basic|token)\s{1,4})(?P<secret>[^\s\"']{8,4000})",
    ),
    _format("password", ("://",), r"://[^\s/:@\"'<>]{0,100}:(?P<secret>[^\s/@\"'<>]{3,300})@"),
    _format(
        "secret",
        ("PASSWORD", "SECRET", "TOKEN", "API_KEY", "ACCESS_KEY", "PRIVATE_KEY"),
        r"\b[A-Z0-9_]{0,60}(?:PASSWORD|SECRET|TOKEN|API_KEY|ACCESS_KEY|PRIVATE_KEY)[A-Z0-9_]{0,30}=[\"']?"
        r"(?P<secret>[^\s\"'$<\[(][^\s\"']{7,4000})",
    ),
    _format(
        "AWS key",
        ("aws_secret_access_key", "SecretAccessKey"),
        r"(?:aws_secret_access_key|SecretAccessKey)[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?P<secret>[A-Za-z0-9/+=]{40})",
    ),
)


def masked(text: str) -> str:
    """Mask what looks like a secret in a text. Idempotent."""
    return text if len(text) < 8 else "".join(map(_masked_piece, pieces(text)))


def masked_values(value: Any, *, depth: int = 0) -> Any:
    """Mask every text in a JSON value; keys stay. A value that is nested too deeply becomes a sentence."""
    if isinstance(value, str):
        return masked(value)
    if depth > 60:
        return "[nested too deeply to be shown]"
    if isinstance(value, Mapping):
        return {key: masked_values(part, depth=depth + 1) for key, part in value.items()}
    if isinstance(value, list):
        return [masked_values(part, depth=depth + 1) for part in value]
    return value


def _masked_piece(text: str) -> str:
    for each in _FORMATS:
        if any(word in text for word in each.words):
            text = each.pattern.sub(lambda found, name=each.name: _mask(found, name), text)  # type: ignore[misc]
    return text


def _mask(found: re.Match[str], name: str) -> str:
    whole, mask = found[0], f"[masked: {name}]"
    if "secret" not in found.re.groupindex:
        return mask
    start, end = found.start("secret") - found.start(), found.end("secret") - found.start()
    return whole if whole[start:end].startswith("[masked") else whole[:start] + mask + whole[end:]


def pieces(text: str) -> Iterator[str]:
    """Cut a text where no secret is, as far as we know: between lines or words, and not within a private key."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        end = start + PIECE_CHARS
        space = max(text.rfind("\n", start + PIECE_CHARS // 2, end), text.rfind(" ", start + PIECE_CHARS // 2, end))
        end = space + 1 if space > 0 else end
        opened = text.rfind(_KEY_BEGINS, start, end)
        if opened >= 0 and "-----END" not in text[opened:end]:
            end = opened if opened > start else min(len(text), opened + _LONGEST_KEY_CHARS + PIECE_CHARS)
        yield text[start:end]
        start = end
    yield text[start:]
