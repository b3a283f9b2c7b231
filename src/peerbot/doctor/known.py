"""The settings as far as they can be used: the doctor goes on with settings that no dispatcher would start with.

A faulty setting is a finding. A harmless stand-in takes its place, and the checks that need the setting are skipped.
"""

import os
import re
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import SecretStr, ValidationError

from peerbot.doctor.report import Finding, good, wrong
from peerbot.errors import SettingsError
from peerbot.settings import Settings, load

_STAND_INS = {"slack_bot_token": "xoxb-", "slack_app_token": "xapp-"}
_SHORTEST_SECRET = 8  # a shorter one can't be told from other text
_REMOVED = "[removed]"
_NAME = re.compile("[A-Z_]+")


@dataclass(frozen=True, slots=True)
class Known:
    """The usable settings and the findings about the rest; `unusable` are the fields that hold a stand-in."""

    settings: Settings
    unusable: frozenset[str]
    findings: tuple[Finding, ...]

    def redacted(self, finding: Finding) -> Finding:
        """Take every secret out of a finding: some services quote what they were sent."""
        said, fix = finding.said, finding.fix
        for secret in _secrets():
            said, fix = said.replace(secret, _REMOVED), fix.replace(secret, _REMOVED)
        return finding.model_copy(update={"said": said, "fix": fix})


def read() -> Known:
    """Read the settings from the environment. Raises `SettingsError` if they can't be read at all."""
    try:
        settings = load()
    except SettingsError as error:
        return _as_far_as_possible(error)
    return Known(settings, frozenset(), (good("settings", "all are there, and none is wrong"),))


def _as_far_as_possible(error: SettingsError) -> Known:
    findings: list[Finding] = []
    unusable: set[str] = set()
    problems = list(error.problems)
    while problems:
        names = {problem: _NAME.match(problem) for problem in problems}
        findings += [
            wrong("settings", problem, _fix(name[0] if name else "it", problem)) for problem, name in names.items()
        ]
        unusable |= {name[0].lower() for name in names.values() if name} & Settings.model_fields.keys()
        try:
            usable = Settings(**{name: _stand_in(name) for name in unusable})
        except ValidationError as more:  # checked only when each setting is right on its own
            said = [item["msg"].removeprefix("Value error, ") for item in more.errors(include_input=False)]
            problems = [problem for problem in said if problem not in names]
        else:
            return Known(usable, frozenset(unusable), tuple(findings))
    raise error


def _fix(name: str, problem: str) -> str:
    if problem.endswith("is not a setting"):
        return f"Remove {name}, or correct its name: docs/settings.md lists all settings."
    if " is missing" in problem:
        return f"Set {name}."
    if (needs := problem.partition(" needs ")[2]) and name in ("PEERBOT_RUNTIME", "PEERBOT_PUBLIC_URL"):
        return f"Set {needs.partition(',')[0]}."
    return f"Correct {name}."


def _stand_in(name: str) -> Any:
    field = Settings.model_fields[name]
    return _STAND_INS.get(name, "-") if field.is_required() else field.default


def _secrets() -> list[str]:
    """List every secret as the environment has it, also those in settings that can't be used."""
    names = [
        name
        for name, field in Settings.model_fields.items()
        if SecretStr in (field.annotation, *get_args(field.annotation))
    ]
    values = {value for key, value in os.environ.items() if key.lower() in names}
    return [value for value in values if len(value) >= _SHORTEST_SECRET]
