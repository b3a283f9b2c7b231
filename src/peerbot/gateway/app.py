"""The gateway's HTTP app: the one API that workers call, on a port of its own (3001).

`access.py` first checks the caller, by path, token and role. Then these modules do the work:

    start, ready, close             this module
    inputs, thread                  `thread/inbox.py`
    steer                           `gateway/steering.py`
    ask                             `gateway/questions.py`, `thread/questions.py`
    turns                           `turns/turns.py`
    progress, the answer            `thread/present.py`
    session, work                   `gateway/keeping.py`
    files, sent                     `gateway/files.py`, `thread/files.py`
    model                           `gateway/model_relay.py`, within the budget of `gateway/budget.py`
    git, modules                    `gateway/git_relay.py`

The gateway holds every credential, and none of its replies carries one. A run gets its share of it (`shares.py`), and
every body has a limit, so that a run that asks for too much stops nobody else.
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
from peerbot.conversation.held import Bounds
from peerbot.conversation.keys import Conversation
from peerbot.conversation.progress import Progress
from peerbot.errors import Busy, Conflict, PeerBotError, Refused, Unavailable
from peerbot.gateway import bodies
from peerbot.gateway.access import Access, Caller, Role, is_secret_of, named_run
from peerbot.gateway.bells import Bells
from peerbot.gateway.files import Files
from peerbot.gateway.git_relay import GitRelay, GitTarget
from peerbot.gateway.keeping import Keeping
from peerbot.gateway.limits import Limits
from peerbot.gateway.model_relay import ModelRelay
from peerbot.gateway.questions import Asking
from peerbot.gateway.shares import Kind, Shares
from peerbot.gateway.starts import Starts
from peerbot.gateway.steering import Steering
from peerbot.github.repositories import Repositories
from peerbot.github.submodules import Submodules as RepositorySubmodules
from peerbot.journal import ledger
from peerbot.journal.journal import Journal
from peerbot.logs import logger
from peerbot.protocol.documents import (
    LARGEST_PROGRESS_BYTES,
    LARGEST_RESULT_BYTES,
    Brief,
    Inputs,
    Message,
    PersonInput,
    StartRequest,
    Submodule,
    Submodules,
    Thread,
    TurnFinished,
    TurnResult,
)
from peerbot.slack.files import SharedFiles
from peerbot.tasks import Spawn
from peerbot.thread.files import Sending
from peerbot.thread.inbox import Inbox
from peerbot.thread.present import CardFacts, Presenter
from peerbot.thread.questions import Questions
from peerbot.turns.branches import Branches
from peerbot.turns.turns import Turns
from peerbot.web.connections import known

log = logger(__name__)

LARGEST_START_BYTES = 4096
COME_BACK_SECONDS = 5
"""When a client that asked for too much at once should ask again."""

PREFIX = "/v1/runs/{team}/{channel}/{thread_ts}/{run:[0-9]{1,6}}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Gateway:
    """The parts that the handlers share. Its only state is caches and the requests that wait here."""

    journal: Journal
    inbox: Inbox
    turns: Turns
    branches: Branches
    presenter: Presenter
    repositories: Repositories
    submodules: RepositorySubmodules
    model: ModelRelay
    git: GitRelay
    shared: SharedFiles
    sending: Sending
    questions: Questions
    limits: Limits
    bounds: Bounds
    started: Callable[[Conversation, int], None]  # called when a worker has traded its secret: burn it
    closed: Callable[[Conversation], None]  # called when a worker has closed its run: reconcile
    spawn: Spawn
    shares: Shares = field(default_factory=Shares)
    access: Access = field(init=False)
    keeping: Keeping = field(init=False)
    steering: Steering = field(init=False)
    asking: Asking = field(init=False)
    _bells: Bells = field(default_factory=Bells)
    files: Files = field(init=False)

    def __post_init__(self) -> None:
        self.access = Access(self.journal)
        self.keeping = Keeping(self.journal, self.access, self.turns, self.shares)
        self.steering = Steering(
            journal=self.journal, access=self.access, inbox=self.inbox, bells=self._bells, questions=self.questions
        )
        self.asking = Asking(journal=self.journal, access=self.access, questions=self.questions)
        self.files = Files(
            journal=self.journal, access=self.access, inbox=self.inbox, shares=self.shares, shared=self.shared,
            sending=self.sending,
        )  # fmt: skip

    def app(self) -> web.Application:
        """Build the HTTP app."""
        app = web.Application(middlewares=[_answer_errors, self._in_its_share, Starts(self.journal).watch])
        app.router.add_post(f"{PREFIX}/start", self.start)
        app.router.add_get(f"{PREFIX}/inputs", self.inputs)
        app.router.add_post(f"{PREFIX}/turns", self.begin)
        app.router.add_put(PREFIX + "/turns/{turn:[0-9]{1,6}}/progress", self.progress)
        app.router.add_routes(self.keeping.routes(PREFIX + "/turns/{turn:[0-9]{1,6}}"))
        app.router.add_routes(self.steering.routes(PREFIX + "/turns/{turn:[0-9]{1,6}}"))
        app.router.add_routes(self.asking.routes(PREFIX + "/turns/{turn:[0-9]{1,6}}"))
        app.router.add_routes(self.files.routes(PREFIX))
        app.router.add_get(PREFIX + "/turns/{turn:[0-9]{1,6}}/thread", self.thread)
        app.router.add_post(PREFIX + "/turns/{turn:[0-9]{1,6}}/finish", self.finish)
        app.router.add_get(f"{PREFIX}/ready", self.ready)
        app.router.add_post(f"{PREFIX}/close", self.close_run)
        app.router.add_route("*", PREFIX + "/model/{tail:.*}", self.relay_model)
        app.router.add_route("*", PREFIX + "/git/{tail:.*}", self.relay_git)
        app.router.add_get(f"{PREFIX}/modules", self.list_submodules)
        app.router.add_route("*", PREFIX + "/modules/{owner}/{repository}/{tail:.*}", self.relay_submodule)
        return app

    def notify(self, conversation: Conversation) -> None:
        """Have the requests of this conversation that wait here look again: its run was woken."""
        self._bells.ring(conversation)

    def end(self) -> None:
        """Send the requests that wait here away, so that their workers ask another replica."""
        self._bells.end()

    async def start(self, request: web.Request) -> web.Response:
        """Trade the bootstrap secret for two tokens, whose hashes the worker sends."""
        conversation, n = named_run(request)
        asked = StartRequest.model_validate_json(await bodies.small(request, LARGEST_START_BYTES))
        record = await self.journal.run(conversation, n)
        if record is None or record.closed or not is_secret_of(asked.secret, record.run.secret_hash):
            raise Refused("This run has ended, or this is not its secret.")
        begun = await self.journal.conversation(conversation)
        model = self.bounds.model_for(begun.model if begun else "")
        tokens = RunStarted(
            supervisor_hash=asked.supervisor_hash, agent_hash=asked.agent_hash, held=self.limits.held(model or "")
        )
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
                model=model,
                model_kind="demo" if self.limits.model_kind == "demo" else "claude",
                turn_seconds=self.limits.turn_seconds,
                idle_seconds=self.limits.idle_seconds,
                run_seconds=self.limits.run_seconds,
                budget_usd=self.limits.budget_usd,
                checkpoint_seconds=self.limits.checkpoint_seconds,
                server_tools=sorted(self.limits.server_tools),
                question_seconds=self.limits.question_seconds,
                base=begun.base if begun else "",
                channel_instructions=begun.channel_instructions if begun else "",
                person_instructions=begun.person_instructions if begun else "",
            )
        )

    async def inputs(self, request: web.Request) -> web.Response:
        """Hand over the unanswered inputs; if there is none, wait up to `wait` seconds for one."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        wait = min(float(request.query.get("wait", "0")), POLL_SECONDS)

        async def look() -> list[PersonInput] | None:
            return await self.inbox.waiting(caller.conversation) or None

        found = await self._bells.until(caller.conversation, wait, look)
        return _json(Inputs(inputs=found or []))

    async def begin(self, request: web.Request) -> web.Response:
        """Number the turn that begins, and show its card."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        begun, _ = await asyncio.gather(
            self.turns.begin(caller.conversation, caller.record), self._begin_account(caller)
        )
        log.info("turn_begun", conversation=str(caller.conversation), run=caller.record.n, turn=begun.turn)
        self.spawn(self.presenter.starting(caller.conversation, begun.turn, await self._card_facts(caller)))
        repository = await self.repositories.known(caller.record.run.repository)
        return _json(begun.model_copy(update={"sign_off": bool(repository and repository.sign_off)}))

    async def _begin_account(self, caller: Caller) -> None:
        user = await self.inbox.asker(caller.conversation)
        await self.model.accounts.begin(caller.conversation, caller.record.n, user)

    async def progress(self, request: web.Request) -> web.Response:
        """Take the newest progress of a turn."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        report = Progress.model_validate_json(await bodies.small(request, LARGEST_PROGRESS_BYTES))
        self.presenter.progress(caller.conversation, _number(request, "turn"), await self._card_facts(caller), report)
        return web.Response(status=204)

    async def thread(self, request: web.Request) -> web.Response:
        """Hand over the thread's messages, for an agent whose session is lost."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        return _json(Thread(text=await self.inbox.thread(caller.conversation)))

    async def finish(self, request: web.Request) -> web.Response:
        """Write the turn, then post its answer in the background: the worker need not wait for Slack."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=True)
        result = TurnResult.model_validate_json(await bodies.small(request, LARGEST_RESULT_BYTES))
        with bound_contextvars(conversation=str(caller.conversation), run=caller.record.n):
            turn, created = await self.turns.finish(
                caller.conversation, caller.record, _number(request, "turn"), result
            )
            if result.cause:
                log.warning("turn_failed", turn=turn.k, cause=result.cause)
            if created:  # the creator of the turn posts it; a repeated call may come to another replica
                self.spawn(self.presenter.final(caller.conversation, turn, await self._card_facts(caller)))
                self.spawn(self.questions.end(caller.conversation, turn.k))
                self.spawn(ledger.book(self.journal, caller.conversation, turn))
                if turn.began:
                    self.spawn(self.turns.clear_saved(caller.conversation, caller.record, turn))
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
        self.keeping.forget(caller.conversation, caller.record.n)
        self.model.accounts.forget(caller.conversation, caller.record.n)
        log.info("run_closed", conversation=str(caller.conversation), run=caller.record.n, reason="finished")
        self.closed(caller.conversation)
        return web.Response(status=204)

    async def relay_model(self, request: web.Request) -> web.StreamResponse:
        """Relay to Claude's Messages API."""
        tail = request.match_info["tail"]
        caller = await self.access.caller(request, Role.AGENT, write=False)
        with bound_contextvars(conversation=str(caller.conversation), run=caller.record.n):
            return await self.model.handle(request, caller.conversation, caller.record.n, tail)

    async def relay_git(self, request: web.Request) -> web.StreamResponse:
        """Relay to the forge: the conversation's repository and branch, whatever the URL says."""
        tail = request.match_info["tail"]
        caller = await self.access.caller(request, Role.AGENT, write=tail == "git-receive-pack")
        run = caller.record.run
        asked_at, pushes = time.monotonic(), tail == "git-receive-pack"
        branch = await self.branches.current(caller.conversation, run) if pushes else run.branch
        with bound_contextvars(conversation=str(caller.conversation), run=run.n):
            target = GitTarget(
                clone_url=await self.repositories.clone_url(run.repository, written_at=run.reserved_at),
                branch=branch,
                checkpoint_ref=caller.conversation.checkpoint_ref(run.n),
                moved=lambda: self.repositories.forget(run.repository, asked_at=asked_at),
            )
            return await self.git.handle(request, target, tail)

    async def list_submodules(self, request: web.Request) -> web.Response:
        """List the submodules that the default branch names."""
        caller = await self.access.caller(request, Role.SUPERVISOR, write=False)
        found = await self.submodules.of(caller.record.run.repository)
        named = [Submodule(name=each.name, url=each.url, repository=each.repository) for each in found]
        return _json(Submodules(submodules=named))

    async def relay_submodule(self, request: web.Request) -> web.StreamResponse:
        """Relay to a submodule's repository, to read it."""
        match = request.match_info
        caller = await self.access.caller(request, Role.AGENT, write=False)
        run, repository = caller.record.run, f"{match['owner']}/{match['repository']}"
        with bound_contextvars(conversation=str(caller.conversation), run=run.n):
            if not await self.submodules.names(run.repository, repository):
                raise Refused(f"the default branch of {run.repository} names no submodule {repository}.")
            target = GitTarget(clone_url=await self.repositories.clone_url(repository), branch=None, checkpoint_ref="")
            return await self.git.handle(request, target, match["tail"])

    @web.middleware
    async def _in_its_share(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a run's request within the run's share. The handlers refuse callers that we do not know."""
        if "run" not in request.match_info or request.match_info.handler == self.start:
            return await handler(request)
        found = await self.access.known(request)
        if found is None:
            return await handler(request)
        known(request)
        caller, role = found
        with bound_contextvars(conversation=str(caller.conversation), run=caller.record.n):
            async with self.shares.of(request, caller.name, _kind(request, role)):
                return await handler(request)

    async def _card_facts(self, caller: Caller) -> CardFacts:
        """The facts on the run's cards. The requester is the author of the first input that it was started for."""
        run = caller.record.run
        item = await self.journal.input(caller.conversation, run.serves[0])
        branch = await self.branches.shown(caller.conversation, run)
        return CardFacts(run.n, run.repository, branch, item.user if item else "")


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reply to each of our errors with its sentence. An error that we did not foresee becomes a plain 500."""
    try:
        return await handler(request)
    except (ValidationError, Refused, Conflict) as error:
        return _refusal(request, error)
    except ConnectionError:
        return _error(request, 503, "The connection is gone.")  # nobody reads it
    except Busy as error:
        status = 429 if "tail" in request.match_info else 503  # the CLI and git know 429, a worker knows 503
        return _error(request, status, str(error), {"Retry-After": str(COME_BACK_SECONDS)})
    except Unavailable as error:
        log.warning("gateway_unavailable", path=request.path, exc_info=error)
        return _error(request, 503, str(error), {"Retry-After": "1"})
    except PeerBotError as error:
        log.error("gateway_failed", path=request.path, exc_info=error)
        return _error(request, 500, str(error))


def _refusal(request: web.Request, error: ValidationError | Refused | Conflict) -> web.Response:
    if isinstance(error, ValidationError):
        return _error(request, 400, f"PeerBot can't read this request (problems: {error.error_count()}).")
    return _error(request, 403 if isinstance(error, Refused) else 409, str(error))


def _error(request: web.Request, status: int, sentence: str, headers: dict[str, str] | None = None) -> web.Response:
    """Reply so that the caller shows the sentence: git shows plain text, Claude Code an Anthropic error's message."""
    if _is_gits(request):
        return web.Response(text=f"PeerBot: {sentence}\n", status=status, headers=headers)
    kind = {403: "permission_error", 429: "rate_limit_error"}.get(status, "api_error")
    body = {"type": "error", "error": {"type": kind, "message": sentence}}
    return web.json_response(body, status=status, headers=headers)


def _kind(request: web.Request, role: Role) -> Kind:
    if role is Role.SUPERVISOR:
        return Kind.OWN
    return Kind.GIT if _is_gits(request) else Kind.MODEL


def _is_gits(request: web.Request) -> bool:
    return "/git/" in request.path or "/modules/" in request.path


def _json(document: Message) -> web.Response:
    return web.Response(text=document.model_dump_json(by_alias=True), content_type="application/json")


def _number(request: web.Request, name: str) -> int:
    return int(request.match_info[name])


def _hashes(started: RunStarted) -> tuple[str, str]:
    return started.supervisor_hash, started.agent_hash
