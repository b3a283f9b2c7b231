"""A network that is left through a proxy alone, in which everything has a certificate of the company's own authority.

No name of the servers can be looked up here: a client that does not ask the proxy reaches nothing.
"""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PUBLIC_PORT = 443
_DAY = datetime.timedelta(days=1)


def _certificate(name: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, issuer)]
    return (
        x509.CertificateBuilder(subject_name=names[0], issuer_name=names[1], public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


class Authority:
    """The company's certificate authority. `file` is its certificate."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.file = directory / "company.crt"
        rights = x509.BasicConstraints(ca=True, path_length=0)
        own = _certificate("company", self._key, "company").add_extension(rights, critical=True)
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def serves(self, host: str) -> ssl.SSLContext:
        """Make the context of a server that has a certificate for this name."""
        key, pair = ec.generate_private_key(ec.SECP256R1()), self._directory / f"{host}.pem"
        made = _certificate(host, key, "company").add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False
        )
        plain = serialization.NoEncryption()
        pair.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            + made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair)
        return context


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swaps: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Hand bytes on until one side ends, with these replaced."""
    with suppress(OSError):
        while data := await reader.read(1 << 20):
            for old, new in swaps:
                data = data.replace(old, new)
            writer.write(data)
            await writer.drain()
    with suppress(OSError):
        writer.close()


@dataclass
class WayOut:
    """The proxy, and the servers behind it by their names."""

    authority: Authority
    url: str = ""
    opened: list[str] = field(default_factory=list)  # the hosts of all CONNECTs, in order
    refused: list[str] = field(default_factory=list)
    _behind: dict[str, int] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)

    async def put(self, host: str, upstream: str) -> str:
        """Put a server of ours behind `https://host:443`; returns its address, whose length is the upstream's.

        In its answers its own address becomes the public one: as long, so that no length has to be counted again.
        """
        near = urlsplit(upstream)
        place, public = f"{near.hostname}:{near.port}", f"{host}:{PUBLIC_PORT}"
        swaps = [(f"{scheme}://{place}".encode(), f"{scheme}s://{public}".encode()) for scheme in ("http", "ws")]
        # S3 would take another host's first word for a bucket.
        ends = ("\r\n", f":{PUBLIC_PORT}\r\n")
        hosts = [f"{header}: {host}{end}".encode() for header in ("Host", "host") for end in ends]
        named = [(said, f"Host: {place}\r\n".encode()) for said in hosts]
        assert all(len(old) == len(new) for old, new in swaps), (place, public)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, on = await asyncio.open_connection(near.hostname, near.port)
            await asyncio.gather(_pump(reader, on, named), _pump(back, writer, swaps))

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self.authority.serves(host))
        self._servers.append(server)
        self._behind[host] = server.sockets[0].getsockname()[1]
        return upstream.replace(f"{near.scheme}://{place}", f"https://{public}")

    async def proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT."""
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode()
        method, target, _ = line.split(" ")
        host = target.rpartition(":")[0]
        if method != "CONNECT" or host not in self._behind:
            self.refused.append(line)
            writer.write(b"HTTP/1.1 403 not from here\r\n\r\n")
            writer.close()
            return
        self.opened.append(host)
        back, on = await asyncio.open_connection("127.0.0.1", self._behind[host])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pump(reader, on), _pump(back, writer))

    async def close(self) -> None:
        for server in self._servers:
            server.close()


@asynccontextmanager
async def way_out(directory: Path) -> AsyncIterator[WayOut]:
    """Run the proxy; nothing is behind it yet."""
    out = WayOut(Authority(directory))
    server = await asyncio.start_server(out.proxy, "127.0.0.1", 0)
    out.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield out
    finally:
        server.close()
        await out.close()
