"""The product in a cluster: the chart, installed by real helm as the deployment guide says, and conversations in pods.

Slack, GitHub, Claude and the bucket are the stand-ins of the other tests, on the isolation's address, which pods reach.
What the guide sizes for a cloud is made smaller here: the node has this machine's cores.
"""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import isolation
import pytest
import pytest_asyncio
from control_plane import ControlPlane
from gcs_server import gcs_server, make_bucket
from lightkube import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, PodEviction, Secret
from node import Node
from system import eventually as soon

from images import DISPATCHER, WORKER
from peerbot.conversation.documents import RunEnd, Turn
from peerbot.conversation.keys import Conversation, input_id
from peerbot.journal.journal import Journal
from peerbot.journal.open import open_storage
from peerbot.local.github import LocalGitHub
from peerbot.local.model import DemoModel
from peerbot.local.narrate import answered_turn
from peerbot.local.slack import LocalSlack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("node"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BUCKET = "peerbot-conversations-prod"  # the guide's
SECONDS = 240.0
SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"


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

    def secrets(self) -> tuple[str, ...]:
        tokens = {
            "slackBotToken": self.slack.bot_token,
            "slackAppToken": self.slack.app_token,
            "githubToken": self.github.token,
            "anthropicApiKey": self.model.api_key,
        }
        return tuple(part for name, token in tokens.items() for part in ("--set", f"secrets.{name}={token}"))

    def pods(self, component: str) -> list[Pod]:
        labels = {"app.kubernetes.io/component": component}
        return list(self.plane.client.list(Pod, namespace=self.namespace, labels=labels))

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
                    if turn and identity in turn.answers:
                        return turn
                await asyncio.sleep(0.2)

    def seen(self) -> list[tuple[str, str]]:
        """What there is to see of it where something went wrong, each with its title."""
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
        """What the thread shows beside answers."""
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


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with gcs_server(host=isolation.ADDRESS) as url:
        make_bucket(url, BUCKET)
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(
    control_plane: ControlPlane, node: Node, google: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Product]:
    directory = tmp_path_factory.mktemp("product")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", google)
        async with AsyncExitStack() as stack:
            slack = await stack.enter_async_context(LocalSlack(host=isolation.ADDRESS))
            github = await stack.enter_async_context(LocalGitHub(host=isolation.ADDRESS))
            model = await stack.enter_async_context(DemoModel(host=isolation.ADDRESS))
            journal = Journal(await open_storage(f"gs://{BUCKET}"))
            stack.push_async_callback(journal.close)
            values = directory / "values.json"
            values.write_text(json.dumps(smaller(slack, github, model, google)))
            product = Product(control_plane, slack, github, model, journal, google, values)
            await asyncio.to_thread(product.install, *product.secrets())
            yield product
            await asyncio.to_thread(product.helm, "uninstall", "peerbot", "--namespace", product.namespace, "--wait")


def smaller(slack: LocalSlack, github: LocalGitHub, model: DemoModel, google: str) -> dict[str, Any]:
    """What differs from the guide's production values: images of this tree, sizes of this machine, our stand-ins."""
    addresses = {
        "SLACK_API_URL": slack.api_url,
        "GITHUB_API_URL": github.api_url,
        "ANTHROPIC_BASE_URL": model.url,
        "STORAGE_EMULATOR_HOST": google,
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
            "resources": sizes,
            "extraEnv": [{"name": name, "value": value} for name, value in addresses.items()],
        },
        "worker": {"image": {**worker, "pullPolicy": "Never"}, "resources": sizes, "job": {"idleSeconds": 8}},
    }


async def test_the_guides_install_leaves_two_dispatchers_that_are_ready(product: Product) -> None:
    assert len(product.pods("dispatcher")) == 2
    assert "Running" in product.kubectl("get", "pods", "-n", "peerbot")
    logs = product.kubectl("logs", "deployment/peerbot-dispatcher", "-n", "peerbot")
    assert '"dispatcher_started"' in logs
    for token in (product.slack.bot_token, product.github.token, product.model.api_key):
        assert token not in logs


