"""Files in the hands of an agent: read, walked and removed without a link, a pipe, a depth or a length that harms."""

import os
import resource
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerbot.files import opening
from peerbot.files.opening import Kind
from peerbot.files.removal import remove

OWN_MEMORY = "/proc/self/environ"


def nested(top: Path, depth: int, name: str = "d") -> None:
    """Make directories inside each other, one name at a time, as an agent's shell does."""
    folder = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=folder)
        deeper = os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "workspace"
    place.mkdir()
    yield place
    remove(place, seconds=60)  # pytest could not


@pytest.mark.parametrize(("depth", "name"), [(1_500, "d"), (20_000, "d"), (300, "x" * 200)])
def test_directories_inside_each_other_are_removed_however_deep(place: Path, depth: int, name: str) -> None:
    nested(place, depth, name)
    assert remove(place, seconds=60) == 0
    assert not place.exists()


def test_a_directory_that_the_agent_locked_is_removed_with_all_that_is_in_it(place: Path) -> None:
    (place / "a/b/c").mkdir(parents=True)
    (place / "a/b/file").touch()
    for name in ("a/b/c", "a/b", "a", "."):
        (place / name).chmod(0)
    assert remove(place, seconds=10) == 0
    assert not place.exists()


def test_what_a_link_leads_to_stays(place: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    precious.chmod(0o500)
    (place / "link").symlink_to(precious)
    (place / "folder").mkdir()
    (place / "folder/link").symlink_to(precious)
    link = tmp_path / "linked"
    link.symlink_to(precious)
    assert remove(place, seconds=10) == 0
    assert remove(link, seconds=10) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (precious / "file").exists()
    assert stat.S_IMODE(precious.stat().st_mode) == 0o500
    precious.chmod(0o700)


def test_few_descriptors_are_enough_for_many_directories(place: Path) -> None:
    for number in range(300):
        (place / f"{number}/a/b").mkdir(parents=True)
    nested(place, 400)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 12, before[1]))
    try:
        assert remove(place, seconds=30) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_removal_ends_at_its_deadline_or_if_it_is_asked_to_and_another_goes_on(place: Path) -> None:
    for number in range(100):
        (place / f"{number}").mkdir()
        (place / f"{number}/file").touch()
    assert remove(place, seconds=-1) > 0
    looks = iter(range(20))
    assert remove(place, seconds=60, stop=lambda: next(looks, None) is None) > 0
    assert 0 < len(list(place.iterdir())) < 100
    assert remove(place, seconds=60) == 0


def test_what_is_not_there_is_removed_already(tmp_path: Path) -> None:
    assert remove(tmp_path / "nothing", seconds=1) == 0
    assert remove(tmp_path / "nothing/below", seconds=1) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make a file that nobody can remove")
def test_a_folder_that_cannot_be_removed_costs_itself_alone(place: Path) -> None:
    for name in ("before", "fixed", "later"):
        (place / name / "folder").mkdir(parents=True)
        (place / name / "folder/file").touch()
    if subprocess.run(["chattr", "+i", place / "fixed/folder/file"], check=False, capture_output=True).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        assert remove(place, seconds=10) > 0
        assert len([path for path in place.rglob("*") if path.is_file()]) == 1
    finally:
        subprocess.run(["chattr", "-R", "-i", place], check=True)
    assert remove(place, seconds=10) == 0


def hostile(place: Path, how: str) -> str:
    """Put at a name what no reader should take for a file; returns the name."""
    (place / "real").mkdir()
    (place / "real/file").write_bytes(b"of another")
    made: dict[str, Callable[[], object]] = {
        "link-to-own-memory": lambda: (place / "x").symlink_to(OWN_MEMORY),
        "link-to-a-device": lambda: (place / "x").symlink_to("/dev/zero"),
        "link-to-a-file": lambda: (place / "x").symlink_to(place / "real/file"),
        "link-in-the-middle": lambda: (place / "linked").symlink_to(place / "real"),
        "link-to-proc-in-the-middle": lambda: (place / "linked").symlink_to("/proc/self"),
        "pipe": lambda: os.mkfifo(place / "x"),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind(str(place / "x")),
        "folder": (place / "x").mkdir,
        "loop": lambda: (place / "x").symlink_to("x"),
        "too-large": lambda: (place / "x").write_bytes(b"x" * 1001),
        "sparse": lambda: os.truncate(os.open(place / "x", os.O_CREAT | os.O_RDWR), 2**40),
        "closed": lambda: (place / "x").touch(0),
        "nothing": lambda: None,
        "out": lambda: None,
        "absolute": lambda: None,
        "too-long": lambda: None,
        "too-deep": lambda: None,
    }
    made[how]()
    names = {
        "link-in-the-middle": "linked/file",
        "link-to-proc-in-the-middle": "linked/environ",
        "out": "real/../real/file",
        "absolute": "/etc/passwd",
        "too-long": "y" * 300,
        "too-deep": "y/" * 3000 + "y",
    }
    return names.get(how, "x")


