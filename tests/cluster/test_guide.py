"""The deployment guide, from "Deploy with Helm" to "Rollback": its commands, as it has them, in its order.

A real shell runs them with the real helm and kubectl, in a checkout. Its values files are the guide's; what sizes a
cloud is made smaller at the end of each, since the node has this machine's cores, and as they are they are admitted.

Not shown, as it needs Google itself or an operator that can't be had here: gcloud and gsutil (the cluster, Workload
Identity, the bucket, the backup; `test_recovery.py` copies a bucket in the backup's way), the pod of `google/cloud-sdk`
that lists the bucket, and the External Secrets Operator (the chart's ExternalSecret is validated in `tests/chart`).
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from child_process import started
from control_plane import ControlPlane
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from node import Node
from product import BUCKET, ROOT, SECONDS, Product, eventually, world

from images import DISPATCHER, WORKER
from peerbot.conversation.keys import Conversation, input_id
from peerbot.local.slack.narrate import Narrator

pytestmark = pytest.mark.timeout(1200)

EXAMPLES = ROOT / "charts" / "peerbot" / "examples"
PROJECT = "your-project-id"
ADMITTED = "deployment.apps/peerbot-dispatcher serverside-applied (server dry run)"

DEPLOY = """
helm upgrade --install peerbot charts/peerbot \\
  --namespace peerbot \\
  --create-namespace \\
  --values values-production.yaml \\
  --set secrets.slackBotToken="$SLACK_BOT_TOKEN" \\
  --set secrets.slackAppToken="$SLACK_APP_TOKEN" \\
  --set secrets.githubToken="$GITHUB_TOKEN" \\
  --set secrets.anthropicApiKey="$ANTHROPIC_API_KEY" \\
  --wait
"""
UPDATE = """
helm upgrade peerbot charts/peerbot \\
  --namespace peerbot \\
  --values values-production.yaml \\
  --set dispatcher.image.tag=new-tag \\
  --set worker.image.tag=new-tag
"""
POLICY = """
kubectl apply -f - <<'POLICY'
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: peerbot-network-policy
  namespace: peerbot
spec:
  podSelector:
    matchLabels:
      app.kubernetes.io/name: peerbot
  policyTypes:
  - Ingress
  - Egress
  ingress:
  - from: [] # Allow all ingress (for Slack webhooks)
  egress:
  - {} # Allow all egress (for GitHub, GCS, Claude API)
POLICY
"""


@dataclass
class Checkout:
    """A directory with the chart, as after the guide's `git clone` and `cd`, and a shell in it."""

    product: Product
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{ROOT / '.tools'}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "KUBECONFIG": str(self.product.plane.kubeconfig),
            "PROJECT_ID": PROJECT,
            "SLACK_BOT_TOKEN": self.product.slack.bot_token,
            "SLACK_APP_TOKEN": self.product.slack.app_token,
            "GITHUB_TOKEN": self.product.github.token,
            "ANTHROPIC_API_KEY": self.product.model.api_key,
        }

    async def run(self, command: str) -> str:
        """Run the command, which has to end well; returns its output."""
        code, said = await self.attempt(command)
        assert code == 0, f"{command}\n{said[-4000:]}"
        return said

    async def attempt(self, command: str) -> tuple[int, str]:
        """Run it; returns its exit code and output."""
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", command),
            cwd=self.directory,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(SECONDS):
            said, _ = await shell.communicate()
        return shell.returncode or 0, said.decode()

    async def follow(self, command: str, wanted: str) -> None:
        """Run a command that a person has to interrupt, and interrupt it when it has printed `wanted`."""
        shell = started(
            *("bash", "-c", f"exec {command}"),
            stop=signal.SIGINT,
            cwd=self.directory,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with shell as process, asyncio.timeout(SECONDS):
            assert process.stdout
            while wanted not in (line := (await process.stdout.readline()).decode()):
                assert line, f"{command} ended before it printed {wanted}"

    def write_values(self, example: str = "production") -> None:
        """Write `values-production.yaml` as the guide's block of that name has it, with this machine's sizes."""
        values = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text().replace("PROJECT_ID", PROJECT))
        production = yaml.safe_load((EXAMPLES / "production.yaml").read_text().replace("PROJECT_ID", PROJECT))
        smaller = json.loads(self.product.values.read_text())
        text = yaml.safe_dump(merged(merged(production, values), smaller))
        (self.directory / "values-production.yaml").write_text(text)


