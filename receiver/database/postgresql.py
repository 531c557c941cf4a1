"""PostgreSQL's connections: what each is asked when it opens, and what each transaction sets.

A pooler such as PgBouncer hands the server's connections on after each transaction, and refuses to
begin one with settings it does not know. So nothing is set when a connection is made, and whatever
our SQL relies on is set by each transaction for itself: a pooled connection may come with anything
that its last user set.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import event

from receiver.domain import SchemaError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.engine.interfaces import DBAPIConnection


# A network that is gone, and says nothing of it, is noticed on both sides within ten seconds: by
# us, so that we try again; by the server, so that it lets go of what we had locked.
DEFAULTS: Final[Mapping[str, str | int]] = {
    "connect_timeout": 3,
    "application_name": "receiver",
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Parameters of libpq where the URL does not give others."""
KEEP_ALIVE: Final = """
    SELECT set_config(name, value, false)
    FROM (VALUES ('tcp_keepalives_idle', '3'), ('tcp_keepalives_interval', '2'),
        ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '10000')) AS v (name, value)
    WHERE current_setting(name, true) IS NOT NULL
"""
"""The same for the server's end, where no pooler is the other end; what the server knows of it."""

ENCODING: Final = "UTF8"
DURABLE: Final = "synchronous_commit"
SESSION: Final = {"TimeZone": "UTC", "DateStyle": "ISO, MDY"}
"""What our SQL and the driver rely on: how times are read and written."""
OURS: Final = frozenset(name.lower() for name in (DURABLE, *SESSION))

UNPREPARED: Final = frozenset({"26000", "42P05", "08P01"})
"""SQLSTATEs of a prepared statement that is another connection's: none is there, one is there
already, and what some poolers answer."""

# `-c name=value`, `-cname=value` and `--name=value`; a backslash keeps what follows it.
_OPTION: Final = re.compile(r"(?:-c\s*|--)([A-Za-z_][\w.-]*)=((?:\\.|[^\s\\])*)(?:\s+|$)")
# What stands before the hosts of a URL, as SQLAlchemy takes it: a password may hold what it likes.
_LOGIN: Final = re.compile(r"\w+(?:\+\w+)?://(?:[^:/@]*(?::[^@]*)?@)?")
_PORTS: Final = re.compile(r"(?:\d{1,5}|,)*")


