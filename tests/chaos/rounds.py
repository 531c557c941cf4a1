"""The harm: one function for each round, and the table of them all."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.databases import ROLE
from tests.chaos.scene import Round, Scene, faketime, mount, umount

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

KILLS_AT_ONCE: Final = 10
"""Kills between two comparisons."""
SPOOLED: Final = 4000
"""Callbacks that wait before a drain is watched."""
FILL_SECONDS: Final = 12
RECOVERY: Final = 4.0
"""Seconds of load after the harm, in which unanswered requests are sent again."""


def kill(scene: Scene) -> None:
    """Kill the receiver at random moments, in a row."""
    for turn in range(1, scene.options.kills + 1):
        scene.pause(0.2, 2)
        scene.kill(scene.receiver)
        scene.start(scene.receiver)
        if turn % KILLS_AT_ONCE == 0 and turn < scene.options.kills:
            scene.check()
            if not scene.verdict.good:
                return
    scene.pause(1)


def kill_away(scene: Scene) -> None:
    """Kill the receiver while its database is away."""
    scene.pause(1)
    for _ in range(min(3, scene.options.kills)):
        scene.any_database.leave()
        scene.pause(1, 3)
        scene.kill(scene.receiver)
        scene.any_database.come_back()
        scene.start(scene.receiver)
        scene.pause(1, 2)
    scene.pause(RECOVERY)


def kill_draining(scene: Scene) -> None:
    """Let the spool fill, and kill the receiver while it drains."""
    for _ in range(min(5, scene.options.kills)):
        scene.any_database.leave()
        until = time.monotonic() + min(FILL_SECONDS, scene.options.seconds)
        while scene.receiver.spooled() < SPOOLED and time.monotonic() < until:
            scene.pause(0.2)
        scene.any_database.come_back()
        _wait_for_drain(scene)
        scene.pause(0.05, 0.8)
        scene.kill(scene.receiver)
        scene.start(scene.receiver)
    scene.pause(RECOVERY)


def _wait_for_drain(scene: Scene) -> None:
    """Wait until the spool gets smaller."""
    before, until = scene.receiver.spooled(), time.monotonic() + FILL_SECONDS
    while before and time.monotonic() < until:
        now = scene.receiver.spooled()
        if now < before:
            return
        before = now
        time.sleep(0.02)


def flap(scene: Scene) -> None:
    """Take the database away again and again, each time while the spool drains."""
    for turn in range(6):
        if scene.name == "postgresql" and turn % 2:
            scene.postgresql.signal(signal.SIGKILL)
        else:
            scene.any_database.leave()
        scene.pause(1, 3)
        scene.any_database.come_back()
        _wait_for_drain(scene)
        scene.pause(0, 0.4)
    scene.pause(RECOVERY)


def sigterm(scene: Scene) -> None:
    """Stop the receiver under load, as an upgrade does."""
    for _ in range(min(5, scene.options.kills)):
        scene.pause(0.5, 2)
        scene.stop(scene.receiver)
        scene.start(scene.receiver)
    scene.pause(1)


def failover(scene: Scene) -> None:
    """Take the database away for a long time."""
    scene.pause(2)
    scene.any_database.leave()
    scene.pause(scene.options.seconds)
    scene.any_database.come_back()
    scene.pause(RECOVERY)


def postmaster(scene: Scene) -> None:
    """Kill PostgreSQL's first process, or stop it at once, and start it again."""
    for number in (signal.SIGKILL, signal.SIGQUIT, signal.SIGKILL):
        scene.pause(1, 2)
        scene.postgresql.signal(number)
        scene.pause(0, 1)
        scene.postgresql.start()
    scene.pause(RECOVERY)


def backends(scene: Scene) -> None:
    """Kill the processes of PostgreSQL that serve the receiver."""
    for _ in range(4):
        scene.pause(1, 2)
        scene.postgresql.kill_backends()
    scene.pause(RECOVERY)
    scene.postgresql.start()


def freeze(scene: Scene) -> None:
    """Let PostgreSQL hang: nothing fails, and nothing is answered."""
    scene.pause(2)
    scene.postgresql.freeze(on=True)
    scene.pause(scene.short)
    scene.postgresql.freeze(on=False)
    scene.pause(RECOVERY)


