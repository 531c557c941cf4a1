"""Entry point of the command line: runs a command, and says every error in one sentence."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import typer

from receiver.cli import (
    callbacks,
    events,
    maintenance,
    messages,
    monitoring,
    running,
    simulate,
    templates,
)
from receiver.cli.app import app, fail
from receiver.domain import ReceiverError, location

# Each of these gives the application its commands. Imports are sorted by name; the help is not.
TOPICS: Final = (running, messages, callbacks, events, monitoring, maintenance, simulate, templates)
app.registered_commands.sort(
    key=lambda command: [topic.__name__ for topic in TOPICS].index(command.callback.__module__)
)
INTERRUPTED: Final = 130
OTHER_USERS: Final = 0o007
"""The permissions of other users that no file of a command grants: it may hold phone numbers."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command; say every error in one plain sentence and exit with 1 (2: wrong usage)."""
    open_closed_streams()
    os.umask(os.umask(0o077) | OTHER_USERS)
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
        message = error.format_message().removeprefix("Invalid value: ")
        code: int = error.exit_code
        if "\n" in message.strip():  # the help, where no command was given
            typer.echo(message, err=True)
            return code
        command = getattr(getattr(error, "ctx", None), "command_path", "receiver")
        stop = "" if message.endswith((".", "?")) else "."
        return fail(f"{message}{stop} See `{command} --help`.", code)
    from receiver.database import explain

    words = f"{error.strerror}: " if isinstance(error, OSError) and error.strerror else ""
    return fail(explain(error) or f"Something went wrong: {words}{location(error)}.")
