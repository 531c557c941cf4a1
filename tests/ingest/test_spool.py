"""The spool: what it is told is on the disk, whoever dies, and whatever becomes of the file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from receiver.domain.callback import Callback
from receiver.domain.errors import SettingsError, SpoolError
from receiver.ingest.spool.file import VERSION
from receiver.ingest.spool.salvage import salvage
from receiver.ingest.spool.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
BODY = bytes(range(256))


def callback(number: int = 0, body: bytes = BODY) -> Callback:
    return Callback(
        provider="ants",
        account="otp",
        method="POST",
        query=f"n={number}",
        content_type="text/plain",
        remote_addr="192.0.2.1",
        body=body,
        redacted=bool(number % 2),
        received_at=datetime(2026, 11, 21, 3, 0, 0, 123456, UTC) + timedelta(seconds=number),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    made = Spool(path)
    yield made
    made.close()


def waiting(spool: Spool, rows: int = 1000) -> list[Callback]:
    """Take everything out."""
    found: list[Callback] = []
    while (portion := spool.portion(rows)) is not None:
        found += portion.callbacks
        spool.forget(portion)
    return found


def test_what_goes_in_comes_out_in_order(spool: Spool) -> None:
    kept = [callback(n) for n in range(25)]
    spool.keep(kept[:10])
    spool.keep(kept[10:])
    assert spool.held().bytes == sum(len(c.body) + len(c.query) for c in kept)
    assert spool.held().oldest_seconds == pytest.approx(
        (datetime.now(UTC) - kept[0].received_at).total_seconds(), abs=5
    )
    assert waiting(spool, 7) == kept
    held = spool.held()
    assert (held.callbacks, held.bytes, held.oldest_seconds) == (0, 0, None)


def test_it_is_on_the_disk_when_the_process_dies(path: Path) -> None:
    """Nothing closes it, and nothing is flushed: the process is killed."""
    program = (
        "import os, signal, sys; from pathlib import Path;"
        " from tests.ingest.test_spool import Spool, callback; s = Spool(Path(sys.argv[1]));"
        " s.keep([callback(1), callback(2)]); s.forget(s.portion(1));"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=ROOT, check=False)
    assert done.returncode == -9
    with closing(Spool(path)) as found:
        # Forgetting need not have reached the disk.
        assert [c.query for c in waiting(found)][-1:] == ["n=2"]


def test_a_portion_is_bounded_by_its_bytes(spool: Spool) -> None:
    spool.keep([callback(n, bytes(3_000_000)) for n in range(5)])
    sizes = []
    while (portion := spool.portion(1000)) is not None:
        sizes.append(len(portion.callbacks))
        spool.forget(portion)
    assert sizes == [2, 2, 1]


def test_what_no_database_takes_stays_and_does_not_come_again(path: Path) -> None:
    with closing(Spool(path)) as spool:
        spool.keep([callback(n) for n in range(3)])
        portion = spool.portion(10)
        assert portion is not None
        spool.forget(portion, [(portion.positions[1], "no such thing")])
        assert spool.portion(10) is None
        assert (spool.held().callbacks, spool.held().refused) == (0, 1)
    with closing(Spool(path)) as spool:
        assert (spool.held().callbacks, spool.held().refused) == (0, 1)
    assert [c and c.query for c in salvage(path)] == ["n=1"]


def test_its_room_is_given_back(spool: Spool, path: Path) -> None:
    spool.keep([callback(n, bytes(100_000)) for n in range(50)])
    waiting(spool)
    files = [Path(f"{path}{ending}") for ending in ("", "-wal")]
    assert sum(f.stat().st_size for f in files if f.exists()) < 200_000


def test_each_process_has_its_own_and_what_one_left_is_found(path: Path) -> None:
    first = Spool(path)
    second = Spool(path)
    first.keep([callback(1)])
    second.keep([callback(2)])
    assert path.with_suffix(".2.db").exists()
    assert [c.query for c in waiting(second)] == ["n=2"]  # the first one's is not ours
    second.keep([callback(3)])
    second.close()
    third = Spool(path)  # takes over what the second had
    assert [c.query for c in waiting(third)] == ["n=3"]
    third.keep([callback(4)])
    third.close()
    first.close()
    with closing(Spool(path)) as fourth:
        assert {c.query for c in waiting(fourth)} == {"n=1", "n=4"}
        with closing(Spool(path)) as fifth:  # an emptied one is free again
            fifth.keep([callback(5)])
        assert waiting(fourth) == []


def test_an_empty_file_is_left_for_the_next_process(path: Path) -> None:
    for _ in range(3):  # starts of two beside each other
        with closing(Spool(path)) as first, closing(Spool(path)) as second:
            first.keep([callback(1)])
            second.keep([callback(2)])
            assert len(waiting(first)) == len(waiting(second)) == 1
    assert sorted(file.name for file in path.parent.iterdir()) == ["spool.2.db", "spool.db"]


def test_only_its_owner_reads_the_file(spool: Spool, path: Path) -> None:
    spool.keep([callback()])
    assert path.stat().st_mode & 0o777 == 0o600
    assert Path(f"{path}-wal").stat().st_mode & 0o777 == 0o600


def test_it_remembers_which_database_it_has_seen(path: Path) -> None:
    with closing(Spool(path)) as spool:
        assert not spool.has_seen("a")
        spool.note("a")
    with closing(Spool(path)) as spool:
        assert spool.has_seen("a")
        assert not spool.has_seen("b")


def test_threads_share_it(spool: Spool) -> None:
    def keep(start: int) -> None:
        for n in range(start, start + 50):
            spool.keep([callback(n)])

    threads = [threading.Thread(target=keep, args=[n * 50]) for n in range(4)]
    for thread in threads:
        thread.start()
    found = []
    while any(t.is_alive() for t in threads) or spool.callbacks:
        found += waiting(spool, 10)
    assert {c.query for c in found} == {f"n={n}" for n in range(200)}
    assert len(found) == 200


# --- Files that are not as they should be --------------------------------------------------------


def fill(path: Path, count: int = 200) -> list[Callback]:
    kept = [callback(n, bytes([n % 256]) * 3000) for n in range(count)]
    with closing(Spool(path)) as spool:
        spool.keep(kept)
    return kept


def truncate(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2)


def cut_to_nothing_much(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(60)


def scribble(path: Path) -> None:
    """Write over some pages in the middle, as a broken disk does."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 20_000)