def read_only(scene: Scene) -> None:
    """Let the database take no writes."""
    scene.pause(2)
    scene.any_database.read_only(on=True)
    try:
        scene.pause(scene.short)
    finally:
        scene.any_database.read_only(on=False)
    scene.pause(RECOVERY)


def refusal(doing: Mapping[str, str], undoing: Mapping[str, str]) -> Callable[[Scene], None]:
    """Return a harm: statements, by the database's name, after which it answers "no"; and back."""

    def harm(scene: Scene) -> None:
        scene.pause(2)
        scene.any_database.run(doing[scene.name])
        try:
            scene.pause(scene.short)
        finally:
            scene.any_database.run(undoing[scene.name])
        scene.pause(RECOVERY)

    return harm


def both(statement: str) -> Mapping[str, str]:
    """Return a statement that both databases know."""
    return {"sqlite": statement, "postgresql": statement}


TABLE_RENAMED: Final = refusal(
    both("ALTER TABLE callback RENAME TO elsewhere"),
    both("ALTER TABLE elsewhere RENAME TO callback"),
)
COLUMN_RENAMED: Final = refusal(
    both("ALTER TABLE delivery_report RENAME COLUMN position TO elsewhere"),
    both("ALTER TABLE delivery_report RENAME COLUMN elsewhere TO position"),
)
TRIGGER: Final = refusal(
    {
        "sqlite": (
            "CREATE TRIGGER no BEFORE INSERT ON delivery_report"
            " BEGIN SELECT raise(ABORT, 'no'); END"
        ),
        "postgresql": (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
            " CREATE TRIGGER no BEFORE INSERT ON delivery_report"
            " FOR EACH ROW EXECUTE FUNCTION no()"
        ),
    },
    {"sqlite": "DROP TRIGGER no", "postgresql": "DROP FUNCTION no CASCADE"},
)
OWNER_CHANGED: Final = refusal(
    {"postgresql": f"REASSIGN OWNED BY {ROLE} TO postgres"},
    {
        "postgresql": f"""DO $$ DECLARE one record; BEGIN
            FOR one IN SELECT relname, relkind FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v') LOOP
              EXECUTE format('ALTER %s public.%I OWNER TO {ROLE}',
                CASE one.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, one.relname);
            END LOOP;
          END $$"""
    },
)
RIGHT_REVOKED: Final = refusal(
    {"postgresql": f"REVOKE INSERT ON callback, delivery_report FROM {ROLE}"},
    {"postgresql": f"GRANT INSERT ON callback, delivery_report TO {ROLE}"},
)
SEQUENCE_SET_BACK: Final = refusal(
    {"postgresql": "ALTER SEQUENCE delivery_report_id_seq RESTART WITH 1"},
    {"postgresql": "SELECT setval('delivery_report_id_seq', max(id)) FROM delivery_report"},
)


def full_database(scene: Scene) -> None:
    """Fill the database's disk, then make room again."""
    scene.pause(2)
    scene.fill()
    scene.pause(scene.short)
    scene.fill()
    scene.pause(2)
    scene.empty()
    scene.any_database.come_back()  # PostgreSQL ends itself where its log cannot be written
    scene.pause(RECOVERY)


def full_spool(scene: Scene) -> None:
    """Fill the spool's disk while the database is away; the database comes back first."""
    scene.pause(2)
    scene.any_database.leave()
    scene.pause(2)
    began = time.monotonic()
    scene.fill()
    scene.pause(scene.short)
    scene.any_database.come_back()
    scene.down.append((began, time.monotonic()))  # until now there was nowhere to keep anything
    scene.pause(RECOVERY)
    scene.empty()
    scene.pause(RECOVERY)


def slow_disk(scene: Scene) -> None:
    """Let every sync of the receiver and of PostgreSQL take long."""
    scene.pause(2)
    scene.switch.touch()
    scene.pause(scene.short)
    scene.kill(scene.receiver)
    scene.start(scene.receiver)
    scene.pause(2)
    scene.switch.unlink()
    scene.pause(RECOVERY)


def two(scene: Scene) -> None:
    """Kill one of two receivers on one database, then the other."""
    for turn in range(4):
        scene.pause(1, 2)
        scene.kill(scene.receivers[turn % 2])
        scene.pause(1, 2)
        scene.start(scene.receivers[turn % 2])
    scene.pause(1)


