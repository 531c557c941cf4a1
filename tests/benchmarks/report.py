"""The result: one plain table, the same as JSON, and what was wanted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.benchmarks.data import Contents, Shape
    from tests.benchmarks.load import Load

RATIOS: Final = {"sqlite": 8.0, "postgresql": 4.0}
"""How many times the peer's reports a second are wanted, one report per request."""
BATCHED: Final = 6000
"""Reports a second that are wanted on SQLite, 500 ANTS details per request."""
READY_SECONDS: Final = 1.5
RESIDENT_MB: Final = 150
BUSY: Final = 0.9
"""Of the cores wrk could use: from here on a faster server would look no faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One server, one database, one load."""

    database: str
    server: str
    round: int
    load: Load
    contents: Contents
    seconds: float
    """From the first report's arrival until nothing waited."""
    drain_seconds: float
    """Of these, after the load had ended."""
    server_cpu: float
    database_cpu: float
    others_cpu: float
    """What was neither ours nor wrk's: with much of it, the machine was not idle."""
    peak_mb: float
    ready_seconds: float
    failures: tuple[str, ...]

    @property
    def rate(self) -> float:
        """Reports settled a second."""
        return self.contents.settled / self.seconds

    @property
    def acknowledged(self) -> float:
        """Requests answered with 200 a second, while wrk ran."""
        return (self.load.requests - self.load.refused) / self.load.seconds


def failures(shape: Shape, load: Load, found: Contents, waiting: int) -> tuple[str, ...]:
    """Say everything that is not as it must be; then the run's figures are worth nothing."""
    answered = (load.requests - load.refused) * shape.details
    wrong = {
        f"{load.refused} answers were no 200": load.refused,
        f"{load.broken} connections broke": load.broken,
        f"{load.timeouts} answers came late": load.timeouts,
        "the messages ran out: record more with --messages": load.exhausted,
        f"{answered} reports were answered with 200, {found.kept} are kept": answered > found.kept,
        f"{found.callbacks} callbacks of {shape.details} do not make {found.kept} reports": (
            found.callbacks * shape.details != found.kept + found.repeats
        ),
        f"{found.repeats} reports were repeats": found.repeats,
        f"{found.kept - found.settled} reports are not settled": found.kept - found.settled,
        f"{found.kept - found.linked} reports are not linked to their message": (
            found.kept - found.linked
        ),
        f"{found.kept - found.delivered} messages are not delivered": (
            found.kept - found.delivered
        ),
        f"/readyz says that {waiting} wait": waiting,
        "nothing was kept": not found.kept,
        "wrk was busy all the time: it is what was measured": load.cpu_share > BUSY,
    }
    return tuple(sentence for sentence, is_so in wrong.items() if is_so)


@dataclass(slots=True, kw_only=True)
class Result:
    """Everything that was measured."""

    shape: Shape
    options: dict[str, Any]
    machine: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    startups: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until ready on an empty database, by `database server`."""

    def of(self, database: str, server: str) -> list[Run]:
        """Return the runs of one server on one database."""
        return [r for r in self.runs if (r.database, r.server) == (database, server)]

    def ratios(self, database: str) -> list[float]:
        """Return how many times the peer's rate the receiver's was, round by round."""
        peers = {run.round: run.rate for run in self.of(database, "peer")}
        return [
            run.rate / peers[run.round]
            for run in self.of(database, "receiver")
            if peers.get(run.round)
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        databases = dict.fromkeys(run.database for run in self.runs)
        return {
            "shape": asdict(self.shape),
            "options": self.options,
            "machine": self.machine,
            "ratios": {name: self.ratios(name) for name in databases if self.ratios(name)},
            "startup_seconds": self.startups,
            "runs": [
                {**asdict(run), "rate": run.rate, "acknowledged": run.acknowledged}
                for run in self.runs
            ],
        }


_COLUMNS: Final[tuple[tuple[str, int, Callable[[Run], float]], ...]] = (
    ("settled/s", 0, lambda run: run.rate),
    ("200s/s", 0, lambda run: run.acknowledged),
    ("p50 ms", 1, lambda run: run.load.p50_ms),
    ("p99 ms", 1, lambda run: run.load.p99_ms),
    ("drain s", 1, lambda run: run.drain_seconds),
    ("CPU s", 1, lambda run: run.server_cpu),
    ("db CPU s", 1, lambda run: run.database_cpu),
    ("others' CPU s", 1, lambda run: run.others_cpu),
    ("peak MB", 0, lambda run: run.peak_mb),
    ("ready s", 2, lambda run: run.ready_seconds),
)


def spread(values: Sequence[float], places: int) -> str:
    """Write the median, and from what to what where there are several."""
    if not values:
        return "-"
    middle = f"{median(values):,.{places}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{places}f}–{max(values):,.{places}f})"  # noqa: RUF001


def table(result: Result) -> str:
    """Write the table: medians, and minimum to maximum in brackets."""
    rows = [["database", "server", *(title for title, _, _ in _COLUMNS)]]
    for database in dict.fromkeys(run.database for run in result.runs):
        for server in dict.fromkeys(run.server for run in result.runs):
            runs = result.of(database, server)
            cells = [spread([value(run) for run in runs], n) for _, n, value in _COLUMNS]
            rows.append([database, server, *cells])
        if ratios := result.ratios(database):
            rows.append([database, "ratio", spread(ratios, 1)])
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )


def wanted(result: Result) -> list[str]:
    """Write what was wanted of the receiver, and whether it is so."""
    lines = []

    def line(what: str, value: float, places: int, limit: float, *, at_least: bool) -> None:
        good = value >= limit if at_least else value <= limit
        side = "at least" if at_least else "at most"
        verdict = "reached" if good else "MISSED"
        lines.append(f"{verdict}: {what} {value:,.{places}f}, wanted {side} {limit:,g}")

    for database, limit in RATIOS.items():
        ratios = result.ratios(database) if result.shape.name == "single" else []
        if ratios:
            line(f"ratio on {database}", median(ratios), 1, limit, at_least=True)
    if result.shape.name == "ants500" and (runs := result.of("sqlite", "receiver")):
        rate = median(run.rate for run in runs)
        line("reports a second on sqlite", rate, 0, BATCHED, at_least=True)
    for database in dict.fromkeys(run.database for run in result.runs):
        if runs := result.of(database, "receiver"):
            peak = max(run.peak_mb for run in runs)
            line(f"MB resident on {database}", peak, 0, RESIDENT_MB, at_least=False)
        if seconds := result.startups.get(f"{database} receiver"):
            line(
                f"seconds until ready on an empty {database}",
                *(median(seconds), 2, READY_SECONDS),
                at_least=False,
            )
    return lines


def render(result: Result) -> str:
    """Write everything: what was done, the table, the start-ups, what was wanted, what failed."""
    options = result.options
    what = (
        f"{result.shape.title} per request, {options['connections']} connections,"
        f" {options['seconds']} s, {options['messages']:,} sent messages recorded,"
        f" rounds: {options['rounds']}"
    )
    where = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    lines = [what, where, "", table(result), ""]
    lines += [
        f"ready on an empty database: {name} {spread(seconds, 2)} s"
        for name, seconds in result.startups.items()
    ]
    lines += wanted(result)
    lines += [
        f"FAILED: {run.database} {run.server}, round {run.round}: {failure}"
        for run in result.runs
        for failure in run.failures
    ]
    return "\n".join(lines)
