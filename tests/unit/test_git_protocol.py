"""The list of commands at the head of a push: read exactly as git writes it, or not at all."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerbot.errors import Refused
from peerbot.gateway.git_protocol import (
    FLUSH,
    MAX_COMMANDS,
    MAX_LIST_BYTES,
    Command,
    CommandReader,
    FetchReader,
    Push,
    git_protocol,
    pkt_line,
    push_reply,
)

A, B, ZERO = "a" * 40, "b" * 40, "0" * 40
CAPABILITIES = b"\0 report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5"


def move(ref: str, old: str = A, new: str = B) -> bytes:
    return f"{old} {new} {ref}".encode()


def read(data: bytes) -> Push | None:
    return CommandReader().feed(data)


def test_reads_the_commands_and_what_the_client_understands() -> None:
    reader = CommandReader()
    push = reader.feed(
        pkt_line(move("refs/heads/x") + CAPABILITIES) + pkt_line(move("refs/tags/v1", ZERO)) + FLUSH + b"PACK\0\0"
    )
    assert push == Push((Command(A, B, "refs/heads/x"), Command(ZERO, B, "refs/tags/v1")))
    assert {"report-status-v2", "side-band-64k"} <= reader.capabilities
    assert not any(command.deletes for command in push.commands)


def test_a_new_oid_of_zeros_is_a_deletion_in_both_hash_formats() -> None:
    for zero in (ZERO, "0" * 64):
        push = read(pkt_line(move("refs/heads/x", zero.replace("0", "a"), zero)) + FLUSH)
        assert push is not None
        assert push.commands[0].deletes


def test_a_list_without_commands_is_gits_probe() -> None:
    assert read(FLUSH) == Push(())


def test_shallow_lines_may_come_before_the_commands() -> None:
    push = read(pkt_line(f"shallow {A}".encode()) + pkt_line(move("refs/heads/x")) + FLUSH)
    assert push == Push((Command(A, B, "refs/heads/x"),))


@given(st.lists(st.integers(1, 200), max_size=20))
def test_chunks_may_end_anywhere(sizes: list[int]) -> None:
    data = pkt_line(move("refs/heads/x") + CAPABILITIES) + pkt_line(move("refs/heads/y")) + FLUSH + b"PACK" * 30
    reader = CommandReader()
    push, at = None, 0
    for size in [*sizes, len(data)]:
        chunk, at = data[at : at + size], at + size
        push = reader.feed(chunk)
        if push:
            break
    assert push == read(data)
    assert data.startswith(reader.received)


REFUSED = {
    "no hexadecimal length": b"zzzz",
    "a signed length": b"+0a1" + b"x" * 200,
    "a delimiter, where git's server ends the list": pkt_line(move("refs/heads/x")) + b"0001",
    "a response end": pkt_line(move("refs/heads/x")) + b"0002",
    "a reserved length": b"0003",
    "an empty line": b"0004",
    "longer than a pkt-line can be": b"fff1" + b"x" * 70000,
    "no ref": pkt_line(f"{A} {B}".encode()),
    "a ref outside refs/": pkt_line(move("HEAD")),
    "two refs in a line": pkt_line(move("refs/heads/x refs/heads/main")),
    "a line break in a ref": pkt_line(move("refs/heads/x\nrefs/heads/main")),
    "a terminal's escape in a ref": pkt_line(move("refs/heads/\x1b[31m")),
    "a ref that is not UTF-8": pkt_line(move("refs/heads/").replace(b"heads/", b"heads/\xff")),
    "capabilities twice": pkt_line(move("refs/heads/x") + b"\0 a\0 b"),
    "capabilities on the second command": pkt_line(move("refs/heads/x")) + pkt_line(move("refs/heads/y") + b"\0 a"),
    "a short oid": pkt_line(b"abc def refs/heads/x"),
    "an oid in capitals": pkt_line(move("refs/heads/x", "A" * 40)),
    "a shallow line after a command": pkt_line(move("refs/heads/x")) + pkt_line(f"shallow {A}".encode()),
    "push options": pkt_line(move("refs/heads/x") + CAPABILITIES + b" push-options"),
    "push options with a value": pkt_line(move("refs/heads/x") + CAPABILITIES + b" push-options=1"),
    "push options behind a tab": pkt_line(move("refs/heads/x") + CAPABILITIES + b"\tpush-options"),
    "push options in the agent's name": pkt_line(move("refs/heads/x") + b"\0 agent=git\tpush-options"),
    "push options behind another space": pkt_line(move("refs/heads/x") + "\0 quiet\u2003push-options".encode()),
    "a capability that nobody knows": pkt_line(move("refs/heads/x") + CAPABILITIES + b" new-thing"),
    "a value where none belongs": pkt_line(move("refs/heads/x") + b"\0 quiet=1"),
    "another hash": pkt_line(move("refs/heads/x") + b"\0 object-format=md5"),
    "a nonce of a signed push": pkt_line(move("refs/heads/x") + b"\0 push-cert=nonce"),
    "capabilities on a shallow line": pkt_line(f"shallow {A}\0 quiet".encode()) + pkt_line(move("refs/heads/x")),
    "a signed push": pkt_line(b"push-cert" + CAPABILITIES),
    "too many commands": b"".join(pkt_line(move(f"refs/heads/{n}")) for n in range(MAX_COMMANDS + 1)),
    "too many bytes": b"".join(pkt_line(move("refs/heads/" + "x" * 1000)) for _ in range(MAX_COMMANDS)),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_refuses_what_git_would_not_write(data: bytes) -> None:
    with pytest.raises(Refused):
        CommandReader().feed(data + FLUSH)


FETCHES = {
    "ls-refs": pkt_line(b"command=ls-refs\n")
    + pkt_line(b"agent=git/2.39.5")
    + pkt_line(b"object-format=sha1")
    + b"0001",
    "fetch": pkt_line(b"command=fetch") + pkt_line(b"session-id=a-b-1") + b"0001" + pkt_line(b"thin-pack") + FLUSH,
    "object-info": pkt_line(b"command=object-info") + b"0001" + pkt_line(b"size") + FLUSH,
    "a command alone": pkt_line(b"command=ls-refs\n") + FLUSH,
    "protocol 0": pkt_line(
        f"want {A} multi_ack_detailed no-done side-band-64k thin-pack ofs-delta filter agent=git/2\n".encode()
    ),
    "protocol 0, without capabilities": pkt_line(f"want {A}\n".encode()),
    "nothing wanted": FLUSH,
}
REFUSED_FETCHES = {
    "another command": pkt_line(b"command=bundle-uri") + FLUSH,
    "a command that nobody knows": pkt_line(b"command=push") + FLUSH,
    "two commands": pkt_line(b"command=fetch") + pkt_line(b"command=ls-refs") + FLUSH,
    "a server option": pkt_line(b"command=fetch") + pkt_line(b"server-option=x") + b"0001",
    "a capability first": pkt_line(b"server-option=x") + pkt_line(b"command=fetch") + b"0001",
    "a capability that nobody knows": pkt_line(b"command=fetch") + pkt_line(b"new=1") + b"0001",
    "a flag where a value belongs": pkt_line(b"command=fetch") + pkt_line(b"agent") + b"0001",
    "push options": pkt_line(f"want {A} push-options=1\n".encode()),
    "no commit": pkt_line(b"want refs/heads/main\n"),
    "a delimiter first": b"0001" + pkt_line(b"command=push"),
    "no length": b"zzzz",
    "no end": b"".join([pkt_line(b"command=fetch"), *[pkt_line(b"agent=" + b"x" * 200)] * 400]),
}


@pytest.mark.parametrize("data", FETCHES.values(), ids=FETCHES.keys())
def test_a_fetch_in_gits_own_form_passes_in_chunks_of_any_size(data: bytes) -> None:
    whole, single = FetchReader(), FetchReader()
    assert whole.feed(data)
    assert any(single.feed(data[at : at + 1]) for at in range(len(data)))
    assert data.startswith(single.received)
    assert whole.received == data


@pytest.mark.parametrize("data", REFUSED_FETCHES.values(), ids=REFUSED_FETCHES.keys())
def test_a_fetch_that_asks_for_more_than_objects_is_refused(data: bytes) -> None:
    with pytest.raises(Refused):
        FetchReader().feed(data)


@given(words=st.lists(st.text(st.characters(codec="latin-1"), max_size=20), max_size=6))
def test_no_capability_of_a_push_hides_another(words: list[str]) -> None:
    """git's server finds a capability behind any white space, and takes it with or without a value."""
    capabilities = " ".join(words).encode("latin-1")
    try:
        CommandReader().feed(pkt_line(move("refs/heads/x") + b"\0 report-status " + capabilities) + FLUSH)
    except Refused:
        return
    for word in capabilities.split():
        name = word.partition(b"=")[0].decode()
        assert name in {
            *("report-status", "report-status-v2", "side-band", "side-band-64k", "quiet", "atomic"),
            *("ofs-delta", "no-thin", "delete-refs", "agent", "session-id", "object-format"),
        }


