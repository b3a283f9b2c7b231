"""etcd, API server, controller manager and scheduler: the cluster as far as it is decided and written down.

Nothing here needs root or a network: on its own it proves names, rights, quotas, admission and watches anywhere. It has
no node; `node.py` adds a real one, `stage.py` one whose pods the test plays.
"""

import json
import secrets
import shutil
import socket
import ssl
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import binaries
import isolation
from certificates import Authority, key_pair
from lightkube import ApiError, Client, KubeConfig
from lightkube.models.authentication_v1 import TokenRequestSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, ServiceAccount, ServiceAccountToken
from programs import Program, until

_API_SERVICE = "10.96.0.1"  # the first address of SERVICES is the API server's own
_START_SECONDS = 240.0  # 13 s on a machine with nothing else to do
_ANSWER_SECONDS = 10.0
_LOST_SECONDS = 20  # a node that is silent for this long is lost (Kubernetes: 50)


class ControlPlane:
    """A control plane whose files and logs are in `directory`; its API server listens on `address`."""

    def __init__(self, directory: Path, address: str = "127.0.0.1") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.address = address
        self._etcd_port, self._peer_port, self._port = _free_ports(address, 3)
        self.url = f"https://{address}:{self._port}"
        self.authority = Authority(directory / "certificates")
        names = ("kubernetes.default.svc.cluster.local", "kubernetes.default.svc", "kubernetes.default", "kubernetes")
        self._serving = self.authority.issue("api-server", "kube-apiserver", names=(*names, address, _API_SERVICE))
        self.admin = self.authority.issue("admin", "admin", "system:masters")
        self.kubeconfig = self.authority.kubeconfig(self.url, self.admin)
        self._signing, self._verifying = directory / "accounts.key", directory / "accounts.pub"
        key_pair(self._signing, self._verifying)
        self._memory = Path(tempfile.mkdtemp(prefix="peerbot-etcd-", dir=isolation.in_memory()))
        self.etcd = self._etcd()
        self.api_server = self._api_server()
        self.controllers = self._controller_manager()
        self.scheduler = self._scheduler()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._end)
            self.etcd.start()
            self.etcd.wait_until(self.revision, _START_SECONDS)
            self.start_api_server()
            self.controllers.start()
            self.scheduler.start()
            self.client = stack.enter_context(self.client_of(self.kubeconfig))
            self.controllers.wait_until(lambda: self._has_account("default"), _START_SECONDS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start_api_server(self) -> None:
        """Start it, again after it was killed too, and wait until it is ready."""
        self.api_server.start()
        self.api_server.wait_until(self.ready, _START_SECONDS)

    def ready(self) -> bool:
        """Whether the API server says so."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        context.load_cert_chain(self.admin.certificate, self.admin.key)
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=_ANSWER_SECONDS, context=context) as reply:
            return bool(reply.status == 200)

    def revision(self) -> int:
        """Where etcd's history is now."""
        return int(self._ask_etcd("range", {"key": "AA=="})["header"]["revision"])

    def forget_history(self) -> None:
        """Compact etcd and start the API server again: every watch from before gets a 410."""
        self._ask_etcd("compaction", {"revision": self.revision(), "physical": True})
        self.api_server.kill()
        self.start_api_server()

    @contextmanager
    def namespace(self, prefix: str = "test", pod_security: str = "restricted") -> Iterator[str]:
        """A namespace of one's own that enforces a Pod Security Standard, until the block ends."""
        name = f"{prefix}-{secrets.token_hex(4)}"
        labels = {"pod-security.kubernetes.io/enforce": pod_security}
        self.client.create(Namespace(metadata=ObjectMeta(name=name, labels=labels)))
        try:
            until(lambda: self._has_account(name), _START_SECONDS, f"the service account of {name}")
            yield name
        finally:
            self.client.delete(Namespace, name)

    def user(self, name: str, group: str | None = None) -> Path:
        """The kubeconfig of somebody who may do nothing but what RBAC gives them."""
        return self.authority.kubeconfig(self.url, self.authority.issue(f"user-{name}", name, group))

    def account(self, namespace: str, name: str) -> Path:
        """The kubeconfig of a service account: what one of its pods could do, for an hour."""
        request = ServiceAccountToken(metadata=ObjectMeta(), spec=TokenRequestSpec(expirationSeconds=3600))
        answer = self.client.create(request, name, namespace=namespace)
        assert answer.status, f"no token for {namespace}/{name}"
        document = json.loads(self.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": answer.status.token}
        file = self.directory / f"account-{namespace}-{name}.kubeconfig"
        file.touch(0o600)
        file.write_text(json.dumps(document))
        return file

    def client_of(self, kubeconfig: Path) -> Client:
        """Make a client for the account of the kubeconfig. The caller closes it."""
        return Client(config=KubeConfig.from_file(kubeconfig), trust_env=False)

    def component(self, user: str, group: str | None = None) -> Path:
        """The kubeconfig of a component that Kubernetes gives rights by its name."""
        return self.user(f"system:{user}", group)

    def program(self, name: str, *arguments: str) -> Program:
        """A program of Kubernetes, with a log in `directory`."""
        return Program([binaries.built(name), *arguments], self.directory / f"{name}.log")

    def _end(self) -> None:
        for program in (self.scheduler, self.controllers, self.api_server, self.etcd):
            program.end()
        shutil.rmtree(self._memory)

    def _has_account(self, namespace: str) -> bool:
        try:
            self.client.get(ServiceAccount, "default", namespace=namespace)
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise
        return True

    def _ask_etcd(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._etcd_port}/v3/kv/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as reply:
            answer: dict[str, Any] = json.load(reply)
            return answer

    def _etcd(self) -> Program:
        clients, peers = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        arguments = [f"--data-dir={self._memory / 'etcd'}", "--name=tests", f"--initial-cluster=tests={peers}"]
        arguments += [f"--listen-client-urls={clients}", f"--advertise-client-urls={clients}"]
        arguments += [f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"]
        return Program([binaries.built("etcd"), *arguments], self.directory / "etcd.log")

    def _api_server(self) -> Program:
        alone = self.address.startswith("127.")  # pods that could reach the API server by its Service do not exist then
        return self.program(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self._port}",
            f"--endpoint-reconciler-type={'none' if alone else 'master-count'}",
            f"--service-cluster-ip-range={isolation.SERVICES}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged",  # whether a pod may be privileged is for Pod Security to say, as in other clusters
            "--enable-admission-plugins=NodeRestriction",
            f"--client-ca-file={self.authority.certificate}",
            f"--tls-cert-file={self._serving.certificate}",
            f"--tls-private-key-file={self._serving.key}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={self.admin.certificate}",
            f"--kubelet-client-key={self.admin.key}",
            f"--kubelet-certificate-authority={self.authority.certificate}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-signing-key-file={self._signing}",
            f"--service-account-key-file={self._verifying}",
        )

    def _controller_manager(self) -> Program:
        return self.program(
            "kube-controller-manager",
            f"--kubeconfig={self.component('kube-controller-manager')}",
            "--leader-elect=false",
            "--secure-port=0",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self._signing}",
            f"--root-ca-file={self.authority.certificate}",
            f"--node-monitor-grace-period={_LOST_SECONDS}s",
            "--node-monitor-period=2s",
        )

    def _scheduler(self) -> Program:
        kubeconfig = f"--kubeconfig={self.component('kube-scheduler')}"
        return self.program("kube-scheduler", kubeconfig, "--leader-elect=false", "--secure-port=0")


def _free_ports(address: str, count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((address, 0))) for _ in range(count)]
        return [listening.getsockname()[1] for listening in sockets]
