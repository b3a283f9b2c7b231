"""The doctor's look at a namespace, through lightkube's own client at a server that speaks the API's few paths."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from peerbot.doctor.namespace import look_at_namespace
from peerbot.doctor.report import Finding
from peerbot.settings import Settings

OURS = {"app.kubernetes.io/name": "peerbot", "app.kubernetes.io/component": "dispatcher"}
WORKERS = {"app.kubernetes.io/name": "peerbot-worker"}
PASSWORD = "cGxhbnRlZA=="


@dataclass
class Api:
    """A namespace's pods and Secrets, and whether the account may list the latter."""

    pods: list[dict[str, Any]] = field(default_factory=list)
    secrets: list[dict[str, Any]] = field(default_factory=list)
    may_list_secrets: bool = False
    listed: list[str] = field(default_factory=list)

    async def list(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        self.listed.append(kind)
        if kind == "secrets" and not self.may_list_secrets:
            status = {"kind": "Status", "apiVersion": "v1", "code": 403, "message": "secrets is forbidden"}
            return web.json_response(status, status=403)
        items = self.pods if kind == "pods" else self.secrets
        return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})

    async def review(self, request: web.Request) -> web.Response:
        asked = await request.json()
        what = asked["spec"]["resourceAttributes"]
        assert (what["verb"], what["resource"]) == ("list", "secrets")
        return web.json_response({**asked, "status": {"allowed": self.may_list_secrets}}, status=201)


def pod(name: str, labels: dict[str, str], *, secret: str = "") -> dict[str, Any]:
    variables = [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": "token"}}}] if secret else []
    spec = {"containers": [{"name": "main", "image": "x", "env": variables}]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec}


def secret(name: str, *, kind: str = "Opaque", labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels or {}}, "type": kind, "data": {"password": PASSWORD}}


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    api = Api()
    application = web.Application()
    application.router.add_get("/api/v1/namespaces/peerbot/{kind}", api.list)
    application.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", api.review)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "c", "user": {"token": "none"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c", "namespace": "peerbot"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield api
    await runner.cleanup()


async def look() -> Finding:
    settings = Settings.model_construct(peerbot_namespace="peerbot")
    (finding,) = await look_at_namespace(settings)
    assert PASSWORD not in finding.line()
    return finding


async def test_a_namespace_of_its_own_is_well_and_the_dispatchers_account_lists_no_secret(api: Api) -> None:
    api.pods = [pod("peerbot-dispatcher-1", OURS, secret="peerbot-secrets"), pod("claude-worker-x-1", WORKERS)]
    api.secrets = [secret("of-another")]
    finding = await look()
    assert finding.outcome == "good"
    assert "may not list Secrets" in finding.said
    assert api.listed == ["pods"]


async def test_another_programs_pod_is_named(api: Api) -> None:
    api.pods = [
        pod("peerbot-dispatcher-1", OURS),
        pod("payroll-0", {"app.kubernetes.io/name": "payroll"}),
        pod("x", {}),
    ]
    finding = await look()
    assert finding.outcome == "wrong"
    assert "the pod payroll-0, the pod x." in finding.said
    assert "namespace of its own" in finding.fix


async def test_an_operators_account_sees_other_programs_secrets_and_knows_peerbots_own(api: Api) -> None:
    api.may_list_secrets = True
    api.pods = [pod("peerbot-dispatcher-1", OURS, secret="tokens-of-mine")]
    api.secrets = [
        secret("tokens-of-mine"),
        secret("claude-worker-x-1", labels=WORKERS),
        secret("sh.helm.release.v1.peerbot.v1", kind="helm.sh/release.v1"),
    ]
    assert (await look()).outcome == "good"
    api.secrets.append(secret("payroll-database"))
    finding = await look()
    assert finding.outcome == "wrong"
    assert "the Secret payroll-database." in finding.said
