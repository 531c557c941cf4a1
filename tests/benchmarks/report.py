"""The result: one plain table, the same as JSON, and what was wanted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.benchmarks.data import Contents, Shape
    from tests.benchmarks.load import Load

RATIOS: Final = {"sqlite": 15.0, "postgresql": 8.0}
"""How many times the peer's reports a second are wanted, one report per request."""
CEILING: Final = 0.25
"""Which share of the ceiling's answers a second is wanted, one report per request."""
MICROSECONDS: Final = 200
"""Processor time of ours that a settled report may cost, one report per request."""
BATCHED: Final = 12_000
"""Reports a second that are wanted on SQLite, 500 ANTS details per request."""
XML: Final = 0.5
"""Which share of that is wanted where they come as XML."""
OFFERED: Final = 500
"""At so many requests a second offered these two are wanted on SQLite:"""
P99_MS: Final = 25
LAG_SECONDS: Final = 1
READY_SECONDS: Final = 1.5
RESIDENT_MB: Final = 150
CONNECTIONS: Final = 64
BUSY: Final = 0.9
"""Of the cores wrk could use: from here on a faster server would look no faster."""
LATE: Final = 0.01
"""Share of the requests that wrk may send late, with a rate offered."""


Group = tuple[str, str, int]
"""Database, shape and connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One server, one database, one load."""

    database: str
    shape: str = "single"
    connections: int = 64
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
    lag_seconds: float = 0.0
    """The longest that a report waited to be settled."""
    lock_waits: float = 0.0
    """In which share of the looks a connection to PostgreSQL waited for a lock."""
    peak_mb: float
    ready_seconds: float
    failures: tuple[str, ...]

    @property
    def group(self) -> Group:
        """What it is compared within."""
        return self.database, self.shape, self.connections

    @property
    def rate(self) -> float:
        """Reports settled a second."""
        return self.contents.settled / self.seconds if self.seconds else 0.0

    @property
    def microseconds(self) -> float:
        """Processor time of the server's processes for each settled report."""
        return self.server_cpu * 1e6 / self.contents.settled if self.contents.settled else 0.0

    @property
    def database_microseconds(self) -> float:
        """The same of PostgreSQL's."""
        return self.database_cpu * 1e6 / self.contents.settled if self.contents.settled else 0.0

    @property
    def acknowledged(self) -> float:
        """Requests answered with 200 a second, while wrk ran."""
        return (self.load.requests - self.load.refused) / self.load.seconds


def failures(shape: Shape, load: Load, found: Contents, waiting: int) -> tuple[str, ...]:
    """Say everything that is not as it must be; then the run's figures are worth nothing."""
    answered = (load.requests - load.refused) * shape.details
    wrong = _unanswered(load) | {
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


def unanswered(load: Load) -> tuple[str, ...]:
    """Say the same of a server that keeps nothing; it may be faster than wrk."""
    return tuple(sentence for sentence, is_so in _unanswered(load).items() if is_so)


def _unanswered(load: Load) -> dict[str, int | bool]:
    return {
        f"{load.refused} answers were no 200": load.refused,
        f"{load.broken} connections broke": load.broken,
        f"{load.timeouts} answers came late": load.timeouts,
        f"{load.late} requests were not sent when they were due": (
            load.late > LATE * load.requests
        ),
    }


@dataclass(slots=True, kw_only=True)
class Result:
    """Everything that was measured."""

    shapes: Sequence[Shape]
    options: dict[str, Any]
    machine: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    startups: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until ready on an empty database, by `database server`."""

    @property
    def groups(self) -> list[Group]:
        """Return what is compared within, in order."""
        return list(dict.fromkeys(run.group for run in self.runs))

    def of(self, group: Group, server: str) -> list[Run]:
        """Return the runs of one server."""
        return [run for run in self.runs if (run.group, run.server) == (group, server)]

    def ratios(self, group: Group, other: str = "peer") -> list[float]:
        """Return how many times another's rate the receiver's was, round by round."""
        return self._beside(group, other, lambda run: run.rate)

    def costs(self, group: Group, other: str) -> list[float]:
        """Return how many times another's processor time a report cost, round by round."""
        return self._beside(group, other, lambda run: run.microseconds)

    def shares(self, group: Group, server: str = "receiver") -> list[float]:
        """Return which share of the ceiling's answers a server gave, round by round."""
        return self._beside(group, "ceiling", lambda run: run.acknowledged, server)

    def _beside(
        self, group: Group, other: str, value: Callable[[Run], float], server: str = "receiver"
    ) -> list[float]:
        others = {run.round: value(run) for run in self.of(group, other)}
        return [
            value(run) / others[run.round]
            for run in self.of(group, server)
            if others.get(run.round)
        ]

    def title(self, group: Group) -> str:
        """Name a group: by its database, where nothing else differs."""
        database, shape, connections = group
        alone = len({other[1:] for other in self.groups}) == 1
        return database if alone else f"{database} {shape} {connections}"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "shapes": [asdict(shape) for shape in self.shapes],
            "options": self.options,
            "machine": self.machine,
            "ratios": {self.title(g): found for g in self.groups if (found := self.ratios(g))},
            "ceiling_shares": {
                self.title(g): found for g in self.groups if (found := self.shares(g))
            },
            "startup_seconds": self.startups,
            "runs": [
                {
                    **asdict(run),
                    "rate": run.rate,
                    "acknowledged": run.acknowledged,
                    "microseconds": run.microseconds,
                    "database_microseconds": run.database_microseconds,
                }
                for run in self.runs
            ],
        }