def merged(values: Any, over: Any) -> Any:
    """Values as Helm lays one file over another."""
    if not (isinstance(values, dict) and isinstance(over, dict)):
        return over
    return values | {key: merged(values.get(key), over[key]) for key in over}


@pytest.fixture
async def checkout(control_plane: ControlPlane, node: Node, tmp_path: Path) -> AsyncIterator[Checkout]:
    """A checkout, and a cluster on which nothing is deployed yet."""
    directory = tmp_path / "claude-code-slack"
    (directory / "charts").mkdir(parents=True)
    (directory / "charts" / "peerbot").symlink_to(ROOT / "charts" / "peerbot")
    for image in (DISPATCHER, WORKER):
        node.tag_image(image, f"{image.split(':')[0]}:new-tag")
    async with world(control_plane, tmp_path) as product:
        checkout = Checkout(product, directory)
        try:
            yield checkout
        finally:
            await product.uninstall()


async def test_the_guides_commands_in_its_order(checkout: Checkout) -> None:
    product = checkout.product
    await deploy(checkout)
    conversation = await verify_slack_integration(checkout)
    await size_for_teams(checkout)
    await look_at_health_and_logs(checkout, conversation)
    await look_for_troubles(checkout, conversation)
    await scale(checkout)
    await secure(checkout)
    await update_and_roll_back(checkout)
    again = await product.answer(*await product.say("what did you change?", conversation))
    assert again.status == "done", "after all of that the thread goes on"


async def deploy(checkout: Checkout) -> None:
    checkout.write_values()
    said = await checkout.run(DEPLOY)
    assert "STATUS: deployed" in said
    assert "helm test peerbot --namespace peerbot --logs" in said
    pods = (await checkout.run("kubectl get pods -n peerbot")).splitlines()[1:]
    assert len([line for line in pods if "peerbot-dispatcher" in line and "1/1" in line and "Running" in line]) == 2
    await checkout.follow("kubectl logs -f deployment/peerbot-dispatcher -n peerbot", '"dispatcher_started"')


async def verify_slack_integration(checkout: Checkout) -> Conversation:
    """The guide's message; worker details and links first, progress then, a result with a pull request at the end."""
    product, slack = checkout.product, checkout.product.slack
    async with narrated(product) as told:
        text = "@peerbotai Hello! Can you help me create a simple Python script?"
        ts = await slack.say(slack.person, slack.general, text)
        conversation = Conversation(slack.team, slack.general, ts)
        turn = await product.answer(conversation, input_id(ts, "message"))
        await eventually(lambda: "Worked for" in product.cards(conversation))
    assert turn.status == "done", turn.text
    card = product.cards(conversation)
    for fact in (conversation.job_name(1), f"{turn.repository}|", conversation.branch):
        assert fact in card, "worker details and GitHub's links"
    assert any("▸" in line for line in told), f"progress, as it comes: {told}"
    assert turn.pull_request
    thread = slack.thread(conversation.channel, conversation.thread_ts)
    assert f"{product.github.url}/{turn.repository}/pull/" in str(thread[-1])
    return conversation


@asynccontextmanager
async def narrated(product: Product) -> AsyncIterator[list[str]]:
    """Tell, line by line, what people see in Slack while the block runs."""
    told: list[str] = []
    narrator = Narrator(product.slack.bot_user, told.append)

    async def narrate() -> None:
        async for change in product.slack.watch():
            narrator.take(change)

    task = asyncio.create_task(narrate())
    try:
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def size_for_teams(checkout: Checkout) -> None:
    """The guide's values for small and large teams: admitted as they are, in effect with this machine's sizes."""
    for example, replicas in (("small-team", 2), ("large-team", 3)):
        admitted = await checkout.run(_as_it_is(example))
        assert ADMITTED in admitted
        checkout.write_values(example)
        await checkout.run(DEPLOY)
        await eventually(lambda wanted=replicas: len(checkout.product.pods("dispatcher")) == wanted)  # type: ignore[misc]
    checkout.write_values()
    await checkout.run(DEPLOY)


def _as_it_is(example: str) -> str:
    """Ask the API server whether it takes an example's objects, without this machine's sizes."""
    values = f"--values {EXAMPLES}/production.yaml --values {EXAMPLES}/{example}.yaml"
    keep = "--set secrets.existingSecret=peerbot-secrets"
    chart = f"helm template peerbot charts/peerbot --namespace peerbot {values} {keep}"
    return f"{chart} --no-hooks | kubectl apply --server-side --force-conflicts --dry-run=server -n peerbot -f -"