HOSTILE = [
    *("link-to-own-memory", "link-to-a-device", "link-to-a-file", "link-in-the-middle", "link-to-proc-in-the-middle"),
    *("pipe", "socket", "folder", "loop", "too-large", "sparse", "nothing", "out", "absolute", "too-long", "too-deep"),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("how", HOSTILE)
def test_only_a_regular_file_of_its_place_is_read(place: Path, how: str) -> None:
    assert opening.read(place, hostile(place, how), most_bytes=1000) is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.timeout(10)
@pytest.mark.parametrize("how", HOSTILE)
def test_only_a_regular_file_of_its_place_is_copied(place: Path, tmp_path: Path, how: str) -> None:
    target = tmp_path / "copy"
    with pytest.raises(OSError), opening.opened(place, hostile(place, how)) as file:  # noqa: PT011
        opening.copy(file, target, most_bytes=1000)
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_is_closed_to_us_is_not_read(place: Path) -> None:
    assert opening.read(place, hostile(place, "closed"), most_bytes=1000) is None


def test_a_regular_file_is_read_and_copied(place: Path, tmp_path: Path) -> None:
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/c").write_bytes(b"x" * 1000)
    assert opening.read(place, "a/b/c", most_bytes=1000) == b"x" * 1000
    with opening.opened(place, Path("a/b/c")) as file:
        opening.copy(file, tmp_path / "copy", most_bytes=1000)
    assert (tmp_path / "copy").read_bytes() == b"x" * 1000


def test_a_file_that_grows_while_it_is_read_has_an_end(place: Path) -> None:
    (place / "x").write_bytes(b"x" * 500)
    done = threading.Event()

    def grow() -> None:
        with (place / "x").open("ab") as file:
            while not done.is_set():
                file.write(b"x" * 100_000)

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(20):
            data = opening.read(place, "x", most_bytes=1_000_000)
            assert data is None or len(data) <= 1_000_000
            if data is None:
                break
    finally:
        done.set()
        writer.join()


def test_what_is_written_goes_through_no_link(place: Path) -> None:
    (place / "precious").write_text("mine")
    (place / "x").symlink_to(place / "precious")
    opening.write(place / "x", b"new")
    assert (place / "precious").read_text() == "mine"
    assert not (place / "x").is_symlink()
    assert (place / "x").read_text() == "new"


def test_a_walk_names_each_entry_for_what_it_is_itself(place: Path) -> None:
    (place / "folder/.git/deep").mkdir(parents=True)
    (place / "folder/file").touch()
    (place / "link").symlink_to("/")
    os.mkfifo(place / "folder/pipe")
    found = {each.name: each.kind for each in opening.walk(place, skip=frozenset({".git"}))}
    assert found == {
        "folder": Kind.FOLDER,
        "folder/file": Kind.FILE,
        "folder/pipe": Kind.OTHER,
        "link": Kind.LINK,
    }
    assert {each.name for each in opening.walk(place, "folder/.git")} == {"folder/.git/deep"}
    assert list(opening.walk(place, "link")) == []


def test_a_walk_through_a_place_without_end_ends(place: Path) -> None:
    nested(place, 5_000)
    nested(place, 300, "x" * 200)
    (place / "after").touch()
    names = {each.name for each in opening.walk(place)}
    assert "after" in names
    assert max(name.count("/") for name in names) == opening.DEEPEST


@given(name=st.text(st.sampled_from("a./\0x"), max_size=12))
@settings(max_examples=300)
def test_no_name_leads_out_of_its_place(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    top = tmp_path_factory.getbasetemp() / "names"
    (top / "in").mkdir(parents=True, exist_ok=True)
    for outside in ("a", "x", "ax"):
        (top / outside).write_bytes(b"outside")
    assert opening.read(top / "in", name, most_bytes=1000) is None
