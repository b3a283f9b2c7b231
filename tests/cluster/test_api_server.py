"""Runs as Jobs when the API server is the trouble: killed, forgetful, too busy, or against us."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from control_plane import ControlPlane
from lightkube import AsyncClient, Client, KubeConfig
from lightkube.models.flowcontrol_v1 import (
    FlowSchemaSpec,
    LimitedPriorityLevelConfiguration,
    LimitResponse,
    PolicyRulesWithSubjects,
    PriorityLevelConfigurationReference,
    PriorityLevelConfigurationSpec,
    ResourcePolicyRule,
    UserSubject,
)
from lightkube.models.flowcontrol_v1 import Subject as FlowSubject
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import RoleRef, Subject
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.resources.flowcontrol_apiserver_v1 import FlowSchema, PriorityLevelConfiguration
from lightkube.resources.rbac_authorization_v1 import RoleBinding
from pods import job, pod_spec
from replicas import CONVERSATION, SECONDS, Place, heard, looked, spec
from stage import StagedNode
from webhook import webhook

from peerbot.errors import Refused, Unavailable
from peerbot.runs.jobs import manifest
from peerbot.runs.jobs.runs import KubernetesRuns
from peerbot.runs.jobs.worker_pod import WorkerPod
from peerbot.runs.port import Phase


async def test_watches_go_on_after_the_api_server_was_killed_and_its_history_forgotten(
    place: Place, stage: StagedNode
) -> None:
    async with place.replica() as runs:
        watch = runs.watch()
        await runs.start(spec(1))
        await heard(watch, lambda event: event.run == 1)
        place.plane.api_server.kill()
        with pytest.raises(Unavailable, match="did not answer"):
            await runs.look(CONVERSATION, 1)
        await asyncio.to_thread(place.plane.start_api_server)
        await asyncio.to_thread(place.plane.forget_history)
        await looked_again(runs)
        await runs.start(spec(2))
        await heard(watch, lambda event: event.run == 2)
        assert {state.run for state in await runs.list()} == {1, 2}


async def looked_again(runs: KubernetesRuns) -> None:
    """Wait until the API server answers again, and the mirrors are true."""
    async with asyncio.timeout(60):
        while True:
            try:
                await runs.list()
                return
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_rights_that_are_taken_away_are_told_with_what_is_missing(
    place: Place, control_plane: ControlPlane
) -> None:
    config = KubeConfig.from_file(control_plane.account(place.namespace, "default"))
    client = AsyncClient(config=config, namespace=place.namespace, trust_env=False)
    pod, size = WorkerPod(image="x"), manifest.Size("1", "1Gi")
    runs = KubernetesRuns(client, pod=pod, size=size, deadline_seconds=60)
    try:
        with pytest.raises(Unavailable, match="does not let me see Jobs and pods"):
            await runs.open()
        with pytest.raises(Unavailable, match=r"does not let me make a run's Job.*its Role"):
            await runs.start(spec())
    finally:
        await runs.close()


async def test_what_an_admission_rule_refuses_is_refused(place: Place) -> None:
    """Here by the API server's own validation: a quantity that is none."""
    config = KubeConfig.from_file(place.plane.kubeconfig)
    client = AsyncClient(config=config, namespace=place.namespace, trust_env=False)
    runs = KubernetesRuns(client, pod=WorkerPod(image="x"), size=manifest.Size("much", "1Gi"), deadline_seconds=60)
    try:
        await runs.open()
        with pytest.raises(Refused, match="Kubernetes refused to make a run's Job"):
            await runs.start(spec())
    finally:
        await runs.close()


async def test_an_api_server_that_is_too_busy_for_us_is_asked_again(place: Place, stage: StagedNode) -> None:
    """It says 429, here by its own fairness: a priority level that has no seat for this user."""
    config = KubeConfig.from_file(busy_user(place))
    client = AsyncClient(config=config, namespace=place.namespace, trust_env=False)
    pod = WorkerPod(image="x", serviceAccountName="default")
    runs = KubernetesRuns(client, pod=pod, size=manifest.Size("100m", "64Mi"), deadline_seconds=60)
    try:
        await runs.open()
        with no_seat(place.client, place.namespace), one_at_it(place):
            await until_it_is(runs, heard=False)
            with pytest.raises(Unavailable, match="could not make a run's Job now: 429 Too many requests"):
                await runs.start(spec())
        await until_it_is(runs, heard=True)
        await runs.start(spec())
        await looked(runs, lambda state: state is not None)
        assert [state.run for state in await runs.list()] == [1]
    finally:
        await runs.close()


