"""The variables that the agent's programs get: the operator's own, the way out, what to trust, and nothing else."""

import ssl
import subprocess
from pathlib import Path

import pytest

from peerbot.certificates import VARIABLES
from peerbot.errors import SettingsError
from peerbot.way_out import WayOut, prepare, proxy_for
from peerbot.worker.surroundings import agents_variables

GATEWAY = "http://peerbot-gateway:3001"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Make a certificate of an authority of one's own."""
    file = tmp_path / "ca.crt"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    rest = ["-keyout", str(tmp_path / "key"), "-out", str(file), "-days", "2", "-subj", "/CN=company"]
    subprocess.run([*made, *rest], check=True, capture_output=True)
    return file


def in_pod(home: Path, **more: str) -> dict[str, str]:
    pod = {"PATH": "/usr/bin", "HOME": str(home), "LANG": "C.UTF-8", "PEERBOT_GATEWAY_URL": GATEWAY}
    return {**pod, "PEERBOT_BOOTSTRAP_FILE": "/run/peerbot/bootstrap", "KUBERNETES_SERVICE_HOST": "10.0.0.1", **more}


def test_the_agent_gets_what_the_operator_named_and_nothing_of_ours(tmp_path: Path) -> None:
    given = in_pod(tmp_path, PEERBOT_AGENT_VARIABLES="DATABASE_URL,GONE", DATABASE_URL="postgres://", OTHER="x")

    assert agents_variables(given) == {
        "PATH": "/usr/bin",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "DATABASE_URL": "postgres://",
    }


def test_the_agents_programs_go_out_through_the_proxy_and_to_the_gateway_directly(tmp_path: Path) -> None:
    found = agents_variables(in_pod(tmp_path, HTTPS_PROXY="http://proxy:3128", NO_PROXY=".example.com"))

    assert found["HTTPS_PROXY"] == found["https_proxy"] == "http://proxy:3128"
    assert found["NO_PROXY"] == found["no_proxy"] == ".example.com,peerbot-gateway,localhost,127.0.0.1,::1"


def test_the_agents_programs_trust_the_companys_authority_beside_the_public_ones(
    tmp_path: Path, authority: Path
) -> None:
    found = agents_variables(in_pod(tmp_path, PEERBOT_CA_FILE=str(authority)))
    (bundle,) = {found[name] for name in VARIABLES}
    trusted = ssl.create_default_context(cafile=bundle).get_ca_certs()

    assert "company" in str(trusted)
    assert len(trusted) > 50
    assert Path(bundle).is_relative_to(tmp_path)


def test_an_authority_that_can_not_be_read_does_not_keep_the_agent_from_its_work(tmp_path: Path) -> None:
    assert "SSL_CERT_FILE" not in agents_variables(in_pod(tmp_path, PEERBOT_CA_FILE=str(tmp_path / "gone")))


@pytest.mark.parametrize(
    ("url", "proxied"),
    [
        ("https://api.github.com", True),
        ("wss://wss-primary.slack.com/link", True),
        ("https://api.github.com:8443", True),
        ("http://peerbot-gateway:3001", False),
        ("http://minio.storage:9000", False),
        ("https://github.example.com/api/v3", False),
        ("https://user@github.example.com:443/", False),
        ("https://minio.storage.svc", False),
        ("https://127.0.0.1:9000", False),
    ],
)
def test_https_alone_goes_through_the_proxy_and_not_what_is_near(
    url: str, proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "")  # `prepare` sets both, and monkeypatch puts them back
    monkeypatch.setenv("NO_PROXY", ".example.com")
    prepare()

    assert (proxy_for(url) == "http://proxy:3128") is proxied


def test_agents_get_no_password_of_a_proxy() -> None:
    assert WayOut(https_proxy="http://u:planted@proxy:3128").for_agents == {}
    open_one = WayOut(https_proxy="http://proxy:3128", no_proxy="a.example").for_agents
    assert open_one["HTTPS_PROXY"] == "http://proxy:3128"
    assert open_one["NO_PROXY"].startswith("a.example,localhost")


@pytest.mark.parametrize("content", ["", "no certificate", None])
def test_authorities_that_can_not_be_used_are_named(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.crt"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("PEERBOT_CA_FILE", str(file))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(SettingsError, match="PEERBOT_CA_FILE"):
        prepare()
