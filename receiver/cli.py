"""The commands; thin. Each opens what it needs, calls one thing, and prints what came of it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from receiver.errors import ReceiverError, UnreadableError, place

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from receiver.report import Status
    from receiver.settings import Settings
    from receiver.template_client import Client

app = typer.Typer(
    name="receiver",
    help="Receives SMS delivery reports and keeps them, joined to the messages you sent.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
callbacks_app = typer.Typer(rich_markup_mode=None, invoke_without_command=True)
app.add_typer(callbacks_app, name="callbacks")
templates_app = typer.Typer(
    help="EngageLab's message templates. Example: receiver templates list",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(templates_app, name="templates")

Config = Annotated[
    Path | None, typer.Option("--config", help="Settings file; receiver.env if there is one.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
OlderThan = Annotated[str | None, typer.Option(help="Such as 400d or 12h.")]
INTERRUPTED: Final = 130
OTHERS: Final = 0o007
"""What no file that a command makes gives to other users: database and spool hold phone numbers."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command; say every error in one plain sentence and exit with 1 (2: wrong usage)."""
    open_closed_streams()
    os.umask(os.umask(0o077) | OTHERS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = 0
    try:
        code = run(list(sys.argv[1:] if args is None else args))
        sys.stdout.flush()
    except BrokenPipeError:  # `receiver … | head` is no error
        give_stdout_up()
    except OSError as error:
        give_stdout_up()
        code = fail(f"What was to be shown could not be written: {error.strerror}.")
    sys.exit(code)


def open_closed_streams() -> None:
    """Put the null device where a standard stream is closed (`receiver serve 2>&-`).

    Otherwise the next file that is opened, such as a database, has its number, and whatever in this
    process or in one it starts writes to "stderr" writes into that file.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8"))


def give_stdout_up() -> None:
    """Let what is left in stdout's buffer go nowhere, or Python would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(args: list[str]) -> int:
    """Run a command and return its exit code."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("receiver", args) as ctx:
            command.invoke(ctx)
    except typer.Exit as done:
        return done.exit_code
    except ReceiverError as error:
        return fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - never a traceback for a user
        return explain(error)
    return 0


def explain(error: Exception) -> int:
    """Say what went wrong where it is no error of ours by name: wrong usage, the database."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        said = error.format_message().removeprefix("Invalid value: ")
        code: int = error.exit_code
        if "\n" in said.strip():  # the help, where no command was given
            typer.echo(said, err=True)
            return code
        command = getattr(getattr(error, "ctx", None), "command_path", "receiver")
        stop = "" if said.endswith((".", "?")) else "."
        return fail(f"{said}{stop} See `{command} --help`.", code)
    from receiver.access import trouble

    words = f"{error.strerror}: " if isinstance(error, OSError) and error.strerror else ""
    return fail(trouble(error) or f"Something went wrong: {words}{place(error)}.")


def fail(sentence: str, code: int = 1) -> int:
    """Print a sentence to stderr, after what stands on stdout; return the exit code."""
    from receiver.tables import printable

    with suppress(OSError):  # of a full disk behind stdout `main` tells
        sys.stdout.flush()
    with suppress(OSError):
        typer.echo(f"receiver: {printable(sentence)}", err=True)
    return code


@contextmanager
def opened(config: Path | None) -> Iterator[tuple[Settings, Engine]]:
    """Read the settings, and connect to the database, which must be there."""
    from receiver.access import existing
    from receiver.settings import read_settings

    settings = read_settings(config)
    engine = existing(settings)
    try:
        yield settings, engine
    finally:
        engine.dispose()


@contextmanager
def reading(config: Path | None) -> Iterator[tuple[Settings, Connection]]:
    """Do the same, with a connection that only reads."""
    from receiver.database import READ

    with (
        opened(config) as (settings, engine),
        engine.execution_options(**READ).connect() as connection,
    ):
        yield settings, connection


def known_provider(name: str) -> str:
    """Return a provider's name as it is in URLs. Wrong usage otherwise."""
    from receiver.providers import PROVIDERS

    if name.lower() not in PROVIDERS:
        raise typer.BadParameter(f"PROVIDER: expected one of: {', '.join(PROVIDERS)}")
    return name.lower()


@app.command()
def serve(
    config: Config = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes; several need PostgreSQL.")] = 1,
) -> None:
    """Receive callbacks, keep them and settle what they mean.

    Example: receiver serve --host 0.0.0.0 --port 8000
    """
    from receiver import server

    server.serve(config, host, port, workers)


@app.command()
def migrate(
    config: Config = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL, change nothing.")] = False,
) -> None:
    """Bring the database's schema up to date.

    Example: receiver migrate --sql > schema.sql
    """
    from receiver import access, schema
    from receiver.settings import read_settings

    engine = access.connect(read_settings(config))
    if sql:
        typer.echo(schema.sql(engine.dialect.name))
        return
    changed = schema.upgrade(engine)
    made = schema.make_indexes(engine)
    with engine.connect() as connection:
        revision = schema.current(connection)
    engine.dispose()
    typer.echo(f"The schema is {'now' if changed else 'already'} at revision {revision}.")
    if made:
        typer.echo(f"Made the indexes {', '.join(made)}.")


@app.command()
def urls(config: Config = None) -> None:
    """Print the callback URLs to register with your providers, secrets and all.

    Example: receiver urls
    """
    from receiver.errors import SettingsError
    from receiver.settings import read_settings
    from receiver.urls import BOUND, callback_urls, described

    found = list(callback_urls(read_settings(config), BOUND))
    if not found:
        raise SettingsError("No token is configured. Run `receiver serve` once to make some.")
    typer.echo("\n\n".join("\n".join(described(url)) for url in found))


@app.command()
def record(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Sent with.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="`-` is stdin.")],
    *,
    config: Config = None,
    account: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    sender: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    tag: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    template_id: Annotated[str | None, typer.Option(help="For messages that name none.")] = None,
    sent_at: Annotated[
        str | None,
        typer.Option(help="2026-11-21T10:00:00+07:00, or in RECEIVER_TIMEZONE without +07:00."),
    ] = None,
) -> None:
    """Record sent messages: send responses, JSON Lines or CSV, told apart by content.

    A record has the columns of sent_message; the first row of CSV names them. Good rows are
    recorded, bad ones listed by line. Recording again changes nothing.

    Example: receiver record thaibulksms sent.csv --tag campaign-42
    """
    from receiver import recording

    provider = known_provider(provider)
    given = {"account": account, "sender": sender, "tag": tag, "sent_at": sent_at}
    given |= {"template_id": template_id}
    given = {name: value for name, value in given.items() if value is not None}
    if problem := recording.problem(provider, given):
        raise typer.BadParameter(problem)
    with opened(config) as (settings, engine):
        bad = recording.record_files(engine, settings, provider, given, files)
    if bad:
        raise typer.Exit(1)


