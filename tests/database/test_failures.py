"""Whose fault an error of the database is: the data's is a short list, all else the database's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import StatementError

from receiver.database.failures import failed_statement, is_away, is_data, passes
from receiver.database.transactions import transact
from receiver.domain.callback import Callback
from receiver.ingest import store
from receiver.ingest.interpret import Interpreter, read
from receiver.settings.settings import Settings
from tests.web.test_app import ants, dr

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tests.conftest import Databases

INSERT: Final = (
    "INSERT INTO delivery_report (callback_id, position, provider, message_id, provider_status,"
    " digest, status{names}) VALUES ('00000000-0000-7000-8000-000000000001', 0, {provider}, {id},"
    " 'DELIVRD', {digest}, {status}{values})"
)
RAISES: Final = {
    "sqlite": (
        (
            "CREATE TRIGGER no BEFORE INSERT ON delivery_report"
            " BEGIN SELECT raise(ABORT, 'not today'); END"
        ),
    ),
    "postgresql": (
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'not today'; END $$"
        ),
        "CREATE TRIGGER no BEFORE INSERT ON delivery_report FOR EACH ROW EXECUTE FUNCTION no()",
    ),
}


def insert(engine: Engine, **values: str) -> str:
    """Return an INSERT of a good report, but for some values; they are SQL."""
    zeros = "x'00000000000000000000000000000000'"
    digest = zeros if engine.dialect.name == "sqlite" else "decode(repeat('00', 16), 'hex')"
    given = {"provider": "'ants'", "id": "'m'", "digest": digest, "status": "'delivered'"}
    return INSERT.format_map({"names": "", "values": ""} | given | values)


def refused(engine: Engine, *statements: str) -> Exception:
    """Run statements, and return what the last of them is refused with."""
    with engine.begin() as connection:
        for one in statements[:-1]:
            connection.exec_driver_sql(one)
    with pytest.raises(Exception, match=r".") as caught, engine.begin() as connection:
        connection.exec_driver_sql(statements[-1])
    return caught.value


@pytest.mark.parametrize(
    "values",
    [
        {"status": "'no such status'"},  # CHECK
        {"id": "NULL"},
        {"provider": "'ANTS'"},
        {"provider": "NULL"},  # NOT NULL
        {"status": "NULL"},
    ],
)
def test_a_constraint_of_ours_refuses_the_data(engine: Engine, values: dict[str, str]) -> None:
    error = refused(engine, insert(engine, **values))
    assert is_data(error)
    assert not passes(error)


def refusal(engine: Engine, *before: str) -> None:
    """See that a good report is refused now, and that this is the database's doing."""
    error = refused(engine, *before, insert(engine))
    assert not is_data(error)
    assert passes(error)
    assert not is_away(error)  # it answers
    assert failed_statement(error).startswith("INSERT INTO delivery_report (")
    assert len(failed_statement(error)) == 60


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE delivery_report RENAME TO other",
        "ALTER TABLE delivery_report RENAME COLUMN position TO place",
        "a trigger",
    ],
)
def test_what_is_not_on_the_list_is_the_databases(engine: Engine, harm: str) -> None:
    refusal(engine, *(RAISES[engine.dialect.name] if harm == "a trigger" else (harm,)))


def test_a_key_that_somebody_else_made_is_the_databases(engine: Engine) -> None:
    first = insert(engine, id="'first'", digest=_other(engine))
    refusal(engine, "CREATE UNIQUE INDEX mine ON delivery_report (provider)", first)


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE delivery_report CASCADE",
        "ALTER TABLE delivery_report ADD CONSTRAINT mine CHECK (provider <> 'ants')",
        "ALTER TABLE delivery_report ADD COLUMN mine text NOT NULL",
        "ALTER TABLE delivery_report ALTER COLUMN sender SET NOT NULL",
        "ALTER TABLE delivery_report ALTER COLUMN id DROP IDENTITY",
        "ALTER SEQUENCE delivery_report_id_seq RESTART",
        "ALTER SEQUENCE delivery_report_id_seq RESTART WITH 9223372036854775807",
    ],
)
def test_what_only_postgresql_can_refuse_is_the_databases(databases: Databases, harm: str) -> None:
    url = databases.make("postgresql")
    engine = databases.open(url)
    first = (insert(engine, id="'first'", digest=_other(engine)),) * ("RESTART" in harm)
    last = (insert(engine, id="'last'", digest=_other(engine)),) * ("WITH" in harm)
    refusal(engine, *first[len(last) :], harm, *last)
    databases.drop(url)


def _other(engine: Engine) -> str:
    ones = "x'01010101010101010101010101010101'"
    return ones if engine.dialect.name == "sqlite" else "decode(repeat('01', 16), 'hex')"


def test_a_right_that_was_revoked_is_the_databases(databases: Databases) -> None:
    engine = databases.open(databases.make("postgresql"))
    name = f"clerk_{engine.url.database}"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name}")
    error = refused(engine, f"SET ROLE {name}", insert(engine))
    with engine.begin() as connection:
        connection.exec_driver_sql("RESET ROLE")
        connection.exec_driver_sql(f"DROP ROLE {name}")
    assert passes(error)
    assert not is_away(error)


@pytest.mark.parametrize("word", ["\ud800", 2**70])
def test_what_no_database_can_hold_is_the_datas_fault(engine: Engine, word: str | int) -> None:
    """A lone surrogate, and a number past 64 bits."""
    kind = "text" if isinstance(word, str) else "bigint"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE held (word {kind})")
    with engine.connect() as connection, pytest.raises(Exception, match=r".") as caught:
        connection.execute(text("INSERT INTO held VALUES (:word)"), {"word": word})
    assert is_data(caught.value)
    assert not passes(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "convert_from(decode('ff', 'hex'), 'UTF8')",  # class 22
        "CAST(CAST('no number' AS integer) AS text)",
        "(SELECT string_agg(md5(CAST(n AS text)), '') FROM generate_series(1, 900) n)",  # 54000
        "CAST(%s AS text)",  # the driver takes no NUL
    ],
)
def test_what_postgresql_cannot_hold_is_the_datas_fault(databases: Databases, value: str) -> None:
    engine = databases.open(databases.make("postgresql"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE held (word text PRIMARY KEY)")
    given = ("a\0b",) * value.count("%s")
    with engine.connect() as connection, pytest.raises(Exception, match=r".") as caught:
        connection.exec_driver_sql(f"INSERT INTO held VALUES ({value})", given)
    assert is_data(caught.value)
    assert not passes(caught.value)
    assert not is_away(caught.value)


def test_a_fault_of_our_own_code_is_not_the_datas() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(StatementError) as caught:
        connection.execute(text("SELECT :missing"))
    assert not is_data(caught.value)
    assert not is_data(KeyError("x"))
    engine.dispose()


def test_a_batch_that_is_refused_for_another_reason_is_raised_as_it_is(engine: Engine) -> None:
    with engine.begin() as connection:
        for one in RAISES[engine.dialect.name]:
            connection.exec_driver_sql(one)
    interpreter = Interpreter.from_settings(Settings())
    arrived = Callback(provider="ants", method="POST", body=ants(dr("a")))

    with pytest.raises(Exception, match="not today"):
        store.keep_or_refuse(partial(transact, engine), [read(arrived, interpreter)])
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM callback")).scalar_one() == 0
