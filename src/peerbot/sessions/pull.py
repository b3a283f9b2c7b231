"""`peerbot session pull`: puts the agent's newest transcript where Claude Code on this machine looks for it.

Claude Code keeps the transcripts of a directory below `~/.claude/projects` (or `CLAUDE_CONFIG_DIR`), in a folder whose
name its SDK makes from the directory's path.
"""

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from peerbot.conversation.keys import Conversation
from peerbot.errors import PeerBotError, SettingsError
from peerbot.journal import paths
from peerbot.journal.journal import Journal
from peerbot.journal.memory import Memory
from peerbot.journal.open import must_exist, open_storage
from peerbot.journal.storage import Storage
from peerbot.outside import OutsideSettings
from peerbot.protocol.documents import SessionPart
from peerbot.protocol.session_files import files_of, lines_of, main_of
from peerbot.protocol.sessions import WORKSPACE, unpack
from peerbot.slack.addresses import thread_at


@dataclass(frozen=True, slots=True)
class Pulled:
    """A session that is on this machine now."""

    session: str
    turn: int  # its last turn
    file: Path
    branch: str


async def pull(settings: OutsideSettings, wanted: str, *, directory: Path, force: bool = False) -> Pulled:
    """Write the newest session of a conversation for use in `directory`.

    `wanted` is a conversation (`team/channel/thread_ts`) or the address of a message in its thread. Raises
    `SettingsError` if it is neither, and `PeerBotError` with a sentence if there is no such conversation or session,
    the transcript on this machine has more than the journal's (and not `force`), or the store does not answer.
    """
    must_exist(settings.store_url)
    storage = await open_storage(settings.store_url, project=settings.gcs_project_id)
    journal = Journal(storage)
    try:
        conversation = await conversation_named(storage, wanted)
        if not await journal.knows(conversation):
            raise PeerBotError(
                f"The journal has no conversation {conversation}. Check --store, or copy the link again."
            )
        ref = await (await Memory.of(journal, conversation)).last_session()
        data = await journal.session(conversation, ref.turn, ref.run) if ref else None
        if ref is None or data is None:
            raise PeerBotError(f"There is no session in {conversation} yet: no turn of it has ended with one.")
        begun = await journal.conversation(conversation)
        branch = await journal.branch(conversation, begun.branch) if begun else ""
    finally:
        await journal.close()
    try:
        whole = await asyncio.to_thread(unpack, data)
    except ValueError as error:
        raise PeerBotError(f"The session of turn {ref.turn} is damaged in the journal ({error}).") from error
    ours = [part for part in whole.transcripts if part.session_id == ref.id and part.project == WORKSPACE]
    folder = _projects() / _project(directory)
    file = await asyncio.to_thread(_write, folder, ref.id, ours, force)
    return Pulled(ref.id, ref.turn, file, branch)


async def conversation_named(storage: Storage, wanted: str) -> Conversation:
    """Read the name of a conversation, or find it by the address of a message."""
    if "://" not in wanted:
        try:
            return Conversation.parse(wanted)
        except ValueError as error:
            raise SettingsError(
                f"{wanted} is no conversation. Write it as team/channel/thread_ts, or give the link to a message of "
                "its thread."
            ) from error
    found = thread_at(wanted)
    if found is None:
        raise SettingsError(f"{wanted} is not the address of a message in Slack.")
    teams = set[str]()
    async for key in storage.list(paths.CONVERSATIONS):
        team = key.removeprefix(paths.CONVERSATIONS).partition("/")[0]
        if team not in teams:  # an address does not name the team; mostly there is one
            teams.add(team)
            async for there in storage.list(f"{paths.CONVERSATIONS}{team}/{found[0]}/{found[1]}/"):
                return paths.parse_conversation(there)[0]
    raise PeerBotError(f"The journal has no conversation for {wanted}. Check --store, or copy the link again.")


def _projects() -> Path:
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude") / "projects"


def _project(directory: Path) -> str:
    """Name the folder of a directory's transcripts, as Claude Code does."""
    try:
        from claude_agent_sdk import project_key_for_directory  # noqa: PLC0415 - a dispatcher's image does not have it
    except ImportError as error:
        raise SettingsError("This takes Claude's SDK: install peerbot[local].") from error
    return project_key_for_directory(directory)


def _write(folder: Path, session: str, parts: Sequence[SessionPart], force: bool) -> Path:
    """Write a session's transcripts; returns the main one's file."""
    main = folder / f"{session}.jsonl"
    before = main.read_text(encoding="utf-8", errors="replace").splitlines() if main.exists() else []
    if not force and (more := len(_ids(before) - _ids(lines_of(main_of(parts))))):
        raise PeerBotError(
            f"The session on this machine has {more} entries that the journal does not have, so nothing was changed: "
            f"{main}. Use --force to overwrite it with the journal's."
        )
    for file in files_of(session, parts):
        _put(folder / file.path, file.lines)
    return main


def _put(file: Path, lines: Sequence[str]) -> None:
    """Write a file whole or not at all, readable for its owner alone: people's words are in it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = file.with_name(f"{file.name}.part")
    part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    part.chmod(0o600)
    part.replace(file)


def _ids(lines: Iterable[str]) -> set[str]:
    """Name the entries of a transcript; those without a name are bookkeeping."""
    found = set()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("uuid"), str):
            found.add(entry["uuid"])
    return found
