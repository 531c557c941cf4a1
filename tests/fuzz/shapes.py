"""Callbacks as hypothesis makes them: valid batches, then items spoiled, then bytes torn.

Each provider's batch knows which report every item of it must come out as, so nothing can be lost
or mixed up unseen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from hypothesis import strategies as st

from receiver.domain.callback import Callback
from receiver.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Draw = Any
Item = dict[str, Any]

PLANTED: Final = "ลับ"
"""Stands in values that no reason may repeat."""
IDS: Final = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]),
    min_size=1,
    max_size=40,
)
NUMBERS: Final = st.from_regex(r"66[689][0-9]{8}", fullmatch=True)
TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=40)
TIMES: Final = st.datetimes().map(lambda t: t.isoformat(timespec="milliseconds"))
ENCODINGS: Final = (
    "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be",
)  # fmt: skip
BAD_IDS: Final = st.sampled_from(
    [[], [PLANTED], {PLANTED: PLANTED}, True, 1.5, PLANTED * 70, PLANTED + "\0", PLANTED + "\ud800"]
)
ANY: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(PLANTED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Items, the frame around them, and how one is spoiled for certain."""

    provider: str
    items: Sequence[Any]
    frame: Callable[[Sequence[Any]], object]
    encoding: str = "utf-8"
    render: Callable[[object], str] = json.dumps
    query: str = ""
    in_query: bool = False

    @property
    def callback(self) -> Callback:
        """Return the callback as bytes."""
        text = self.render(self.frame(self.items))
        if self.in_query:
            return Callback(provider=self.provider, method="GET", query=text)
        body = text.encode(self.encoding, "surrogatepass")
        return Callback(provider=self.provider, method="POST", body=body, query=self.query)

    def with_items(self, items: Sequence[Any]) -> Batch:
        """Return the batch with other items."""
        return replace(self, items=items)


# ANTS