def replace_by_text(path: Path) -> None:
    path.write_bytes(b"this is no database at all, but long enough to look at\n" * 30)


@pytest.mark.parametrize(
    ("harm", "readable"),
    [(truncate, 50), (scribble, 150), (cut_to_nothing_much, 0), (replace_by_text, 0)],
)
def test_a_damaged_file_is_set_aside_and_read_as_far_as_possible(
    path: Path, harm: object, readable: int
) -> None:
    kept = fill(path)
    assert callable(harm)
    harm(path)
    damaged = path.read_bytes()
    with closing(Spool(path)) as spool:
        spool.keep([callback(1000)])
        (name,) = spool.held().set_aside
        assert [c.query for c in waiting(spool)] == ["n=1000"]
    aside = path.with_name(name)
    assert aside.read_bytes() == damaged  # never touched again
    with closing(Spool(path)) as spool:  # it is named until somebody has taken care of it
        assert list(spool.held().set_aside) == [name]
        found = []
        if readable:
            found = list(salvage(aside))
        else:
            with pytest.raises(SpoolError, match="no callback can be read"):
                list(salvage(aside))
        assert len([c for c in found if c is not None]) >= readable
        assert all(c in kept for c in found if c is not None)
        assert None in found or not readable
        assert aside.read_bytes() == damaged
        aside.unlink()
        assert list(spool.held().set_aside) == []


def test_damage_that_is_found_while_draining_is_set_aside_too(path: Path) -> None:
    fill(path)
    spool = Spool(path)
    spool.keep([callback(7)])
    # quick_check finds what is there when it is opened; this comes after.
    spool._files()[0].connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()  # noqa: SLF001
    spool._files()[0].connection.execute("PRAGMA shrink_memory").close()  # noqa: SLF001
    scribble(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 40_000)
    found = waiting(spool, 10)
    assert len(spool.held().set_aside) == 1, found
    spool.keep([callback(8)])
    assert [c.query for c in waiting(spool)] == ["n=8"]
    spool.close()


def test_a_file_that_is_deleted_under_us_is_made_anew(spool: Spool, path: Path) -> None:
    spool.keep([callback(1)])
    path.unlink()
    spool.keep([callback(2)])
    with closing(sqlite3.connect(path.with_suffix(".2.db"))), closing(Spool(path)) as other:
        assert waiting(other) == []
    assert path.exists()
    assert {c.query for c in waiting(spool)} == {"n=1", "n=2"}


def test_a_file_of_a_newer_program_is_left_as_it_is(path: Path) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {VERSION + 1}").close()
        newer.execute("CREATE TABLE other (id)").close()
    before = path.read_bytes()
    with closing(Spool(path)) as spool:
        spool.keep([callback(1)])
        assert [c.query for c in waiting(spool)] == ["n=1"]
    assert path.read_bytes() == before