async def test_a_conversation_becomes_a_pull_request_and_goes_on_in_its_pod_and_in_another(product: Product) -> None:
    conversation, identity = await product.say(SCRIPT)
    turn = await product.answer(conversation, identity)
    assert turn.status == "done", turn.text
    assert turn.pull_request
    [pod] = product.runs_of(conversation, "Running")
    assert pod.metadata
    assert pod.metadata.name
    assert pod.metadata.name.startswith(f"{conversation.job_name(1)}-")
    with pytest.raises(ApiError, match="not found"):  # a secret that was traded is burnt
        product.plane.client.get(Secret, conversation.job_name(1), namespace="peerbot")

    again = await product.answer(*await product.say("what did you change?", conversation))
    assert (again.status, again.run) == ("done", 1), "the pod that waited has it"

    await eventually(lambda: product.runs_of(conversation, "Succeeded"))
    later = await product.answer(*await product.say("and once more: what did you change?", conversation))
    assert (later.status, later.run) == ("done", 2)
    assert later.session
    assert turn.session
    assert later.session.id == turn.session.id


async def test_a_turn_whose_pod_is_evicted_goes_on_in_another(product: Product) -> None:
    """As when a node is drained; it is no try of the message."""
    conversation, identity = await product.say("take 25 seconds")
    await eventually(lambda: product.runs_of(conversation, "Running") and product.model.requests > 0)
    [pod] = product.runs_of(conversation, "Running")
    assert pod.metadata
    name = str(pod.metadata.name)
    product.plane.client.create(PodEviction(metadata=ObjectMeta(name=name)), name, namespace="peerbot")
    turn = await product.answer(conversation, identity)
    assert (turn.status, turn.run) == ("done", 2)
    ends = [run.closed.reason for run in await product.journal.runs(conversation) if run.closed]
    assert ends[0] is RunEnd.EVICTED


async def test_a_thread_is_told_that_no_node_has_room_and_is_answered_when_there_is_a_worker_that_fits(
    product: Product,
) -> None:
    """The operator mends the size and deletes the Job that can't be placed, as `docs/operate.md` says."""
    too_much = ("--set", "worker.resources.requests.cpu=500", "--set", "worker.resources.limits.cpu=500")
    await asyncio.to_thread(product.install, *too_much)
    conversation, identity = await product.say("what is in this repository?")
    said = "no node has enough CPU free (it asks for 500 CPU and 128Mi)"
    await eventually(lambda: said in product.cards(conversation))

    await asyncio.to_thread(product.install)
    await asyncio.to_thread(product.kubectl, "delete", "job", conversation.job_name(1), "-n", "peerbot")
    turn = await product.answer(conversation, identity)
    assert (turn.status, turn.run) == ("done", 2)


async def test_an_upgrade_without_tokens_keeps_those_that_the_cluster_has(product: Product) -> None:
    """The guide's upgrade names none."""
    before = product.plane.client.get(Secret, "peerbot-secrets", namespace="peerbot").data
    await asyncio.to_thread(product.install, "--set", "config.sessionTimeoutMinutes=7")
    assert product.plane.client.get(Secret, "peerbot-secrets", namespace="peerbot").data == before
    conversation, identity = await product.say("what is in this repository?")
    assert (await product.answer(conversation, identity)).status == "done"
    await asyncio.to_thread(product.helm, "rollback", "peerbot", "-n", "peerbot", "--wait")
    assert product.plane.client.get(Secret, "peerbot-secrets", namespace="peerbot").data == before


async def test_the_guides_troubleshooting_commands_say_what_they_should(product: Product) -> None:
    may = ("auth", "can-i", "create", "jobs", "--as=system:serviceaccount:peerbot:claude-worker", "-n", "peerbot")
    assert product.kubectl(*may).strip() == "yes"
    assert "claude-code-bot@" in product.kubectl("describe", "serviceaccount", "claude-worker", "-n", "peerbot")
    token = product.kubectl("get", "secret", "peerbot-secrets", "-n", "peerbot", "-o", "jsonpath={.data.github-token}")
    assert token
    listed = product.kubectl("get", "pods", "-l", "app.kubernetes.io/component=worker", "-n", "peerbot", "-o", "name")
    assert all("claude-worker-" in line for line in listed.splitlines())
