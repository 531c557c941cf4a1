"""Commands that say how it goes: check, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from receiver.cli.app import Config, app, reading


@app.command()
def check(
    config: Config = None,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Say what is wrong and what to do, for cron and monitoring; exit code 1 if anything is.

    Example: receiver check --format json
    """
    from receiver.cli import alarms_output
    from receiver.monitoring.alarms import evaluate

    if format_ not in alarms_output.FORMATS:
        raise typer.BadParameter(f"--format: expected one of: {', '.join(alarms_output.FORMATS)}")
    with reading(config) as (settings, connection):
        alarms = evaluate.evaluate_all(connection, settings)
    if format_ == "json":
        typer.echo(alarms_output.alarms_json(alarms), nl=False)
    else:
        alarms_output.text(alarms, settings.timezone)
    if any(alarm.is_raised for alarm in alarms):
        raise typer.Exit(1)


@app.command()
def doctor(
    config: Config = None,
    format_: Annotated[str, typer.Option("--format", help="text or json.")] = "text",
) -> None:
    """Examine settings, database, spool, clock and public URL; say what is wrong, and what to do.

    Exit code 1 where anything is not ok. Nothing is kept of the calls to the public URL.

    Example: receiver doctor
    """
    from receiver.cli import doctor_output
    from receiver.monitoring.doctor import examine

    if format_ not in doctor_output.FORMATS:
        raise typer.BadParameter(f"--format: expected one of: {', '.join(doctor_output.FORMATS)}")
    if not doctor_output.show(examine.examine(config), format_):
        raise typer.Exit(1)
