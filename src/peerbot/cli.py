"""The `peerbot` command.

Exit codes: 0 if it worked; 1 if it did not (the turn failed, a service was away), with the reason on standard error;
2 for wrong use or wrong settings.
"""

import argparse
import asyncio
import gc
import re
import signal
import stat
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path

from peerbot import __version__, logs
from peerbot.errors import PeerBotError, SettingsError

GOOD, FAILED, WRONG_USE = 0, 1, 2


def main() -> None:
    """Run the command and exit."""
    options = parser().parse_args()
    try:
        if options.reaches_out:
            from peerbot.way_out import prepare  # noqa: PLC0415 - a worker's image has no settings to import

            prepare()
        code = asyncio.run(_until_signalled(options.command(options)))
    except SettingsError as error:
        print(f"peerbot: {error}", file=sys.stderr)
        code = WRONG_USE
    except PeerBotError as error:
        print(f"peerbot: {error}", file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    sys.exit(code)


async def _until_signalled(work: Coroutine[object, object, int]) -> int:
    """Run `work`; SIGTERM and SIGINT end it politely: it closes everything that it opened."""
    task = asyncio.ensure_future(work)
    caught: list[int] = []

    def end(number: int) -> None:
        caught.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not caught:
            raise
        return GOOD if caught[0] == signal.SIGTERM else 128 + signal.SIGINT
    finally:
        if caught:  # all is closed: another SIGTERM must not make a failure of it, now that nothing handles it any more
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def _local(options: argparse.Namespace) -> int:
    from peerbot.local.chat import Wanted, chat  # noqa: PLC0415 — a dispatcher's image has no agent to import

    wanted = Wanted(options.directory, options.repo, options.unsafe_no_sandbox, options.terminal, options.browse)
    await chat(wanted, _tell_out)
    return GOOD


async def _try(options: argparse.Namespace) -> int:
    from peerbot.local.trial import TrialOptions, try_once  # noqa: PLC0415

    wanted = TrialOptions(options.message, options.directory, options.thread, options.repo, options.unsafe_no_sandbox)
    trial = await try_once(wanted, _tell_error)
    if options.json:
        print(trial.model_dump_json(indent=2))
    else:
        print(trial.answer)
        if trial.pull_request:
            print(f"\nPull request #{trial.pull_request.number}: {trial.pull_request.url}")
        if options.directory:
            _tell_error(f"To go on in this thread: --in {options.directory} --thread {trial.conversation}")
    if trial.status != "done":
        print(f"peerbot: the turn failed: {trial.answer}", file=sys.stderr)
        return FAILED
    return GOOD


async def _dispatcher(options: argparse.Namespace) -> int:
    from peerbot.dispatcher.app import Dispatcher  # noqa: PLC0415
    from peerbot.dispatcher.rotation import new_tokens  # noqa: PLC0415
    from peerbot.runs.open import open_runs  # noqa: PLC0415
    from peerbot.settings import load  # noqa: PLC0415

    values = {"peerbot_sandbox": "off"} if options.unsafe_no_sandbox else {}
    settings = load(**values)
    logs.configure(settings.log_level, readable=sys.stderr.isatty())
    dispatcher = Dispatcher(settings, await open_runs(settings))
    await dispatcher.start()
    gc.collect()
    gc.freeze()  # imported objects stay: a collector that looks at all of them again keeps Slack's acks waiting
    try:
        await new_tokens(settings)
    finally:
        await dispatcher.close()
    return GOOD


async def _verify(options: argparse.Namespace) -> int:
    from peerbot.outside import load_outside  # noqa: PLC0415
    from peerbot.verify.app import verify  # noqa: PLC0415

    settings = load_outside(**({"peerbot_store": options.store} if options.store else {}))
    logs.configure("ERROR", readable=sys.stderr.isatty())
    since = timedelta(hours=options.since) if options.since else None
    report = await verify(settings, _tell_error, since=since)
    print(report.model_dump_json(indent=2) if options.json else report.text())
    return GOOD if report.good else FAILED


async def _cost(options: argparse.Namespace) -> int:
    from peerbot.costs.app import cost  # noqa: PLC0415
    from peerbot.costs.report import By  # noqa: PLC0415
    from peerbot.outside import load_outside  # noqa: PLC0415

    settings = load_outside(**({"peerbot_store": options.store} if options.store else {}))
    logs.configure("ERROR", readable=sys.stderr.isatty())
    report = await cost(settings, _tell_error, by=By(options.by), since=options.since, github=options.github)
    print(report.model_dump_json(indent=2) if options.json else report.text())
    return GOOD


async def _prune(options: argparse.Namespace) -> int:
    from peerbot.outside import load_outside  # noqa: PLC0415
    from peerbot.retention.prune import prune  # noqa: PLC0415

    settings = load_outside(**({"peerbot_store": options.store} if options.store else {}))
    logs.configure("INFO" if options.yes else "ERROR", readable=sys.stderr.isatty())
    report = await prune(settings, _tell_error, older_than=options.older_than, yes=options.yes)
    print(report.model_dump_json(indent=2) if options.json else report.text())
    return GOOD


async def _forget(options: argparse.Namespace) -> int:
    from peerbot.outside import load_outside  # noqa: PLC0415
    from peerbot.retention.forget import forget  # noqa: PLC0415

    settings = load_outside(**({"peerbot_store": options.store} if options.store else {}))
    logs.configure("ERROR", readable=sys.stderr.isatty())
    report = await forget(
        settings, person=options.person or "", thread=options.thread or "", asked_by=options.asked_by, yes=options.yes
    )
    print(report.model_dump_json(indent=2) if options.json else report.text())
    return GOOD if report.good else FAILED


async def _session_pull(options: argparse.Namespace) -> int:
    from peerbot.outside import load_outside  # noqa: PLC0415
    from peerbot.sessions.pull import pull  # noqa: PLC0415

    settings = load_outside(**({"peerbot_store": options.store} if options.store else {}))
    logs.configure("ERROR", readable=sys.stderr.isatty())
    pulled = await pull(settings, options.conversation, directory=Path.cwd(), force=options.force)
    _tell_error(f"The session up to turn {pulled.turn} is in {pulled.file}. Its work is on the branch {pulled.branch}.")
    print(f"claude --resume {pulled.session}")
    return GOOD


async def _doctor(options: argparse.Namespace) -> int:
    from peerbot.doctor.app import examine  # noqa: PLC0415

    logs.configure("ERROR", readable=sys.stderr.isatty())
    report = await examine(None if options.json else _tell_out, model=options.model)
    if options.json:
        print(report.model_dump_json(indent=2))
    return GOOD if report.good else FAILED


async def _worker(_: argparse.Namespace) -> int:
    from peerbot.worker.check import check  # noqa: PLC0415

    good = True
    for found in await asyncio.to_thread(lambda: list(check())):
        print(found)
        good = good and not found.fix
    return GOOD if good else FAILED


async def _manifest(_: argparse.Namespace) -> int:
    from peerbot.outside import load_outside  # noqa: PLC0415
    from peerbot.slack.manifest import as_yaml  # noqa: PLC0415

    print(as_yaml(load_outside().peerbot_public_url or ""), end="")
    return GOOD


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(prog="peerbot", description="Claude Code in Slack threads, on your own machines.")
    parser.add_argument("--version", action="version", version=f"peerbot {__version__}")
    parser.set_defaults(reaches_out=True)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    local = commands.add_parser("local", help="run the whole product on this machine, and chat with it on a page")
    local.add_argument("--terminal", action="store_true", help="play a conversation in the terminal, and chat there")
    local.add_argument("--no-open", dest="browse", action="store_false", help="do not open the page in your browser")
    _add_world(local)
    local.set_defaults(command=_local)

    trial = commands.add_parser("try", help="run one turn on this machine, and print the answer")
    trial.add_argument("message", help="what to say to the bot")
    trial.add_argument("--json", action="store_true", help="print one JSON document instead of the answer")
    trial.add_argument("--thread", metavar="ID", help="go on in this thread (ID is a conversation that --json printed)")
    _add_world(trial)
    trial.set_defaults(command=_try)

    dispatcher = commands.add_parser("dispatcher", help="run in production, with real Slack, GitHub and Claude")
    _add_unsafe(dispatcher)
    dispatcher.set_defaults(command=_dispatcher)

    check = commands.add_parser("verify", help="say which messages and answers were lost, doubled or are waiting")
    check.add_argument("--store", metavar="URL", help="read this journal instead of the one that the settings name")
    check.add_argument("--json", action="store_true", help="print one JSON document")
    check.add_argument(
        "--since", type=_hours, metavar="HOURS", help="leave out threads that were silent for this long and do not wait"
    )
    check.set_defaults(command=_verify)

    _add_cost(commands)
    _add_retention(commands)
    _add_session(commands)

    doctor = commands.add_parser("doctor", help="check everything that PeerBot needs, and say how to mend each fault")
    doctor.add_argument("--model", action="store_true", help="also ask Claude one tiny thing (a few tokens)")
    doctor.add_argument("--json", action="store_true", help="print one JSON document")
    doctor.set_defaults(command=_doctor)

    worker = commands.add_parser("worker", help="look at a worker's image")
    worker.add_argument("--check", action="store_true", required=True, help="say what is missing in this image")
    worker.set_defaults(command=_worker, reaches_out=False)

    manifest = commands.add_parser("manifest", help="print the Slack app's manifest: scopes and events, with reasons")
    manifest.set_defaults(command=_manifest)
    return parser


def _add_cost(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    cost = commands.add_parser("cost", help="say what turns have cost, also for each merged pull request")
    cost.add_argument(
        "--since", type=_day, metavar="DATE", help="only turns that ended since this day, as 2026-11-01 (UTC)"
    )
    cost.add_argument(
        "--by",
        choices=("person", "channel", "repository", "month"),
        default="month",
        help="what each row stands for (default: month)",
    )
    cost.add_argument("--no-github", dest="github", action="store_false", help="do not ask which were merged")
    cost.add_argument("--store", metavar="URL", help="read this journal instead of the one that the settings name")
    cost.add_argument("--json", action="store_true", help="print one JSON document")
    cost.set_defaults(command=_cost)


def _add_session(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    session = commands.add_parser("session", help="go on with a thread's session in your own terminal")
    kinds = session.add_subparsers(title="commands", required=True, metavar="COMMAND")
    pulled = kinds.add_parser("pull", help="fetch the agent's session for use with Claude Code in this directory")
    pulled.add_argument(
        "conversation", metavar="CONVERSATION", help="team/channel/thread_ts, or the link to a message of the thread"
    )
    pulled.add_argument("--store", metavar="URL", help="read this journal instead of the one that the settings name")
    pulled.add_argument(
        "--force", action="store_true", help="overwrite a session here that has more than the journal's"
    )
    pulled.set_defaults(command=_session_pull)


def _add_retention(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    prune = commands.add_parser("prune", help="remove conversations that nobody has used for long")
    prune.add_argument(
        "--older-than", type=_age, required=True, metavar="AGE", help="how long, as 180d (days); 1d at least"
    )
    prune.set_defaults(command=_prune)
    forget = commands.add_parser("forget", help="erase what a person said, or a thread, and leave a receipt")
    what = forget.add_mutually_exclusive_group(required=True)
    what.add_argument("--person", type=_person, metavar="USER", help="a person's Slack id: U…, or TEAM/U…")
    what.add_argument("--thread", metavar="LINK", help="the link to a message of the thread, or team/channel/thread_ts")
    forget.add_argument("--asked-by", required=True, metavar="WHO", help="for the receipt, such as a ticket's number")
    forget.set_defaults(command=_forget)
    for command in (prune, forget):
        command.add_argument("--yes", action="store_true", help="do it; without this it only says what it would do")
        command.add_argument(
            "--store", metavar="URL", help="use this journal instead of the one that the settings name"
        )
        command.add_argument("--json", action="store_true", help="print one JSON document")


def _add_world(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--in", dest="directory", type=Path, metavar="DIR", help="keep everything in DIR, or go on with what DIR has"
    )
    parser.add_argument("--repo", type=_repository, metavar="PATH", help="work on a copy of this git repository")
    _add_unsafe(parser)


def _add_unsafe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--unsafe-no-sandbox", action="store_true", help="let the agent run without a sandbox, with all your rights"
    )


def _repository(value: str) -> Path:
    if not value:
        raise argparse.ArgumentTypeError("the path is empty")
    path = Path(value)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(f"there is no directory {value}") from error
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{value} can't be read: {error.strerror}") from error
    if not stat.S_ISDIR(mode):
        raise argparse.ArgumentTypeError(f"{value} is a file. Name the directory of a git repository")
    return path


def _day(value: str) -> datetime:
    try:
        return datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{value} is not a day. Write it as 2026-11-01") from error


def _age(value: str) -> timedelta:
    if not re.fullmatch(r"[1-9]\d{0,4}d", value):
        raise argparse.ArgumentTypeError(f"{value} is no age. Write a number of days, as 180d")
    return timedelta(days=int(value[:-1]))


def _person(value: str) -> str:
    if not re.fullmatch(r"([A-Z][A-Z0-9]{1,30}/)?[UWB][A-Z0-9]{1,30}", value):
        raise argparse.ArgumentTypeError(f"{value} is no Slack id. Write it as U0123456789, or TEAM/U0123456789")
    return value


def _hours(value: str) -> float:
    hours = float(value)
    if not 0 < hours < 1_000_000:
        raise argparse.ArgumentTypeError("the number of hours has to be more than 0")
    return hours


def _tell_out(line: str) -> None:
    print(line, flush=True)


def _tell_error(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