@pytest.mark.parametrize(
    ("header", "passes"),
    [
        ("version=2", True),
        ("version=1", True),
        ("version=2:server-option=x", False),
        ("version=2\nX: y", False),
        ("version=22", False),
        ("", False),
        (None, False),
    ],
)
def test_the_protocol_header_names_a_version_and_nothing_else(header: str | None, passes: bool) -> None:
    assert git_protocol(header) == (header if passes else None)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_random_bytes_are_refused_or_wait_for_more_and_never_crash(chunks: list[bytes]) -> None:
    reader = CommandReader()
    try:
        for chunk in chunks:
            if push := reader.feed(chunk):
                assert all(command.ref.startswith("refs/") for command in push.commands)
                return
    except Refused:
        return
    assert len(reader.received) <= MAX_LIST_BYTES + max(map(len, chunks), default=0)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=80).map(pkt_line),
            st.sampled_from([FLUSH, b"0001", pkt_line(move("refs/heads/x") + CAPABILITIES), pkt_line(move("refs/a"))]),
        ),
        max_size=8,
    )
)
def test_random_lines_between_good_ones_never_add_a_command(lines: list[bytes]) -> None:
    try:
        push = read(b"".join(lines))
    except Refused:
        return
    if push:
        assert {command.ref for command in push.commands} <= {"refs/heads/x", "refs/a"}


