"""Secrets of known formats are masked, wherever they lie in a text; other text stays as it is."""

import pytest

from peerbot.web.masks import PIECE_CHARS, masked, masked_values

BODY = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0"
KEY = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEowIBAAKCAQEA0123456789\n" * 30 + "-----END RSA PRIVATE KEY-----"

SECRETS = {
    "github": f"ghp_{BODY[:36]}",
    "fine-grained": f"github_pat_11ABCDEFG0{BODY}_{BODY}",
    "installation": f"ghs_{BODY[:36]}",
    "slack bot": "xoxb-1234567890-1234567890-abcdefABCDEF0123456789",
    "slack app": "xapp-1-A0123456789-1234567890-abcdef0123456789abcdef0123456789",
    "webhook": "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "anthropic": f"sk-ant-api03-{BODY}-{BODY}",
    "openai": f"sk-proj-{BODY}",
    "aws": "AKIAIOSFODNN7EXAMPLE",
    "google": "AIzaSyA-0123456789_abcdefghijklmnopqrst",
    "google oauth": f"ya29.{BODY}",
    "npm": f"npm_{BODY[:36]}",
    "jwt": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEiLCJleHAiOjF9.c2lnbmF0dXJlLWhlcmU",
    "gitlab": "glpat-abcdefghij0123456789",
    "private key": KEY,
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_masked_and_what_is_around_it_stays(secret: str) -> None:
    found = masked(f"before {secret}\nafter")
    assert found.startswith("before [masked: ")
    assert found.endswith("]\nafter")
    assert secret not in found
    assert masked(found) == found


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("POSTGRES_PASSWORD=hunter2hunter2", "hunter2hunter2"),
        ("export MY_API_KEY='abcdefgh12345'", "abcdefgh12345"),
        ("https://ada:s3cr3t-w0rd@example.com/x", "s3cr3t-w0rd"),
        ("Authorization: Bearer abc.def-ghi_jkl", "abc.def-ghi_jkl"),
        ('"authorization": "Basic YWRhOnNlY3JldA=="', "YWRhOnNlY3JldA=="),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        ),
    ],
)
def test_what_a_name_calls_a_secret_is_masked(text: str, secret: str) -> None:
    found = masked(text)
    assert secret not in found
    assert found.split("[masked")[0] == text.split(secret, maxsplit=1)[0]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 40,
        "git commit 983573c Divide the mean",
        "TOKEN=$TOKEN",
        "secret: see the wiki",
        "https://example.com:8080/a@b",
        "sk-8",
        "the variable GITHUB_TOKEN is not set",
        "ssh-rsa AAAAB3NzaC1yc2E",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("place", range(-40, 41, 8))
def test_a_secret_across_the_pieces_of_a_long_text_is_masked(place: int) -> None:
    filler = "word " * (PIECE_CHARS // 5)
    for secret in (SECRETS["github"], KEY):
        text = filler[: PIECE_CHARS + place - len(secret) // 2] + " " + secret + "\n" + filler
        found = masked(text)
        assert secret not in found
        assert "MIIEow" not in found
        assert found.count("[masked") == 1
        assert found.endswith(filler)


def test_values_are_masked_at_any_depth_and_keys_stay() -> None:
    deep: object = SECRETS["github"]
    for _ in range(30):
        deep = [{"ghp_key": deep}, 1, None, True]
    found = str(masked_values(deep))
    assert SECRETS["github"] not in found
    assert "[masked: GitHub token]" in found
    endless: list[object] = []
    for _ in range(500):
        endless = [endless]
    assert "nested too deeply" in str(masked_values(endless))
