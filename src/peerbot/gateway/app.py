"""The gateway's HTTP app: the one API that workers call, on a port of its own (3001).

`access.py` first checks the caller, by path, token and role. Then these modules do the work:

    start, ready, close             this module
    inputs, thread                  `thread/inbox.py`
    turns                           `turns/turns.py`
    progress, the answer            `thread/present.py`
    session                         `turns/sessions.py`
    work                            `turns/branches.py`
    model                           `gateway/model_relay.py`
    git                             `gateway/git_relay.py`

The gateway holds every credential, and none of its replies carries one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from peerbot.conversation.deadlines import POLL_SECONDS
from peerbot.conversation.documents import RunClosed, RunStarted
from peerbot.conversation.ends import RunEnd
from peerbot.conversation.keys import Conversation
from peerbot.conversation.progress import Progress
from peerbot.errors import Conflict, PeerBotError, Refused, Unavailable
from peerbot.gateway.access import Access, Caller, Role, is_secret_of, named_run
from peerbot.gateway.git_relay import GitRelay, GitTarget
from peerbot.gateway.model_relay import ModelRelay
from peerbot.github.repositories import Repositories
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.documents import (
    Brief,
    Inputs,
    Message,
    SessionPart,
    StartRequest,
    Thread,
    TurnFinished,
    TurnResult,
)
from peerbot.protocol.sessions import LARGEST_BYTES
from peerbot.tasks import Spawn
from peerbot.thread.inbox import Inbox
from peerbot.thread.present import CardFacts, Presenter
from peerbot.turns.branches import Branches
from peerbot.turns.sessions import checked, session_so_far
from peerbot.turns.turns import Turns

log = logger(__name__)

SMALL_BODY_BYTES = 4096
LARGEST_BODY_BYTES = 72 * 1024 * 1024
PREFIX = "/v1/runs/{team}/{channel}/{thread_ts}/{run:[0-9]{1,6}}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a run, and the model that it uses."""

    turn_seconds: float
    idle_seconds: float
    run_seconds: float
    budget_usd: float
    checkpoint_seconds: float
    model: str | None
    model_kind: str  # "claude" or "demo"


