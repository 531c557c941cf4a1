"""Settings: what is set is what is meant, and what is wrong is said without its value."""

from __future__ import annotations

import os
import pickle
import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from receiver.database.engine import parse_url
from receiver.domain.errors import SettingsError
from receiver.domain.status import Status
from receiver.providers import PROVIDERS
from receiver.security.addresses import within
from receiver.settings.provider_settings import MODELS
from receiver.settings.settings import (
    MEANT_EMPTY,
    Declared,
    Settings,
    declared,
    names,
    origins,
    read_settings,
)

MARK = "hunter2"
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with nothing set."""
    for name in [n for n in os.environ if n.lower().startswith("receiver_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Put:
    """Sets variables, or writes the file, and reads the settings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    def env(self, **values: str) -> Settings:
        for name, value in values.items():
            self.monkeypatch.setenv(f"RECEIVER_{name}", value)
        return read_settings()

    def file(self, text: str) -> Settings:
        Path("receiver.env").write_text(text, "utf-8", newline="")
        return read_settings()

    def mapped(self, text: str | bytes) -> Settings:
        Path("map.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.env(STATUS_MAP="map.toml")


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    return Put(monkeypatch)


def refused(text: str) -> str:
    """Read a file that is refused; return what is said."""
    Path("receiver.env").write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    return str(caught.value)


def secrets_of(settings: Settings) -> list[tuple[str, str]]:
    return [(one.name, one.value) for one in settings.provider("ants").basic_auth]


def secrets(settings: Settings) -> list[tuple[str, str]]:
    return [(key.name, key.value) for key in settings.api_keys]


def test_defaults_are_the_documented_ones() -> None:
    settings = read_settings()
    networks = settings.internal_ips
    assert settings.model_dump(exclude={"internal_ips", "providers", "events"}) == {
        "database_url": "sqlite:///receiver.db",
        "migrate": "auto",
        "public_url": None,
        "api_keys": (),
        "trusted_proxies": (ip_network("127.0.0.1"), ip_network("::1")),
        "max_body_bytes": 8388608,
        "max_unreadable_bytes": 268435456,
        "internal_hosts": (),
        "message_text": "drop",
        "timezone": ZoneInfo("Asia/Bangkok"),
        "spool_path": "receiver-spool.db",
        "spool_max_bytes": 4 * 1024**3,
        "purge_older_than": None,
        "purge_callbacks_older_than": None,
        "purge_unreadable_older_than": timedelta(days=7),
        "status_map": {},
        "alarm_url": None,
        "alarm_every": 60,
        "alarm_messages": 20,
        "alarm_days": 7,
        "alarm_rate_drop": 0.2,
        "alarm_slower": 3,
        "alarm_unmatched_rise": 0.2,
        "alarm_settling_seconds": 60,
        "alarm_clock_seconds": 120,
        "alarm_events_seconds": 300,
    }
    inside = ("127.0.0.1", "::1", "10.1.2.3", "172.31.0.1", "192.168.1.1", "fd00::1", "fe80::1")
    outside = ("8.8.8.8", "172.32.0.1", "192.169.0.1", "11.0.0.0", "2001:db8::1", "::2")
    assert all(within(address, networks) for address in inside)
    assert not any(within(address, networks) for address in outside)
    for provider in PROVIDERS:
        own = settings.provider(provider)
        assert (own.tokens, own.basic_auth, own.allowed_ips) == ((), (), ())
    assert not settings.has_tokens


def test_the_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_settings().migrate = "off"  # type: ignore[misc]


def test_the_environment_wins_over_the_file(put: Put) -> None:
    text = "RECEIVER_MIGRATE=off\nRECEIVER_ANTS_TOKENS=file\nRECEIVER_MESSAGE_TEXT=keep\n"
    assert put.file(text).migrate == "off"
    settings = put.env(MIGRATE="auto", ANTS_TOKENS="env")
    assert (settings.migrate, settings.message_text) == ("auto", "keep")
    assert [t.value for t in settings.provider("ants").tokens] == ["env"]


def test_a_named_file_is_read_instead_of_the_one_in_the_folder(put: Put) -> None:
    put.file("RECEIVER_MIGRATE=off\n")
    other = Path("other.env")
    other.write_text("RECEIVER_MESSAGE_TEXT=keep\n")
    settings = read_settings(other)
    assert (settings.migrate, settings.message_text) == ("auto", "keep")


def test_other_names_in_the_file_and_in_the_environment_are_nothing(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIGRATE", "TOKENS", "RECEIVERX", "RECEIVE_MIGRATE"):
        monkeypatch.setenv(name, "x")
    assert put.file("MIGRATE=off\nDATABASE_URL=x\nOTHER=${HOME}\n").migrate == "auto"


@pytest.mark.parametrize(
    "name",
    [
        "RECEIVER_ANTS_TOKEN",
        "RECEIVER_MIGRAT",
        "RECEIVER_NOBODY_TOKENS",
        "RECEIVER_PROVIDERS",
        "RECEIVER_SERVICES",
        "RECEIVER_ANTS_PORT",
    ],
)
def test_an_unknown_name_is_named_and_its_value_is_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(f"{name}={MARK}\n")
    assert name in said and MARK not in said
    Path("receiver.env").unlink()
    monkeypatch.setenv(name, MARK)
    with pytest.raises(SettingsError, match=name) as caught:
        read_settings()
    assert MARK not in str(caught.value)


def test_kubernetes_own_names_are_passed_over(put: Put) -> None:
    settings = put.env(
        PORT="tcp://10.0.0.1:8000",
        PORT_8000_TCP="tcp://10.0.0.1:8000",
        PORT_8000_TCP_ADDR="10.0.0.1",
        SERVICE_HOST="10.0.0.1",
        SERVICE_PORT="8000",
        SERVICE_PORT_HTTP="8000",
    )
    assert settings == read_settings()


def test_workers_can_be_handed_them(put: Put) -> None:
    put.env(**{f"{name.upper()}_TOKENS": f"token-of-{name}-0123456789" for name in PROVIDERS})
    settings = read_settings()
    handed = pickle.loads(pickle.dumps(settings))
    assert handed == settings
    assert {type(one) for one in handed.providers.values()} == set(MODELS.values())


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", [("", "a")]),
        ("shop:a,b, shop:c ,,", [("shop", "a"), ("", "b"), ("shop", "c")]),
        ("a%2Cb", [("", "a,b")]),
        ("a%3Ab", [("", "a:b")]),
        ("a%25b", [("", "a%b")]),
        ("sh%3Aop:a%3A%2C%25", [("sh:op", "a:,%")]),
        ("a:b:c", [("a", "b:c")]),
        ("100%", [("", "100%")]),
        ("a+b", [("", "a+b")]),
        ("%E0%B8%81:%E0%B8%82", [("ก", "ข")]),
        (" , ,", []),
        ("", []),
    ],
)
def test_secrets_are_split_and_then_decoded(
    text: str, wanted: list[tuple[str, str]], put: Put
) -> None:
    settings = put.env(API_KEYS=text, ANTS_TOKENS=text)
    assert secrets(settings) == wanted
    assert [(t.name, t.value) for t in settings.provider("ants").tokens] == wanted
    assert settings.has_tokens == bool(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("u:p", [("u", "p")]),
        ("u:p:q,%75%3A:%2C", [("u", "p:q"), ("u:", ",")]),
    ],
)
def test_pairs_of_user_and_password(text: str, wanted: list[tuple[str, str]], put: Put) -> None:
    pairs = put.env(ANTS_BASIC_AUTH=text).provider("ants").basic_auth
    assert [(p.name, p.value) for p in pairs] == wanted


