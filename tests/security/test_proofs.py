"""Proofs of who calls: what is right gets in, everything else does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import tracemalloc
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers import PROVIDERS, Scheme, engagelab_proofs, proofs, schemes
from receiver.security import addresses
from receiver.security.proofs import MAX_AGE, MAX_AHEAD, basic, bearer, fresh
from receiver.security.replay_guard import ReplayGuard
from receiver.security.secrets import find
from receiver.settings.field_types import Secret

Networks = tuple[IPv4Network | IPv6Network, ...]


def secrets(*pairs: tuple[str, str]) -> list[Secret]:
    return [Secret(name=name, value=value) for name, value in pairs]


def networks(*texts: str) -> Networks:
    return tuple(map(ip_network, texts))


TOKENS = secrets(("shop", "old"), ("shop", "new"), ("otp", "ลับ"), ("", "plain"))


@pytest.mark.parametrize(
    ("given_", "name"),
    [("old", "shop"), ("new", "shop"), ("ลับ", "otp"), ("plain", "")],
)
def test_any_secret_is_right_so_they_can_be_rotated(given_: str, name: str) -> None:
    found = find(TOKENS, given_)
    assert found is not None
    assert (found.name, found.value) == (name, given_)


@pytest.mark.parametrize(
    "wrong", ["", "ol", "oldx", "OLD", " old", "shop:old", "ลั", "\udcff", "\x00", "x" * 100_000]
)
def test_no_other_secret_is_right(wrong: str) -> None:
    assert find(TOKENS, wrong) is None
    assert find([], wrong) is None


# Authorization


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


PAIRS = secrets(("user", "pass:word"), ("ผู้ใช้", "รหัส"), ("third", "x"))


@pytest.mark.parametrize(
    "header",
    [
        f"Basic {encoded('user:pass:word')}",
        f"basic {encoded('user:pass:word')}",
        f"BASIC   {encoded('user:pass:word')} ",
        f"Basic {encoded('ผู้ใช้:รหัส')}",
        f"Basic {encoded('third:x')}",
    ],
)
def test_basic(header: str) -> None:
    assert basic(PAIRS, header)
    assert not basic([], header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic :",
        "Basic user:pass:word",
        "Basic !!!!",
        "Basic dXNlcg",  # wrong padding
        "Basic ก",
        "Basic \udcff",
        f"Bearer {encoded('user:pass:word')}",
        f"Digest {encoded('user:pass:word')}",
        encoded("user:pass:word"),
        f"Basic{encoded('user:pass:word')}",
        f"Basic {encoded('user:pass')}",
        f"Basic {encoded('user:pass:word:')}",
        f"Basic {encoded('user')}",
        f"Basic {encoded('USER:pass:word')}",
        f"Basic {encoded('third:pass:word')}",
        f"Basic {encoded('user:pass:word')[:-1]}",
        f"Basic {encoded('user:pass:word')}!",
        f"Basic {encoded(bytes(range(128, 256)))}",
        f"Basic {encoded('')}",
    ],
)
def test_wrong_basic(header: str) -> None:
    assert not basic(PAIRS, header)


@pytest.mark.parametrize("header", ["Bearer new", "bearer new", "BEARER  new "])
def test_bearer(header: str) -> None:
    found = bearer(TOKENS, header)
    assert found is not None and found.name == "shop"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "new", "Bearernew", "Basic new", "Bearer new old", "Token new"],
)
def test_wrong_bearer(header: str) -> None:
    assert bearer(TOKENS, header) is None
    assert bearer([], header) is None


# Signatures

NOW = datetime(2026, 11, 21, 3, tzinfo=UTC)
SECONDS = str(int(NOW.timestamp()))
HOOK = ("app-key", "รหัส secret")
CONSOLE = ("user", "รหัส secret")
FIXED = ("Bearer fixed value",)


def hooked(timestamp: str = SECONDS, **changed: str) -> dict[str, str]:
    """Return SMSHook's headers, as it documents them."""
    text = timestamp + "".join(HOOK)
    headers = {
        "x-smshook-timestamp": timestamp,
        "x-smshook-appkey": HOOK[0],
        "x-smshook-signature": hashlib.md5(text.encode()).hexdigest(),
        "x-smshook-version": "1.0",
    }
    return headers | {f"x-smshook-{name}": value for name, value in changed.items()}