@dataclass(slots=True)
class Gateway:
    """The parts that the handlers share. Its only state is caches and the requests that wait here."""

    journal: Journal
    inbox: Inbox
    turns: Turns
    branches: Branches
    presenter: Presenter
    repositories: Repositories
    model: ModelRelay
    git: GitRelay
    limits: Limits
    started: Callable[[Conversation, int], None]  # called when a worker has traded its secret: burn it
    closed: Callable[[Conversation], None]  # called when a worker has closed its run: reconcile
    spawn: Spawn
    access: Access = field(init=False)
    _waiting: dict[Conversation, set[asyncio.Event]] = field(default_factory=dict)
    _ending: asyncio.Event = field(default_factory=asyncio.Event)
    _parts: dict[tuple[Conversation, int], tuple[int, int]] = field(default_factory=dict)  # turn, bytes of its parts

    def __post_init__(self) -> None:
        self.access = Access(self.journal)

    def app(self) -> web.Application:
        """Build the HTTP app."""
        app = web.Application(middlewares=[_answer_errors], client_max_size=LARGEST_BODY_BYTES)
        app.router.add_post(f"{PREFIX}/start", self.start)
        app.router.add_get(f"{PREFIX}/inputs", self.inputs)
        app.router.add_post(f"{PREFIX}/turns", self.begin)
        app.router.add_put(PREFIX + "/turns/{turn:[0-9]{1,6}}/progress", self.progress)
        app.router.add_put(PREFIX + "/turns/{turn:[0-9]{1,6}}/session/{part:[0-9]{1,6}}", self.keep_part)
        app.router.add_put(PREFIX + "/turns/{turn:[0-9]{1,6}}/session", self.keep_session)
        app.router.add_get(PREFIX + "/turns/{turn:[0-9]{1,6}}/session", self.session)
        app.router.add_put(PREFIX + "/turns/{turn:[0-9]{1,6}}/work", self.keep_work)
        app.router.add_get(PREFIX + "/turns/{turn:[0-9]{1,6}}/work", self.work)
        app.router.add_get(PREFIX + "/turns/{turn:[0-9]{1,6}}/thread", self.thread)
        app.router.add_post(PREFIX + "/turns/{turn:[0-9]{1,6}}/finish", self.finish)
        app.router.add_get(f"{PREFIX}/ready", self.ready)
        app.router.add_post(f"{PREFIX}/close", self.close_run)
        app.router.add_route("*", PREFIX + "/model/{tail:.*}", self.relay_model)
        app.router.add_route("*", PREFIX + "/git/{tail:.*}", self.relay_git)
        return app

    def notify(self, conversation: Conversation) -> None:
        """Have the requests of this conversation that wait here look again: its run was woken."""
        for event in self._waiting.get(conversation, ()):
            event.set()

    def end(self) -> None:
        """Send the requests that wait here away, so that their workers ask another replica."""
        self._ending.set()
        for conversation in list(self._waiting):
            self.notify(conversation)

    async def start(self, request: web.Request) -> web.Response:
        """Trade the bootstrap secret for two tokens, whose hashes the worker sends."""
        conversation, n = named_run(request)
        asked = StartRequest.model_validate_json(await _small_body(request))
        record = await self.journal.run(conversation, n)
        if record is None or record.closed or not is_secret_of(asked.secret, record.run.secret_hash):
            raise Refused("This run has ended, or this is not its secret.")
        tokens = RunStarted(supervisor_hash=asked.supervisor_hash, agent_hash=asked.agent_hash)
        if not await self.journal.run_started(conversation, n, tokens):
            again = await self.journal.run(conversation, n)
            if again is None or again.started is None or _hashes(again.started) != _hashes(tokens):
                raise Refused("This run already has a worker.")
        log.info("run_started", conversation=str(conversation), run=n)
        self.started(conversation, n)
        return _json(
            Brief(
                team=conversation.team,
                channel=conversation.channel,
                thread_ts=conversation.thread_ts,
                run=n,
                repository=record.run.repository,
                default_branch=record.run.default_branch,
                branch=record.run.branch,
                model=self.limits.model,
                model_kind="demo" if self.limits.model_kind == "demo" else "claude",
                turn_seconds=self.limits.turn_seconds,
                idle_seconds=self.limits.idle_seconds,
                run_seconds=self.limits.run_seconds,
                budget_usd=self.limits.budget_usd,
                checkpoint_seconds=self.limits.checkpoint_seconds,
            )
        )

    async def inputs(self, request: web.Request) -> web.Response:
        """Hand over the unanswered inputs; if there is none, wait up to `wait` seconds for one."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        wait = min(float(request.query.get("wait", "0")), POLL_SECONDS)
        woken = asyncio.Event()
        self._waiting.setdefault(caller.conversation, set()).add(woken)
        try:
            found = await self.inbox.waiting(caller.conversation)
            if not found and wait > 0 and not self._ending.is_set():
                try:
                    async with asyncio.timeout(wait):
                        await woken.wait()
                except TimeoutError:
                    return _json(Inputs(inputs=[]))
                found = await self.inbox.waiting(caller.conversation)
            return _json(Inputs(inputs=found))
        finally:
            waiting = self._waiting[caller.conversation]
            waiting.discard(woken)
            if not waiting:
                del self._waiting[caller.conversation]

    async def begin(self, request: web.Request) -> web.Response:
        """Number the turn that begins, and show its card."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        begun = await self.turns.begin(caller.conversation, caller.record)
        log.info("turn_begun", conversation=str(caller.conversation), run=caller.record.n, turn=begun.turn)
        self.spawn(self.presenter.starting(caller.conversation, begun.turn, await self._card_facts(caller)))
        return _json(begun)

    async def progress(self, request: web.Request) -> web.Response:
        """Take the newest progress of a turn."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        report = Progress.model_validate_json(await request.read())
        self.presenter.progress(caller.conversation, _number(request, "turn"), await self._card_facts(caller), report)
        return web.Response(status=204)

    async def keep_part(self, request: web.Request) -> web.Response:
        """Keep some entries of the transcript; the same part again is fine."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        data = SessionPart.model_validate_json(await request.read()).model_dump_json().encode()
        turn, part = _number(request, "turn"), _number(request, "part")
        self._count(caller, turn, len(data))
        if not await self.journal.write_session_part(caller.conversation, turn, caller.record.n, part, data):
            raise Conflict("Another part of the transcript already has this number.")
        return web.Response(status=204)

    async def keep_session(self, request: web.Request) -> web.Response:
        """Keep the whole transcript at a turn's end."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        data = await checked(await request.read())
        if not await self.journal.write_session(caller.conversation, _number(request, "turn"), caller.record.n, data):
            raise Conflict("This turn's transcript is already kept.")
        return web.Response(status=204)

    async def session(self, request: web.Request) -> web.Response:
        """Hand over the transcript with which a turn goes on."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        data = await session_so_far(self.journal, caller.conversation, _number(request, "turn"))
        return web.Response(body=data, content_type="application/gzip")

    async def keep_work(self, request: web.Request) -> web.Response:
        """Keep commits that could not be pushed, so that the next turn can push them."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        data = await request.read()
        if not await self.journal.write_work(caller.conversation, _number(request, "turn"), caller.record.n, data):
            raise Conflict("This turn's commits are already kept.")
        log.info("work_kept", conversation=str(caller.conversation), run=caller.record.n, bytes=len(data))
        return web.Response(status=204)

    async def work(self, request: web.Request) -> web.Response:
        """Hand over the commits of earlier turns that this turn has to push."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        kept = await self.branches.kept(caller.conversation)
        data = await self.journal.work(caller.conversation, kept.turn, kept.run) if kept else None
        if data is None:
            raise Refused("No commits wait to be pushed.")
        return web.Response(body=data, content_type="application/octet-stream")

    async def thread(self, request: web.Request) -> web.Response:
        """Hand over the thread's messages, for an agent whose session is lost."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        return _json(Thread(text=await self.inbox.thread(caller.conversation)))

    async def finish(self, request: web.Request) -> web.Response:
        """Write the turn, then post its answer in the background: the worker need not wait for Slack."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        result = TurnResult.model_validate_json(await request.read())
        with bound_contextvars(conversation=str(caller.conversation), run=caller.record.n):
            turn, created = await self.turns.finish(
                caller.conversation, caller.record, _number(request, "turn"), result
            )
            if result.cause:
                log.warning("turn_failed", turn=turn.k, cause=result.cause)
            if created:  # the creator of the turn posts it; a repeated call may come to another replica
                self.spawn(self.presenter.final(caller.conversation, turn, await self._card_facts(caller)))
                if turn.began:
                    self.spawn(self.turns.clear_checkpoints(caller.conversation, caller.record))
        return _json(TurnFinished(turn=turn.k, pull_request=turn.pull_request))

    async def ready(self, request: web.Request) -> web.Response:
        """Say that we can keep this run's results, pushes too: the journal knows the run, and it is the newest."""
        await self.access.caller(request, Role.SUPERVISOR, write=True)
        return web.Response(status=204)

    async def close_run(self, request: web.Request) -> web.Response:
        """End a run: from here on its tokens are dead."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        await self.journal.close_run(caller.conversation, caller.record.n, RunClosed(reason=RunEnd.FINISHED))
        self.access.forget(caller.conversation, caller.record.n)
        self._parts.pop((caller.conversation, caller.record.n), None)
        self.model.forget(caller.conversation.job_name(caller.record.n))
        log.info("run_closed", conversation=str(caller.conversation), run=caller.record.n, reason="finished")
        self.closed(caller.conversation)
        return web.Response(status=204)

    async def relay_model(self, request: web.Request) -> web.StreamResponse:
        """Relay to Claude's Messages API."""
        tail = request.match_info["tail"]
        caller = await self.access.caller(request, Role.AGENT, write=False)
        with bound_contextvars(conversation=str(caller.conversation), run=caller.record.n):
            return await self.model.handle(request, caller.conversation.job_name(caller.record.n), tail)

    async def relay_git(self, request: web.Request) -> web.StreamResponse:
        """Relay to the forge: the conversation's repository and branch, whatever the URL says."""
        tail = request.match_info["tail"]
        caller = await self.access.caller(request, Role.AGENT, write=tail == "git-receive-pack")
        run = caller.record.run
        asked_at, pushes = time.monotonic(), tail == "git-receive-pack"
        branch = await self.branches.current(caller.conversation, run) if pushes else run.branch
        with bound_contextvars(conversation=str(caller.conversation), run=run.n):
            target = GitTarget(
                clone_url=await self.repositories.clone_url(run.repository),
                branch=branch,
                checkpoint_ref=caller.conversation.checkpoint_ref(run.n),
                moved=lambda: self.repositories.forget(run.repository, asked_at=asked_at),
            )
            return await self.git.handle(request, target, tail)

    def _count(self, caller: Caller, turn: int, size: int) -> None:
        """Bound a turn's transcript, since the agent can write into it. Approximate: each replica counts alone."""
        key = (caller.conversation, caller.record.n)
        counted, so_far = self._parts.get(key, (turn, 0))
        total = size + (so_far if counted == turn else 0)
        if total > LARGEST_BYTES:
            raise Refused("This turn's transcript has become too large to keep.")
        self._parts[key] = (turn, total)

    async def _card_facts(self, caller: Caller) -> CardFacts:
        """The facts on the run's cards. The requester is the author of the first input that it was started for."""
        run = caller.record.run
        item = await self.journal.input(caller.conversation, run.serves[0])
        branch = await self.branches.shown(caller.conversation, run)
        return CardFacts(run.n, run.repository, branch, item.user if item else "")