def test_networks_and_addresses(put: Put) -> None:
    settings = put.env(
        THAIBULKSMS_ALLOWED_IPS="10.0.0.7/8, 192.0.2.1,2001:db8::5/32,,::1", TRUSTED_PROXIES=","
    )
    wanted = ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128")
    assert tuple(map(str, settings.provider("thaibulksms").allowed_ips)) == wanted
    assert settings.provider("ants").allowed_ips == ()
    assert settings.trusted_proxies == ()


WRONG = [
    ("MIGRATE", MARK, "'auto' or 'off'"),
    ("MESSAGE_TEXT", MARK, "'drop' or 'keep'"),
    ("MAX_BODY_BYTES", MARK, "integer"),
    ("MAX_BODY_BYTES", "0", "greater than 0"),
    ("MAX_BODY_BYTES", "1.5", "integer"),
    ("TIMEZONE", MARK, "time zone"),
    ("TIMEZONE", f"../{MARK}", "time zone"),
    ("TIMEZONE", "Asia", "time zone"),
    ("PUBLIC_URL", MARK, "https://"),
    ("PUBLIC_URL", f"ftp://{MARK}", "https://"),
    ("PUBLIC_URL", f"https:///{MARK}", "https://"),
    ("PUBLIC_URL", f"https://[{MARK}]", "https://"),
    ("PUBLIC_URL", f"https://[{MARK}", "https://"),
    ("PUBLIC_URL", f"https://{MARK}\u2100", "https://"),
    ("PUBLIC_URL", f"https://h:{MARK}", "https://"),
    ("PUBLIC_URL", "https://h:99999", "https://"),
    ("PUBLIC_URL", f"https://h?{MARK}", "without ? and #"),
    ("PUBLIC_URL", f"https://h#{MARK}", "without ? and #"),
    ("PUBLIC_URL", "https://h/?", "without ? and #"),
    ("INTERNAL_IPS", f"10.0.0.1,{MARK}", "networks"),
    ("INTERNAL_HOSTS", f"https://{MARK}", "names without"),
    ("INTERNAL_HOSTS", f"ops.example.com,{MARK}:80", "names without"),
    ("MAX_UNREADABLE_BYTES", "0", "greater than 0"),
    ("TRUSTED_PROXIES", "10.0.0.0/33", "networks"),
    ("ANTS_ALLOWED_IPS", "10.0.0.256", "networks"),
    ("ANTS_TOKENS", f":{MARK}", "name:value"),
    ("ANTS_TOKENS", f"{MARK}:", "name:value"),
    ("ANTS_TOKENS", f"%00:{MARK}", "name:value"),
    ("ANTS_TOKENS", f"{'a' * 201}:{MARK}", "name:value"),
    ("API_KEYS", f"good,{MARK}:", "name:value"),
    ("API_KEYS", f"{MARK}%FF", "UTF-8"),
    ("API_KEYS", f"{MARK}\udcff", "UTF-8"),
    ("API_KEYS", f"%ED%A0%80{MARK}", "UTF-8"),
    ("ANTS_BASIC_AUTH", MARK, "user:password"),
    ("ANTS_BASIC_AUTH", f":{MARK}", "user:password"),
    ("ANTS_BASIC_AUTH", f"u:{MARK}%FF", "UTF-8"),
    ("STATUS_MAP", f"{MARK}.toml", "cannot be read"),
    ("STATUS_MAP", ".", "cannot be read"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_a_wrong_value_is_one_sentence_that_names_the_variable_and_not_the_value(
    name: str, value: str, expected: str, put: Put
) -> None:
    with pytest.raises(SettingsError) as caught:
        put.env(**{name: value})
    said = str(caught.value)
    assert said.startswith(f"RECEIVER_{name}: "), said
    assert expected in said and MARK not in said and MARK not in repr(caught.value)
    assert said.endswith(".") and "\n" not in said and said.count("RECEIVER_") == 1


def test_every_wrong_value_is_named(put: Put) -> None:
    with pytest.raises(SettingsError) as caught:
        put.env(MIGRATE=MARK, MAX_BODY_BYTES=MARK, ANTS_ALLOWED_IPS=MARK)
    for name in ("MIGRATE", "MAX_BODY_BYTES", "ANTS_ALLOWED_IPS"):
        assert f"RECEIVER_{name}: expected" in str(caught.value)
    assert MARK not in str(caught.value)


def test_no_secret_is_shown(put: Put) -> None:
    settings = put.env(
        API_KEYS=f"app:{MARK}",
        ANTS_TOKENS=MARK,
        ANTS_BASIC_AUTH=f"u:{MARK}",
        DATABASE_URL=f"postgresql://u:{MARK}@h/d",
    )
    assert settings.provider("ants").basic_auth[0].value == MARK
    for shown in (repr(settings), str(settings), repr(settings.providers), str(settings.api_keys)):
        assert MARK not in shown
    assert settings.api_keys[0].masked == "…"
    assert put.env(API_KEYS="0123456789ab").api_keys[0].masked == "0123…"


def test_a_public_url_may_have_a_port_and_a_path(put: Put) -> None:
    assert put.env(PUBLIC_URL="https://h.example:8443/sms/").public_url == (
        "https://h.example:8443/sms"
    )
    assert put.env(PUBLIC_URL="http://[::1]:80").public_url == "http://[::1]:80"


def test_empty_values(put: Put) -> None:
    settings = put.env(
        SPOOL_PATH="", STATUS_MAP="", API_KEYS="", ANTS_TOKENS="", ANTS_BASIC_AUTH=""
    )
    assert settings.spool_path == ""
    assert settings.status_map == {}
    assert settings.api_keys == settings.provider("ants").tokens == ()


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_takes_nothing_away(put: Put, empty: str) -> None:
    """As compose makes them of variables that nobody set: `RECEIVER_PUBLIC_URL=`."""
    put.file(
        "RECEIVER_ANTS_BASIC_AUTH=u:p\nRECEIVER_ANTS_ALLOWED_IPS=192.0.2.1\n"
        "RECEIVER_ENGAGELAB_AUTHORIZATION=mine\nRECEIVER_PUBLIC_URL=https://h\n"
        "RECEIVER_INTERNAL_IPS=192.0.2.2\nRECEIVER_API_KEYS=k\nRECEIVER_ALARM_EVERY=7\n"
        "RECEIVER_PURGE_OLDER_THAN=400d\n"
    )
    unset = (
        "ANTS_BASIC_AUTH ANTS_ALLOWED_IPS ENGAGELAB_AUTHORIZATION PUBLIC_URL INTERNAL_IPS API_KEYS"
    )
    settings = put.env(**dict.fromkeys([*unset.split(), "ALARM_EVERY"], empty))
    assert secrets_of(settings) == [("u", "p")]
    assert settings.provider("ants").allowed_ips == (ip_network("192.0.2.1"),)
    assert settings.provider("engagelab").own("authorization") == "mine"
    assert settings.public_url == "https://h"
    assert settings.internal_ips == (ip_network("192.0.2.2"),)
    assert settings.api_keys[0].value == "k"
    assert settings.alarm_every == 7
    assert origins()["receiver_public_url"] == "receiver.env"
    # Of these the table says what empty means.
    assert put.env(PURGE_OLDER_THAN="").purge_older_than is None
    assert put.env(PURGE_UNREADABLE_OLDER_THAN="").purge_unreadable_older_than is None


def test_every_setting_may_be_an_empty_variable(put: Put) -> None:
    bare = put.env()
    every = [name.removeprefix("receiver_").upper() for name in names()]
    empty = put.env(**{name: "" for name in every if f"receiver_{name.lower()}" not in MEANT_EMPTY})
    assert empty == bare
    assert put.file("".join(f"RECEIVER_{name}=\n" for name in every)).spool_path == ""


def test_empty_means_something_where_the_table_says_so_and_it_is_no_door() -> None:
    rows = re.findall(
        r"^\| `(RECEIVER_[A-Z_]+)` .*; empty: ", README.read_text("utf-8"), re.MULTILINE
    )
    assert {name.lower() for name in rows} == MEANT_EMPTY


# The file


@pytest.mark.parametrize(
    "secret",
    ["$HOME", "a$b", "a$", "a#b", "#a", "a b", 'a"b', "a'b", "a\\nb", "a=b", "é", "`id`", "a;b"],
)
def test_a_secret_in_the_file_comes_through_as_written(secret: str, put: Put) -> None:
    assert secrets(put.file(f"RECEIVER_API_KEYS={secret}\n")) == [("", secret)]
    assert secrets(put.file(f"\ufeffRECEIVER_API_KEYS={secret}\r\n")) == [("", secret)]
    assert secrets(put.file(f"export receiver_api_keys ={secret}")) == [("", secret)]


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("secret", ["a #b", "a b", "$HOME", "a#"])
def test_a_secret_in_quotes_comes_through_as_written(secret: str, quote: str, put: Put) -> None:
    for behind in ("", " # a comment"):
        text = f"RECEIVER_API_KEYS={quote}{secret}{quote}{behind}\n"
        assert secrets(put.file(text)) == [("", secret)]


@pytest.mark.parametrize(
    "value",
    [
        f"{MARK} #b",
        f"{MARK}\t#b",
        f" #{MARK}",
        f'"{MARK}\\nb"',
        f'"{MARK}\\"b"',
        f"'{MARK}\\'b'",
        f"'{MARK}\\\\b'",
        f'"{MARK}"b',
        f'"{MARK}',
        f"{MARK}${{HOME}}",
        f"{MARK}${{NOWHERE:-x}}",
        f"{MARK}\0",
    ],
)
def test_a_secret_that_the_file_would_change_is_refused(value: str) -> None:
    said = refused(f"# a comment\nRECEIVER_API_KEYS={value}\n")
    assert said.startswith("receiver.env") and MARK not in said
    assert "RECEIVER_API_KEYS: expected" in said or "line 2: expected NAME=value" in said


def test_a_line_without_a_value_is_refused_by_its_number() -> None:
    assert refused(f"\n# x\n\nRECEIVER_API_KEYS:{MARK}\n") == (
        "receiver.env, line 4: expected NAME=value."
    )


@pytest.mark.parametrize("data", [b"\x7fELF\x00\xff", "RECEIVER_API_KEYS=é".encode("latin-1")])
def test_a_file_that_is_no_text_is_refused(data: bytes) -> None:
    Path("receiver.env").write_bytes(data)
    with pytest.raises(SettingsError, match=r"^receiver\.env: expected a text file"):
        read_settings()


def test_a_file_that_cannot_be_read_is_refused() -> None:
    Path("receiver.env").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_refused() -> None:
    Path("receiver.env").touch(mode=0)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings()


def test_a_named_file_must_be_there_unless_it_is_to_be_written() -> None:
    missing = Path("missing.env")
    with pytest.raises(SettingsError, match=r"^missing\.env: no such file\.$"):
        read_settings(missing)
    assert read_settings(missing, must_exist=False) == read_settings()


def test_two_proofs_of_one_header_are_refused(put: Put) -> None:
    assert put.env(ENGAGELAB_BASIC_AUTH=f"user:{MARK}").provider("engagelab").basic_auth
    with pytest.raises(SettingsError) as caught:
        put.env(ENGAGELAB_AUTHORIZATION=MARK)
    said = str(caught.value)
    assert said.startswith(
        "RECEIVER_ENGAGELAB_BASIC_AUTH and RECEIVER_ENGAGELAB_AUTHORIZATION: expected only one"
    )
    assert MARK not in said
    assert put.env(ENGAGELAB_BASIC_AUTH="").provider("engagelab").own("authorization") == MARK


# The status map


def test_a_status_map(put: Put) -> None:
    settings = put.mapped('[ants]\n" Seen " = "enroute"\n[thaibulksms]\n"ส่งแล้ว" = "delivered"\n')
    assert settings.status_map == {
        "ants": {"seen": Status.ENROUTE},
        "thaibulksms": {"ส่งแล้ว": Status.DELIVERED},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[nobody]\na = "enroute"',
            f"[nobody]: expected a table of one of: {', '.join(PROVIDERS)}",
        ),
        ('ants = "x"', "[ants]: expected a table"),
        (f'[ants]\na = "{MARK}"', "[ants]: expected one of: unknown, accepted"),
        ('[ants]\na = "DELIVERED"', "[ants]: expected one of"),
        ("[ants]\na = 5", "[ants]: expected one of"),
        ("[ants]\na = []", "[ants]: expected one of"),
        (f"[ants]\n{MARK}", "expected a TOML file"),
        ("[ants]\na = 'é'".encode("latin-1"), "expected a TOML file"),
        (b"\x00", "expected a TOML file"),
    ],
)
def test_a_wrong_status_map(text: str | bytes, expected: str, put: Put) -> None:
    with pytest.raises(SettingsError) as caught:
        put.mapped(text)
    said = str(caught.value)
    assert said.startswith("RECEIVER_STATUS_MAP: ") and expected in said and MARK not in said