def split_hosts(text: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its hosts where it has several, and the hosts as libpq takes them.

    `postgresql://u:p@h1:1,h2/d` is `postgresql://u:p@/d`, and `{"host": "h1,h2", "port": "1,"}`.
    So is a folder of a socket, `%2Frun%2Fpostgresql`. Raises ValueError where libpq reads none.
    """
    login = _LOGIN.match(text)
    if login is None:
        return text, {}
    hosts = re.split(r"[/?]", text[login.end() :], maxsplit=1)[0]
    if "," not in hosts and "%" not in hosts:
        return text, {}
    import psycopg.conninfo

    try:
        read = psycopg.conninfo.conninfo_to_dict(f"postgresql://{hosts}")
    except psycopg.Error:
        raise ValueError("hosts") from None
    if not _PORTS.fullmatch(str(read.get("port", ""))):
        raise ValueError("ports")
    path = text[login.end() + len(hosts) :]
    return login[0] + path, {name: str(value) for name, value in read.items()}


def check_query(url: URL, name: str) -> None:
    """Raise SettingsError for a parameter that is unknown, or not to be set from outside."""
    import psycopg.pq

    names = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for parameter, value in url.query.items():
        if parameter not in names:
            raise SettingsError(f"{name}: {parameter} is no parameter of PostgreSQL's URLs")
        if not isinstance(value, str) and parameter != "host":
            raise SettingsError(f"{name}: {parameter} is given twice")
        if parameter == "client_encoding" and _plain(str(value)) != _plain(ENCODING):
            raise SettingsError(f"{name}: client_encoding must be {ENCODING}, or be left out")
    for option in server_options(url, name):
        if option.lower() in OURS:
            raise SettingsError(f"{name}: the receiver sets {option} by itself; leave it out")


def server_options(url: URL, name: str = "RECEIVER_DATABASE_URL") -> dict[str, str]:
    """Return what the URL's `options` set on the server. Raises SettingsError for what is none.

    `-csearch_path=sms -c work_mem=64MB` is `{"search_path": "sms", "work_mem": "64MB"}`.
    """
    text, at = str(url.query.get("options", "")).strip(), 0
    options: dict[str, str] = {}
    while at < len(text):
        matched = _OPTION.match(text, at)
        if matched is None:
            raise SettingsError(f"{name}: options: expected -c name=value, once or several times")
        options[matched[1].replace("-", "_")] = re.sub(r"\\(.)", r"\1", matched[2])
        at = matched.end()
    return options


def parameters(url: URL) -> dict[str, str | int]:
    """Return what libpq is given beside the URL's own parameters, which come first."""
    defaults = {key: value for key, value in DEFAULTS.items() if key not in url.query}
    return defaults | {"client_encoding": ENCODING}


def _plain(encoding: str) -> str:
    return encoding.lower().replace("-", "").replace("_", "")


class Sessions:
    """How the connections of one engine are opened, and their transactions begun.

    The driver leaves it to us to begin them: with one message, whatever a transaction sets.
    """

    def __init__(self, url: URL) -> None:
        self.prepares = True
        self._beginnings = {
            (snapshot, derived): beginning(server_options(url), snapshot=snapshot, derived=derived)
            for snapshot in (False, True)
            for derived in (False, True)
        }

    def listen(self, engine: Engine) -> None:
        """Look after an engine's connections; `engine` is in the driver's autocommit mode."""
        event.listen(engine, "do_connect", self.leave_out_options)
        event.listen(engine, "connect", self.open, insert=True)
        event.listen(engine, "begin", self.begin)
        event.listen(engine, "handle_error", self.doubt)

    @staticmethod
    def leave_out_options(
        _dialect: Any, _record: Any, _given: Any, named: dict[str, Any]
    ) -> DBAPIConnection | None:
        """Keep `options` from a pooler; each transaction sets them."""
        named.pop("options", None)
        return None

    def open(self, connection: psycopg.Connection[Any], _record: object) -> None:
        """Examine a new connection. Raises SchemaError where nothing could be kept over it."""
        encoding = connection.info.parameter_status("server_encoding")
        if encoding not in {ENCODING, None}:
            raise SchemaError(wrong_encoding(connection.info, encoding))
        connection.autocommit = True
        threshold, connection.prepare_threshold = connection.prepare_threshold, None
        connection.execute(self._beginnings[False, False])
        try:
            question = f"SELECT pg_backend_pid(), current_setting('{DURABLE}')"
            pid, level = connection.execute(question).fetchone() or (None, None)
        finally:
            connection.rollback()
        if level != "on":
            raise SchemaError(
                f"The database keeps {DURABLE} at {level}, so that what it confirms could be lost;"
                " connect to the PostgreSQL server itself, or through another pooler."
            )
        if pid == connection.info.backend_pid:
            connection.execute(KEEP_ALIVE)
            if self.prepares:
                connection.prepare_threshold = threshold

    def begin(self, connection: Connection) -> None:
        """Begin a transaction, unless the connection is to do without."""
        options = connection.get_execution_options()
        if options.get("isolation_level") != "AUTOCOMMIT":
            snapshot, derived = "receiver_snapshot" in options, "receiver_derived" in options
            connection.exec_driver_sql(self._beginnings[snapshot, derived])

    def doubt(self, context: ExceptionContext) -> None:
        """Prepare no more where a prepared statement was not there, or not ours.

        Something before the server hands its connections on unseen. The connection is given up;
        the same transaction over another succeeds (see `is_transient`).
        """
        if context.connection is None or not is_unprepared(context.original_exception):
            return
        if driver(context.connection).prepare_threshold is not None:
            self.prepares = False
            context.is_disconnect = True


def beginning(options: Mapping[str, str], *, snapshot: bool, derived: bool) -> str:
    """Return the statements that begin a transaction; `options` are set as the URL gives them."""
    from psycopg.sql import quote

    level = "REPEATABLE READ" if snapshot else "READ COMMITTED"
    settings = {**options, **SESSION, DURABLE: "off" if derived else "on"}
    calls = ", ".join(
        f"set_config({quote(name)}, {quote(value)}, true)" for name, value in settings.items()
    )
    return f"BEGIN ISOLATION LEVEL {level}; SELECT {calls}".replace("%", "%%")


def is_unprepared(error: BaseException | None) -> bool:
    """Say whether a statement may have failed for a prepared one; then the connection still is."""
    if getattr(error, "sqlstate", None) not in UNPREPARED:
        return False
    diagnosis: Any = getattr(error, "diag", None)
    return "ERROR" in {diagnosis.severity_nonlocalized, diagnosis.severity}


def driver(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's connection."""
    own: Any = connection.connection.driver_connection
    return cast("psycopg.Connection[Any]", own)


def wrong_encoding(info: psycopg.ConnectionInfo, encoding: str | None) -> str:
    """Say that a database cannot hold every text, and how to make one that can."""
    return (
        f"The database's encoding is {encoding}, and must be {ENCODING} to hold every text. Make"
        f" another: createdb --encoding={ENCODING} --locale=C --template=template0"
        f" --owner={info.user} NAME, and name it in the URL."
    )


def has_pooler(connection: Connection) -> bool:
    """Say whether something stands before the server that hands its connections on.

    A pooler gives each client a number of its own, by which it cancels.
    """
    pid: int = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    return bool(pid != driver(connection).info.backend_pid)
