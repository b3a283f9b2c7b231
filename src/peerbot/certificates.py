"""Certificate authorities of your own beside the public ones, in one file that every program can be pointed at.

Each program knows its own variable for that file, and most of them then trust nothing else. So the file has both.
"""

import os
import ssl
from pathlib import Path

from peerbot.errors import SettingsError

VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
"""The variables for that file: of OpenSSL, Go and Rust; Python's requests and pip; curl; git; Node.js."""

_PUBLIC = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def write_bundle(ours: Path, bundle: Path) -> None:
    """Write the public authorities of this system and those in `ours` into `bundle`.

    Raises a `SettingsError` if `ours` can't be read, or holds no certificate.
    """
    try:
        own = ours.read_text()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=own)
    except OSError as error:
        raise SettingsError(f"PEERBOT_CA_FILE: {ours} can't be read ({error.strerror}).") from error
    except ValueError as error:  # ssl.SSLError is one, too
        raise SettingsError(f"PEERBOT_CA_FILE: {ours} holds no certificates in PEM's form.") from error
    public = next((file for name in _PUBLIC if (file := Path(name)).is_file()), None)
    bundle.parent.mkdir(parents=True, exist_ok=True)
    new = bundle.with_suffix(f".{os.getpid()}")
    new.write_text(f"{public.read_text() if public else ''}\n{own.rstrip()}\n")
    new.replace(bundle)