def clock(scene: Scene) -> None:
    """Set the receiver's clock back by an hour, and kill it then."""
    scene.pause(3)
    scene.set_clock(-3600)
    scene.pause(3)
    scene.kill(scene.receiver)
    scene.start(scene.receiver)
    scene.pause(3)


# What has to be there.


def lacks_mount(database: str, folder: Path) -> str:
    """Say why PostgreSQL can have no small disk; for SQLite the receiver itself can be limited."""
    if database == "sqlite":
        return ""
    folder.mkdir(exist_ok=True)
    if not mount(folder, 1):
        return "no small disk can be mounted here (needs root)"
    umount(folder)
    return ""


def lacks_immutable(database: str, folder: Path) -> str:
    """Say why a file of SQLite cannot be made immutable."""
    if database != "sqlite":
        return ""
    probe = folder.parent / "probe"
    probe.touch()
    try:
        for flag in ("+i", "-i"):
            subprocess.run(["chattr", flag, probe], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return "files cannot be made immutable here (needs root, chattr, and a disk that knows it)"
    return ""


def lacks_compiler(database: str, folder: Path) -> str:  # noqa: ARG001
    """Say why syncs cannot be slowed down."""
    return "" if shutil.which("cc") else "no C compiler (cc) to slow down fsync with"


def lacks_faketime(database: str, folder: Path) -> str:  # noqa: ARG001
    """Say why the clock cannot be set back."""
    return "" if faketime() else "libfaketime is missing: apt-get install faketime"


PG: Final = ("postgresql",)
ROUNDS: Final = {
    played.name: played
    for played in (
        Round(
            name="kill",
            harm=kill,
            title="SIGKILL at random moments",
            rate=600,
            connections=16,
        ),
        Round(name="kill-away", harm=kill_away, title="SIGKILL while the database is away"),
        Round(
            name="kill-draining",
            harm=kill_draining,
            title="SIGKILL while the spool drains",
            rate=1000,
            connections=32,
        ),
        Round(
            name="flap",
            harm=flap,
            title="the database away again while the spool drains",
            rate=1000,
            connections=32,
        ),
        Round(name="sigterm", harm=sigterm, title="SIGTERM under load"),
        Round(
            name="outage",
            harm=failover,
            title="PostgreSQL stopped; another program holding SQLite's write lock",
        ),
        Round(name="postmaster", harm=postmaster, title="SIGKILL of the postmaster", databases=PG),
        Round(name="backends", harm=backends, title="SIGKILL of the backends", databases=PG),
        Round(name="freeze", harm=freeze, title="PostgreSQL hanging (SIGSTOP)", databases=PG),
        Round(
            name="read-only",
            harm=read_only,
            title="default_transaction_read_only; immutable files",
            lacks=lacks_immutable,
        ),
        Round(name="table-renamed", harm=TABLE_RENAMED, title="the table callback renamed"),
        Round(
            name="column-renamed", harm=COLUMN_RENAMED, title="a column of delivery_report renamed"
        ),
        Round(name="trigger", harm=TRIGGER, title="a trigger that raises"),
        Round(
            name="owner",
            harm=OWNER_CHANGED,
            title="all tables given to another owner",
            databases=PG,
        ),
        Round(name="right", harm=RIGHT_REVOKED, title="the right to insert revoked", databases=PG),
        Round(
            name="sequence",
            harm=SEQUENCE_SET_BACK,
            title="the sequence of delivery_report set back",
            databases=PG,
        ),
        Round(
            name="full-database",
            harm=full_database,
            title="a full disk under the database",
            small="database",
            lacks=lacks_mount,
        ),
        Round(
            name="full-spool",
            harm=full_spool,
            title="a full disk under the spool, the database being away",
            small="spool",
        ),
        Round(
            name="slow-disk",
            harm=slow_disk,
            title="every fsync takes 0.3 s",
            preload="slow",
            lacks=lacks_compiler,
        ),
        Round(name="two", harm=two, title="one of two receivers killed", databases=PG, receivers=2),
        Round(
            name="clock",
            harm=clock,
            title="the clock set back by an hour",
            preload="clock",
            lacks=lacks_faketime,
        ),
    )
}