_COLUMNS: Final[tuple[tuple[str, int, Callable[[Run], float]], ...]] = (
    ("settled/s", 0, lambda run: run.rate),
    ("200s/s", 0, lambda run: run.acknowledged),
    ("p50 ms", 1, lambda run: run.load.p50_ms),
    ("p99 ms", 1, lambda run: run.load.p99_ms),
    ("µs/report", 0, lambda run: run.microseconds),
    ("db µs/report", 0, lambda run: run.database_microseconds),
    ("lag s", 2, lambda run: run.lag_seconds),
    ("lock waits %", 0, lambda run: 100 * run.lock_waits),
    ("drain s", 1, lambda run: run.drain_seconds),
    ("others' CPU s", 1, lambda run: run.others_cpu),
    ("peak MB", 0, lambda run: run.peak_mb),
    ("ready s", 2, lambda run: run.ready_seconds),
)
_SETTLING: Final = frozenset(
    {"settled/s", "µs/report", "db µs/report", "lag s", "lock waits %", "drain s"}
)
"""What the ceiling has none of."""


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
    titles = [title for title, _, _ in _COLUMNS]
    rows = [["database", "shape", "conns", "server", *titles, "of ceiling"]]
    for group in result.groups:
        start = [group[0], group[1], str(group[2])]
        for server in dict.fromkeys(run.server for run in result.runs):
            runs = result.of(group, server)
            cells = [
                "-"
                if server == "ceiling" and title in _SETTLING
                else spread([value(run) for run in runs], places)
                for title, places, value in _COLUMNS
            ]
            share = spread([100 * share for share in result.shares(group, server)], 0)
            rows.append([*start, server, *cells, "-" if share == "-" else f"{share} %"])
        if ratios := result.ratios(group):
            rows.append([*start, "ratio", spread(ratios, 1)])
        if (against := result.options.get("against")) and (than := result.ratios(group, against)):
            cells = ["-"] * len(titles)
            cells[titles.index("settled/s")] = spread(than, 2)
            cells[titles.index("µs/report")] = spread(result.costs(group, against), 2)
            rows.append([*start, f"times {against}", *cells])
    return aligned(rows)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as columns."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in rows
    )


def wanted(result: Result) -> list[str]:
    """Write what was wanted of the receiver, and whether it is so."""
    found = [verdict(*bar) for group in result.groups for bar in _bars(result, group)]
    for name, seconds in result.startups.items():
        database, server = name.split()
        if server == "receiver":
            what = f"seconds until ready on an empty {database}"
            found.append(verdict(what, median(seconds), 2, READY_SECONDS, at_least=False))
    return found


def verdict(what: str, value: float, places: int, limit: float, at_least: bool = False) -> str:
    """Say whether a value is what was wanted."""
    good = value >= limit if at_least else value <= limit
    side = "at least" if at_least else "at most"
    word = "reached" if good else "MISSED"
    return f"{word}: {what} {value:,.{places}f}, wanted {side} {limit:,g}"


def _bars(result: Result, group: Group) -> Iterator[tuple[str, float, int, float, bool]]:
    """Return what, value, places, limit, and whether it is the least, of a group's receiver."""
    database, shape, connections = group
    runs, name = result.of(group, "receiver"), result.title(group)
    if not runs:
        return
    offered = result.options.get("offered", 0)
    rate = median(run.rate for run in runs)
    if shape == "single" and connections == CONNECTIONS and not offered:
        if ratios := result.ratios(group):
            yield f"ratio on {name}", median(ratios), 1, RATIOS[database], True
        if shares := result.shares(group):
            yield f"share of the ceiling on {name}", median(shares), 2, CEILING, True
        cost = median(run.microseconds for run in runs)
        yield f"µs of ours a report on {name}", cost, 0, MICROSECONDS, False
    if database == "sqlite" and shape == "ants500":
        yield f"reports a second on {name}", rate, 0, BATCHED, True
        if others := result.of((database, "ants500-xml", connections), "receiver"):
            share = median(run.rate for run in others) / rate
            yield f"XML beside JSON on {name}", share, 2, XML, True
    if database == "sqlite" and offered == OFFERED:
        p99 = median(run.load.p99_ms for run in runs)
        yield f"p99 in ms at {OFFERED} offered on {name}", p99, 1, P99_MS, False
        lag = max(run.lag_seconds for run in runs)
        yield f"settling lag in s at {OFFERED} offered on {name}", lag, 2, LAG_SECONDS, False
    yield f"MB resident on {name}", max(run.peak_mb for run in runs), 0, RESIDENT_MB, False


def render(result: Result) -> str:
    """Write everything: what was done, the table, the start-ups, what was wanted, what failed."""
    options = result.options
    what = (
        f"{'; '.join(shape.title for shape in result.shapes)} per request,"
        f" {options['seconds']} s, {options['messages']:,} sent messages recorded,"
        f" rounds: {options['rounds']}"
    )
    if options.get("offered"):
        what += f", {options['offered']} requests a second offered"
    where = ", ".join(f"{name} {value}" for name, value in result.machine.items())
    lines = [what, where, "", table(result), ""]
    lines += [
        f"ready on an empty database: {name} {spread(seconds, 2)} s"
        for name, seconds in result.startups.items()
    ]
    lines += wanted(result)
    lines += [
        f"FAILED: {result.title(run.group)} {run.server}, round {run.round}: {failure}"
        for run in result.runs
        for failure in run.failures
    ]
    return "\n".join(lines)