# The database's URL


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("postgres://u:p%40q@h/d", "postgresql+psycopg"),
        ("postgresql://u:p%40q@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p%40q@h/d", "postgresql+psycopg"),
        ("sqlite:///x.db", "sqlite"),
    ],
)
def test_database_urls(text: str, driver: str) -> None:
    url = parse_url(text)
    assert url.drivername == driver
    assert url.password in {None, "p@q"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        MARK,
        f"mysql://u:{MARK}@h/d",
        f"postgresql+psycopg2://u:{MARK}@h/d",
        f"postgresql+asyncpg://u:{MARK}@h/d",
        f"postgres//u:{MARK}@h/d",
        "sqlite://",
        "sqlite:///:memory:",
        f"postgresql://u:{MARK}@h:{MARK}/d",
        f"postgresql://u:{MARK}@h1:1,h2:{MARK}/d",
    ],
)
def test_wrong_database_urls_are_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^RECEIVER_DATABASE_URL: expected") as caught:
        parse_url(text)
    assert MARK not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("postgresql://u:p%40q@h1:1,h2:2/d?target_session_attrs=read-write", "h1,h2", "1,2"),
        ("postgres://h1,h2:5433/d", "h1,h2", ",5433"),  # as libpq reads it
        ("postgresql+psycopg://u:a,b@[::1]:1,h2/d", "::1,h2", "1,"),
        ("postgresql://u:a/b@h1,h2?sslmode=require", "h1,h2", ","),
        ("postgresql://u@%2Frun%2Fpostgresql/d", "/run/postgresql", None),
        ("postgresql://u@%2Frun%2Fpostgresql:1,h2/d", "/run/postgresql,h2", "1,"),
    ],
)
def test_several_hosts_and_folders_of_sockets(text: str, host: str, port: str | None) -> None:
    url = parse_url(text)
    assert url.host is None
    assert (url.query["host"], url.query.get("port")) == (host, port)
    assert url.password in {None, "p@q", "a,b", "a/b"}


