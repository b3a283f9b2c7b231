"""The names of Services, for pods: as much of a cluster's DNS as the tests need, which is less than CoreDNS.

`NAME.NAMESPACE.svc.cluster.local` is the Service's address, or those of its ready pods where it is headless; it is
looked up in the API server at every question. `host.tests.internal` is where the test listens. Any other name does not
exist: no pod reaches anything else. Started by `node.py` as a program of its own, since a test may block its own.
"""

import socket
import socketserver
import struct
import sys
from pathlib import Path

from lightkube import ApiError, Client, KubeConfig
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice
from programs import tell

HOST_NAME = "host.tests.internal"
DOMAIN = "cluster.local"
_A, _IN = 1, 1
_NO_ERROR, _FAILED, _NO_SUCH_NAME = 0, 2, 3
_SECONDS = 5  # how long an answer may be kept


class Names:
    """List the names."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host

    def find(self, name: str) -> list[str] | None:
        """Return the addresses of a name; None if there is no such name. Raises `ApiError`."""
        if name == HOST_NAME:
            return [self._host]
        parts = name.removesuffix(f".svc.{DOMAIN}").split(".")
        if not name.endswith(f".svc.{DOMAIN}") or len(parts) != 2:
            return None
        service, namespace = parts
        try:
            found = self._client.get(Service, service, namespace=namespace)
        except ApiError as error:
            if error.status.code == 404:
                return None
            raise
        address = found.spec.clusterIP if found.spec else None
        if address and address != "None":
            return [address]
        slices = self._client.list(EndpointSlice, namespace=namespace, labels={"kubernetes.io/service-name": service})
        ready = [e for part in slices for e in part.endpoints or [] if e.conditions and e.conditions.ready]
        return [address for endpoint in ready for address in endpoint.addresses]


class _Answers(socketserver.BaseRequestHandler):
    names: Names

    def handle(self) -> None:
        data, answer_to = self.request
        if len(data) > 12:
            answer_to.sendto(answer(data, self.names), self.client_address)


def answer(query: bytes, names: Names) -> bytes:
    """The answer to a query in DNS's own format (RFC 1035)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    question = query[12 : at + 5]
    (kind,) = struct.unpack_from("!H", query, at + 1)
    try:
        addresses = names.find(".".join(labels).lower())
        code = _NO_ERROR if addresses is not None else _NO_SUCH_NAME
    except Exception as error:  # any failure is told to the caller at once
        tell(f"{'.'.join(labels)}: {error!r}")
        addresses, code = None, _FAILED
    found = (addresses or []) if kind == _A else []  # there is no IPv6
    flags = 0x8480 | (query[2] & 1) << 8 | code  # an answer, authoritative, recursion available
    header = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
    records = [struct.pack("!HHHIH", 0xC00C, _A, _IN, _SECONDS, 4) + socket.inet_aton(a) for a in found]
    return header + question + b"".join(records)


def main(address: str, kubeconfig: Path) -> None:
    """Answer on port 53 of `address`, until the process is ended."""
    with Client(config=KubeConfig.from_file(kubeconfig), trust_env=False) as client:
        _Answers.names = Names(client, address)
        with socketserver.UDPServer((address, 53), _Answers) as server:  # one question after the other
            tell("names are answered")
            server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
