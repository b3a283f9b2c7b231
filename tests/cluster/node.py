"""A real node: containerd and kubelet run the pods, kube-proxy and a small DNS server let them find each other.

It runs inside an isolation alone (`isolation.py`). Pods get addresses of 10.244.0.0/24 on a bridge; nothing enforces
NetworkPolicies.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import binaries
import isolation
from cluster_dns import DOMAIN
from control_plane import ControlPlane
from lightkube import ApiError
from lightkube.resources.core_v1 import Node as NodeObject
from programs import Program

import images

PODS = "10.244.0.0/24"
_SOCKET = "/run/containerd/containerd.sock"
_START_SECONDS = 300.0
_IMPORT_SECONDS = 300.0


class Node:
    """The node `name` of a control plane, with the images that were made for it."""

    def __init__(self, control_plane: ControlPlane, name: str = "node-1") -> None:
        self.name = name
        self._plane = control_plane
        self._directory = control_plane.directory / name
        self._directory.mkdir()
        self._address = control_plane.address
        self.containerd = self._containerd()
        self.kubelet = self._kubelet()
        self.proxy = self._proxy()
        self.dns = self._dns()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for program in (self.containerd, self.proxy, self.dns, self.kubelet):
                stack.callback(program.end)
            self.containerd.start()
            self.containerd.wait_until(lambda: self._ctr("version"), _START_SECONDS)
            for name in images.available():
                self.import_image(images.archive(name))
            self.dns.start()
            self.proxy.start()
            self.kubelet.start()
            self.kubelet.wait_until(self.ready, _START_SECONDS)
            self.dns.wait_until(lambda: "answered" in self.dns.tail(), _START_SECONDS)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def import_image(self, archive: Path) -> None:
        """Give the node an image, which pods then need not pull."""
        self._ctr("images", "import", str(archive))

    def tag_image(self, name: str, other: str) -> None:
        """Give an image that the node has another name, too."""
        self._ctr("images", "tag", "--force", name, other)

    def ready(self) -> bool:
        """Whether the node takes pods."""
        try:
            found = self._plane.client.get(NodeObject, self.name)
        except ApiError as error:
            if error.status.code == 404:
                return False
            raise
        conditions = (found.status and found.status.conditions) or []
        return any(c.type == "Ready" and c.status == "True" for c in conditions) and not (
            found.spec and found.spec.taints
        )

    def _ctr(self, *arguments: str) -> bool:
        command = [binaries.debian("ctr"), "--address", _SOCKET, "--namespace", "k8s.io", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_IMPORT_SECONDS)
        if done.returncode:
            raise OSError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return True

    def _containerd(self) -> Program:
        network = {
            "cniVersion": "1.0.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": "pods0",
                    "isGateway": True,
                    "hairpinMode": True,
                    "ipMasq": False,  # there is nowhere to go
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": PODS}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        networks = self._directory / "networks"
        networks.mkdir()
        (networks / "10-pods.conflist").write_text(json.dumps(network))
        configuration = self._write(
            "containerd.toml",
            _CONTAINERD.format(
                root=json.dumps(str(isolation.state() / "containerd")),
                socket=json.dumps(_SOCKET),
                optional=json.dumps(str(isolation.state() / "optional")),
                pause=json.dumps(images.PAUSE),
                plugins=json.dumps(str(binaries.plugins())),
                networks=json.dumps(str(networks)),
            ),
        )
        return self._program(binaries.debian("containerd"), f"--config={configuration}")

    def _kubelet(self) -> Program:
        pair = self._plane.authority.issue(f"{self.name}-serving", self.name, names=(self.name, self._address))
        kubeconfig = self._plane.component(f"node:{self.name}", "system:nodes")
        configuration: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{isolation.cgroup()}",
            "containerRuntimeEndpoint": f"unix://{_SOCKET}",
            "address": self._address,
            "authentication": {"x509": {"clientCAFile": str(self._plane.authority.certificate)}},
            "tlsCertFile": str(pair.certificate),
            "tlsPrivateKeyFile": str(pair.key),
            "clusterDNS": [self._address],
            "clusterDomain": DOMAIN,
            "resolvConf": str(self._write("resolv.conf", "")),
            "podLogsDir": str(self._directory / "pods"),
            "volumePluginDir": str(isolation.state() / "volume-plugins"),
            "maxPods": 250,
            "failSwapOn": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,  # never: they can't be pulled again
            "nodeStatusUpdateFrequency": "5s",
            "nodeLeaseDurationSeconds": 16,
        }
        return self._program(
            binaries.built("kubelet"),
            f"--config={self._write('kubelet.json', json.dumps(configuration))}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={isolation.state() / 'kubelet'}",
            f"--hostname-override={self.name}",
            f"--node-ip={self._address}",
        )

    def _proxy(self) -> Program:
        configuration = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(self._plane.component("kube-proxy"))},
            "hostnameOverride": self.name,
            "clusterCIDR": PODS,
            "conntrack": {"maxPerCore": 0},  # not ours to set: it is the machine's
        }
        file = self._write("proxy.json", json.dumps(configuration))
        return self._program(binaries.built("kube-proxy"), f"--config={file}")

    def _dns(self) -> Program:
        file = Path(__file__).with_name("cluster_dns.py")
        program = Program(
            [sys.executable, str(file), self._address, str(self._plane.kubeconfig)], self._directory / "dns.log"
        )
        return program

    def _program(self, path: str, *arguments: str) -> Program:
        return Program([path, *arguments], self._directory / f"{Path(path).name}.log")

    def _write(self, name: str, text: str) -> Path:
        file = self._directory / name
        file.write_text(text)
        return file


_CONTAINERD = """\
version = 2
root = {root}
state = "/run/containerd"

[grpc]
address = {socket}

[plugins."io.containerd.internal.v1.opt"]
path = {optional}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = {pause}
restrict_oom_score_adj = true  # to lower it takes a right that root may lack here

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {plugins}
conf_dir = {networks}
"""
