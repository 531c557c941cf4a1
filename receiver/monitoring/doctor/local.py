"""Health checks from this machine: settings, secrets, files, the database, other receivers."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from receiver.database import READ, SQLITE, opening, parse_url, postgresql, schema
from receiver.domain import ReceiverError
from receiver.ingest import store
from receiver.monitoring import peers
from receiver.monitoring.doctor import filesystem
from receiver.monitoring.doctor.finding import not_ok, ok
from receiver.monitoring.doctor.public_url import MAX_CLOCK_DIFFERENCE, clock
from receiver.outbound import store as outbound_store
from receiver.providers import PROVIDERS
from receiver.settings import FILE, Secret, names, origins, without_token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Engine

    from receiver.monitoring.doctor.finding import Finding
    from receiver.monitoring.peers import Note
    from receiver.providers import Agreement
    from receiver.settings import Settings


MIN_SECRET: Final = 16
"""The characters that a secret should have: fewer can be guessed."""
SHOWN_QUERY: Final = ("host", "port", "target_session_attrs", "options")
"""What is shown of a database's URL after its `?`; a password may stand there, too."""


# Settings and secrets.


def settings_read(settings: Settings, file: Path | None) -> Iterator[Finding]:
    """Say what is set, and where; secrets are masked."""
    origin_of = origins(file)
    for name, origin in origin_of.items():
        yield ok("settings", f"{name.upper()}={shown(settings, name)} (from {origin})")
    unset = len(names()) - len(origin_of)
    yield ok("settings", f"{unset} others are as the README's table says")


def shown(settings: Settings, name: str) -> str:
    """Return a setting's value as it may be shown; `name` is in lower case, with its prefix."""
    setting = names()[name]
    field, value = setting.field, setting.value(settings)
    if field == "database_url":
        url = parse_url(value)
        query = {name: url.query[name] for name in SHOWN_QUERY if name in url.query}
        driver = value.partition("://")[0]  # as it was written
        return url.set(drivername=driver, query=query).render_as_string()
    if field == "public_url":
        return f"{value}" if value is None or not urlsplit(value).username else "…"
    if isinstance(value, tuple) and all(isinstance(one, Secret) for one in value):
        masked = (f"{one.name}:{one.masked}" if one.name else one.masked for one in value)
        return ",".join(masked)
    if not setting.disclosure.shown:
        return "…" if value else ""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def secrets(settings: Settings) -> Iterator[Finding]:
    """Say which tokens and keys are short, or stand in several places."""
    names_of: dict[str, list[str]] = defaultdict(list)
    lists = {f"RECEIVER_{p.upper()}_TOKENS": settings.provider(p).tokens for p in PROVIDERS}
    lists["RECEIVER_API_KEYS"] = settings.api_keys
    if not settings.has_tokens:
        todo = "set RECEIVER_<PROVIDER>_TOKENS, or run `receiver serve` once to make some"
        yield not_ok("tokens", "no provider has a token, so every callback is refused", todo)
    for name, some in lists.items():
        short = [secret for secret in some if len(secret.value) < MIN_SECRET]
        for secret in some:
            names_of[secret.value].append(name)
        if short:
            make = "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
            todo = f"take {MIN_SECRET} or more: {make}"
            message = f"{name}: {len(short)} of {len(some)} have under {MIN_SECRET} characters"
            yield not_ok("tokens", message, todo)
        elif some:
            yield ok("tokens", f"{name}: {len(some)}, long enough")
    if settings.has_tokens:
        for sentence in without_token(settings):
            yield ok("tokens", sentence)
    for where in {tuple(dict.fromkeys(where)) for where in names_of.values()}:
        if len(where) > 1:
            todo = "give each its own: who leaks one of them leaks all"
            yield not_ok("tokens", f"the same secret is in {' and '.join(where)}", todo)


# Files.


def spool(settings: Settings) -> Iterator[Finding]:
    """Say whether callbacks could be kept in the spool, and would still be there tomorrow."""
    if not settings.spool_path:
        yield ok("spool", "switched off: while the database is away callbacks are answered 503")
        return
    path = Path(settings.spool_path).absolute()
    error = _unwritable(path)
    if error:
        todo = "name a file in RECEIVER_SPOOL_PATH that this user can write"
        yield not_ok("spool", f"{path} cannot be written: {error}", todo)
    else:
        yield _on_disk("spool", path, "RECEIVER_SPOOL_PATH")


