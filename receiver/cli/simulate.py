"""Command that plays a provider: simulate."""

from __future__ import annotations

from typing import Annotated

import typer

from receiver.cli.app import Config, app, known_provider
from receiver.domain import UnreadableError


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
    from receiver.settings import read_settings
    from receiver.simulator import known_faults, run

    providers = [known_provider(provider)] if provider else None
    try:
        chosen = known_faults(faults)
        target = run.target(url, read_settings(config), allowed=yes)
    except UnreadableError as error:
        raise typer.BadParameter(str(error)) from None
    run.run(target, providers, count=count, rate=rate, faults=chosen, seed=seed)
