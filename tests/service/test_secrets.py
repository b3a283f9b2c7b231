"""What an agent gets hold of that tries everything: nothing. Every credential is a random string; `probes.py` is the
agent's part, run by the real CLI in the real sandbox of a real dispatcher. Each protection is left out once, for its
probe to catch that.

What single flags of the sandbox keep from an agent is probed in `test_sandbox.py`.
"""

import asyncio
import base64
import ctypes
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import probes
import pytest
from aiohttp import web
from run_processes import Stage, ended, need_sandbox, spec
from system import System, eventually, full_text

from peerbot.conversation.chosen import Choice
from peerbot.conversation.keys import Conversation
from peerbot.gateway.app import Gateway
from peerbot.journal import choices
from peerbot.journal.journal import RunRecord
from peerbot.protocol import documents as protocol
from peerbot.protocol.documents import run_path
from peerbot.runs import guard
from peerbot.runs.open import WORKER

REPOSITORY = "peerbot-community/product"
OTHERS_WORDS = "the-other-conversation-said-" + "xylophone"
PERSONS_WORDS = "in-no-argument-list-" + "saxophone"

# Modules that the supervisor's libraries import, as a repository could bring them along: they tell who imported them.
BROUGHT_ALONG = ("anyio", "mcp", "httpx", "httpx_sse", "jsonschema", "starlette", "sse_starlette", "uvicorn", "zipfile")
MODULE = """
import importlib, os, sys
with open("/workspace/imported.txt", "a") as file:
    print(__name__, "in process", os.getpid(), file=file)
here = os.path.dirname(os.path.abspath(__file__))
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != here]
del sys.modules[__name__]
sys.modules[__name__] = importlib.import_module(__name__)
"""

DISPATCHER = """
import asyncio, json, sys
from peerbot import logs
from peerbot.dispatcher.app import Dispatcher
from peerbot.runs.processes.runs import ProcessRuns
from peerbot.runs.processes.sandbox import Sandbox
from peerbot.settings import load

async def main(command, without):
    settings = load()
    logs.configure(settings.log_level)
    runs = ProcessRuns(settings.peerbot_data_dir / "runs", command=command, sandbox=Sandbox(without=without))
    await Dispatcher(settings, runs).start()
    await asyncio.Event().wait()

asyncio.run(main(*json.loads(sys.argv[1])))
"""
"""A dispatcher whose runs lack a protection."""

READABLE = """
import ctypes, sys, threading, time
from peerbot.worker.app import main

def stay_readable():
    while True:
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE
        time.sleep(0.02)

threading.Thread(target=stay_readable, daemon=True).start()
sys.exit(main())
"""
"""A worker that others of its user can read."""

KEEPS_SECRET = """
import os, sys, threading, time
from peerbot.worker.app import main
secret = open(os.environ["PEERBOT_BOOTSTRAP_FILE"]).read()

def put_back():
    while True:
        if not os.path.exists(os.environ["PEERBOT_BOOTSTRAP_FILE"]):
            open(os.environ["PEERBOT_BOOTSTRAP_FILE"], "w").write(secret)
        time.sleep(0.02)

threading.Thread(target=put_back, daemon=True).start()
sys.exit(main())
"""
"""A worker that leaves its bootstrap secret lying about."""

IMPORTS_ITS_OWN = """
import importlib.abc, os, sys, time

class AfterTheCheckout(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        ends = time.monotonic() + 30
        while name == "claude_agent_sdk" and not os.path.exists("/workspace/zipfile.py") and time.monotonic() < ends:
            time.sleep(0.02)

sys.meta_path.insert(0, AfterTheCheckout())
from peerbot.worker.app import main
sys.exit(main())
"""
"""A worker that imports from its working directory, where the agent's modules beside the checkout wait for it."""

LAUNCHES: Mapping[str, tuple[list[str], list[str]]] = {
    "a supervisor that nobody can read": ([sys.executable, "-I", "-c", READABLE], []),
    "a bootstrap secret that is removed": ([sys.executable, "-I", "-c", KEEPS_SECRET], []),
    "a supervisor with imports of its own": ([sys.executable, "-c", IMPORTS_ITS_OWN], []),
    # (Its /tmp is the machine's then, and read-only: Claude Code needs another.)
    "files of its own": (["env", "CLAUDE_CODE_TMPDIR=/home/agent", "TMPDIR=/home/agent", *WORKER], ["host-files"]),
}
"""By the name of a protection: a launch without it, as the worker's command and the sandbox's missing parts."""


