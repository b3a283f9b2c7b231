"""No address but loopback gets more than half of a port's connections."""

import asyncio
from typing import Any

import pytest

from peerbot.web.connections import Connections, _Connection


class Transport(asyncio.Transport):
    """The stand-in for asyncio's transport of one client."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.aborted = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.address, 1) if name == "peername" else default

    def abort(self) -> None:
        self.aborted = True


def connect(connections: Connections, address: str) -> Transport:
    transport = Transport(address)
    _Connection(connections, asyncio.Protocol()).connection_made(transport)
    return transport


@pytest.mark.parametrize(
    ("address", "kept"),
    [("10.0.0.7", 5), ("fd00::7", 5), ("127.0.0.1", 10), ("::1", 10), ("::ffff:127.0.0.1", 10)],
)
async def test_one_address_gets_half_and_loopback_all(address: str, kept: int) -> None:
    connections = Connections(10)
    ours = [connect(connections, address) for _ in range(30)]
    assert [transport.aborted for transport in ours] == [True] * (30 - kept) + [False] * kept, "the newest are there"

    other = connect(connections, "10.0.0.8")

    assert not other.aborted
    assert connections.all == min(kept + 1, 10)
