"""An agent in a worker's pod that tries everything finds no credential, and both accounts have only designed rights.

The hunt is the one of process runs (`tests/service/probes.py`), by the real CLI in a real pod, in a namespace that
enforces the Pod Security Standard `restricted`. `test_policies.py` shows what a pod reaches over the network.
"""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import probes
import pytest
from lightkube.resources.core_v1 import Namespace
from product import Product

from peerbot.conversation.chosen import Choice
from peerbot.conversation.keys import Conversation
from peerbot.journal import choices
from peerbot.protocol.documents import run_path

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

REPOSITORY = "peerbot-community/product"
READS = frozenset({"get", "list", "watch"})
EVERYBODYS = {  # rights of every account: ask for its own name and rights, read whom the cluster trusts
    *(("clustertrustbundles.certificates.k8s.io", verb) for verb in READS),
    ("selfsubjectreviews.authentication.k8s.io", "create"),
    ("selfsubjectaccessreviews.authorization.k8s.io", "create"),
    ("selfsubjectrulesreviews.authorization.k8s.io", "create"),
}
DISPATCHERS = {
    "pods": READS,
    "events": READS,
    "jobs.batch": READS | {"create", "patch", "delete"},
    "secrets": {"create", "delete"},
}

STATUS = """
cat /proc/self/status; id -u; cat /proc/mounts
ls /var/run/secrets/kubernetes.io/serviceaccount; touch /usr/x
"""


def rights(product: Product, account: str) -> dict[str, set[str]]:
    """Return an account's rights in the release's namespace, by resource, without the rights that all accounts have."""
    who = f"--as=system:serviceaccount:{product.namespace}:{account}"
    table = product.kubectl("auth", "can-i", "--list", "--no-headers", who, "-n", product.namespace)
    found: dict[str, set[str]] = {}
    for line in table.splitlines():
        resource = line.split()[0]
        verbs = set(line[line.rindex("[") + 1 : line.rindex("]")].split())
        if resource.startswith("["):
            assert verbs == {"get"}, line  # paths such as /healthz and /api
        elif not {(resource, verb) for verb in verbs} <= EVERYBODYS:
            found.setdefault(resource, set()).update(verbs)
    return found


async def test_the_dispatchers_account_may_do_this_and_the_workers_nothing(product: Product) -> None:
    assert rights(product, "claude-worker") == DISPATCHERS
    assert rights(product, "claude-worker-sandbox") == {}


async def bring_repository(product: Product, directory: Path) -> None:
    """Make the channel's repository one that has the probes in it."""
    source = directory / "source"
    source.mkdir()
    shutil.copy(probes.__file__, source / "probes.py")
    (source / ".gitignore").write_text("__pycache__\nimported.txt\n")
    git(source, "init", "--quiet", "--initial-branch", "main")
    git(source, "add", "--all")
    git(source, "commit", "--quiet", "--message", "The probes")
    await product.github.import_repository(REPOSITORY, source)
    choice = Choice(repository=REPOSITORY, chosen_by=product.slack.person)
    await choices.choose(product.journal, "channel", f"{product.slack.team}-{product.slack.general}", choice)


def git(directory: Path, *arguments: str) -> str:
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.invalid", "-c", "safe.directory=*"]
    done = subprocess.run(["git", *author, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout


async def run(product: Product, command: str, thread: Conversation | None = None) -> tuple[Conversation, str]:
    """Have the agent run a command; the conversation, and the answer."""
    conversation, identity = await product.say(f"run ```\n{command}\n```", thread)
    return conversation, (await product.answer(conversation, identity)).text


async def test_an_agent_in_a_pod_that_tries_everything_finds_no_credential(product: Product, tmp_path: Path) -> None:
    enforce = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    product.plane.client.patch(Namespace, product.namespace, enforce)
    await bring_repository(product, tmp_path)
    other, identity = await product.say("what is in this repository?")
    await product.answer(other, identity)
    conversation, _ = await run(product, "true")

    told = base64.b64encode(json.dumps(wanted(product, other)).encode()).decode()
    _, text = await run(product, f"python3 probes.py look {told}", conversation)
    assert "That is all." in text, text
    report = json.loads(git(product.github.repository_path(REPOSITORY), "show", f"{conversation.branch}:report.json"))

    record = await product.journal.run(conversation, 1)
    assert record
    assert record.started
    seen = {one for found in report["seen"].values() for one in found}
    assert record.started.agent_hash in set(report["seen"]["environment"]) & set(report["seen"]["memory"]), (
        "it can find"
    )
    secret = {probes.digest(value.encode()) for value in credentials(product).values()}
    assert seen & {*secret, record.started.supervisor_hash} == set()
    assert set(report["supervisor"].values()) <= {"EACCES", "EPERM", "ENOENT"}
    assert report["second trade"]["status"] == 403  # even while the burnt secret is still in the pod (known-flaws.md)
    for path, reply in report["paths"].items():
        assert reply["status"] in ({200} if path.startswith("allowed: ") else {403, 404}), (path, reply)
    for service, reply in report["services"].items():
        assert reply["status"] in (401, 403) or '"invalid_auth"' in reply["body"], (service, reply)


def credentials(product: Product) -> dict[str, str]:
    """Everything that no pod of a worker may have, by name; git's form of the token too."""
    return {
        "bot token": product.slack.bot_token,
        "app token": product.slack.app_token,
        "GitHub token": product.github.token,
        "GitHub token as git sends it": base64.b64encode(f"x-access-token:{product.github.token}".encode()).decode(),
        "model key": product.model.api_key,
    }


def wanted(product: Product, other: Conversation) -> probes.Wanted:
    return {
        "lengths": sorted({43, *(len(value) for value in credentials(product).values())}),
        "places": ["/"],
        "hidden": [],
        "routes": [],
        "other": run_path(other, 1),
        "pushes": {},
        "services": [
            ("POST", f"{product.slack.api_url}auth.test"),
            ("POST", f"{product.slack.api_url}conversations.replies"),
            ("GET", f"{product.github.api_url}/repos/{REPOSITORY}"),
            ("POST", f"{product.model.url}/v1/messages"),
        ],
    }


async def test_a_workers_pod_has_no_rights_on_its_node_and_no_account(product: Product) -> None:
    conversation, text = await run(product, STATUS)
    status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"  # a filter
    assert set(status["Uid"].split()) & {"0"} == set()
    [root] = [line for line in text.splitlines() if " / overlay " in line]
    assert root.split()[3].split(",")[0] == "ro"
    assert "cannot access '/var/run/secrets/kubernetes.io/serviceaccount'" in text
    assert "cannot touch '/usr/x'" in text
    [pod] = [pod for pod in product.pods("worker") if pod.metadata and conversation.id in str(pod.metadata.name)]
    assert pod.spec
    assert (pod.spec.serviceAccountName, pod.spec.automountServiceAccountToken) == ("claude-worker-sandbox", False)
    volumes = [volume.to_dict() for volume in pod.spec.volumes or []]
    assert not [volume for volume in volumes if "hostPath" in volume or "projected" in volume], volumes
