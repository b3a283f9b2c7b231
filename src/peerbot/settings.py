"""Declare every setting of the dispatcher once, read them from the environment, and check them all at once.

`make docs` makes `docs/settings.md` from this module, and `make check` compares the two.
"""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from peerbot.conversation.held import PATTERN, Bounds
from peerbot.conversation.keys import BRANCH_PREFIX
from peerbot.conversation.limits import Limit, Scope
from peerbot.conversation.questions import Deciders
from peerbot.environment import begins, in_order, listed, read
from peerbot.way_out import WayOut

_BRANCH_PART = re.compile(r"(?!.*(?:\.\.|\.lock$|\.$))[A-Za-z0-9_][A-Za-z0-9._-]{0,39}")
_IDS = {
    "peerbot_allowed_users": (re.compile(r"[UWS][A-Z0-9]{1,30}"), "people (U…) and user groups (S…)"),
    "peerbot_session_operators": (re.compile(r"[UW][A-Z0-9]{1,30}"), "people (U…)"),
    "peerbot_allowed_channels": (re.compile(r"[CG][A-Z0-9]{1,30}"), "channels (C…)"),
}
_PUBLIC = re.compile(r"(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|localhost))(:\d{1,5})?/?")
_APP = re.compile(r"B[A-Z0-9]{1,30}(=\d{1,9}(\.\d{1,2})?)?")
SERVER_TOOLS = frozenset({"web_search"})


class Runtime(StrEnum):
    """The two ways to start a run."""

    PROCESS = "process"
    KUBERNETES = "kubernetes"