def test_another_database_is_no_spool(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE other (id)").close()
    with pytest.raises(SettingsError, match="another database"):
        Spool(path)


def test_where_there_can_be_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no folder"):
        Spool(tmp_path / "nowhere" / "spool.db")
    with pytest.raises(SettingsError, match="cannot be written"):
        Spool(tmp_path)


VERSION_1 = """
CREATE TABLE callback (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, provider TEXT NOT NULL,
    account TEXT NOT NULL, received_at TEXT NOT NULL, remote_addr TEXT NOT NULL,
    method TEXT NOT NULL, query TEXT NOT NULL, content_type TEXT NOT NULL, body BLOB NOT NULL,
    redacted INTEGER NOT NULL, checksum BLOB NOT NULL, refused TEXT
);
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO callback VALUES (
    3, '019ab000-0000-7000-8000-000000000001', 'ants', 'otp', '2026-11-21T03:00:00.123456+00:00',
    '192.0.2.1', 'POST', 'n=0', 'text/plain', X'00ff', 0,
    X'96a95591416aef676b762f74760b0995', NULL
);
INSERT INTO state VALUES ('database', 'sqlite');
PRAGMA user_version = 1;
"""


def test_version_1_is_read_for_ever(path: Path) -> None:
    """As that program wrote it: this text never changes."""
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)
    expected = replace(
        callback(0, b"\x00\xff"), id="019ab000-0000-7000-8000-000000000001", redacted=False
    )
    assert list(salvage(path)) == [expected]
    with closing(Spool(path)) as spool:
        assert spool.has_seen("sqlite")
        assert waiting(spool) == [expected]


def test_a_file_in_use_is_not_taken_in(spool: Spool, path: Path) -> None:
    spool.keep([callback()])
    with pytest.raises(SpoolError, match="in use by a running receiver"):
        list(salvage(path))


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(SpoolError, match="No such file"):
        list(salvage(path))


def test_a_full_disk_is_said_and_passes(tmp_path: Path, path: Path) -> None:
    """A small file system where we may mount one; else a limit on the size of files."""
    program = """
import resource, signal, sys
from pathlib import Path
from tests.ingest.test_spool import Spool, SpoolError, callback
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]))
spool.keep([callback(1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
try:
    spool.keep([callback(2, bytes(1_000_000))])
except SpoolError as error:
    print("refused:", error)
assert spool.held().trouble
assert [c.query for c in spool.portion(10).callbacks] == ["n=1"]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.keep([callback(3, bytes(1_000_000))])
assert not spool.held().trouble
print([c.query for c in spool.portion(10).callbacks])
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "\nrefused: OperationalError" in done.stdout
    assert done.stdout.count("spool takes nothing") == 1
    assert "spool takes callbacks again" in done.stdout
    assert done.stdout.endswith("['n=1', 'n=3']\n")
    assert list(tmp_path.glob("*damaged*")) == []


def from_(address: str, provider: str = "ants", size: int = 100_000) -> Callback:
    return replace(callback(body=bytes(size)), provider=provider, remote_addr=address)


def test_one_address_cannot_fill_it_with_large_bodies(path: Path) -> None:
    with closing(Spool(path, 3_000_000)) as spool:
        kept = sum(spool.keep([from_("192.0.2.1")])[0] for _ in range(40))
        assert 8 <= kept <= 10  # half of what is left
        assert spool.callbacks == kept
        batch = [from_("192.0.2.1"), from_("192.0.2.1", size=300), from_("192.0.2.2"),
                 from_("192.0.2.3", "engagelab", 600_000)]  # fmt: skip
        assert spool.keep(batch) == [False, True, True, True]
    # It is known again by the next that has the file, and room comes with what is brought in.
    with closing(Spool(path, 3_000_000)) as spool:
        assert spool.keep([from_("192.0.2.1")]) == [False]
        while portion := spool.portion(5):
            spool.forget(portion)
        assert spool.keep([from_("192.0.2.1")]) == [True]
        assert spool.budget.used == 100_003  # with its query


def test_what_is_refused_by_the_database_keeps_its_room(path: Path) -> None:
    with closing(Spool(path, 3_000_000)) as spool:
        spool.keep([from_("192.0.2.1") for _ in range(2)])
        portion = spool.portion(2)
        assert portion is not None
        spool.forget(portion, [(portion.positions[0], "no such thing")])
        assert spool.budget.used == 100_003  # with its query


def test_large_bodies_leave_half_of_a_disk_that_is_nearly_full(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = 0
    monkeypatch.setattr(
        "receiver.ingest.spool.spool.shutil.disk_usage",
        lambda _: SimpleNamespace(free=600_000 - 100_000 * kept),
    )
    with closing(Spool(path)) as spool:
        for number in range(20):
            kept += spool.keep([from_(f"192.0.2.{number}")])[0]
        assert 1 <= kept <= 3
        assert spool.keep([from_("192.0.2.1", size=300)]) == [True]