@pytest.mark.parametrize("password", ["a,b", "a,b/c", "a%2Cb", "a,b?c", "a:b,c:1"])
def test_a_comma_in_a_password_makes_no_hosts(password: str) -> None:
    url = parse_url(f"postgresql://u:{password}@h:1/d")
    assert (url.host, url.port, url.password) == ("h", 1, password.replace("%2C", ","))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmod=require", "sslmod is no parameter of PostgreSQL's URLs"),
        ("client_encoding=latin1", "client_encoding must be UTF8"),
        ("options=-csynchronous_commit%3Doff", "the receiver sets synchronous_commit by itself"),
        ("options=-c%20TimeZone%3DUTC", "the receiver sets TimeZone by itself"),
        ("options=--datestyle%3DSQL", "the receiver sets datestyle by itself"),
        (f"options={MARK}", "options: expected -c name=value"),
        ("options=-csearch_path%3Da&options=-cwork_mem%3D9MB", "options is given twice"),
    ],
)
def test_parameters_of_a_database_url_that_are_refused_by_name(query: str, said: str) -> None:
    with pytest.raises(SettingsError, match=r"^RECEIVER_DATABASE_URL: ") as caught:
        parse_url(f"postgresql://u:{MARK}@h/d?{query}")
    assert said in str(caught.value)
    assert MARK not in str(caught.value)