@app.command()
def receive(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", help="Whose callbacks they are.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="`-` is stdin.")
    ] = None,
    *,
    config: Config = None,
    account: Annotated[str, typer.Option(help="Which of your accounts they are for.")] = "",
    spool: Annotated[
        Path | None, typer.Option(help="A spool file instead, also a damaged one.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Take in callbacks that were saved elsewhere, to fill a gap.

    A file holds one body as it came, or a log with query strings or JSON in its lines: of nginx,
    Apache, Caddy or PHP, packed or not; or URLs. Lines without a callback are listed as bad. Known
    reports are counted as repeats. What can be read of a spool file is taken in with --spool; doing
    that again changes nothing.

    Example: receiver receive thaibulksms access.log --dry-run
    """
    from receiver import importing, recording
    from receiver.logs import configure

    if (spool is None) == (provider is None) or (provider is not None and not files):
        raise typer.BadParameter("expected PROVIDER and FILE, or --spool FILE")
    name = known_provider(provider) if provider is not None else ""
    if name and (problem := recording.problem(name, {"account": account})):
        raise typer.BadParameter(problem)
    configure()
    with opened(config) as (settings, engine):
        if spool is not None:
            bad = importing.receive_spool(engine, settings, spool, dry_run=dry_run)
        else:
            bad = importing.receive_files(
                engine, settings, name, account, files or [], dry_run=dry_run
            )
    if bad:
        raise typer.Exit(1)


@app.command()
def status(
    sought: Annotated[str, typer.Argument(metavar="ID-OR-NUMBER")], config: Config = None
) -> None:
    """Show messages by id, reference or phone number, and what happened to them.

    Example: receiver status 0812345678
    """
    from receiver import listing, query
    from receiver.tables import show

    if not sought.isascii() and any("\ud800" <= c <= "\udfff" for c in sought):
        raise typer.BadParameter("ID-OR-NUMBER: expected text in UTF-8")
    with reading(config) as (settings, connection):
        found = query.anything(connection, sought)
    for table in listing.messages(found, settings.timezone):
        show(table)
        typer.echo()
    if found.truncated:
        typer.echo(f"There are more than {query.FOUND_MAX}; these are the newest.", err=True)
    if not found.messages:
        raise typer.Exit(fail("No message with this id, reference or number."))


@app.command()
def report(
    config: Config = None,
    since: Annotated[str, typer.Option(help="90m, 24h, 7d, or a date (Bangkok's).")] = "24h",
    by: Annotated[
        str, typer.Option(help="Any of provider,account,sender,tag,hour,day; '' is one total.")
    ] = "provider",
    format_: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Count what became of the messages sent since a time; list words we do not know.

    Example: receiver report --since 7d --by provider,day --format csv
    """
    from receiver import figures

    try:
        wanted = figures.wanted(since, by, format_)
    except UnreadableError as error:
        raise typer.BadParameter(str(error)) from None
    with reading(config) as (settings, connection):
        figures.report(settings, connection, wanted)


@app.command()
def check(
    config: Config = None,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Say what is wrong and what to do, for cron and monitoring; exit code 1 if anything is.

    Example: receiver check --format json
    """
    from receiver import alarms, checking

    if format_ not in checking.FORMATS:
        raise typer.BadParameter(f"--format: expected one of: {', '.join(checking.FORMATS)}")
    with reading(config) as (settings, connection):
        found = alarms.examine(connection, settings)
    if format_ == "json":
        typer.echo(checking.as_json(found), nl=False)
    else:
        checking.text(found, settings.timezone)
    if any(alarm.is_raised for alarm in found):
        raise typer.Exit(1)


@callbacks_app.callback()
def callbacks(
    ctx: typer.Context,
    config: Config = None,
    outcome: Annotated[
        list[str] | None, typer.Option(help="read, partial or unreadable; may be given twice.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 20,
) -> None:
    """List the callbacks that were kept, or show one.

    Example: receiver callbacks --outcome unreadable
    """
    if ctx.invoked_subcommand is not None:
        return
    from receiver import listing, query
    from receiver.tables import show

    outcomes = known_outcomes(outcome or [])
    with reading(config) as (settings, connection):
        rows = query.kept_callbacks(connection, outcomes, limit)
    show(listing.callbacks(rows, settings.timezone))


@callbacks_app.command("show")
def callbacks_show(
    ctx: typer.Context,
    sought: Annotated[str, typer.Argument(metavar="ID")],
    config: Config = None,
    body: Annotated[bool, typer.Option("--body", help="Write the body's bytes, no more.")] = False,
) -> None:
    """Show all that was kept of one callback.

    Example: receiver callbacks show 019a6b1e-7c1b-7000-8000-0123456789ab --body > body.json
    """
    from receiver import legible, listing, query

    outer = ctx.parent.params["config"] if ctx.parent is not None else None
    with reading(config or outer) as (_, connection):
        row = query.kept_callback(connection, sought, head=None if body else legible.MAX_SHOWN)
    if body:
        sys.stdout.buffer.write(row["body"])
        sys.stdout.buffer.flush()
    else:
        typer.echo("\n".join(listing.callback(row)))


def known_outcomes(given: Sequence[str]) -> list[str]:
    """Return outcomes, however they were listed. Wrong usage where one is none."""
    from receiver.query import OUTCOMES

    found = [word.strip().lower() for words in given for word in words.split(",")]
    if not set(found) <= set(OUTCOMES):
        raise typer.BadParameter(f"--outcome: expected some of: {', '.join(OUTCOMES)}")
    return found


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID")] = None,
    config: Config = None,
    outcome: Annotated[
        list[str] | None, typer.Option(help="read, partial or unreadable; may be given twice.")
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Read kept callbacks again after a fix: by default those unreadable or partial.

    New reports are added, and what is derived of known ones is written again.

    Example: receiver replay --outcome unreadable --dry-run
    """
    from receiver import listing, query, rebuild
    from receiver.logs import configure
    from receiver.pipeline import Interpreter
    from receiver.tables import progress

    chosen: dict[str, Sequence[str]] = {"outcomes": known_outcomes(outcome or rebuild.REREAD)}
    if ids and outcome:
        raise typer.BadParameter("expected ids or --outcome, not both")
    configure()
    with opened(config) as (settings, engine):
        chosen["ids"] = query.kept_ids(engine, ids or [])
        interpreter, texts = Interpreter.from_settings(settings), settings.message_text
        with progress("Reading again", rebuild.count_callbacks(engine, **chosen)) as advance:
            done = rebuild.replay(
                engine, interpreter, texts, **chosen, dry_run=dry_run, progress=advance
            )
    typer.echo(listing.replayed(done, dry_run=dry_run))


@app.command()
def erase(
    recipient: Annotated[
        str, typer.Option(help="A phone number, written in any way; `-` reads it from stdin.")
    ],
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a phone number from all that is kept; what was counted stays.

    It asks first on a terminal, and wants --yes anywhere else. Other people of this machine can see
    what stands on a command line: with `-` the number does not.

    Example: receiver erase --recipient 0812345678
    """
    from receiver import erasure, listing
    from receiver.report import msisdn
    from receiver.tables import progress

    number = msisdn(sys.stdin.readline().strip() if recipient == "-" else recipient)
    if number is None:
        raise typer.BadParameter("--recipient: expected a phone number such as 0812345678")
    with opened(config) as (settings, engine):
        if not yes:
            confirm(f"Erase {number} ({erasure.count_messages(engine, number)} messages)?")
        total = erasure.count_rows(engine) if sys.stderr.isatty() else None
        with progress("Erasing", total) as advance:
            done = erasure.erase_all(engine, settings, number, progress=advance)
    typer.echo(listing.erased(done))
    for note in listing.not_erased(done):
        typer.echo(note, err=True)


def confirm(question: str) -> None:
    """Ask on a terminal; elsewhere nobody can be asked, which is wrong usage."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here; add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Exit(fail("Nothing was erased."))


@app.command()
def purge(
    config: Config = None,
    older_than: OlderThan = None,
    callbacks_older_than: OlderThan = None,
    unreadable_older_than: OlderThan = None,
    dry_run: DryRun = False,
) -> None:
    """Delete what is old, in small portions: nobody has to stop for it.

    --older-than: messages by sent_at with all their reports, reports of no message by received_at,
    and their callbacks. The other two: callbacks by their age; those of them that could not be read
    and may hold message texts. What is not given is as set (RECEIVER_PURGE_…); the counts by the
    hour stay.

    Example: receiver purge --older-than 400d --callbacks-older-than 30d --dry-run
    """
    from receiver import listing, retention
    from receiver.tables import progress

    given = {
        "purge_older_than": older_than,
        "purge_callbacks_older_than": callbacks_older_than,
        "purge_unreadable_older_than": unreadable_older_than,
    }
    with opened(config) as (settings, engine):
        limits = retention.Limits.set(settings.model_copy(update=ages(given)), datetime.now(UTC))
        if dry_run:
            typer.echo(listing.purged(retention.count(engine, limits), dry_run=True))
            return
        total = retention.count(engine, limits).total() if sys.stderr.isatty() else None
        with progress("Deleting", total) as advance:
            done = retention.purge(engine, limits, progress=advance)
    typer.echo(listing.purged(done, dry_run=False))


def ages(given: Mapping[str, str | None]) -> dict[str, timedelta | None]:
    """Return the ages that were given, by their setting. Wrong usage where one is none."""
    from receiver.settings import age

    found: dict[str, timedelta | None] = {}
    for name, said in given.items():
        try:
            if said is not None:
                found[name] = age(said)
        except ValueError as error:
            option = name.removeprefix("purge_").replace("_", "-")
            raise typer.BadParameter(f"--{option}: {error}") from None
    return found


def known_words(file: str) -> Mapping[str, Mapping[str, Status]]:
    """Return what a status map says. Wrong usage where it is none."""
    from receiver.settings import statuses

    try:
        return statuses(file)
    except ValueError as error:
        raise typer.BadParameter(f"--status-map: {error}") from None


@app.command("rebuild")
def rebuild_(
    config: Config = None,
    dry_run: DryRun = False,
    status_map: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With --dry-run: instead of RECEIVER_STATUS_MAP."),
    ] = None,
) -> None:
    """Derive every report, link and status again, under today's settings.

    Example: receiver rebuild --dry-run --status-map new.toml
    """
    from receiver import rebuild
    from receiver.listing import rebuilt
    from receiver.pipeline import Interpreter
    from receiver.tables import progress, show

    if status_map is not None and not dry_run:
        raise typer.BadParameter(
            "--status-map: expected --dry-run, too; to keep what it gives, name the file in"
            " RECEIVER_STATUS_MAP"
        )
    other = {} if status_map is None else {"status_map": known_words(status_map)}
    with (
        opened(config) as (settings, engine),
        progress("Deriving again", rebuild.count_rows(engine)) as advance,
    ):
        interpreter = Interpreter.from_settings(settings.model_copy(update=other))
        done = rebuild.rebuild(engine, interpreter, dry_run=dry_run, progress=advance)
    said, changes = rebuilt(done, dry_run=dry_run)
    if changes.rows:
        show(changes)
    typer.echo(said)


@app.command()
def copy(
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Of the other database.")],
    config: Config = None,
) -> None:
    """Copy all that is kept into another database, which is empty and has been migrated.

    Stop the receiver first. Both are compared at the end. A copy that was cut off goes on when it
    is run again.

    Example: receiver copy --to postgresql://receiver@127.0.0.1/receiver
    """
    from receiver import copying
    from receiver.settings import read_settings

    copying.copy(read_settings(config), to)


@app.command()
def doctor(
    config: Config = None,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Examine settings, database, spool, clock and public URL; say what is wrong, and what to do.

    Exit code 1 where anything is not ok. Nothing is kept of the calls to the public URL.

    Example: receiver doctor
    """
    from receiver import doctor

    if format_ not in doctor.FORMATS:
        raise typer.BadParameter(f"--format: expected one of: {', '.join(doctor.FORMATS)}")
    if not doctor.show(doctor.examine(config), format_):
        raise typer.Exit(1)


@app.command()
def simulate(
    provider: Annotated[
        str | None, typer.Argument(metavar="PROVIDER", help="All that have tokens.")
    ] = None,
    *,
    config: Config = None,
    url: Annotated[str | None, typer.Option(help="Where the receiver is; on this machine.")] = None,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Messages of each.")] = 100,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second; 0: no limit.")] = 50,
    faults: Annotated[
        str,
        typer.Option(
            help="repeats, reorder, early, unknown, bad-item, truncated, encodings, or all."
        ),
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Also to another machine.")] = False,
    seed: Annotated[int | None, typer.Option(help="Play the same again.")] = None,
) -> None:
    """Play a provider against a running receiver: record messages, then send their reports.

    The ids begin with `sim-`. It uses the tokens and the API key of the settings.

    Example: receiver simulate ants --count 200 --faults all
    """
    from receiver import simulate
    from receiver.play import known_faults
    from receiver.settings import read_settings

    providers = [known_provider(provider)] if provider else None
    try:
        chosen = known_faults(faults)
        target = simulate.target(url, read_settings(config), allowed=yes)
    except UnreadableError as error:
        raise typer.BadParameter(str(error)) from None
    simulate.run(target, providers, count=count, rate=rate, faults=chosen, seed=seed)


TemplateId = Annotated[str, typer.Argument(metavar="ID")]
Name = Annotated[str | None, typer.Option("--name", help="At most 64 characters.")]
Content = Annotated[str | None, typer.Option("--content", help="At most 512, no 【】 or [].")]
Type = Annotated[str | None, typer.Option("--type", help="code, notice or marketing.")]
SignId = Annotated[int | None, typer.Option("--sign-id", help="Of the signature.")]
SignPos = Annotated[str | None, typer.Option("--sign-pos", help="prefix or suffix.")]
Submit = Annotated[bool | None, typer.Option("--submit", help="Hand it in for review at once.")]


@contextmanager
def usage() -> Iterator[None]:
    """Turn what cannot be meant into wrong usage."""
    try:
        yield
    except UnreadableError as error:
        raise typer.BadParameter(f"--{error}" if str(error)[0].islower() else str(error)) from None


@contextmanager
def changing(config: Path | None) -> Iterator[tuple[Client, Engine]]:
    """Open a line to the provider, and the database that mirrors it."""
    from receiver import templates

    with usage(), opened(config) as (settings, engine), templates.calling(settings) as client:
        yield client, engine


@templates_app.command("list")
def templates_list(
    config: Config = None,
    approval: Annotated[str, typer.Option(help="pending, approved, rejected or unsubmitted.")] = "",
    name: Annotated[str, typer.Option(help="Part of a name.")] = "",
) -> None:
    """List the provider's templates, as it answers them now.

    Example: receiver templates list --approval rejected
    """
    from receiver import templates
    from receiver.settings import read_settings
    from receiver.template_client import APPROVALS

    if approval and approval not in APPROVALS:
        raise typer.BadParameter(f"--approval: expected one of: {', '.join(APPROVALS)}")
    settings = read_settings(config)
    with templates.calling(settings) as client:
        templates.listed(client, settings.timezone, approval, name)


@templates_app.command("show")
def templates_show(sought: TemplateId, config: Config = None) -> None:
    """Show one template, as the provider answers it now.

    Example: receiver templates show 123
    """
    from receiver import templates
    from receiver.settings import read_settings

    settings = read_settings(config)
    with usage(), templates.calling(settings) as client:
        template = client.get(sought)
    typer.echo("\n".join(templates.described(template, settings.timezone)))


@templates_app.command("sync")
def templates_sync(config: Config = None) -> None:
    """Mirror the provider's templates into the table message_template.

    Example: receiver templates sync
    """
    from receiver import templates

    with opened(config) as (settings, engine), templates.calling(settings) as client:
        typer.echo(templates.sync(client, engine))


@templates_app.command("create")
def templates_create(
    name: Annotated[str, typer.Option("--name", help="At most 64 characters.")],
    content: Annotated[str, typer.Option("--content", help="At most 512, no 【】 or [].")],
    type_: Annotated[str, typer.Option("--type", help="code, notice or marketing.")],
    *,
    config: Config = None,
    sign_id: SignId = None,
    sign_pos: SignPos = None,
    submit: Submit = None,
) -> None:
    """Make a template. It is sent once: a second try could make a second one.

    Example: receiver templates create --name bill --content "Dear %name%" --type notice
    """
    from receiver import templates
    from receiver.template_client import Draft

    with usage():
        draft = Draft(
            name=name,
            content=content,
            type=type_,
            sign_id=sign_id,
            sign_pos=sign_pos,
            submit=submit,
        )
    with opened(config) as (settings, engine), templates.calling(settings) as client:
        template = templates.create(client, engine, draft)
    typer.echo("\n".join(templates.described(template, settings.timezone)))


@templates_app.command("submit")
def templates_submit(sought: TemplateId, config: Config = None) -> None:
    """Hand a template in for review.

    Example: receiver templates submit 123
    """
    from receiver import templates

    with changing(config) as (client, engine):
        client.submit(sought)
        template = templates.refresh(client, engine, sought)
    typer.echo(f"Submitted; approval: {template.approval if template else 'unknown'}.")


@templates_app.command("update")
def templates_update(
    sought: TemplateId,
    *,
    config: Config = None,
    name: Name = None,
    content: Content = None,
    type_: Type = None,
    sign_id: SignId = None,
    sign_pos: SignPos = None,
    submit: Submit = None,
) -> None:
    """Change a template. Anything but a new name takes its approval away.

    Example: receiver templates update 123 --content "Dear %name%" --submit
    """
    from receiver import templates
    from receiver.template_client import Draft

    with usage():
        draft = Draft(
            name=name,
            content=content,
            type=type_,
            sign_id=sign_id,
            sign_pos=sign_pos,
            submit=submit,
        )
    if not draft.as_json():
        raise typer.BadParameter("expected something to change, such as --name")
    with changing(config) as (client, engine):
        client.update(sought, draft)
        template = templates.refresh(client, engine, sought)
    typer.echo(f"Changed; approval: {template.approval if template else 'unknown'}.")


@templates_app.command("delete")
def templates_delete(
    sought: TemplateId,
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a template. It asks first on a terminal, and wants --yes anywhere else.

    Example: receiver templates delete 123 --yes
    """
    from receiver import templates

    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here; add --yes to delete")
        if not typer.confirm(f"Delete template {sought}?", err=True):
            raise typer.Exit(fail("Nothing was deleted."))
    with changing(config) as (client, engine):
        templates.delete(client, engine, sought)
    typer.echo(f"Deleted {sought}.")
