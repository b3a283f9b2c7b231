"""How settings are read from the environment: all problems at once, by the variable's name, and never with a value.

`settings.py` declares them.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from peerbot.errors import SettingsError

_OURS = ("PEERBOT_",)
"""The prefixes that only PeerBot uses: a variable that has one and is no setting is a mistake."""

_FOR_WORKERS = {"PEERBOT_BOOTSTRAP_FILE", "PEERBOT_RUN_PATH", "PEERBOT_HEARTBEAT_FD", "PEERBOT_AGENT_VARIABLES"}

_WORDS = {"Input should": "it has to", "a valid boolean": "true or false", "a valid integer": "a whole number"}
"""Pydantic's words, and the words that an operator would use."""


class Environment(BaseSettings):
    """Read settings from the environment, with the checks that both kinds of settings share."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True, case_sensitive=False
    )

    @field_validator("slack_bot_token", check_fields=False)
    @classmethod
    def _bot_token(cls, value: SecretStr | None) -> SecretStr | None:
        return begins(value, "xoxb-", "a bot token begins with xoxb-") if value else None

    @field_validator("slack_api_url", "github_api_url", "anthropic_base_url", "peerbot_gateway_url", check_fields=False)
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("an address begins with https:// (or http://)")
        return value


S = TypeVar("S", bound=Environment)


def read(kind: type[S], values: Mapping[str, Any], known: Iterable[str]) -> S:
    """Read settings of a kind; `values` (by field name) win over the environment. `known`: all settings there are.

    Raises a `SettingsError` that lists every problem.
    """
    problems = [f"{name} is not a setting" for name in _unknown(os.environ, known)]
    try:
        settings = kind(**values)
    except ValidationError as error:
        found = error.errors(include_input=False)
        problems += [_problem(kind, item["loc"], item["type"], item["msg"]) for item in found]
    if problems:
        raise SettingsError("Correct these settings:", problems)
    return settings


def listed(names: str) -> frozenset[str]:
    """Read names with commas between them."""
    return frozenset(in_order(names))


def in_order(names: str) -> tuple[str, ...]:
    """Read names with commas between them, in their order, each once."""
    return tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))


def begins(value: SecretStr, prefix: str, sentence: str) -> SecretStr:
    """Check how a secret begins. Raises `ValueError` with the sentence."""
    if not value.get_secret_value().startswith(prefix):
        raise ValueError(sentence)
    return value


def _unknown(environment: Mapping[str, str], known: Iterable[str]) -> list[str]:
    names = {name.upper() for name in known} | _FOR_WORKERS
    return sorted(name for name in environment if name.startswith(_OURS) and name not in names)


def _problem(kind: type[Environment], where: tuple[int | str, ...], problem: str, message: str) -> str:
    name = str(where[0]).upper() if where else ""
    if problem == "missing":
        return f"{name} is missing: {kind.model_fields[name.lower()].description}"
    sentence = message.removeprefix("Value error, ").partition(", unable")[0]
    for jargon, word in _WORDS.items():
        sentence = sentence.replace(jargon, word)
    return f"{name}: {sentence}" if name else sentence