# What one provider has, and the others do not.


def test_a_provider_has_settings_of_its_own(put: Put) -> None:
    own = put.env(
        ENGAGELAB_SMSHOOK_KEY=" key:1,2%2C ",
        ENGAGELAB_SMSHOOK_SECRET=MARK,
        ENGAGELAB_CALLBACK_USERNAME="",
        ENGAGELAB_URL="http://127.0.0.1:1/",
    ).provider("engagelab")
    assert (own.own("smshook_key"), own.own("smshook_secret")) == ("key:1,2%2C", MARK)
    assert (own.own("callback_username"), own.own("url")) == ("", "http://127.0.0.1:1")
    assert MARK not in repr(own)


@pytest.mark.parametrize("name", ["SMSHOOK_KEY", "CALLBACK_SECRET", "AUTHORIZATION", "URL"])
def test_and_another_has_not(name: str) -> None:
    assert f"RECEIVER_ANTS_{name}: no such setting" in refused(f"RECEIVER_ANTS_{name}={MARK}\n")


@pytest.mark.parametrize(
    ("given", "lacking"),
    [
        ("SMSHOOK_KEY", "SMSHOOK_SECRET"),
        ("SMSHOOK_SECRET", "SMSHOOK_KEY"),
        ("CALLBACK_USERNAME", "CALLBACK_SECRET"),
        ("CALLBACK_SECRET", "CALLBACK_USERNAME"),
    ],
)
def test_half_a_proof_is_none(given: str, lacking: str) -> None:
    said = refused(f"RECEIVER_ENGAGELAB_{given}={MARK}\n")
    assert said == (
        f"RECEIVER_ENGAGELAB_{lacking}: expected a value, since RECEIVER_ENGAGELAB_{given} has one."
    )


def test_a_value_is_one_line(put: Put) -> None:
    with pytest.raises(SettingsError, match="AUTHORIZATION: expected one line") as caught:
        put.env(ENGAGELAB_AUTHORIZATION=f"{MARK}\nx")
    assert MARK not in str(caught.value)


# Who may see a setting, and who must have the same.


@pytest.mark.parametrize("setting", declared(), ids=lambda setting: setting.name)
def test_every_setting_says_who_may_see_it_and_who_must_share_it(setting: Declared) -> None:
    shown, shared = setting.disclosure
    assert shared in {"value", "digest", "secret", None}
    assert not (shown and shared == "secret")
    assert not (shared == "value" and not shown)


def test_a_setting_that_does_not_say_so_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings.model_fields["migrate"], "json_schema_extra", None)
    with pytest.raises(TypeError, match=r"^RECEIVER_MIGRATE: declare it with `setting\("):
        _ = next(one for one in declared() if one.field == "migrate").disclosure


def test_settings_reach_other_processes() -> None:
    """Workers are given them pickled."""
    settings = Settings(
        database_url="sqlite://", ants={"tokens": "secret"}, engagelab={"tokens": "otp:other"}
    )
    assert pickle.loads(pickle.dumps(settings)) == settings