def signed(timestamp: str = SECONDS, nonce: str = "12ab", username: str = CONSOLE[0]) -> str:
    """Return the signature of X-CALLBACK-ID, as it is documented."""
    text = f"{timestamp}{nonce}{username}".encode()
    return hmac.new(CONSOLE[1].encode(), text, hashlib.sha256).hexdigest()


def console(*parts: str) -> dict[str, str]:
    """Return the header of a console callback."""
    usual = (
        f"timestamp={SECONDS}",
        "nonce=12ab",
        f"username={CONSOLE[0]}",
        f"signature={signed()}",
    )
    return {"x-callback-id": ";".join(parts or usual)}


@pytest.mark.parametrize(
    ("timestamp", "right"),
    [
        (SECONDS, True),
        (SECONDS + "000", True),
        (str(int(SECONDS) - 3600), True),
        (str(int(SECONDS) - 3601), False),
        (str(int(SECONDS) + 300), True),
        (str(int(SECONDS) + 300) + "000", True),
        (str(int(SECONDS) + 301), False),
        (str(int(SECONDS) + 301) + "000", False),
        (str(int(SECONDS) + 3600), False),
        (str(int(SECONDS) - 3601) + "999", False),
        ("", False),
        ("0", False),
        ("9" * 10, False),
        ("9" * 13, False),
        ("9" * 400, False),
        (SECONDS + "0", False),
        (f"-{SECONDS[1:]}", False),
        (f" {SECONDS[1:]}", False),
        ("1_00000000", False),
        ("\u0661" * 10, False),
        ("2026-11-21", False),
    ],
)
def test_signatures_are_right_for_an_hour(timestamp: str, right: bool) -> None:
    assert fresh(timestamp, NOW) is right
    assert engagelab_proofs.smshook(hooked(timestamp), HOOK, NOW) is right
    said = console(
        f"timestamp={timestamp}",
        "nonce=12ab",
        "username=user",
        f"signature={signed(timestamp)}",
    )
    if timestamp == timestamp.strip():
        assert engagelab_proofs.callback_id(said, CONSOLE, NOW) is right


@pytest.mark.parametrize(
    "headers",
    [
        {},
        hooked(signature=""),
        hooked(signature=hooked()["x-smshook-signature"][:-1]),
        hooked(signature=hooked()["x-smshook-signature"] + "0"),
        hooked(signature="0" * 32),
        hooked(signature="\udcff"),
        hooked(appkey=""),
        hooked(appkey="APP-KEY"),
        hooked() | {"x-smshook-timestamp": str(int(SECONDS) + 1)},
        {name: value for name, value in hooked().items() if "timestamp" not in name},
        console(),
    ],
)
def test_wrong_smshook(headers: dict[str, str]) -> None:
    assert engagelab_proofs.smshook(hooked(), HOOK, NOW)
    assert engagelab_proofs.smshook(
        hooked(signature=hooked()["x-smshook-signature"].upper()), HOOK, NOW
    )
    assert not engagelab_proofs.smshook(headers, HOOK, NOW)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1)], ids=str)
@pytest.mark.parametrize("mark", [";", "; ", " ; "])
def test_the_parts_of_a_callback_id_may_have_any_order(order: tuple[int, ...], mark: str) -> None:
    parts = console()["x-callback-id"].split(";")
    header = {"x-callback-id": mark.join(parts[place] for place in order)}
    assert engagelab_proofs.callback_id(header, CONSOLE, NOW)
    assert engagelab_proofs.callback_replay_keys(header) == ("nonce 12ab", f"signature {signed()}")


@pytest.mark.parametrize(
    "header",
    [
        "",
        ";",
        "=",
        f"timestamp={SECONDS};nonce=12ab;username=user",
        f"timestamp={SECONDS};nonce=12ab;signature={signed()}",
        f"timestamp={SECONDS};username=user;signature={signed()}",
        f"nonce=12ab;username=user;signature={signed()}",
        f"timestamp={SECONDS};nonce=12ac;username=user;signature={signed()}",
        f"timestamp={SECONDS};nonce=12ab;username=User;signature={signed()}",
        f"timestamp={SECONDS};nonce=12ab;username=other;signature={signed(username='other')}",
        f"timestamp={SECONDS};nonce=;username=user;signature={signed(nonce='')}",
        f"timestamp={SECONDS};nonce=12ab;username=user;signature={'0' * 64}",
        f"timestamp={SECONDS};nonce=12ab;nonce=12ab;username=user;signature={signed()}",
        f"timestamp={SECONDS},nonce=12ab,username=user,signature={signed()}",
        f"timestamp={SECONDS};nonce=12ab;username=user;signature=\udcff",
        signed(),
    ],
)
def test_wrong_callback_id(header: str) -> None:
    assert not engagelab_proofs.callback_id({"x-callback-id": header}, CONSOLE, NOW)


