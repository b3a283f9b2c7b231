"""The sentence that a thread gets about its worker: each cause is real, with the time from cause to sentence.

The times are shown at the end (`make cluster-test ARGS="-k test_told"`); docs/operate.md has a run's times.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from lightkube.models.core_v1 import ResourceQuotaSpec, Taint
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod, PodEviction, ResourceQuota
from lightkube.types import CascadeType, PatchType
from node import Node
from pods import job, pod_spec
from product import Product, eventually
from programs import FIGURES
from stage import StagedNode
from webhook import webhook

from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

QUESTION = "what is in this repository?"
LONG = "take 40 seconds"
GOES_ON = "The worker before this one ended: {}. This one goes on from the saved work."


@dataclass
class Times:
    """How long it took until threads were told."""

    rows: list[str] = field(default_factory=list)

    async def until_told(self, product: Product, thread: Conversation, sentence: str, cause: str) -> None:
        """Wait for the sentence in the thread; `cause` happened just now."""
        began = time.monotonic()
        await eventually(lambda: sentence in said(product, thread))
        self.rows.append(f"| {cause} | {sentence} | {time.monotonic() - began:.1f} s |")


@pytest.fixture(scope="module")
def times() -> Iterator[Times]:
    times = Times()
    yield times
    FIGURES.append("\n".join(("", "| cause | the thread says | after |", "| --- | --- | --- |", *times.rows)))


def said(product: Product, thread: Conversation) -> str:
    """All that the bot shows in a thread now."""
    messages = product.slack.thread(thread.channel, thread.thread_ts)
    return str([message for message in messages if message.get("user") == product.slack.bot_user])


@asynccontextmanager
async def changed(product: Product, **values: str) -> AsyncIterator[None]:
    """The release with other values, while the block runs."""
    settings = [part for name, value in values.items() for part in ("--set", f"{name.replace('__', '.')}={value}")]
    await product.upgrade(*settings)
    try:
        yield
    finally:
        await product.upgrade()


async def working(product: Product, text: str = LONG, *, steps: int = 1) -> tuple[Conversation, str]:
    """Begin a conversation whose agent works after this many steps. 0: its first step is a command that goes on."""
    before = product.model.requests
    conversation, identity = await product.say(text)
    await eventually(lambda: product.runs_of(conversation, "Running") and product.model.requests > before + steps)
    return conversation, identity


def delete_job(product: Product, conversation: Conversation, run: int = 1) -> None:
    """As an operator does with a Job that can't begin."""
    product.plane.client.delete(
        Job, conversation.job_name(run), namespace=product.namespace, cascade=CascadeType.BACKGROUND
    )


async def is_answered(product: Product, conversation: Conversation, identity: str, run: int) -> None:
    turn = await product.answer(conversation, identity)
    assert (turn.status, turn.run) == ("done", run), turn.text


async def test_no_node_has_room(product: Product, times: Times) -> None:
    """The operator mends the size and deletes the Job that can't be placed, as `docs/operate.md` says."""
    size = {"worker__resources__requests__cpu": "500", "worker__resources__limits__cpu": "500"}
    async with changed(product, **size):
        conversation, identity = await product.say(QUESTION)
        said = "The worker can't start yet: no node has enough CPU free (it asks for 500 CPU and 128Mi)."
        await times.until_told(product, conversation, said, "a worker larger than any node")
    delete_job(product, conversation)
    await is_answered(product, conversation, identity, 2)


async def test_the_namespaces_quota_is_used_up(product: Product, times: Times) -> None:
    """It begins by itself when there is room again."""
    client = product.plane.client
    quota = ResourceQuota(metadata=ObjectMeta(name="team"), spec=ResourceQuotaSpec(hard={"requests.cpu": "110m"}))
    client.create(quota, namespace=product.namespace)
    await eventually(lambda: client.get(ResourceQuota, "team", namespace=product.namespace).status.used)  # type: ignore[union-attr]
    try:
        conversation, identity = await product.say(QUESTION)
        said = "The worker can't start yet: the namespace's quota is used up (team: at most 110m CPU)."
        await times.until_told(product, conversation, said, "a ResourceQuota that is used up")
    finally:
        client.delete(ResourceQuota, "team", namespace=product.namespace)
    await is_answered(product, conversation, identity, 1)


async def test_the_image_cannot_be_pulled(product: Product, times: Times) -> None:
    async with changed(product, worker__image__tag="gone", worker__image__pullPolicy="IfNotPresent"):
        conversation, identity = await product.say(QUESTION)
        said = "The worker can't start yet: its image can't be pulled."
        await times.until_told(product, conversation, said, "a tag that no registry has (patience: 30 s)")
    delete_job(product, conversation)
    await is_answered(product, conversation, identity, 2)