def caught(protection: str, report: Mapping[str, Any], run: RunRecord) -> bool:
    """Whether a protection's probe found that the protection is missing."""
    assert run.started
    match protection:
        case "a supervisor that nobody can read":
            taken = {name for name, how in report["supervisor"].items() if how == "done"}
            return bool(taken) or run.started.supervisor_hash in hashes(report)
        case "a bootstrap secret that is removed":
            return bool(run.run.secret_hash == report["bootstrap"])
        case "a supervisor with imports of its own":
            return bool(report["machine"]["imported"])
        case "files of its own":
            return bool(report["machine"]["files"]) or probes.digest(OTHERS_WORDS.encode()) in hashes(report)
    raise AssertionError(protection)


def hashes(report: Mapping[str, Any]) -> set[str]:
    """The hashes of all strings that could be secrets and that the agent saw anywhere."""
    return {one for found in report["seen"].values() for one in found}


class Planted(System):
    """A system whose agents work on a repository that has the probes in it."""

    def __init__(self, directory: Path, settings: dict[str, str] | None = None) -> None:
        super().__init__(directory, {"LOG_LEVEL": "DEBUG", "PEERBOT_REPOSITORIES": REPOSITORY, **(settings or {})})

    async def prepare(self, *launch: str) -> None:
        """Bring the repository along and start a dispatcher: the real one, or one whose runs lack a protection."""
        await self.bring_repository()
        if not launch:
            await self.start()
            return
        with self.log_file.open("ab") as log:
            self.dispatchers.append(
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-c", DISPATCHER, *launch), env=self.environment, stderr=log
                )
            )
        await eventually(lambda: self.logged("dispatcher_started"), 20)

    async def bring_repository(self) -> None:
        """Make the channel's repository: the probes, and modules that somebody could import by mistake."""
        source = self.directory / "source"
        source.mkdir()
        shutil.copy(probes.__file__, source / "probes.py")
        (source / ".gitignore").write_text("__pycache__\nimported.txt\n")
        for name in BROUGHT_ALONG:
            (source / f"{name}.py").write_text(MODULE)
        git(source, "init", "--quiet", "--initial-branch", "main")
        git(source, "add", "--all")
        git(source, "commit", "--quiet", "--message", "Everything that a repository may bring along")
        git(source, "branch", "kept")
        await self.github.import_repository(REPOSITORY, source)
        await self.github.import_repository("peerbot-community/other", source)
        choice = Choice(repository=REPOSITORY, chosen_by=self.slack.person)
        await choices.choose(self.journal, "channel", f"{self.slack.team}-{self.slack.general}", choice)

    @property
    def credentials(self) -> dict[str, str]:
        """Everything that must never leave, by name; git's form of the token too."""
        basic = base64.b64encode(f"x-access-token:{self.github.token}".encode()).decode()
        return {
            "bot token": self.slack.bot_token,
            "app token": self.slack.app_token,
            "GitHub token": self.github.token,
            "GitHub token as git sends it": basic,
            "model key": self.model.api_key,
            "the person's door": self.slack.door_secret,
            "the chat page's key": self.slack.page.key,
        }

    def wanted(self, conversation: Conversation, other: Conversation) -> probes.Wanted:
        """The probes' input for an agent that tries everything."""
        branch = f"refs/heads/{conversation.branch}"
        return {
            **self.wanted_of_the_machine(other),
            "places": ["/"],
            "routes": routes(),
            "pushes": {
                "allowed: our branch": ["OURS", f"HEAD:{branch}"],
                "allowed: our checkpoint": ["OURS", f"HEAD:{conversation.checkpoint_ref(1)}"],
                **{name: ["OURS", *refs] for name, refs in self.refused(conversation, other).items()},
                "another conversation": [f"OURS/../../../{other.thread_ts}/1/git", f"HEAD:{branch}"],
                "another repository": ["OURS/../../peerbot-community/other.git", "HEAD:refs/heads/main"],
                "another repository, at the forge": [f"{self.github.url}/peerbot-community/other.git", "HEAD:main"],
                "our branch, at the forge": [f"{self.github.url}/{REPOSITORY}.git", f"HEAD:{branch}"],
            },
            "services": [
                ("GET", f"{self.slack.url}door/thread?channel={other.channel}&thread_ts={other.thread_ts}"),
                ("POST", f"{self.slack.url}door/say"),
                ("POST", f"{self.slack.api_url}auth.test"),
                ("POST", f"{self.slack.api_url}conversations.replies"),
                ("POST", f"{self.slack.api_url}apps.connections.open"),
                ("GET", f"{self.slack.url}link/?ticket=unknown"),
                ("GET", f"{self.github.api_url}/repos/{REPOSITORY}"),
                ("GET", f"{self.slack.url}page/state"),
                ("GET", f"{self.github.url}/-/data/{REPOSITORY}"),
                ("GET", f"{self.github.url}/{REPOSITORY}.git/info/refs?service=git-upload-pack"),
                ("POST", f"{self.model.url}/v1/messages"),
            ],
        }

    def wanted_of_the_machine(self, other: Conversation) -> probes.Wanted:
        """The probes' input for a look at the machine alone."""
        files = ("journal", "slack", "github", "data", "home", "source", "dispatcher.log")
        hidden = [str(self.directory / name) for name in files]
        return {
            "lengths": sorted(
                {43, len(OTHERS_WORDS), len(self.slack.page.key), *(len(value) for value in self.credentials.values())}
            ),
            "places": [*hidden, "/workspace", "/run"],
            "hidden": hidden,
            "other": run_path(other, 1),
            "routes": [],
            "pushes": {},
            "services": [],
        }

    @staticmethod
    def refused(conversation: Conversation, other: Conversation) -> dict[str, list[str]]:
        """Pushes that the forge would take, and that the gateway must not pass on."""
        branch = f"refs/heads/{conversation.branch}"
        return {
            "main": ["HEAD:refs/heads/main"],
            "main, by force": ["+HEAD:refs/heads/main"],
            "another branch": ["HEAD:refs/heads/another"],
            "another conversation's branch": [f"HEAD:refs/heads/{other.branch}"],
            "a tag": ["HEAD:refs/tags/v1"],
            "notes": ["HEAD:refs/notes/commits"],
            "another run's checkpoint": [f"HEAD:{conversation.checkpoint_ref(2)}"],
            "another conversation's checkpoint": [f"HEAD:{other.checkpoint_ref(1)}"],
            "our branch together with a tag": [f"+HEAD:{branch}", "HEAD:refs/tags/v2"],
            "a branch deleted": [":refs/heads/kept"],
            "our branch deleted": [f":{branch}"],
        }

    async def run(self, command: str, thread: Conversation | None = None) -> tuple[Conversation, str]:
        """Have the agent run a command; the conversation, and the answer."""
        message = f"{PERSONS_WORDS}: run ```\n{command}\n```"
        conversation, identity = await self.say(message, thread=thread, mention=thread is None)
        return conversation, full_text(await self.answer(conversation, identity))

    async def look(self, conversation: Conversation, wanted: probes.Wanted) -> dict[str, Any]:
        """Have the agent look; returns its report."""
        told = base64.b64encode(json.dumps(wanted).encode()).decode()
        _, text = await self.run(f"python3 probes.py look {told}", conversation)
        assert "That is all." in text, text
        try:
            return self.report(conversation)
        except subprocess.CalledProcessError as error:
            raise AssertionError(f"its report was not pushed: {error.stderr}\n{text}") from error

    async def first_run(self, conversation: Conversation) -> RunRecord:
        record = await self.journal.run(conversation, 1)
        assert record
        assert record.started
        return record

    def report(self, conversation: Conversation) -> dict[str, Any]:
        """Return the agent's report as it was pushed."""
        path = self.github.repository_path(REPOSITORY)
        found: dict[str, Any] = json.loads(git(path, "show", f"{conversation.branch}:report.json"))
        return found

    def refs(self, repository: str = REPOSITORY) -> dict[str, str]:
        path = self.github.repository_path(repository)
        lines = git(path, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(line.split() for line in lines)

    def everything_that_left(self) -> Iterator[tuple[str, bytes]]:
        """Return all that others can read: Slack, GitHub, the journal, the model's side and every log."""
        yield "the dispatcher's log", self.log_file.read_bytes()
        for path in (self.directory / "data").rglob("worker.log"):
            yield str(path), path.read_bytes()
        for name in ("journal", "slack"):
            for path in (self.directory / name).rglob("*"):
                if path.is_file() and path != self.directory / "slack/door":  # where the page's key is kept
                    data = path.read_bytes()
                    yield str(path), gzip.decompress(data) if path.suffix == ".gz" else data
        repository = self.github.repository_path(REPOSITORY)
        yield "the repository", git(repository, "log", "--all", "--patch", "--text").encode()
        yield "GitHub's calls", repr(list(self.github.calls)).encode()
        yield "what the model was told", json.dumps(self.model.seen).encode()


def routes() -> list[tuple[str, str]]:
    """Method and path, below a run's, of everything that the gateway serves."""
    app = Gateway(*[cast(Any, None)] * 17).app()
    found = []
    for route in app.router.routes():
        assert route.resource
        assert route.resource.canonical.startswith(RUN)
        path = route.resource.canonical.removeprefix(RUN).replace("{tail}", "x")
        methods = ("GET", "POST") if route.method == "*" else (route.method,)
        found += [(method, re.sub(r"\{\w+\}", "1", path)) for method in methods]
    return found


RUN = "/v1/runs/{team}/{channel}/{thread_ts}/{run}/"
"""The part of each path that names a run, as aiohttp shows it."""


def git(directory: Path, *arguments: str) -> str:
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.invalid", "-c", "safe.directory=*"]
    done = subprocess.run(["git", *author, *arguments], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture(autouse=True)
def _sandbox() -> None:
    need_sandbox()


def test_the_routes_are_those_that_the_protocol_documents() -> None:
    table = re.findall(r"^`(\S+)\s+([^`?]+)(?:\?\w+=\w+)?`", protocol.__doc__ or "", re.MULTILINE)
    documented = {(method, re.sub(r"\{\w+\}", "1", path).replace("…", "x")) for method, path in table}
    served = {("*" if path.endswith("/x") else method, path) for method, path in routes() if method != "HEAD"}
    assert served == documented


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Planted]:
    async with Planted(tmp_path, {"WORKER_IDLE_SECONDS": "3"}) as system:
        yield system


async def test_an_agent_that_tries_everything_finds_nothing_and_is_refused(system: Planted) -> None:
    await system.prepare()
    other, _ = await system.say(f"take 60 seconds. {OTHERS_WORDS}")
    await eventually(lambda: system.model.requests >= 1, 20)
    conversation, _ = await system.run("true")
    before = system.refs(), system.refs("peerbot-community/other")
    report = await system.look(conversation, system.wanted(conversation, other))
    run = await system.first_run(conversation)
    assert run.started

    # It found nothing, and it did look.
    assert run.started.agent_hash in set(report["seen"]["environment"]) & set(report["seen"]["memory"])
    assert {name for name in LAUNCHES if caught(name, report, run)} == set()
    others = await system.first_run(other)
    assert others.started
    keys = (system.slack.page.key, system.github.door_secret)  # of people's browsers
    secret = {probes.digest(value.encode()) for value in (*system.credentials.values(), *keys)}
    secret |= {run.run.secret_hash, run.started.supervisor_hash}
    secret |= {others.run.secret_hash, others.started.supervisor_hash, others.started.agent_hash}
    assert hashes(report) & secret == set()
    assert set(report["supervisor"].values()) <= {"EACCES", "EPERM", "ENOENT"}
    look_at_the_machine(report["machine"])

    # Everything is refused, in words for the people who see them.
    assert report["second trade"]["status"] == 403
    look_at_calls(report["calls"])
    look_at_paths(report["paths"])
    for service, reply in report["services"].items():
        assert reply["status"] in (401, 403) or '"invalid_auth"' in reply["body"], (service, reply)
    look_at_pushes(report["pushes"])
    ours = {f"refs/heads/{conversation.branch}", conversation.checkpoint_ref(1)}
    now = {ref: commit for ref, commit in system.refs().items() if ref not in ours}
    assert (now, system.refs("peerbot-community/other")) == before
    assert OTHERS_WORDS not in json.dumps(report)

    await let_git_run_programs(system, conversation)
    undo_and_tell = "git config --remove-section url.$(cat .git/led-to); printenv ANTHROPIC_AUTH_TOKEN"
    _, text = await system.run(undo_and_tell, conversation)
    words = re.findall(r"[\w-]{43}", text)
    [token] = [word for word in words if probes.digest(word.encode()) == run.started.agent_hash]
    spies = system.report(conversation)["spies"]
    assert {spy["name"] for spy in spies} == {"clean"}  # no hook, no other program
    for spy in spies:
        assert set(spy["attack"].values()) <= {"EACCES", "EPERM", "ENOENT"}, spy["name"]
        assert run.started.agent_hash in spy["environment"]
        assert {*spy["environment"], *spy["memory"]} & secret == set()

    await eventually(lambda: system.logged("run_closed"), 15)
    netloc = f"127.0.0.1:{await system.port('gateway_port')}"
    own, elsewhere = run_path(conversation, 1), run_path(other, 1)
    calls = await asyncio.to_thread(probes.call_everything, netloc, routes(), own, elsewhere, token)
    assert {reply["status"] for reply in calls.values()} == {403}
    ask = await asyncio.to_thread(probes.call, netloc, "POST", f"{own}/model/v1/messages", token.encode())
    assert ask["status"] == 403

    for place, data in system.everything_that_left():
        for name, value in system.credentials.items():
            assert value.encode() not in data, f"the {name} is in {place}"
        assert probes.token_like(data, [43]) & secret == set(), place


def look_at_the_machine(machine: Mapping[str, Any]) -> None:
    assert machine["kernel"] in ("EROFS", "EACCES")
    for line in machine["arguments"]:
        assert PERSONS_WORDS not in line
        assert OTHERS_WORDS not in line
    if machine["landlock"] >= 6:  # Linux 6.12: then not even the process that started the worker can be touched
        assert set(machine["first process"].values()) <= {"EACCES", "EPERM", "ENOENT"}


def look_at_calls(calls: Mapping[str, probes.Reply]) -> None:
    """Two relays open to the agent's own token, in its own run; nothing else opens to anybody."""
    relays = {name for name in calls if re.fullmatch(r"our run, our token: (GET|POST) (model|git)/x", name)}
    assert len(relays) == 4
    for name, reply in calls.items():
        assert reply["status"] == (404 if name in relays else 403), (name, reply)


def look_at_paths(paths: Mapping[str, probes.Reply]) -> None:
    for path, reply in paths.items():
        wanted = {200} if path.startswith("allowed: ") else {403, 404}
        assert reply["status"] in wanted, (path, reply)


def look_at_pushes(pushes: Mapping[str, tuple[int, str]]) -> None:
    for name, (code, said) in pushes.items():
        if name.startswith("allowed: "):
            assert code == 0, (name, said)
        else:
            assert code != 0, name
            assert re.search(r"remote: (PeerBot|404)|could not read Username", said), (name, said)


async def let_git_run_programs(system: Planted, conversation: Conversation) -> None:
    """The supervisor's git meets a hostile configuration: it runs its filter, and asks no server of the agent's."""
    await system.run("python3 probes.py plant", conversation)
    given: list[str] = []

    async def robber(request: web.Request) -> web.Response:
        given.append(request.headers.get("Authorization", ""))
        return web.Response(status=404)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", robber)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        await system.run(f"python3 probes.py collect {url}", conversation)
    finally:
        await runner.cleanup()
    assert system.report(conversation)["spies"], "it was pushed to the branch"
    assert given == []


@pytest.mark.parametrize("protection", sorted(LAUNCHES))
async def test_the_probe_catches_a_launch_without_the_protection(tmp_path: Path, protection: str) -> None:
    async with Planted(tmp_path) as system:
        await system.prepare(json.dumps(LAUNCHES[protection]))
        other, _ = await system.say(f"run `true`. {OTHERS_WORDS}")
        conversation, _ = await system.run("true")
        report = await system.look(conversation, system.wanted_of_the_machine(other))
        run = await system.first_run(conversation)

        assert {name for name in LAUNCHES if caught(name, report, run)} == {protection}
        assert report["second trade"]["status"] == 403  # a secret that was traded is worth nothing


async def test_the_forge_would_take_the_pushes_that_the_gateway_refuses(tmp_path: Path) -> None:
    async with Planted(tmp_path) as system:
        await system.bring_repository()
        clone = tmp_path / "clone"
        address = (
            f"http://x-access-token:{system.github.token}@{system.github.url.removeprefix('http://')}/{REPOSITORY}.git"
        )
        await asyncio.to_thread(git, tmp_path, "clone", "--quiet", address, str(clone))
        ours, others = (Conversation("T1", "C1", f"1700000000.00000{n}") for n in (1, 2))
        for name, refs in {"ours": [f"HEAD:refs/heads/{ours.branch}"], **system.refused(ours, others)}.items():
            await asyncio.to_thread(git, clone, "commit", "--quiet", "--allow-empty", "--message", name)
            before = system.refs()
            await asyncio.to_thread(git, clone, "push", "--quiet", "origin", *refs)
            assert system.refs() != before, name


ABSTRACT = """
import socket, sys
from peerbot.worker.harden import harden
if {hardened}:
    harden()
try:
    socket.socket(socket.AF_UNIX).connect({name!r})
    print("connected")
except PermissionError:
    print("refused")
"""


@pytest.mark.parametrize(("hardened", "how"), [(True, "refused"), (False, "connected")])
async def test_the_desktops_abstract_sockets_are_out_of_reach(tmp_path: Path, hardened: bool, how: str) -> None:
    """They belong to the network, which the sandbox shares. Kernels before 6.12 can't keep an agent from them."""
    if hardened and ctypes.CDLL(None).syscall(444, None, 0, 1) < 6:
        how = "connected"
    name = f"\0peerbot-{os.urandom(8).hex()}"
    server = await asyncio.start_unix_server(lambda _, writer: writer.close(), name)
    stage = Stage(tmp_path / "runs", need_sandbox())
    async with server:
        try:
            runs = stage.runs(ABSTRACT.format(hardened=hardened, name=name))
            await runs.start(spec())
            await ended(runs)
            assert stage.printed().strip() == how
        finally:
            await stage.close()


KEYS = """
import ctypes, os
add_key, keyctl = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
libc = ctypes.CDLL(None)
"""
PLANT_KEY = (
    KEYS
    + """
import os, sys
assert libc.syscall(keyctl, 1, None) > 0  # a session keyring of our own: nobody else's is touched
assert libc.syscall(add_key, b"user", b"peerbot-planted", b"planted", 7, -3) > 0
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
)
FIND_KEY = (
    KEYS
    + """
found = ctypes.create_string_buffer(7)
libc.syscall(keyctl, 11, libc.syscall(keyctl, 10, -3, b"user", b"peerbot-planted", 0), found, 7)
print("found:", found.raw.strip(b"\\0").decode())
"""
)


GUARDED = ["-I", "-S", guard.__file__, "LINE", "BEATS", "60", "0", ""]


@pytest.mark.parametrize(("before", "found"), [(GUARDED, ""), ([], "planted")])
def test_the_keys_of_the_person_who_started_the_dispatcher_stay_behind(before: list[str], found: str) -> None:
    """The kernel hands a session's keys (Kerberos tickets, disks' passphrases) on to children, whatever they are."""
    line, held = os.pipe()
    beats = os.dup(line)
    try:
        guarded = [{"LINE": str(line), "BEATS": str(beats)}.get(word, word) for word in before]
        if guarded:
            guarded.append(sys.executable)
        done = subprocess.run(
            [sys.executable, "-c", PLANT_KEY, *guarded, "-c", FIND_KEY],
            check=False,
            pass_fds=[line, beats],
            capture_output=True,
            text=True,
            timeout=20,
        )
    finally:
        for descriptor in (line, beats, held):
            os.close(descriptor)
    if "AssertionError" in done.stderr:
        pytest.skip("this machine's kernel keeps no keys for its users")
    assert done.stdout.strip() == f"found: {found}".strip(), done.stderr