def test_a_callback_id_that_was_cut_short() -> None:
    whole = console()["x-callback-id"]
    assert engagelab_proofs.callback_id({"x-callback-id": whole}, CONSOLE, NOW)
    for end in range(len(whole)):
        assert not engagelab_proofs.callback_id({"x-callback-id": whole[:end]}, CONSOLE, NOW)


def test_a_fixed_authorization() -> None:
    assert engagelab_proofs.AUTHORIZATION.holds({"authorization": FIXED[0]}, FIXED, NOW)
    for wrong in ("", "bearer fixed value", "Bearer fixed", "Bearer fixed value ", "\udcff"):
        assert not engagelab_proofs.AUTHORIZATION.holds({"authorization": wrong}, FIXED, NOW)


SET = {
    "smshook_key": HOOK[0],
    "smshook_secret": HOOK[1],
    "callback_username": CONSOLE[0],
    "callback_secret": CONSOLE[1],
    "authorization": FIXED[0],
}
GROUPS = PROVIDERS["engagelab"].PROOFS
AUTHORIZED = {"authorization": FIXED[0]}


@pytest.mark.parametrize(
    ("names", "headers", "right"),
    [
        ("", {}, True),
        ("smshook", hooked(), True),
        ("smshook", console(), False),  # the other generation's
        ("smshook", console() | AUTHORIZED, False),
        ("callback", console(), True),
        ("callback", hooked(), False),
        ("callback", {}, False),
        ("authorization", AUTHORIZED, True),
        ("authorization", console(), False),
        ("callback authorization", console(), False),
        ("callback authorization", AUTHORIZED, False),
        ("callback authorization", console() | AUTHORIZED, True),
        ("smshook callback", hooked(), True),
        ("smshook callback", console(), True),
        ("smshook callback", AUTHORIZED, False),
        ("smshook callback authorization", hooked(), True),
        ("smshook callback authorization", console(), False),
        ("smshook callback authorization", console() | AUTHORIZED, True),
    ],
)
def test_what_is_set_is_demanded_and_of_two_generations_either(
    names: str, headers: dict[str, str], right: bool
) -> None:
    set_ = {k: v for k, v in SET.items() if k.startswith(tuple(names.split()) or ("nothing",))}
    demanded = proofs.demands(GROUPS, lambda name: set_.get(name, ""))
    marks = proofs.prove(demanded, headers, NOW)
    assert (marks is not None) is right
    assert bool(proofs.expected(demanded)) is bool(names)
    assert not any(value in proofs.expected(demanded) for value in SET.values())
    if right and "x-callback-id" in headers:
        assert marks == engagelab_proofs.callback_replay_keys(headers)
    if right and "x-smshook-signature" in headers:
        assert marks == engagelab_proofs.smshook_replay_keys(headers)


SCHEMES = [scheme for provider in PROVIDERS.values() for scheme in schemes(provider)]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.headers[0])
def test_what_was_signed_is_good_for_one_body(scheme: Scheme) -> None:
    """Of every scheme: one that is added, and signs, has to have marks."""
    later = NOW + timedelta(milliseconds=1)
    known = [f"{setting.name} value" for setting in scheme.settings]
    headers, next_ones = (
        {name.lower(): value for name, value in scheme.sign(known, at, nonce).items()}
        for at, nonce in ((NOW, "12ab"), (later, "34cd"))
    )
    demanded = [[(scheme, known)]]
    if headers == next_ones:  # a fixed value, which is no signature and stays good for ever
        assert proofs.prove(demanded, headers, NOW) == ()
        return
    seen, latest = ReplayGuard(), NOW + MAX_AGE
    for at in (NOW - MAX_AHEAD, NOW, latest):
        marks = proofs.prove(demanded, headers, at)
        assert marks
        assert seen.admit("engagelab", marks, b"one", at)
        assert not seen.admit("engagelab", marks, b"two", at)
        upper = {
            key: value.upper() if "signature" in key else value for key, value in headers.items()
        }
        marks = proofs.prove(demanded, upper, at)
        assert marks
        assert not seen.admit("engagelab", marks, b"two", at)
    others = proofs.prove(demanded, next_ones, NOW)
    assert others
    assert seen.admit("engagelab", others, b"two", latest)
    for at in (NOW - MAX_AHEAD - timedelta(seconds=1), latest + timedelta(seconds=1)):
        assert proofs.prove(demanded, headers, at) is None


