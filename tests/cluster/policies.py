"""Enforces NetworkPolicies between the pods of a node: kube-router, for its firewall alone.

The node's own network stays as it is (`node.py`). Without kube-router nothing enforces the policies, as in many
clusters.
"""

from contextlib import ExitStack
from typing import Self

import binaries
import isolation
from control_plane import ControlPlane
from node import Node
from programs import Program

_START_SECONDS = 60.0


class Enforcer:
    """NetworkPolicies hold on `node` while the block runs."""

    def __init__(self, plane: ControlPlane, node: Node) -> None:
        arguments = [
            "--run-firewall=true",
            "--run-router=false",
            "--run-service-proxy=false",
            f"--kubeconfig={plane.kubeconfig}",
            f"--hostname-override={node.name}",
            f"--service-cluster-ip-range={isolation.SERVICES}",
            "--iptables-sync-period=10s",
            "--health-port=0",
        ]
        self._program = Program([binaries.built("kube-router"), *arguments], plane.directory / "kube-router.log")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self._program.end)
            self._program.start()
            self._program.wait_until(
                lambda: "Starting network policy controller" in self._program.tail(200), _START_SECONDS
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