@st.composite
def ants_items(draw: Draw) -> Item:
    """Make one detail."""
    name = draw(st.sampled_from([*PROVIDERS["ants"].STATUSES, "SOMETHING"])).upper()
    status: Any = {"code": draw(st.sampled_from(["000", "101", 204])), "name": name}
    optional = {
        "to": NUMBERS, "from": TEXTS, "text": TEXTS | ANY, "credit": st.floats(0, 99) | ANY,
        "sendDate": TIMES | ANY, "doneDate": TIMES, "callbackData": TEXTS | ANY, "more": ANY,
    }  # fmt: skip
    said = {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
    return {"messageId": draw(IDS), **said, "status": draw(st.sampled_from([status, [status]]))}


@st.composite
def ants(draw: Draw) -> Batch:
    """Make ANTS's callback."""
    items = draw(st.lists(ants_items(), min_size=1, max_size=6))
    bulk = {"bulkId": draw(IDS)} if draw(st.booleans()) else {}
    frame = draw(st.sampled_from([_details, _detail]))
    return Batch(
        "ants", items, lambda i: bulk | frame(i), draw(st.sampled_from(ENCODINGS)), draw(JSON)
    )


def _details(items: Sequence[Any]) -> Item:
    return {"details": list(items)}


def _detail(items: Sequence[Any]) -> Item:
    return {"details": {"detail": list(items)}}


JSON: Final = st.sampled_from(
    [
        json.dumps,
        lambda value: json.dumps(value, ensure_ascii=False, indent=1),
        lambda value: " \r\n" + json.dumps(value, separators=(",", ":")),
    ]
)


# EngageLab


@st.composite
def engagelab_items(draw: Draw) -> Item:
    """Make one row of generation 2 that is a report."""
    word = draw(st.sampled_from([*PROVIDERS["engagelab"].STATUSES, "something"]))
    status = {"message_status": word, "status_data": draw(ANY), "error_code": draw(ANY)}
    optional = {"to": NUMBERS, "from": TEXTS, "itime": st.integers(0, 2**33), "custom_args": ANY}
    said = {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
    return {"message_id": draw(IDS), **said, "status": status}


@st.composite
def engagelab(draw: Draw) -> Batch:
    """Make EngageLab's callback of generation 2; notifications may be among its rows."""
    items = draw(st.lists(engagelab_items(), min_size=1, max_size=6))
    total = draw(st.integers(0, 9))
    encoding = draw(st.sampled_from(ENCODINGS))
    return Batch(
        "engagelab", items, lambda i: {"total": total, "rows": list(i)}, encoding, draw(JSON)
    )


# ThaiBulkSMS


@st.composite
def thaibulksms_items(draw: Draw) -> Item:
    """Make one report."""
    words = draw(st.sampled_from(["delivery", "Delivered", "failed", "something"]))
    optional = {"Time": st.integers(10**9, 10**10 - 1).map(str), "msisdn": NUMBERS}
    said = {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
    return {"Transaction": draw(IDS), "Status": words, **said}


@st.composite
def thaibulksms(draw: Draw) -> Batch:
    """Make ThaiBulkSMS's callback: a form, a query, or a list of objects."""
    items = draw(st.lists(thaibulksms_items(), min_size=1, max_size=6))
    if draw(st.booleans()):
        encoding = draw(st.sampled_from(ENCODINGS))
        return Batch("thaibulksms", items, list, encoding, draw(JSON), "shop=7")
    return Batch(
        "thaibulksms", items[:1], lambda i: i[0], "ascii", _form, in_query=draw(st.booleans())
    )


def _form(said: object) -> str:
    assert isinstance(said, dict)
    pairs = {name: value if isinstance(value, str) else "" for name, value in said.items()}
    return urlencode(pairs, errors="surrogatepass")


# Movider


@st.composite
def movider_items(draw: Draw) -> Item:
    """Make one report."""
    words = draw(st.sampled_from(["OK", "ERROR", "expired", "something"]))
    optional = {"to": NUMBERS, "detail": TEXTS, "sent_date": TIMES, "message_price": TEXTS}
    said = {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
    return {"message_id": draw(IDS), "status": words, **said}


@st.composite
def movider(draw: Draw) -> Batch:
    """Make Movider's callback: a form or a query."""
    items = [draw(movider_items())]
    in_query = draw(st.booleans())
    return Batch("movider", items, lambda i: i[0], "ascii", _form, in_query=in_query)


# Infobip


@st.composite
def infobip_items(draw: Draw) -> Item:
    """Make one result."""
    group = draw(st.sampled_from([*PROVIDERS["infobip"].STATUSES, "something"])).upper()
    status = {"groupName": group, "id": draw(ANY), "name": "X", "description": draw(ANY)}
    optional = {
        "bulkId": IDS, "to": NUMBERS, "from": TEXTS, "text": TEXTS | ANY, "sentAt": TIMES,
        "doneAt": TIMES, "smsCount": ANY, "price": ANY, "error": ANY, "callbackData": TEXTS | ANY,
    }  # fmt: skip
    said = {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
    return {"messageId": draw(IDS), **said, "status": status}


@st.composite
def infobip(draw: Draw) -> Batch:
    """Make Infobip's callback."""
    items = draw(st.lists(infobip_items(), min_size=1, max_size=6))
    encoding = draw(st.sampled_from(ENCODINGS))
    return Batch("infobip", items, lambda i: {"results": list(i)}, encoding, draw(JSON))


# AIS and NT


@st.composite
def ais_items(draw: Draw) -> Item:
    """Make one report."""
    optional = {
        "FROM": NUMBERS, "SENDER": TEXTS, "TIME": TEXTS, "CAMPAIGN": TEXTS, "CODE": TEXTS,
    }  # fmt: skip
    said = {key: draw(value) for key, value in optional.items() if draw(st.booleans())}
    outcome = {"STATUS": draw(st.sampled_from(["OK", "ERR"])), "DETAIL": draw(TEXTS)}
    return {"CMD": "DLVRREP", "SMID": draw(IDS), **said, **outcome}


@st.composite
def ais(draw: Draw) -> Batch:
    """Make a gateway's callback: a flat object of JSON, or a form."""
    items = [draw(ais_items())]
    if draw(st.booleans()):
        encoding = draw(st.sampled_from(ENCODINGS))
        return Batch("ais", items, lambda i: i[0], encoding, draw(JSON), "shop=7")
    return Batch("ais", items, lambda i: i[0], "ascii", _form, in_query=draw(st.booleans()))


BATCHES: Final = {
    "ants": ants(),
    "engagelab": engagelab(),
    "thaibulksms": thaibulksms(),
    "movider": movider(),
    "infobip": infobip(),
    "ais": ais(),
}
KEYS: Final = {
    "ants": "messageId",
    "engagelab": "message_id",
    "thaibulksms": "Transaction",
    "movider": "message_id",
    "infobip": "messageId",
    "ais": "SMID",
}


# What is done to them


@st.composite
def spoiled(draw: Draw, name: str) -> tuple[Batch, Batch, list[int]]:
    """Return a batch, the same with some items that nothing can be read from, and their places."""
    batch: Batch = draw(BATCHES[name])
    places = [n for n in range(len(batch.items)) if draw(st.booleans())]
    bad = [
        {**item, KEYS[name]: draw(BAD_IDS)} if place in places else item
        for place, item in enumerate(batch.items)
    ]
    return batch, batch.with_items(bad), places


@st.composite
def torn(draw: Draw, name: str) -> Callback:
    """Return a callback whose bytes were cut, doubled, overwritten."""
    callback: Callback = draw(BATCHES[name]).callback
    body, query = callback.body, callback.query
    for _ in range(draw(st.integers(1, 4))):
        if body:
            begin, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
            middle = draw(st.sampled_from([b"", body[begin:end] * 2]) | st.binary(max_size=8))
            body = body[:begin] + middle + body[end:]
        else:
            query = query[: draw(st.integers(0, len(query)))]
    return replace(callback, body=body, query=query)