def packets(data: bytes) -> list[bytes]:
    """The pkt-lines of `data` up to its flush."""
    lines = []
    while (length := int(data[:4], 16)) > 0:
        lines.append(data[4:length])
        data = data[length:]
    return lines


def test_a_refusal_names_each_ref_in_the_report() -> None:
    reply = push_reply(frozenset({"report-status"}), "no", [("refs/heads/a", "why"), ("refs/heads/b", "too")])
    assert reply is not None
    assert packets(reply) == [b"unpack ok\n", b"ng refs/heads/a why\n", b"ng refs/heads/b too\n"]


def test_a_refusal_without_refs_fails_the_whole_push() -> None:
    reply = push_reply(frozenset({"report-status"}), "no", [])
    assert reply is not None
    assert packets(reply) == [b"unpack no\n"]


@pytest.mark.parametrize(("band", "limit"), [("side-band", 1000), ("side-band-64k", 65520)])
def test_a_refusal_fits_the_side_band_that_was_agreed_on(band: str, limit: int) -> None:
    refs = [(f"refs/heads/{'x' * 600}{n}", "why") for n in range(MAX_COMMANDS)]
    reply = push_reply(frozenset({"report-status", band}), "PeerBot: no", refs)
    assert reply is not None
    lines = packets(reply)
    assert max(map(len, lines)) + 4 <= limit
    assert b"".join(line[1:] for line in lines if line[0] == 2) == b"PeerBot: no\n"
    report = packets(b"".join(line[1:] for line in lines if line[0] == 1))
    assert len(report) == MAX_COMMANDS + 1


def test_a_client_that_understands_no_report_gets_none() -> None:
    assert push_reply(frozenset(), "no", []) is None


def test_gits_own_server_reads_the_same_list(tmp_path: Path) -> None:
    """git's receive-pack acts on the list as we read it: it makes the ref that we saw, and no other."""
    git = ("git", "-c", "init.defaultBranch=main", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path))
    subprocess.run((*git, "init", "-q"), check=True)
    subprocess.run((*git, "commit", "-q", "--allow-empty", "-m", "one"), check=True)
    oid = subprocess.run((*git, "rev-parse", "HEAD"), check=True, capture_output=True, text=True).stdout.strip()
    data = pkt_line(move("refs/heads/x", ZERO, oid) + b"\0 report-status\n") + FLUSH
    pack = subprocess.run((*git, "pack-objects", "--stdout", "-q"), input=b"", check=True, capture_output=True).stdout
    reply = subprocess.run(
        ("git", "receive-pack", "--stateless-rpc", str(tmp_path)), input=data + pack, check=True, capture_output=True
    ).stdout
    push = read(data)
    assert push is not None
    assert packets(reply) == [b"unpack ok\n", *(f"ok {command.ref}\n".encode() for command in push.commands)]