async def test_a_webhook_that_refuses_jobs_is_told_and_one_that_refuses_pods_is_waited_for(
    place: Place, stage: StagedNode
) -> None:
    """The first is final. The second may be mended: Kubernetes asks again, and the thread hears why it waits."""
    sample = Pod(metadata=ObjectMeta(name="sample"), spec=pod_spec("x"))
    async with place.replica() as runs:
        refuses_jobs = webhook(place.plane, place.namespace, job("sample", pod_spec("x")), lambda: "no robots here")
        with refuses_jobs, pytest.raises(Refused, match="no robots here"):
            await runs.start(spec())
        with webhook(place.plane, place.namespace, sample, lambda: "no robots here"):
            await runs.start(spec())
            state = await looked(runs, lambda state: state is not None and state.said != "")
            assert state
            assert (state.phase, state.said) == (Phase.STARTING, "a rule of the cluster does not admit it")
            assert "no robots here" in state.detail
        await place.pod()


async def until_it_is(runs: KubernetesRuns, *, heard: bool) -> None:
    """Wait until the API server answers, or does not."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await runs.look(CONVERSATION, 7)
                answered = True
            except Unavailable:
                answered = False
            if answered is heard:
                return
            await asyncio.sleep(0.1)


def busy_user(place: Place) -> Path:
    """The kubeconfig of a user who may do everything in the namespace, and whose name is the namespace's."""
    role = RoleRef(apiGroup="rbac.authorization.k8s.io", kind="ClusterRole", name="cluster-admin")
    subject = Subject(kind="User", name=place.namespace, apiGroup="rbac.authorization.k8s.io")
    binding = RoleBinding(metadata=ObjectMeta(name="busy"), roleRef=role, subjects=[subject])
    place.client.create(binding, namespace=place.namespace)
    return busy_kubeconfig(place)


def busy_kubeconfig(place: Place) -> Path:
    return place.plane.user(place.namespace)


@contextmanager
def no_seat(client: Client, user: str) -> Iterator[None]:
    """While the block runs, every request of this user is too much."""
    limited = LimitedPriorityLevelConfiguration(
        nominalConcurrencyShares=0, lendablePercent=0, borrowingLimitPercent=0, limitResponse=LimitResponse("Reject")
    )
    level = PriorityLevelConfigurationSpec(type="Limited", limited=limited)
    rule = PolicyRulesWithSubjects(
        subjects=[FlowSubject(kind="User", user=UserSubject(user))],
        resourceRules=[ResourcePolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"], namespaces=["*"])],
    )
    schema = FlowSchemaSpec(PriorityLevelConfigurationReference(user), matchingPrecedence=2, rules=[rule])
    client.create(PriorityLevelConfiguration(metadata=ObjectMeta(name=user), spec=level))
    client.create(FlowSchema(metadata=ObjectMeta(name=user), spec=schema))
    try:
        yield
    finally:
        client.delete(FlowSchema, user)
        client.delete(PriorityLevelConfiguration, user)


@contextmanager
def one_at_it(place: Place) -> Iterator[None]:
    """Keep a request of that user open for as long as the block: one is let in even if there is no seat."""
    over, asked = threading.Event(), threading.Event()

    def wait() -> str:
        asked.set()
        over.wait(SECONDS)
        return ""

    slow = ConfigMap(metadata=ObjectMeta(name="slow"))

    def ask() -> None:
        with place.plane.client_of(busy_kubeconfig(place)) as client:
            client.create(slow, namespace=place.namespace)

    with webhook(place.plane, place.namespace, slow, wait):
        thread = threading.Thread(target=ask)
        thread.start()
        try:
            assert asked.wait(SECONDS)
            yield
        finally:
            over.set()
            thread.join()
