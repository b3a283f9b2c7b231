"""A folder keeps its server's port, if it is free."""

import socket
from pathlib import Path

import pytest

from peerbot.local import ports

HERE = "127.0.0.1"


def number(opened: socket.socket) -> int:
    port: int = opened.getsockname()[1]
    return port


def test_a_folder_has_the_same_port_again(tmp_path: Path) -> None:
    with ports.listening(HERE, 0, tmp_path / "port") as first:
        kept = number(first)
    with ports.listening(HERE, 0, tmp_path / "port") as again:
        assert number(again) == kept
    assert ports.free(HERE, tmp_path / "port") == kept


def test_a_port_that_is_taken_gives_way_to_another_which_is_kept_then(tmp_path: Path) -> None:
    with ports.listening(HERE, 0, tmp_path / "port") as first:
        with ports.listening(HERE, 0, tmp_path / "port") as second:
            other = number(second)
        assert other != number(first)
        assert ports.free(HERE, tmp_path / "port") == other


@pytest.mark.parametrize("written", ["", "no number"])
def test_a_file_that_names_no_port_does_no_harm(tmp_path: Path, written: str) -> None:
    (tmp_path / "port").write_text(written)
    with ports.listening(HERE, 0, tmp_path / "port") as opened:
        assert (tmp_path / "port").read_text() == str(number(opened))


def test_a_port_that_is_asked_for_is_opened_or_refused(tmp_path: Path) -> None:
    with ports.listening(HERE, 0, None) as first, pytest.raises(OSError, match="in use"):
        ports.listening(HERE, number(first), tmp_path / "port")