async def look_at_health_and_logs(checkout: Checkout, conversation: Conversation) -> None:
    forward = "kubectl port-forward service/peerbot-dispatcher 3000:3000 -n peerbot"
    health = "curl --silent --fail --retry 50 --retry-connrefused --retry-delay 0 --retry-max-time 60 "
    said = await checkout.run(
        f"{forward} >&2 & trap 'kill %1' EXIT; {health} http://localhost:3000/health; echo; {health} http://localhost:3000/ready"
    )
    assert '{"status": "alive"}' in said
    assert '{"status": "ready"}' in said
    job = conversation.job_name(1)
    assert '"turn_begun"' in await checkout.run(f"kubectl logs jobs/{job} -n peerbot")
    await checkout.follow("kubectl get jobs -n peerbot -w", job)
    listed = await checkout.run("kubectl get pods -l app.kubernetes.io/component=worker -n peerbot")
    assert job in listed
    assert "peerbot-dispatcher" not in listed


async def look_for_troubles(checkout: Checkout, conversation: Conversation) -> None:
    may = "kubectl auth can-i create jobs --as=system:serviceaccount:peerbot:claude-worker -n peerbot"
    assert (await checkout.run(may)).strip() == "yes"
    described = await checkout.run(f"kubectl describe job {conversation.job_name(1)} -n peerbot")
    assert str(conversation) in described
    account = await checkout.run("kubectl describe serviceaccount claude-worker -n peerbot")
    assert f"iam.gke.io/gcp-service-account: claude-code-bot@{PROJECT}.iam.gserviceaccount.com" in account
    as_written = "kubectl get secret peerbot-secrets -n peerbot -o yaml | \\\n  grep github-token | base64 -d"
    code, _ = await checkout.attempt(as_written)
    assert code != 0, "the guide's own command can't work: the line that it decodes begins with the key's name"
    mended = "kubectl get secret peerbot-secrets -n peerbot -o jsonpath='{.data.github-token}' | base64 -d"
    assert await checkout.run(mended) == checkout.product.github.token


async def scale(checkout: Checkout) -> None:
    """The guide's autoscaling, and its values for Autopilot."""
    checkout.write_values("autoscaling")
    await checkout.run(DEPLOY)
    scaler = checkout.product.plane.client.get(HorizontalPodAutoscaler, "peerbot-dispatcher", namespace="peerbot")
    assert scaler.spec
    assert (scaler.spec.minReplicas, scaler.spec.maxReplicas) == (2, 10)
    await eventually(lambda: _ready(checkout) >= 2)
    assert ADMITTED in await checkout.run(_as_it_is("autopilot"))
    checkout.write_values()
    await checkout.run(f"{DEPLOY.rstrip()} --force-conflicts")  # docs/upgrade.md says why
    await eventually(lambda: _ready(checkout) == 2)


def _ready(checkout: Checkout) -> int:
    pods = checkout.product.pods("dispatcher")
    conditions = [c for pod in pods for c in (pod.status and pod.status.conditions) or []]
    return len([c for c in conditions if c.type == "Ready" and c.status == "True"])


async def secure(checkout: Checkout) -> None:
    """The guide's NetworkPolicy beside the chart's, and its values for cost."""
    assert "peerbot-network-policy created" in await checkout.run(POLICY)
    product = checkout.product
    turn = await product.answer(*await product.say("what is in this repository?"))
    assert turn.status == "done"
    await checkout.run("kubectl delete networkpolicy peerbot-network-policy -n peerbot")
    assert ADMITTED in await checkout.run(_as_it_is("cost-optimized"))


async def update_and_roll_back(checkout: Checkout) -> None:
    product = checkout.product
    await checkout.run(UPDATE)
    await checkout.run("kubectl rollout status deployment/peerbot-dispatcher -n peerbot --timeout=4m")
    await product.settled()
    conversation, identity = await product.say("what is in this repository?")
    assert (await product.answer(conversation, identity)).status == "done"
    columns = "custom-columns=N:.metadata.name,I:.spec.containers[0].image"
    listed = await checkout.run(f"kubectl get pods -n peerbot -o '{columns}'")
    job = conversation.job_name(1)
    assert any(line.startswith(job) and line.endswith(":new-tag") for line in listed.splitlines()), listed
    await checkout.run("helm rollback peerbot -n peerbot")
    await checkout.run("kubectl rollout status deployment/peerbot-dispatcher -n peerbot --timeout=4m")
    assert f"image: {DISPATCHER}" in await checkout.run("kubectl get deployment peerbot-dispatcher -n peerbot -o yaml")
    assert BUCKET in await checkout.run("helm get manifest peerbot -n peerbot")
