"""The product in a cluster: the chart, installed by real helm as the deployment guide says, and the world around it.

Slack, GitHub, Claude and the bucket are the stand-ins of the other tests, on the isolation's address, which pods reach.
What the guide sizes for a cloud is made smaller here: the node has this machine's cores.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import isolation
import pytest
from control_plane import ControlPlane
from gcs_server import gcs_server, make_bucket
from lightkube.resources.core_v1 import Pod
from system import eventually as soon

from images import DISPATCHER, WORKER
from peerbot.conversation.documents import Turn
from peerbot.conversation.keys import Conversation, input_id
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.model import DemoModel
from peerbot.local.slack import LocalSlack
from peerbot.local.slack.narrate import answered_turn

ROOT = Path(__file__).parents[2]
BUCKET = "peerbot-conversations-prod"  # the guide's
SECONDS = 240.0


async def eventually(condition: Callable[[], object]) -> None:
    await soon(condition, SECONDS)


@dataclass
class Product:
    """An installed release, and the world around it."""

    plane: ControlPlane
    slack: LocalSlack
    github: LocalGitHub
    model: DemoModel
    journal: Journal
    google: str
    values: Path
    namespace: str = "peerbot"

    def helm(self, *arguments: str) -> str:
        return self._run(ROOT / ".tools" / "helm", *arguments)

    def kubectl(self, *arguments: str) -> str:
        return self._run(ROOT / ".tools" / "kubectl", *arguments)

    def install(self, *arguments: str) -> str:
        """The guide's command."""
        return self.helm(
            *("upgrade", "--install", "peerbot", str(ROOT / "charts" / "peerbot")),
            *("--namespace", self.namespace, "--create-namespace"),
            *("--values", str(ROOT / "charts" / "peerbot" / "examples" / "production.yaml")),
            *("--values", str(self.values), "--wait", "--timeout", "5m", *arguments),
        )

    async def upgrade(self, *arguments: str) -> None:
        """The guide's command, without the tokens; returns when the replicas of the release before are gone, too."""
        await asyncio.to_thread(self.install, *arguments)
        await self.settled()

    async def uninstall(self) -> None:
        """Take the release away; returns when its replicas are gone: one that ends still calls the world around it."""
        await asyncio.to_thread(self.helm, "uninstall", "peerbot", "--namespace", self.namespace, "--wait")
        await eventually(lambda: not self.pods("dispatcher"))

    async def settled(self) -> None:
        """Wait until no replica is ending: a replica that drains still takes events that were on their way to it."""
        await eventually(lambda: not any(p.metadata and p.metadata.deletionTimestamp for p in self.pods("dispatcher")))

    def secrets(self) -> tuple[str, ...]:
        tokens = {
            "slackBotToken": self.slack.bot_token,
            "slackAppToken": self.slack.app_token,
            "githubToken": self.github.token,
            "anthropicApiKey": self.model.api_key,
        }
        return tuple(part for name, token in tokens.items() for part in ("--set", f"secrets.{name}={token}"))

    def pods(self, component: str) -> list[Pod]:
        found = self.plane.client.list(Pod, namespace=self.namespace, labels={"app.kubernetes.io/component": component})
        return list(found)

    def runs_of(self, conversation: Conversation, phase: str) -> list[Pod]:
        """The conversation's pods that are in a phase."""
        pods = [pod for pod in self.pods("worker") if pod.status and pod.status.phase == phase]
        return [pod for pod in pods if pod.metadata and conversation.id in str(pod.metadata.name)]

    async def say(self, text: str, thread: Conversation | None = None) -> tuple[Conversation, str]:
        channel = thread.channel if thread else self.slack.general
        words = text if thread else f"{self.slack.mention()} {text}"
        ts = await self.slack.say(self.slack.person, channel, words, thread_ts=thread.thread_ts if thread else None)
        return thread or Conversation(self.slack.team, channel, ts), input_id(ts, "message")

    async def answer(self, conversation: Conversation, identity: str) -> Turn:
        """Wait for an input's answer in Slack; its turn in the journal."""
        async with asyncio.timeout(SECONDS):
            while True:
                thread = self.slack.thread(conversation.channel, conversation.thread_ts)
                for k in [found[1] for message in thread if (found := answered_turn(message))]:
                    turn = await self.journal.turn(conversation, k)
                    if turn and identity in turn.inputs:
                        return turn
                await asyncio.sleep(0.2)

    def seen(self) -> list[tuple[str, str]]:
        """Return all that helps to understand a failure, each part with its title."""
        asked = {
            "pods": ("get", "pods,jobs", "-o", "wide"),
            "events": ("get", "events", "--sort-by=.lastTimestamp"),
            "dispatchers": ("logs", "-l", "app.kubernetes.io/component=dispatcher", "--prefix", "--tail=400"),
            "workers": ("logs", "-l", "app.kubernetes.io/component=worker", "--prefix", "--tail=100"),
        }
        sections = []
        for title, command in asked.items():
            try:
                sections.append((title, self.kubectl(*command, "-n", self.namespace)[-20_000:]))
            except (AssertionError, subprocess.TimeoutExpired) as error:
                sections.append((title, str(error)))
        return sections

    def cards(self, conversation: Conversation) -> str:
        """Return the messages of the thread that are no answers."""
        thread = self.slack.thread(conversation.channel, conversation.thread_ts)
        ours = [message for message in thread if message.get("user") == self.slack.bot_user]
        return str([message for message in ours if answered_turn(message) is None])

    def _run(self, program: Path, *arguments: str) -> str:
        environment = {
            "KUBECONFIG": str(self.plane.kubeconfig),
            "HOME": str(self.values.parent),
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            [program, *arguments], env=environment, check=False, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, f"{program.name} {arguments[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


@asynccontextmanager
async def released(
    control_plane: ControlPlane, directory: Path, *arguments: str, data: Path | None = None
) -> AsyncIterator[Product]:
    """The product, installed with the guide's command and `arguments`; all of it is gone at the end."""
    async with world(control_plane, directory, data) as product:
        await asyncio.to_thread(product.install, *product.secrets(), *arguments)
        try:
            yield product
        finally:
            await product.uninstall()


@asynccontextmanager
async def world(control_plane: ControlPlane, directory: Path, data: Path | None = None) -> AsyncIterator[Product]:
    """All that the product needs, before it is installed. `data`: a folder that has the bucket as a folder."""
    async with AsyncExitStack() as stack:
        google = stack.enter_context(gcs_server(data, isolation.ADDRESS))
        if data is None:
            make_bucket(google, BUCKET)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("STORAGE_EMULATOR_HOST", google)
        slack = await stack.enter_async_context(LocalSlack(host=isolation.ADDRESS))
        github = await stack.enter_async_context(LocalGitHub(host=isolation.ADDRESS))
        model = await stack.enter_async_context(DemoModel(host=isolation.ADDRESS))
        journal = Journal(await open_storage(f"gs://{BUCKET}"))
        stack.push_async_callback(journal.close)
        values = directory / "values.json"
        values.write_text(json.dumps(smaller(slack, github, model, google)))
        yield Product(control_plane, slack, github, model, journal, google, values)


def smaller(slack: LocalSlack, github: LocalGitHub, model: DemoModel, google: str) -> dict[str, Any]:
    """Return the values that differ from the guide's: images of this tree, small sizes, our stand-ins."""
    addresses = {
        "SLACK_API_URL": slack.api_url,
        "GITHUB_API_URL": github.api_url,
        "ANTHROPIC_BASE_URL": model.url,
        "STORAGE_EMULATOR_HOST": google,
        "PEERBOT_REPOSITORIES": "peerbot-community/*",
    }
    dispatcher, worker = (
        dict(zip(("repository", "tag"), name.split(":"), strict=True)) for name in (DISPATCHER, WORKER)
    )
    requests = {"cpu": "50m", "memory": "128Mi", "ephemeral-storage": "64Mi"}
    limits = {"cpu": "2", "memory": "2Gi", "ephemeral-storage": "2Gi"}
    sizes = {"requests": requests, "limits": limits}
    return {
        "global": {"imageRegistry": ""},
        "dispatcher": {
            "image": {**dispatcher, "pullPolicy": "Never"},
            "drainSeconds": 5,
            "resources": sizes,
            "extraEnv": [{"name": name, "value": value} for name, value in addresses.items()],
        },
        "worker": {"image": {**worker, "pullPolicy": "Never"}, "resources": sizes, "job": {"idleSeconds": 8}},
    }
