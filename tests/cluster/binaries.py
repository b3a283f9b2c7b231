"""Where the programs of a cluster come from: Kubernetes and etcd are built from Go modules, the rest is Debian's.

Debian's etcd (3.4) is too old for this Kubernetes: after a compaction its watches stand still for minutes.

What is built goes into a cache outside the tree (`CLUSTER_TESTS_CACHE`, by default `~/.cache/peerbot-cluster`), once
for each content of `tools/`. `python tests/cluster/binaries.py` makes sure of all of it and says how long that took;
with `--missing` it only prints the packages of Debian that are missing.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from programs import tell

_TOOLS = Path(__file__).parent / "tools"
_POLICIES = _TOOLS / "policies"
_ETCD = "etcd"
_ENFORCER = "kube-router"  # of NetworkPolicies; a module of its own, as it wants an older client of Kubernetes
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_NODE = ("kubelet", "kube-proxy")
_DEBIAN = {  # program: package
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "ipset": "ipset",
    "nft": "nftables",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
}
_PLUGINS = Path("/usr/lib/cni")  # of the package containernetworking-plugins
_SEARCHED = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
_BUILD_SECONDS = 3000


class Missing(Exception):
    """A program of the cluster can't be had; the text says what to do."""


def cache() -> Path:
    """The directory of everything that is made for tests once: programs, base images."""
    return Path(os.environ.get("CLUSTER_TESTS_CACHE", Path.home() / ".cache" / "peerbot-cluster"))


def kubernetes_version() -> str:
    """As in `v1.37.2`."""
    found = re.search(r"k8s.io/kubernetes (v[\d.]+)", (_TOOLS / "go.mod").read_text())
    assert found, "tools/go.mod names no version of k8s.io/kubernetes"
    return found[1]


def built(name: str) -> str:
    """The path of a program of Kubernetes, or etcd, which was built before."""
    program = _built() / name
    if not program.exists():
        raise Missing(f"{name} was not built yet: run `make cluster-test`, or `python tests/cluster/binaries.py`.")
    return str(program)


def debian(name: str) -> str:
    """The path of a program that Debian has."""
    found = shutil.which(name, path=_SEARCHED)
    if not found:
        raise Missing(f"{name} is missing: apt-get install {_DEBIAN[name]}")
    return found


def plugins() -> Path:
    """The directory of the CNI plugins."""
    if not (_PLUGINS / "bridge").exists():
        raise Missing("The CNI plugins are missing: apt-get install containernetworking-plugins")
    return _PLUGINS


def ensure(*, node: bool = True) -> None:
    """Build what is not built yet; raises `Missing`, with everything that has to be installed.

    Without a `node`, the control plane alone is all that has to be there.
    """
    if node and (packages := missing()):
        raise Missing(f"Some programs are missing: apt-get install {' '.join(packages)}")
    if all((_built() / name).exists() for name in (_ETCD, _ENFORCER, *_CONTROL_PLANE, *_NODE)):
        return
    _build()


def missing() -> list[str]:
    """The packages of Debian whose programs a node needs and are not there."""
    packages = {package for name, package in _DEBIAN.items() if not shutil.which(name, path=_SEARCHED)}
    if not (_PLUGINS / "bridge").exists():
        packages.add("containernetworking-plugins")
    return sorted(packages)


def _built() -> Path:
    modules = [module / name for module in (_TOOLS, _POLICIES) for name in ("go.mod", "go.sum", "tools.go")]
    content = b"".join(file.read_bytes() for file in modules)
    return cache() / "kubernetes" / f"{kubernetes_version()}-{hashlib.sha256(content).hexdigest()[:12]}"


def _build() -> None:
    if not shutil.which("go"):
        raise Missing("Go is missing: install the version that tests/cluster/tools/go.mod names, or a later one.")
    began = time.monotonic()
    version = kubernetes_version()
    major, minor = version.removeprefix("v").split(".")[:2]
    tell(f"Building Kubernetes {version} (the first time it takes 15 to 40 minutes on two cores) …")
    into = _built()
    unfinished = into.with_name(f"{into.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    flags = ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        flags += [
            f"-X {package}.gitVersion={version}",
            f"-X {package}.gitMajor={major}",
            f"-X {package}.gitMinor={minor}",
        ]
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in _CONTROL_PLANE + _NODE]
    _go_build(_TOOLS, f"{unfinished}/{_ETCD}", "-s -w", "go.etcd.io/etcd/server/v3")
    _go_build(_TOOLS, f"{unfinished}/", " ".join(flags), *packages)
    _go_build(_POLICIES, f"{unfinished}/", "-s -w", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router")
    unfinished.rename(into)
    tell(f"Built in {time.monotonic() - began:.0f} s: {into}")


def _go_build(module: Path, into: str, flags: str, *packages: str) -> None:
    command = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", flags, "-o", into, *packages]
    subprocess.run(command, cwd=module, check=True, timeout=_BUILD_SECONDS)


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        sys.stdout.write(" ".join(missing()) + "\n")
        sys.exit()
    try:
        ensure()
    except Missing as problem:
        sys.exit(f"cluster: {problem}")
