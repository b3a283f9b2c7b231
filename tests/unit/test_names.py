"""The names of people's repositories: valid whatever the handle is, the same each time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.conversation.names import repository_name


@pytest.mark.parametrize(
    ("handle", "expected"),
    [
        ("ada", "user-ada"),
        ("Ada.Lovelace", "user-ada-lovelace"),
        ("ada_lovelace", "user-ada-lovelace"),
        ("José Ñandú", "user-jose-nandu"),
        ("ﬁona", "user-fiona"),
        ("--ada--", "user-ada"),
        ("a@b.example", "user-a-b-example"),
        ("../../etc/passwd", "user-etc-passwd"),
        ("repo.git", "user-repo-git"),
        ("李雷", "user-t01-u0ada"),
        ("", "user-t01-u0ada"),
        ("🙂", "user-t01-u0ada"),
        pytest.param("x" * 200, "user-" + "x" * 75, id="too long"),
        pytest.param("x" * 74 + "-y", "user-" + "x" * 74, id="cut at a dash"),
    ],
)
def test_a_handle_becomes_a_name(handle: str, expected: str) -> None:
    assert repository_name(handle, "T01/U0ADA") == expected


def test_a_name_that_somebody_else_has_is_told_apart_by_who_asks() -> None:
    names = {repository_name("ada", user, number) for user in ("T01/U1", "T01/U2", "T02/U1") for number in (2, 3)}
    assert len(names) == 6
    assert all(re.fullmatch(r"user-ada-[0-9a-f]{8}", name) for name in names)
    assert repository_name("ada", "T01/U1", 2) == "user-ada-5d9b15c8"


@given(handle=st.text(), user=st.text(), number=st.integers(1, 9))
def test_every_handle_gives_a_name_that_github_takes(handle: str, user: str, number: int) -> None:
    name = repository_name(handle, user, number)
    assert re.fullmatch(r"user-[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name) <= 80
    assert name == repository_name(handle, user, number)
