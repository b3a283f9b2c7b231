"""The control plane alone: it decides as in any cluster, without a node."""

import pytest
from control_plane import ControlPlane
from lightkube import ApiError
from lightkube.models.core_v1 import ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Pod, ResourceQuota, ServiceAccount
from lightkube.resources.rbac_authorization_v1 import Role, RoleBinding
from pods import condition, job, metadata, pod_spec, quota_holds, wait_for_pod
from programs import until


def test_a_job_gets_a_pod_that_says_why_it_waits(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    spec = pod_spec("none", nodeSelector={"kubernetes.io/hostname": "nowhere"})
    client.create(job("waits", spec), namespace=namespace)
    pod = wait_for_pod(client, namespace, "waits", lambda pod: condition(pod, "PodScheduled"))
    scheduled = condition(pod, "PodScheduled")
    assert (scheduled.status, scheduled.reason) == ("False", "Unschedulable")
    assert "nodes" in scheduled.message


def test_a_pod_that_may_do_too_much_is_refused(control_plane: ControlPlane, namespace: str) -> None:
    spec = pod_spec("none")
    security = spec.containers[0].securityContext
    assert security
    security.privileged, security.allowPrivilegeEscalation = True, None
    with pytest.raises(ApiError, match="violates PodSecurity") as refused:
        control_plane.client.create(Pod(metadata=ObjectMeta(name="bad"), spec=spec), namespace=namespace)
    assert refused.value.status.code == 403


def test_an_account_may_do_what_its_role_says_and_no_more(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(ServiceAccount(metadata=ObjectMeta(name="reader")), namespace=namespace)
    rules = [PolicyRule(apiGroups=["batch"], resources=["jobs"], verbs=["list"])]
    client.create(Role(metadata=ObjectMeta(name="reader"), rules=rules), namespace=namespace)
    subject = Subject(kind="ServiceAccount", name="reader", namespace=namespace)
    role = RoleRef(apiGroup="rbac.authorization.k8s.io", kind="Role", name="reader")
    client.create(
        RoleBinding(metadata=ObjectMeta(name="reader"), roleRef=role, subjects=[subject]), namespace=namespace
    )
    with control_plane.client_of(control_plane.account(namespace, "reader")) as reader:
        assert list(reader.list(Job, namespace=namespace)) == []
        with pytest.raises(ApiError, match="forbidden") as refused:
            reader.create(job("mine", pod_spec("none")), namespace=namespace)
    assert refused.value.status.code == 403


def test_a_quota_that_is_used_up_is_told_by_the_job(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    quota = ResourceQuota(metadata=ObjectMeta(name="pods"), spec=ResourceQuotaSpec(hard={"pods": "0"}))
    client.create(quota, namespace=namespace)
    until(lambda: quota_holds(client, namespace, "pods"), 30, "the quota to hold")
    with pytest.raises(ApiError, match="exceeded quota") as refused:
        client.create(Pod(metadata=ObjectMeta(name="one"), spec=pod_spec("none")), namespace=namespace)
    assert refused.value.status.code == 403


def test_what_was_written_is_there_after_the_api_server_was_killed(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    client.create(ConfigMap(metadata=ObjectMeta(name="kept"), data={"a": "b"}), namespace=namespace)
    control_plane.api_server.kill()
    with pytest.raises(OSError, match="refused"):
        control_plane.ready()
    control_plane.start_api_server()
    assert client.get(ConfigMap, "kept", namespace=namespace).data == {"a": "b"}


def test_a_watch_from_before_a_compaction_is_gone(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.client
    first = client.create(ConfigMap(metadata=ObjectMeta(name="first")), namespace=namespace)
    client.create(ConfigMap(metadata=ObjectMeta(name="second")), namespace=namespace)
    control_plane.forget_history()
    version = metadata(first).resourceVersion
    with pytest.raises(ApiError) as gone:
        next(iter(client.watch(ConfigMap, namespace=namespace, resource_version=version)))
    assert gone.value.status.code == 410
