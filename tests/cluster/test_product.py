"""Conversations in pods: real images, the chart by real helm, stand-ins for Slack, GitHub, Claude and the bucket."""

import asyncio

import pytest
from lightkube import ApiError
from lightkube.resources.core_v1 import Secret
from product import Product, eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"


async def test_the_guides_install_leaves_two_dispatchers_that_are_ready(product: Product) -> None:
    await product.settled()
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


async def test_an_upgrade_without_tokens_keeps_those_that_the_cluster_has(product: Product) -> None:
    """The guide's upgrade names none."""
    before = product.plane.client.get(Secret, "peerbot-secrets", namespace="peerbot").data
    await product.upgrade("--set", "config.sessionTimeoutMinutes=7")
    assert product.plane.client.get(Secret, "peerbot-secrets", namespace="peerbot").data == before
    conversation, identity = await product.say("what is in this repository?")
    assert (await product.answer(conversation, identity)).status == "done"
    await asyncio.to_thread(product.helm, "rollback", "peerbot", "-n", "peerbot", "--wait")
    assert product.plane.client.get(Secret, "peerbot-secrets", namespace="peerbot").data == before


async def test_helm_test_asks_the_doctor_in_a_pod_of_its_own_and_finds_one_thing_wrong(product: Product) -> None:
    """The network between these pods enforces no policy (`test_policies.py` shows one that does); all else is well."""
    with pytest.raises(AssertionError, match="Failed") as failed:
        await asyncio.to_thread(product.helm, "test", "peerbot", "--namespace", "peerbot", "--logs")
    wrong = [line for line in str(failed.value).splitlines() if line.startswith("✗")]
    assert len(wrong) == 1, str(failed.value)
    assert "worker network" in wrong[0]
    assert "reaches the API server" in wrong[0]


async def test_a_secret_that_lacks_a_key_is_told_by_the_pod_and_the_release_before_goes_on(product: Product) -> None:
    tokens = {"slack-bot-token": product.slack.bot_token, "github-token": product.github.token}
    given = [f"--from-literal={key}={token}" for key, token in (tokens | {"anthropic-api-key": "sk-ant-x"}).items()]
    product.kubectl("create", "secret", "generic", "incomplete", "--namespace", "peerbot", *given)
    with pytest.raises(AssertionError, match="upgrade"):
        await asyncio.to_thread(product.install, "--set", "secrets.existingSecret=incomplete", "--timeout", "20s")

    waiting = "jsonpath={.items[*].status.containerStatuses[0].state.waiting.message}"
    said = product.kubectl(
        "get", "pods", "-n", "peerbot", "-l", "app.kubernetes.io/component=dispatcher", "-o", waiting
    )
    assert "couldn't find key slack-app-token in Secret peerbot/incomplete" in said
    assert (await product.answer(*await product.say("what is in this repository?"))).status == "done"

    await asyncio.to_thread(product.helm, "rollback", "peerbot", "-n", "peerbot", "--wait")
    await product.settled()
    product.kubectl("delete", "secret", "incomplete", "--namespace", "peerbot")
    assert (await product.answer(*await product.say("what is in this repository?"))).status == "done"