class Switch(StrEnum):
    """On or off."""

    ON = "on"
    OFF = "off"


Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(WayOut):
    """The dispatcher's settings. A field's name in capitals is its environment variable."""

    slack_bot_token: SecretStr = Field(description="Slack's bot token (`xoxb-…`).")
    slack_app_token: SecretStr = Field(description="Slack's app-level token for Socket Mode (`xapp-…`).")
    slack_trigger_phrase: str = Field(
        default="@peerbotai",
        min_length=2,
        description="A message that contains this phrase is for the bot, as if it mentioned the bot.",
    )
    slack_allow_direct_messages: bool = Field(default=True, description="Whether the bot answers direct messages.")
    slack_allow_private_channels: bool = Field(default=False, description="Whether the bot works in private channels.")
    peerbot_allowed_users: str = Field(
        default="",
        description="The people who may use the bot: ids of people (`U…`) and user groups (`S…`, which need the scope "
        "`usergroups:read`), with commas between them. If it is empty, every full member of the workspace may.",
    )
    peerbot_allowed_channels: str = Field(
        default="",
        description="The channels in which the bot works: their ids (`C…`), with commas between them. If it is empty, "
        "it works in every channel that it is invited to. Direct messages have a setting of their own.",
    )
    peerbot_allowed_apps: str = Field(
        default="",
        description="The apps that may give work by a message that mentions the bot, such as alerts and workflows: "
        "the ids of their bots (`B…`), with commas between them. `B…=20` gives an app a budget of its own for a month, "
        "in US dollars. If it is empty, only people give work.",
    )
    peerbot_repositories: str = Field(
        default="",
        description="The repositories that people may choose for a channel, for themselves or for a thread: "
        "`owner/name` or `owner/*`, with commas between them. If it is empty, each person's work goes to a repository "
        "of their own.",
    )
    slack_enable_status_reactions: bool = Field(
        default=True, description="Whether a message gets 👀 when it is received, and ✅ or ⚠️ when it is answered."
    )
    slack_enable_progress_updates: bool = Field(
        default=True, description="Whether the progress message is edited while the agent works."
    )
    slack_api_url: str = Field(default="https://slack.com/api/", description="The address of Slack's Web API.")

    slack_client_id: str | None = Field(
        default=None, description="The Slack app's client ID, with which people sign in to see sessions."
    )
    slack_client_secret: SecretStr | None = Field(
        default=None,
        description="The Slack app's client secret. A new one signs everybody out of the session pages.",
    )

    github_token: SecretStr = Field(
        description="A GitHub token that may create repositories, push and open pull requests."
    )
    github_organization: str = Field(
        default="peerbot-community",
        description="The organization in which people's repositories are made. If no organization has this name, they "
        "are made in the token's own account.",
    )
    peerbot_branch_prefix: str = Field(
        default=BRANCH_PREFIX,
        description="The first part of the names of conversations' branches. If a repository has a branch of this "
        "name, PeerBot adds a number to it there.",
    )
    github_api_url: str = Field(default="https://api.github.com", description="The address of GitHub's REST API.")
    peerbot_pull_request_seconds: float = Field(
        default=15.0,
        ge=0,
        description="How often PeerBot looks on GitHub how a new answer's pull request stands, to show that on the "
        "answer, in seconds. It looks less and less often, in the end at 240 times this (an hour), and for 172,800 "
        "times this (30 days). 0: it never looks.",
    )

    anthropic_api_key: SecretStr = Field(description="The key for Claude's API. It stays in the dispatcher.")
    anthropic_base_url: str = Field(default="https://api.anthropic.com", description="The address of Claude's API.")
    claude_code_oauth_token: SecretStr | None = Field(
        default=None, description="A subscription token. It is not supported yet: the dispatcher refuses it at start."
    )

    gcs_bucket_name: str = Field(
        default="peerbot-conversations-prod", description="The Google Cloud Storage bucket that keeps conversations."
    )
    gcs_project_id: str | None = Field(default=None, description="The Google Cloud project of the bucket.")
    peerbot_store: str | None = Field(
        default=None,
        description="The place where conversations are kept, as a URL: `gs://BUCKET[/FOLDER]`, `s3://BUCKET[/FOLDER]` "
        "(with AWS's usual variables) or `file:///DIRECTORY`. It wins over `GCS_BUCKET_NAME`.",
    )

    peerbot_runtime: Runtime = Field(
        default=Runtime.PROCESS,
        description="`process` starts each run as a child process, `kubernetes` starts it as a Job.",
    )
    peerbot_namespace: str | None = Field(
        default=None,
        description="The namespace in which Jobs are made. If it is not set, it is the dispatcher's own namespace.",
    )
    peerbot_worker_pod: Path | None = Field(
        default=None,
        description="The JSON file that describes workers' pods (image, limits, the nodes that they may run on). The "
        "chart makes it. It is required with `kubernetes`.",
    )
    peerbot_sandbox: Switch = Field(
        default=Switch.ON,
        description="`off` lets a real model's agent run without a sandbox, with all the rights of your user.",
    )
    peerbot_data_dir: Path = Field(
        default=Path.home() / ".local/share/peerbot", description="The directory for the folders of process runs."
    )
    peerbot_model: str | None = Field(
        default=None, description="The Claude model. If it is not set, Claude Code takes its own default."
    )
    peerbot_models: str = Field(
        default="",
        description="The Claude models that people may choose, by the names that Claude's API has for them, with "
        "commas between them. Then no request for another model passes, except for `PEERBOT_MODEL` and the Haiku "
        "models, which Claude Code uses for small tasks. If it is empty, people can't choose, and any model passes.",
    )
    peerbot_run_budget_usd: float = Field(
        default=10.0,
        gt=0,
        description="How much one turn may cost, in US dollars, whichever runs and replicas work on it. It is "
        "approximate: it is counted at list prices, and each replica may exceed it by one request to Claude.",
    )
    peerbot_thread_budget_usd: float | None = Field(
        default=None,
        gt=0,
        description="How much all turns of one thread may cost together, in US dollars. If it is not set, there is no "
        "such limit. All replicas together may exceed it, and the three below, by one request to Claude.",
    )
    peerbot_person_month_budget_usd: float | None = Field(
        default=None,
        gt=0,
        description="How much the turns that one person asks for may cost in a calendar month (UTC), in US dollars.",
    )
    peerbot_channel_month_budget_usd: float | None = Field(
        default=None,
        gt=0,
        description="How much the turns in one channel may cost in a calendar month (UTC), in US dollars. A direct "
        "message counts as a channel.",
    )
    peerbot_month_budget_usd: float | None = Field(
        default=None,
        gt=0,
        description="How much all turns may cost together in a calendar month (UTC), in US dollars.",
    )
    peerbot_server_tools: str = Field(
        default="",
        description="The tools of Claude's servers that agents may use, with commas between them. There is one: "
        "`web_search`. It reaches the internet even if workers' network is closed, and each search costs money.",
    )
    peerbot_gateway_url: str | None = Field(
        default=None,
        description="The address at which workers reach the gateway. If it is not set: `http://127.0.0.1:GATEWAY_PORT`.",
    )
    port: Port = Field(default=3000, description="The port for `/health`, `/ready` and the session pages.")
    peerbot_public_url: str | None = Field(
        default=None,
        description="The address at which people reach `PORT`, as `https://peerbot.example.com`. Then messages link to "
        "session pages, which people see after they signed in with Slack. It needs `SLACK_CLIENT_ID` and "
        "`SLACK_CLIENT_SECRET`. If it is not set, there are no session pages.",
    )
    peerbot_session_operators: str = Field(
        default="",
        description="The people who may see all sessions, whichever channels they may read: their ids (`U…`), with "
        "commas between them.",
    )
    gateway_port: Port = Field(default=3001, description="The gateway's port, which only workers use.")
    peerbot_metrics_port: Port = Field(
        default=3002,
        description="The port for `/metrics`, which only Prometheus uses. 0: any free one, as for the two.",
    )

    peerbot_tokens_dir: Path | None = Field(
        default=None,
        description="A directory that has the tokens as files, too, as a mounted Secret does. If one of them changes, "
        "the dispatcher ends as if it was asked to, so that it is started again with the new one.",
    )
    peerbot_drain_seconds: float = Field(
        default=20.0,
        ge=0,
        description="How long a dispatcher that is asked to end waits for streams and answers to finish, in seconds.",
    )
    session_timeout_minutes: float = Field(default=5.0, gt=0, description="How long one turn may take, in minutes.")
    peerbot_question_minutes: float | None = Field(
        default=None,
        ge=0,
        le=60,
        description="How long a turn's worker waits for people's answers to the agent's questions, in minutes. Then it "
        "ends, and a later answer starts another that goes on. If it is not set: `SESSION_TIMEOUT_MINUTES`.",
    )
    peerbot_questions_for: Deciders = Field(
        default=Deciders.ASKER,
        description="Who may answer the agent's questions and approve its plans: `asker`, the person who asked for the "
        "work, or `everyone` who may use the bot in the channel.",
    )
    peerbot_checkpoint_seconds: float = Field(
        default=3.0,
        gt=0,
        description=(
            "The shortest time between two saves of the agent's unfinished work, in seconds. A save may take at most a "
            "tenth of the time."
        ),
    )
    worker_idle_seconds: float = Field(
        default=60.0, ge=0, description="How long a worker waits for the next message after a turn, in seconds."
    )
    worker_max_concurrent: int = Field(
        default=10, ge=1, description="How many runs there may be at once. More than that wait in line."
    )
    worker_cpu: str = Field(
        default="2000m", description="The CPU request of a worker's pod. It does not limit a process run."
    )
    worker_memory: str = Field(
        default="4Gi", description="The memory request of a worker's pod. It does not limit a process run."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The lowest severity that is logged."
    )

    @field_validator("slack_app_token")
    @classmethod
    def _app_token(cls, value: SecretStr) -> SecretStr:
        return begins(value, "xapp-", "an app-level token begins with xapp-")

    @field_validator("peerbot_branch_prefix")
    @classmethod
    def _part_of_a_branch(cls, value: str) -> str:
        if not _BRANCH_PART.fullmatch(value):
            raise ValueError(
                "git takes letters, digits, `.`, `_` and `-` here, at most 40. It takes no `..`, no `.` at either end, "
                "and no `.lock` at the end"
            )
        return value

    @field_validator("peerbot_server_tools")
    @classmethod
    def _known_tools(cls, value: str) -> str:
        if listed(value) - SERVER_TOOLS:
            raise ValueError(f"PeerBot only knows {' and '.join(sorted(SERVER_TOOLS))}")
        return value

    @field_validator("peerbot_allowed_apps")
    @classmethod
    def _apps(cls, value: str) -> str:
        if not all(_APP.fullmatch(name) for name in listed(value)):
            raise ValueError("it takes ids of bots (B…), each with `=DOLLARS` or without, with commas between them")
        return value

    @field_validator("peerbot_repositories")
    @classmethod
    def _patterns(cls, value: str) -> str:
        if not all(PATTERN.fullmatch(name) for name in listed(value)):
            raise ValueError("it takes `owner/name` and `owner/*`, with commas between them")
        return value

    @field_validator("peerbot_allowed_users", "peerbot_allowed_channels", "peerbot_session_operators")
    @classmethod
    def _ids(cls, value: str, info: ValidationInfo) -> str:
        wanted, named = _IDS[str(info.field_name)]
        if not all(wanted.fullmatch(name) for name in listed(value)):
            raise ValueError(f"it takes ids of {named}, with commas between them")
        return value

    @field_validator("claude_code_oauth_token")
    @classmethod
    def _no_subscription(cls, value: SecretStr | None) -> None:
        if value is not None:
            raise ValueError("PeerBot does not support subscription tokens yet: use ANTHROPIC_API_KEY instead")

    @field_validator("peerbot_public_url")
    @classmethod
    def _reachable(cls, value: str | None) -> str | None:
        if value is not None and not _PUBLIC.fullmatch(value):
            raise ValueError(
                "it takes an address without a path, as https://peerbot.example.com (http:// only for 127.0.0.1)"
            )
        return value

    @model_validator(mode="after")
    def _all_for_pages(self) -> Self:
        needed = {"SLACK_CLIENT_ID": self.slack_client_id, "SLACK_CLIENT_SECRET": self.slack_client_secret}
        if self.peerbot_public_url and (missing := [name for name, value in needed.items() if value is None]):
            raise ValueError(f"PEERBOT_PUBLIC_URL needs {' and '.join(missing)}, which Slack shows on the app's page")
        return self

    @model_validator(mode="after")
    def _all_for_kubernetes(self) -> Self:
        if self.peerbot_runtime is Runtime.KUBERNETES:
            needed = {"PEERBOT_WORKER_POD": self.peerbot_worker_pod, "PEERBOT_GATEWAY_URL": self.peerbot_gateway_url}
            if missing := [name for name, value in needed.items() if value is None]:
                raise ValueError(f"PEERBOT_RUNTIME=kubernetes needs {' and '.join(missing)}, which the chart sets")
        return self

    @property
    def store_url(self) -> str:
        """The journal's URL."""
        return store_url(self.peerbot_store, self.gcs_bucket_name)

    @property
    def allowed_users(self) -> frozenset[str]:
        """The people and user groups that may use the bot; empty: everybody."""
        return listed(self.peerbot_allowed_users)

    @property
    def allowed_groups(self) -> frozenset[str]:
        """The user groups among them."""
        return frozenset(name for name in self.allowed_users if name.startswith("S"))

    @property
    def allowed_channels(self) -> frozenset[str]:
        """The channels in which the bot works; empty: all."""
        return listed(self.peerbot_allowed_channels)

    @property
    def allowed_apps(self) -> dict[str, float | None]:
        """The ids of the bots that may give work, each with its own budget for a month, or None."""
        pairs = (name.partition("=") for name in in_order(self.peerbot_allowed_apps))
        return {bot: float(usd) if usd else None for bot, _, usd in pairs}

    @property
    def bounds(self) -> Bounds:
        """What people may choose."""
        return Bounds(in_order(self.peerbot_repositories), in_order(self.peerbot_models), self.peerbot_model)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The operator's budgets."""
        wider = {
            Scope.THREAD: self.peerbot_thread_budget_usd,
            Scope.PERSON: self.peerbot_person_month_budget_usd,
            Scope.CHANNEL: self.peerbot_channel_month_budget_usd,
            Scope.MONTH: self.peerbot_month_budget_usd,
        }
        turn = Limit(scope=Scope.TURN, usd=self.peerbot_run_budget_usd)
        return (turn, *(Limit(scope=scope, usd=usd) for scope, usd in wider.items() if usd is not None))

    @property
    def server_tools(self) -> frozenset[str]:
        """The tools of Claude's servers that workers may use."""
        return listed(self.peerbot_server_tools)


def load(**values: Any) -> Settings:
    """Read the settings from the environment; `values` (by field name) win over it.

    Raises a `SettingsError` that lists every problem by the variable's name, and never shows a value.
    """
    return read(Settings, values, Settings.model_fields)


def store_url(store: str | None, bucket: str) -> str:
    """Choose the journal's URL."""
    return store or f"gs://{bucket}"
