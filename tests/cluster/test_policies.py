"""The chart's NetworkPolicies, enforced: the places that a worker's pod reaches, and the pods that reach it."""

import asyncio
import http.server
import json
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import isolation
import pytest
import pytest_asyncio
from binaries import debian
from control_plane import ControlPlane
from lightkube.resources.batch_v1 import Job
from lightkube.types import CascadeType
from node import Node
from pods import job, name_of, pod_of, pod_spec, terminated, wait_for_pod
from policies import Enforcer
from product import Product, eventually, released

from images import DEBIAN

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

SCRIPT = "Create a simple Python script that prints the first ten primes, and run it"
NAMES = f"networkPolicy.dnsServers={{{isolation.ADDRESS}/32}}"  # this cluster's DNS is no pod of kube-system


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fenced(
    control_plane: ControlPlane, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Product]:
    """The guide's release on a network that enforces policies."""
    with Enforcer(control_plane, node):
        async with released(control_plane, tmp_path_factory.mktemp("product"), "--set", NAMES) as product:
            yield product


async def test_the_doctor_finds_nothing_wrong_and_a_conversation_becomes_a_pull_request(fenced: Product) -> None:
    await fenced.upgrade("--set", NAMES)  # whatever another test has set
    said = await asyncio.to_thread(fenced.helm, "test", "peerbot", "--namespace", "peerbot", "--logs")
    assert "✗" not in said
    assert "✓ worker network" in said
    turn = await fenced.answer(*await fenced.say(SCRIPT))
    assert turn.pull_request


PRIVATE, METADATA, PUBLIC = isolation.ADDRESS, "169.254.169.254", "203.0.113.5"  # the last stands for the internet
REACH = """
import json, socket, sys
def reached(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True
print(json.dumps({name: reached(*address) for name, address in json.loads(sys.argv[1]).items()}))
"""


@contextmanager
def neighbours() -> Iterator[int]:
    """Servers on the machine's private address, the metadata address and one of the internet; their port."""
    for address in (METADATA, PUBLIC):
        _address("add", address)
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), http.server.BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
            for address in (METADATA, PUBLIC):
                _address("del", address)


def _address(do: str, address: str) -> None:
    subprocess.run([debian("ip"), "address", do, f"{address}/32", "dev", "node0"], check=True, timeout=10)


def dispatcher_address(product: Product) -> str:
    """The address of a dispatcher's pod: no Service leads to its metrics."""
    return next(str(pod.status.podIP) for pod in product.pods("dispatcher") if pod.status and pod.status.podIP)


async def reached(product: Product, port: int) -> set[str]:
    """Return the places that an agent in a pod reaches."""
    api_server = product.plane.url.rpartition(":")[2]
    places = {
        "gateway": ("peerbot-gateway", 3001),
        "metrics": (dispatcher_address(product), 3002),
        "API server": (isolation.ADDRESS, int(api_server)),
        "API server, by its Service": ("10.96.0.1", 443),
        "metadata": (METADATA, port),
        "private": (PRIVATE, port),
        "internet": (PUBLIC, port),
    }
    command = f"cat > /tmp/reach.py <<'END'\n{REACH}\nEND\npython3 /tmp/reach.py '{json.dumps(places)}'"
    turn = await product.answer(*await product.say(f"run ```\n{command}\n```"))
    [line] = [line for line in turn.text.splitlines() if line.startswith('{"gateway"')]
    return {name for name, there in json.loads(line).items() if there}


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("internet", {"gateway", "internet"}),
        ("gateway", {"gateway"}),
        (
            "open",
            {"gateway", "internet", "private", "metadata", "API server", "API server, by its Service"},
        ),
    ],
)
async def test_a_worker_reaches_what_its_policy_says(fenced: Product, mode: str, wanted: set[str]) -> None:
    await fenced.upgrade("--set", NAMES, "--set", f"networkPolicy.workers={mode}")
    with neighbours() as port:
        assert await reached(fenced, port) == wanted


def listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError:
        return False
    return True


async def test_nobody_reaches_a_worker_and_only_workers_the_gateway(fenced: Product) -> None:
    """A pod of somebody else's, in the same namespace."""
    await fenced.upgrade("--set", NAMES)
    conversation, identity = await fenced.say("run `timeout 20 python3 -m http.server 8000`")
    await eventually(lambda: fenced.runs_of(conversation, "Running"))
    [pod] = fenced.runs_of(conversation, "Running")
    assert pod.status
    address = str(pod.status.podIP)
    await eventually(lambda: listens(address, 8000))  # its own node reaches it, as a kubelet has to
    script = f"""
        get() {{ timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null && echo reached $1 $2; }}
        get {address} 8000
        get peerbot-gateway 3001
        get peerbot-dispatcher 3000
    """
    client = fenced.plane.client
    client.create(job("stranger", pod_spec(DEBIAN, "bash", "-c", script)), namespace=fenced.namespace)
    try:
        ended = await asyncio.to_thread(wait_for_pod, client, fenced.namespace, "stranger", terminated)
        printed = list(client.log(name_of(ended), namespace=fenced.namespace, newlines=False))
    finally:  # the doctor names what is not PeerBot's in its namespace, which other tests use too
        client.delete(Job, "stranger", namespace=fenced.namespace, cascade=CascadeType.BACKGROUND)
    await eventually(lambda: pod_of(client, fenced.namespace, "stranger") is None)
    assert printed == ["reached peerbot-dispatcher 3000"]
    assert (await fenced.answer(conversation, identity)).status == "done"