# Nonces


def test_a_nonce_comes_again_with_the_same_body_only() -> None:
    seen = ReplayGuard()
    assert seen.admit("engagelab", ("nonce 1", "signature a"), b"one", NOW)
    assert seen.admit("engagelab", ("nonce 1", "signature a"), b"one", NOW)
    assert seen.admit("engagelab", ("nonce 1", "signature b"), b"one", NOW)  # signed again
    assert not seen.admit("engagelab", ("nonce 1", "signature c"), b"two", NOW)
    assert not seen.admit("engagelab", ("nonce 2", "signature a"), b"two", NOW)
    assert seen.admit("engagelab", ("nonce 2", "signature d"), b"two", NOW)  # not burnt by that
    assert seen.admit("other", ("nonce 1", "signature a"), b"two", NOW)
    assert seen.admit("engagelab", (), b"two", NOW)


def test_a_digit_moved_from_the_nonce_to_the_timestamp_is_the_same_signature() -> None:
    moved = console(
        f"timestamp={SECONDS}123", "nonce=ab", "username=user", f"signature={signed(nonce='123ab')}"
    )
    first = console(
        f"timestamp={SECONDS}", "nonce=123ab", "username=user", f"signature={signed(nonce='123ab')}"
    )
    assert engagelab_proofs.callback_id(first, CONSOLE, NOW)
    assert engagelab_proofs.callback_id(moved, CONSOLE, NOW)
    seen = ReplayGuard()
    assert seen.admit("engagelab", engagelab_proofs.callback_replay_keys(first), b"one", NOW)
    assert not seen.admit("engagelab", engagelab_proofs.callback_replay_keys(moved), b"two", NOW)


def test_nonces_are_forgotten_when_nothing_of_them_is_fresh_or_there_are_too_many() -> None:
    seen = ReplayGuard(limit=3)
    for number in range(10):
        assert seen.admit("engagelab", (f"nonce {number}",), b"one", NOW)
        assert len(seen) <= 3
    assert not seen.admit("engagelab", ("nonce 9",), b"two", NOW + timedelta(minutes=65))
    assert seen.admit("engagelab", ("nonce 9",), b"two", NOW + timedelta(minutes=66))
    assert len(seen) == 1


# Addresses

TEN = networks("10.0.0.0/8", "2001:db8::/32", "fe80::/10")


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.0",
        "10.255.255.255",
        " 10.1.2.3 ",
        "10.1.2.3:443",
        '"10.1.2.3:443"',
        "::ffff:10.1.2.3",
        "[::ffff:10.1.2.3]:443",
        "::FFFF:0a01:0203",
        "2001:db8::1",
        "[2001:db8::1]",
        "[2001:db8::1]:443",
        '"[2001:db8::1]:443"',
        "2001:0DB8:0::0:1",
        "fe80::1%eth0",
        "[fe80::1%25eth0]:443",
    ],
)
def test_addresses_within(address: str) -> None:
    assert addresses.within(address, TEN)
    assert not addresses.within(address, ())


@pytest.mark.parametrize(
    "address",
    [
        "",
        "unknown",
        "_hidden",
        "11.0.0.0",
        "9.255.255.255",
        "::ffff:11.0.0.1",
        "::10.0.0.1",
        "2001:db9::1",
        "10.0.0",
        "10.0.0.0/8",
        "010.0.0.1",
        "10.0.0.256",
        "167772161",
        "0x0a000001",
        "\u0661\u0660.0.0.1",  # digits, but not these
        "10.0.0.1,10.0.0.2",
        "[",
        "[]",
        "]",
        ":",
        "%",
        "\x00",
        "\udcff",
        "localhost",
    ],
)
def test_addresses_not_within(address: str) -> None:
    assert not addresses.within(address, TEN)


