"""Proofs of who calls: what is right gets in, everything else does not."""

from __future__ import annotations

import base64
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import security
from receiver.settings import Secret

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
    found = security.find(TOKENS, given_)
    assert found is not None
    assert (found.name, found.value) == (name, given_)


@pytest.mark.parametrize(
    "wrong", ["", "ol", "oldx", "OLD", " old", "shop:old", "ลั", "\udcff", "\x00", "x" * 100_000]
)
def test_no_other_secret_is_right(wrong: str) -> None:
    assert security.find(TOKENS, wrong) is None
    assert security.find([], wrong) is None


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
    assert security.basic(PAIRS, header)
    assert not security.basic([], header)


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
    assert not security.basic(PAIRS, header)


@pytest.mark.parametrize("header", ["Bearer new", "bearer new", "BEARER  new "])
def test_bearer(header: str) -> None:
    found = security.bearer(TOKENS, header)
    assert found is not None and found.name == "shop"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "new", "Bearernew", "Basic new", "Bearer new old", "Token new"],
)
def test_wrong_bearer(header: str) -> None:
    assert security.bearer(TOKENS, header) is None
    assert security.bearer([], header) is None


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
    assert security.within(address, TEN)
    assert not security.within(address, ())


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
    assert not security.within(address, TEN)


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
    assert security.client(peer, forwarded, TRUSTED) == wanted


def test_a_thousand_entries() -> None:
    many = ["127.0.0.1, " * 1000 + "203.0.113.9"]
    assert security.client(PROXY, many, TRUSTED) == "203.0.113.9"
    assert security.client(PROXY, ["203.0.113.9"] + [PROXY] * 1000, TRUSTED) == "203.0.113.9"
    assert security.client(PROXY, ["x" * 100_000], TRUSTED) == "unknown"


def test_unknown_is_in_no_network() -> None:
    assert not security.within("unknown", networks("0.0.0.0/0", "::/0"))


ADDRESSES = st.one_of(st.ip_addresses().map(str), st.sampled_from(["127.0.0.1", PROXY, "::1"]))
HEADERS = st.lists(
    st.one_of(st.text(), ADDRESSES, st.lists(ADDRESSES, min_size=1).map(", ".join)), max_size=5
)


@given(HEADERS)
def test_a_stranger_cannot_change_its_address(forwarded: list[str]) -> None:
    assert security.client("203.0.113.9", forwarded, TRUSTED) == "203.0.113.9"


@given(HEADERS, ADDRESSES.filter(lambda a: not security.within(a, TRUSTED)))
def test_behind_one_proxy_the_address_is_the_one_it_added(forwarded: list[str], added: str) -> None:
    address = ip_address(added)
    mapped = getattr(address, "ipv4_mapped", None)
    wanted = str(mapped or address).partition("%")[0]
    assert security.client(PROXY, [*forwarded, added], networks(PROXY)) == wanted
    if forwarded:  # proxies add to the last header
        joined = [*forwarded[:-1], f"{forwarded[-1]}, {added}"]
        assert security.client(PROXY, joined, networks(PROXY)) == wanted