async def test_it_runs_out_of_memory(product: Product, times: Times) -> None:
    """Three tries, then the reason; when there is more, the next message is answered."""
    size = {"worker__resources__requests__memory": "16Mi", "worker__resources__limits__memory": "24Mi"}
    async with changed(product, **size):
        conversation, identity = await product.say(QUESTION)
        said = "several times before it could answer. The last time, it ran out of memory."
        await times.until_told(product, conversation, said, "a limit of 24Mi, three tries")
        assert (await product.answer(conversation, identity)).status == "failed"
    await is_answered(product, *await product.say(QUESTION, conversation), 4)


async def test_it_crashes_at_its_start(product: Product, times: Times) -> None:
    """Here with the dispatcher's image in place of the worker's."""
    async with changed(product, worker__image__repository="localhost/peerbot-dispatcher"):
        conversation, identity = await product.say(QUESTION)
        said = "several times before it could answer. The last time, it crashed."
        await times.until_told(product, conversation, said, "a wrong image, three tries")
        assert (await product.answer(conversation, identity)).status == "failed"
    await is_answered(product, *await product.say(QUESTION, conversation), 4)


async def test_it_uses_too_much_disk(product: Product, times: Times) -> None:
    size = {
        "worker__resources__requests__ephemeral-storage": "30Mi",
        "worker__resources__limits__ephemeral-storage": "30Mi",
    }
    async with changed(product, **size):
        conversation, identity = await working(product, "run `head -c 60000000 /dev/zero > big; sleep 100`", steps=0)
        said = GOES_ON.format("it used too much disk for its node")
        await times.until_told(product, conversation, said, "a file of 60 MB, where 30Mi are the limit")
    await product.answer(conversation, identity)
    assert RunEnd.EVICTED in [run.closed.reason for run in await product.journal.runs(conversation) if run.closed]


async def test_its_node_is_being_emptied(product: Product, times: Times) -> None:
    """As `kubectl drain` does; it is no try of the message."""
    conversation, identity = await working(product)
    [pod] = product.runs_of(conversation, "Running")
    assert pod.metadata
    name = str(pod.metadata.name)
    product.plane.client.create(PodEviction(metadata=ObjectMeta(name=name)), name, namespace=product.namespace)
    said = GOES_ON.format("its node is being emptied")
    await times.until_told(product, conversation, said, "an eviction, as by a drain")
    await is_answered(product, conversation, identity, 2)


async def test_its_node_is_lost(product: Product, node: Node, times: Times) -> None:
    """Its kubelet hangs, so Kubernetes hears nothing of the node; then it comes back.

    Another node is well beside it, and takes nothing: Kubernetes gives up no pods if it hears of no node at all.
    """
    away = [Taint(key="only-here", value="to-be-well", effect="NoSchedule")]
    with StagedNode(product.plane, "beside", taints=away):
        conversation, identity = await working(product, "run `[ -e over ] || { touch over; sleep 100; }`", steps=0)
        with node.kubelet.frozen():
            said = GOES_ON.format("its node was lost")
            await times.until_told(product, conversation, said, "a kubelet that hangs (lost after 20 s)")
        await is_answered(product, conversation, identity, 2)


async def test_its_time_is_up(product: Product, times: Times) -> None:
    """The backstop, which is far above a turn's limit, made short for this Job."""
    conversation, identity = await working(product)
    change = {"spec": {"activeDeadlineSeconds": 1}}
    name = conversation.job_name(1)
    product.plane.client.patch(Job, name, change, namespace=product.namespace, patch_type=PatchType.MERGE)
    await times.until_told(product, conversation, GOES_ON.format("its time was up"), "the Job's activeDeadlineSeconds")
    await is_answered(product, conversation, identity, 2)


async def test_somebody_deletes_its_job(product: Product, times: Times) -> None:
    conversation, identity = await working(product)
    delete_job(product, conversation)
    said = GOES_ON.format("it was stopped from outside")
    await times.until_told(product, conversation, said, "`kubectl delete job`")
    await is_answered(product, conversation, identity, 2)


async def test_a_rule_refuses_its_job(product: Product, times: Times) -> None:
    with webhook(product.plane, product.namespace, job("sample", pod_spec("x")), lambda: "no robots here"):
        conversation, identity = await product.say(QUESTION)
        said = "The worker could not start: a rule of the cluster does not admit it."
        await times.until_told(product, conversation, said, "a webhook that refuses the Job")
        turn = await product.answer(conversation, identity)
        assert turn.status == "failed"
        assert "no robots" not in turn.model_dump_json(), "Kubernetes' own words are for the log"
    await is_answered(product, *await product.say(QUESTION, conversation), 2)


async def test_a_rule_refuses_its_pod(product: Product, times: Times) -> None:
    """Kubernetes tries again by itself, and so it begins when the rule is gone."""
    sample = Pod(metadata=ObjectMeta(name="sample"), spec=pod_spec("x"))
    with webhook(product.plane, product.namespace, sample, lambda: "no robots here"):
        conversation, identity = await product.say(QUESTION)
        said = "The worker can't start yet: a rule of the cluster does not admit it."
        await times.until_told(product, conversation, said, "a webhook that refuses the pod")
    await is_answered(product, conversation, identity, 1)