PROXY = "10.0.0.1"
TRUSTED = networks("10.0.0.1", "10.0.0.2", "2001:db8::1")


@pytest.mark.parametrize(
    ("peer", "forwarded", "wanted"),
    [
        # nobody to believe
        ("203.0.113.9", [], "203.0.113.9"),
        ("203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        ("203.0.113.9", ["10.0.0.1, 10.0.0.2"], "203.0.113.9"),
        ("::ffff:203.0.113.9", [], "203.0.113.9"),
        ("2001:DB8:0::9", ["127.0.0.1"], "2001:db8::9"),
        # one proxy
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, ["203.0.113.9"], "203.0.113.9"),
        (PROXY, ["203.0.113.9:5123"], "203.0.113.9"),
        (PROXY, ["[2001:db8::9]:5123"], "2001:db8::9"),
        (PROXY, ["::ffff:203.0.113.9"], "203.0.113.9"),
        (PROXY, ["fe80::9%eth0"], "fe80::9"),
        (PROXY, ["127.0.0.1, 203.0.113.9"], "203.0.113.9"),  # the left part is the stranger's
        (PROXY, ["10.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (PROXY, ["127.0.0.1", "203.0.113.9"], "203.0.113.9"),  # two headers
        (PROXY, ["203.0.113.9, ,"], "203.0.113.9"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("2001:db8::1", ["203.0.113.9"], "203.0.113.9"),
        # a chain
        (PROXY, ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (PROXY, ["127.0.0.1, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        (PROXY, ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
        (PROXY, ["10.0.0.2"], "10.0.0.2"),
        (PROXY, ["127.0.0.1, 10.0.0.3"], "10.0.0.3"),  # no proxy of ours
        # what is no address leaves the caller unknown, never internal
        (PROXY, ["garbage"], "unknown"),
        (PROXY, ["127.0.0.1, garbage"], "unknown"),
        (PROXY, ["127.0.0.1, unknown, 10.0.0.2"], "unknown"),
        (PROXY, ["\udcff"], "unknown"),
        ("", ["127.0.0.1"], "unknown"),
        ("testclient", [], "unknown"),
    ],
)
def test_client(peer: str, forwarded: list[str], wanted: str) -> None:
    assert addresses.client(peer, forwarded, TRUSTED) == wanted


def test_a_thousand_entries() -> None:
    many = ["127.0.0.1, " * 1000 + "203.0.113.9"]
    assert addresses.client(PROXY, many, TRUSTED) == "203.0.113.9"
    assert addresses.client(PROXY, ["203.0.113.9"] + [PROXY] * 1000, TRUSTED) == "203.0.113.9"
    assert addresses.client(PROXY, ["x" * 100_000], TRUSTED) == "unknown"


def test_what_a_stranger_wrote_is_not_remembered() -> None:
    """What is read is kept for the next time, and a header may have 64 KiB."""
    tracemalloc.start()
    for number in range(300):
        assert addresses.client(PROXY, [f"{number}" + "x" * 60_000], TRUSTED) == "unknown"
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


def test_unknown_is_in_no_network() -> None:
    assert not addresses.within("unknown", networks("0.0.0.0/0", "::/0"))


ADDRESSES = st.one_of(st.ip_addresses().map(str), st.sampled_from(["127.0.0.1", PROXY, "::1"]))
HEADERS = st.lists(
    st.one_of(st.text(), ADDRESSES, st.lists(ADDRESSES, min_size=1).map(", ".join)), max_size=5
)


@given(HEADERS)
def test_a_stranger_cannot_change_its_address(forwarded: list[str]) -> None:
    assert addresses.client("203.0.113.9", forwarded, TRUSTED) == "203.0.113.9"


@given(HEADERS, ADDRESSES.filter(lambda a: not addresses.within(a, TRUSTED)))
def test_behind_one_proxy_the_address_is_the_one_it_added(forwarded: list[str], added: str) -> None:
    address = ip_address(added)
    mapped = getattr(address, "ipv4_mapped", None)
    wanted = str(mapped or address).partition("%")[0]
    assert addresses.client(PROXY, [*forwarded, added], networks(PROXY)) == wanted
    if forwarded:  # proxies add to the last header
        joined = [*forwarded[:-1], f"{forwarded[-1]}, {added}"]
        assert addresses.client(PROXY, joined, networks(PROXY)) == wanted