async def _small_body(request: web.Request) -> bytes:
    """Read the body of a caller that we have not identified yet; raises `Refused` if it is too large."""
    body = bytearray()
    while chunk := await request.content.readany():
        body += chunk
        if len(body) > SMALL_BODY_BYTES:
            raise Refused("This request is too large.")
    return bytes(body)


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reply to each of our errors with its sentence. An error that we did not foresee becomes a plain 500."""
    try:
        return await handler(request)
    except ValidationError as error:
        return _error(request, 400, f"PeerBot can't read this request (problems: {error.error_count()}).")
    except Refused as error:
        return _error(request, 403, str(error))
    except Conflict as error:
        return _error(request, 409, str(error))
    except Unavailable as error:
        log.warning("gateway_unavailable", path=request.path, exc_info=error)
        return _error(request, 503, str(error), {"Retry-After": "1"})
    except PeerBotError as error:
        log.error("gateway_failed", path=request.path, exc_info=error)
        return _error(request, 500, str(error))


def _error(request: web.Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> web.Response:
    """Reply so that the caller shows the sentence: git shows plain text, Claude Code an Anthropic error's message."""
    if "/git/" in request.path:
        return web.Response(text=f"PeerBot: {sentence}\n", status=status, headers=headers)
    body = {
        "type": "error",
        "error": {"type": "permission_error" if status == 403 else "api_error", "message": sentence},
    }
    return web.json_response(body, status=status, headers=headers)


def _json(document: Message) -> web.Response:
    return web.Response(text=document.model_dump_json(by_alias=True), content_type="application/json")


def _number(request: web.Request, name: str) -> int:
    return int(request.match_info[name])


def _hashes(started: RunStarted) -> tuple[str, str]:
    return started.supervisor_hash, started.agent_hash