def _unwritable(path: Path) -> str:
    """Say why a file cannot be made and written there; empty where it can."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as made:
            made.write(b"x")
            os.fsync(made.fileno())
        for file in path.parent.glob(f"{path.stem}*{path.suffix}"):
            os.close(os.open(file, os.O_WRONLY))
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _on_disk(check: str, path: Path, setting: str) -> Finding:
    kind = filesystem.kind(path)
    if kind in filesystem.UNSUITABLE:
        todo = f"let {setting} name a file on a disk that stays; in a container, on a volume"
        return not_ok(check, f"{path} is in {filesystem.UNSUITABLE[kind]} ({kind})", todo)
    return ok(check, f"{path} can be written, on {kind or 'a file system not known'}")


def exposed(settings: Settings, file: Path | None) -> list[Path]:
    """Return the files of tokens, numbers and texts that every user of this machine can read."""
    held = [file or Path(FILE)]
    url = parse_url(settings.database_url)
    if url.get_backend_name() == SQLITE and url.database:
        held += Path(url.database).parent.glob(f"{escape(Path(url.database).name)}*")
    if settings.spool_path:
        spools = Path(settings.spool_path)
        held += spools.parent.glob(f"{escape(spools.stem)}*{escape(spools.suffix)}*")
    return [path for path in dict.fromkeys(held) if filesystem.readable_by_others(path)]


def private(settings: Settings, file: Path | None) -> Iterator[Finding]:
    """Say which files other users of this machine can read, though they hold what is secret."""
    open_files = exposed(settings, file)
    for path in open_files:
        message = f"{path} can be read or changed by every user of this machine"
        yield not_ok("files", message, f"chmod o-rwx {quote(str(path))}")
    if not open_files:
        yield ok("files", "settings, database and spool are not open to other users")


# The database.


def database(settings: Settings) -> Iterator[Finding]:
    """Say whether the database is there, of the right revision, and takes writes; and all in it."""
    engine = None
    try:
        engine = opening.must_exist(settings.database_url)
        yield _revision(engine)
        with engine.connect() as connection:
            store.can_keep(connection)
            connection.rollback()
        yield ok("database", "takes writes")
        if (file := opening.sqlite_file(engine)) is not None:
            yield _on_disk("database", file, "RECEIVER_DATABASE_URL")
        with engine.execution_options(**READ).connect() as connection:
            if engine.dialect.name == "postgresql":
                yield from _server(connection)
            yield _clock(connection)
            yield from receivers(settings, connection)
            yield from destinations(settings, connection)
    except ReceiverError as error:
        yield not_ok("database", str(error).rstrip("."), "see RECEIVER_DATABASE_URL")
    except SQLAlchemyError as error:
        todo = "see that it runs, and that RECEIVER_DATABASE_URL is right"
        yield not_ok("database", (opening.explain(error) or "").rstrip("."), todo)
    finally:
        if engine is not None:
            engine.dispose()


def _revision(engine: Engine) -> Finding:
    """Say whether the schema is this program's. Raises what keeps the database from answering."""
    with engine.execution_options(**READ).connect() as connection:
        revision = schema.current(connection)
        try:
            newer = schema.check(connection)
        except ReceiverError as error:
            todo = "run `receiver migrate`, or start the receiver"
            return not_ok("database", str(error).rstrip("."), todo)
    if newer:
        return ok("database", newer.rstrip("."))
    return ok("database", f"reached, at revision {revision}, which is this program's")


def _server(connection: Connection) -> Iterator[Finding]:
    """Say what stands before PostgreSQL, and whether it writes to the disk what it confirms."""
    if postgresql.has_pooler(connection):
        message = (
            "behind a pooler, such as PgBouncer: no statement is prepared, and each transaction"
        )
        yield ok("database", f"{message} transaction sets what it relies on")
    if connection.exec_driver_sql("SHOW fsync").scalar_one() != "on":
        todo = "set fsync = on in postgresql.conf: what was answered 200 goes with the power"
        yield not_ok("database", "fsync is off, so that a commit is not on the disk", todo)


def _clock(connection: Connection) -> Finding:
    """Compare this clock with the database's, and with what is kept."""
    now, theirs = datetime.now(UTC), peers.clock(connection)
    latest = peers.latest_callback(connection)
    if latest is not None and latest - now > MAX_CLOCK_DIFFERENCE:
        seconds = (latest - now).total_seconds()
        message = (
            f"the newest callback came {seconds:.0f} s from now: the clock was ahead, or is behind"
        )
        return not_ok("clock", message, "keep the clock right: timedatectl set-ntp true")
    if theirs is None:
        return ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, and nothing is kept from after it")
    return clock("the database's clock", theirs - now)


def receivers(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Compare what is set here with what the receivers that run were set to."""
    notes = peers.notes(connection, datetime.now(UTC) - peers.CURRENT_FOR)
    own = peers.shared(settings)
    running: dict[str, list[Note]] = defaultdict(list)
    for note in notes:
        running[note.receiver].append(note)
    if not running:
        yield ok("receivers", "none left a note in the last minutes, so none is compared")
    for receiver, theirs in running.items():
        yield _compared(receiver, theirs, own)


def destinations(settings: Settings, connection: Connection) -> Iterator[Finding]:
    """Say whether the applications that are set are told of changes."""
    found = outbound_store.standings(connection)
    for name in settings.events:
        if name not in found:
            todo = "start `receiver serve` with it, and see its log"
            yield not_ok("events", f"{name}: nothing was sent there yet", todo)
            continue
        figures = outbound_store.shown(found[name])
        message = f"{name}: {figures['lag']} s behind, {figures['aside']} set aside"
        if figures["state"] == "on":
            yield ok("events", message)
        else:
            todo = "see `receiver events`, and whether the application runs"
            yield not_ok("events", f"{message}, {figures['state']}: {figures['problem']}", todo)


def _agreement(name: str) -> Agreement | None:
    return names()[name.lower()].disclosure.shared


def _compared(receiver: str, theirs: Sequence[Note], own: dict[str, str]) -> Finding:
    values = {note.setting: note.value for note in theirs}
    differing = [name for name in own if name in values and values[name] != own[name]]
    no_secrets = "RECEIVER_API_KEYS" in differing  # which are the key of all that is secret
    if no_secrets:
        differing = [name for name in differing if _agreement(name) != "secret"]
    differences = [
        f"{name} ({values[name]} there, {own[name]} here)" if _agreement(name) == "value" else name
        for name in differing
    ]
    if no_secrets:
        differences.append("RECEIVER_API_KEYS (what else is secret cannot be compared)")
    if not differences:
        return ok("receivers", f"{receiver} is set as here")
    minutes = peers.CURRENT_FOR.total_seconds() / 60
    todo = (
        "give all the same, and start them again; one that was stopped or set anew is seen as it"
        f" was for {minutes:.0f} minutes"
    )
    return not_ok("receivers", f"{receiver} differs in {', '.join(differences)}", todo)
