"""Destinations may have any name, and nothing of them is passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from receiver.domain.errors import SettingsError
from receiver.settings.settings import read_settings
from tests.kit.application import SECRET

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://shop.example/told"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def setting(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"RECEIVER_EVENTS_{name}", value)


def test_destinations_of_any_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting(
        monkeypatch, APP_URL=URL, APP_SECRETS=f"{SECRET}, {SECRET}", APP_MAX_BATCH="7",
        APP_STATUSES="delivered,undeliverable", MY_MAX_BATCH_URL=URL, MY_MAX_BATCH_SECRETS=SECRET,
    )  # fmt: skip
    (tmp_path / "receiver.env").write_text("receiver_events_app_tags=otp,bill\n")
    events = read_settings().events
    assert set(events) == {"app", "my_max_batch"}
    assert (events["app"].max_batch, events["app"].tags) == (7, ("otp", "bill"))
    assert events["app"].statuses == ("delivered", "undeliverable")
    assert (events["my_max_batch"].max_batch, len(events["app"].secrets)) == (100, 2)
    assert SECRET not in repr(events)
    assert URL not in repr(events)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"APP_URLS": URL}, "RECEIVER_EVENTS_APP_URLS: no such setting."),
        ({"URL": URL}, "RECEIVER_EVENTS_URL: no such setting."),
        ({"_URL": URL}, "RECEIVER_EVENTS__URL: no such setting."),
        ({"1_URL": URL}, "RECEIVER_EVENTS_1_URL: no such setting."),
        ({"MY-APP_URL": URL}, "RECEIVER_EVENTS_MY-APP_URL: no such setting."),
        ({"APP_URL": URL}, "RECEIVER_EVENTS_APP_SECRETS: expected a value"),
        ({"APP_SECRETS": SECRET}, "RECEIVER_EVENTS_APP_URL: expected a value"),
        ({"APP_URL": "ftp://x", "APP_SECRETS": SECRET}, "RECEIVER_EVENTS_APP_URL: expected a URL"),
        ({"APP_URL": "https:///x", "APP_SECRETS": SECRET}, "RECEIVER_EVENTS_APP_URL: expected a"),
        ({"APP_URL": "http://169.254.169.254/", "APP_SECRETS": SECRET},
         "RECEIVER_EVENTS_APP_URL: expected no address"),
        ({"APP_URL": URL, "APP_SECRETS": "whsec_no base64!"}, "RECEIVER_EVENTS_APP_SECRETS: exp"),
        ({"APP_URL": URL, "APP_SECRETS": "whsec_c2hvcnQ="}, "RECEIVER_EVENTS_APP_SECRETS: expect"),
        ({"APP_URL": URL, "APP_SECRETS": SECRET[6:]}, "RECEIVER_EVENTS_APP_SECRETS: expected whs"),
        ({"APP_URL": URL, "APP_SECRETS": ","}, "RECEIVER_EVENTS_APP_SECRETS: "),
        ({"APP_URL": URL, "APP_SECRETS": SECRET, "APP_STATUSES": "delivrd"},
         "RECEIVER_EVENTS_APP_STATUSES: expected some of"),
        ({"APP_URL": URL, "APP_SECRETS": SECRET, "APP_MAX_BATCH": "0"},
         "RECEIVER_EVENTS_APP_MAX_BATCH: "),
        ({"APP_URL": URL, "App_URL": URL}, "environment: RECEIVER_EVENTS_APP_URL and "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], expected: str
) -> None:
    setting(monkeypatch, **values)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert str(caught.value).startswith(expected)
    assert "shop.example" not in str(caught.value)
    assert SECRET[6:] not in str(caught.value)


def test_two_of_one_name_in_a_file(tmp_path: Path) -> None:
    for second in ("RECEIVER_EVENTS_APP_URL", "receiver_events_app_url"):
        (tmp_path / "receiver.env").write_text(
            f"RECEIVER_EVENTS_APP_URL={URL}\nRECEIVER_EVENTS_APP_SECRETS={SECRET}\n{second}={URL}\n"
        )
        with pytest.raises(SettingsError, match="set twice"):
            read_settings()
