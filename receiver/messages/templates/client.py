"""Client of EngageLab's template interface, its six calls, over HTTP.

Its page on SMS templates documents them, for generation 1: Basic with sms_user and sms_key, answers
in `result`, errors as `code` and `message`, times like `2015-03-23T14:27:48+0800`. A call that
makes a template is sent once, whatever comes of it; others again while the provider is busy or
broken.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx2

from receiver.domain import SettingsError, TemplateError, UnreadableError
from receiver.http_client import HttpClient
from receiver.messages.templates.mirror import Template
from receiver.providers import (
    Id,
    IdIfAny,
    LongWords,
    Row,
    Words,
    decode,
    engagelab,
    parse_time,
    read_json,
    reading,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

    from receiver.settings import Settings


PROVIDER: Final = "engagelab"
URL: Final = "https://sms.api.engagelab.cc"  # documented
PAGE_SIZE: Final = 100
"""The templates that one call lists, at most (documented)."""
RESPONSE_SECONDS: Final = 15.0
"""The seconds that a response may take, all of it."""
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
"""The bytes of a response, at most; 100 templates of 512 characters are far less."""
WAITS_SECONDS: Final = (0.5, 1.0, 2.0)
"""The seconds before each further try, where the provider says it is busy or broken (429, 5xx)."""
MAX_NAME: Final = 64
MAX_CONTENT: Final = 512
FORBIDDEN: Final = "【】[]"
BUSY: Final = 429
BROKEN: Final = 500

TYPES: Final = {"code": "0", "notice": "1", "marketing": "2"}
POSITIONS: Final = {"prefix": "0", "suffix": "1"}
APPROVALS: Final = {"pending": "0", "approved": "1", "rejected": "-1", "unsubmitted": "-2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a template is to be; None leaves it as it is, or to the provider.

    Raises UnreadableError where the provider would refuse it (documented rules).
    """

    name: str | None = None
    content: str | None = None
    type: str | None = None
    sign_id: int | None = None
    sign_pos: str | None = None
    submit: bool | None = None

    def __post_init__(self) -> None:
        for field, text, most in (
            ("name", self.name, MAX_NAME),
            ("content", self.content, MAX_CONTENT),
        ):
            if text is not None and not 1 <= len(text.strip()) <= len(text) <= most:
                raise UnreadableError(f"{field}: expected 1 to {most} characters, got {len(text)}")
        if self.content is not None and any(mark in self.content for mark in FORBIDDEN):
            raise UnreadableError(f"content: expected none of {' '.join(FORBIDDEN)} in it")
        for field, word, known in (
            ("type", self.type, TYPES),
            ("sign-pos", self.sign_pos, POSITIONS),
        ):
            if word is not None and word not in known:
                raise UnreadableError(f"{field}: expected one of: {', '.join(known)}")

    def as_json(self) -> dict[str, Any]:
        """Return it as the interface takes it."""
        members = {
            "template_name": self.name,
            "template_content": self.content,
            "template_type": TYPES.get(self.type or ""),
            "sign_id": self.sign_id,
            "sign_pos": POSITIONS.get(self.sign_pos or ""),
            "submit": self.submit,
        }
        return {name: value for name, value in members.items() if value is not None}


class _Template(Row):
    """A template as the interface answers it (documented)."""

    template_id: Id
    template_name: LongWords
    template_content: LongWords
    template_type: Words
    msg_type: Words
    sign_id: IdIfAny
    approval_status: Words
    approval_message: LongWords
    create_time: Words
    update_time: Words


class _Refusal(Row):
    code: Words
    message: LongWords


class Client:
    """The six calls. Raises TemplateError where one is refused, fails or cannot be understood."""

    def __init__(self, settings: Settings) -> None:
        own = settings.provider(PROVIDER).own
        user, key = own("sms_user"), own("sms_key")
        for name, value in (("SMS_USER", user), ("SMS_KEY", key)):
            if not value:
                raise SettingsError(f"No user of template calls: set RECEIVER_ENGAGELAB_{name}.")
        self.zone: tzinfo = settings.timezone
        self.http = HttpClient(
            RESPONSE_SECONDS,
            MAX_RESPONSE_BYTES,
            base_url=own("url") or URL,
            auth=httpx2.BasicAuth(user.encode(), key.encode()),
            trust_env=False,  # no .netrc in place of the key
        )

    def close(self) -> None:
        """Close the connection."""
        self.http.close()

    def get(self, template_id: str) -> Template:
        """Return one template."""
        return self._read(self._ask("GET", _path(template_id)).get("result"), "result")

    def list(self, **filters: str) -> Iterator[tuple[list[Template], int]]:
        """Return the templates, a page at a time, and how many there are in all.

        `filters` are the interface's own filters: `approval_status`, `template_name`.
        """
        offset, total = 0, 1
        while offset < total:
            page = {"offset": str(offset), "limit": str(PAGE_SIZE), **filters}
            response = self._ask("GET", "/v1/templates", params=page)
            rows = response.get("result")
            if not isinstance(rows, list):
                raise TemplateError(
                    f"EngageLab's answer: result: expected a list, got {reading.kind(rows)}."
                )
            text = reading.written(response.get("total")) or ""
            total = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0  # noqa: PLR2004
            yield [self._read(row, f"result[{n}]") for n, row in enumerate(rows)], total
            offset += len(rows)
            if not rows:
                return

    def create(self, draft: Draft) -> Template:
        """Make a template; sent once, since a second try could make a second one."""
        response = self._ask("POST", "/v1/templates", body=draft.as_json(), again=False)
        return self._read(response.get("result"), "result")

    def submit(self, template_id: str) -> None:
        """Hand a template in for review."""
        self._ask("POST", f"{_path(template_id)}/submit")

    def update(self, template_id: str, draft: Draft) -> None:
        """Change a template; all but a new name takes its approval away (documented)."""
        self._count(self._ask("PUT", _path(template_id), body=draft.as_json()))

    def delete(self, template_id: str) -> None:
        """Delete a template."""
        self._count(self._ask("DELETE", _path(template_id)))

    def _count(self, response: Mapping[str, Any]) -> None:
        """Check the documented answer to a change: how many were changed."""
        if reading.written(response.get("count")) == "0":
            raise TemplateError("EngageLab changed no template.")

    def _read(self, row: object, path: str) -> Template:
        (item,) = reading.read_items([(path, row)], lambda _, row: _Template.model_validate(row))
        if not isinstance(item, _Template):
            raise TemplateError(f"EngageLab's answer: {item.reason}.")
        now = datetime.now(UTC)
        return Template(
            template_id=item.template_id,
            name=item.template_name,
            content=item.template_content,
            template_type=item.template_type,
            msg_type=item.msg_type,
            sign_id=item.sign_id,
            approval=engagelab.APPROVALS.get((item.approval_status or "").lower()),
            approval_message=item.approval_message,
            created_at=parse_time(item.create_time, self.zone, now),
            updated_at=parse_time(item.update_time, self.zone, now),
        )

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        again: bool = True,
    ) -> dict[str, Any]:
        """Make a call, and again while the provider is busy or broken where `again` allows it."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        for wait in (*WAITS_SECONDS, None) if again else (None,):
            try:
                response = self.http.exchange(
                    method, path, params=params, content=content, headers=headers
                )
            except httpx2.DecodingError:
                raise TemplateError(
                    f"EngageLab's answer is over {MAX_RESPONSE_BYTES} bytes."
                ) from None
            except httpx2.TimeoutException:
                raise TemplateError(f"EngageLab did not answer in time{_maybe(method)}") from None
            except httpx2.HTTPError as error:
                why = type(error).__name__
                raise TemplateError(
                    f"EngageLab cannot be reached ({why}){_maybe(method)}"
                ) from None
            if wait is None or not (response.status == BUSY or response.status >= BROKEN):
                break
            time.sleep(wait)
        return _understood(response.status, response.body)


def _path(template_id: str) -> str:
    """Return a template's path; its id is one segment of it and nothing else."""
    if not template_id or not all(c.isascii() and (c.isalnum() or c in "-_") for c in template_id):
        raise UnreadableError("ID: expected letters, digits, - and _")
    return f"/v1/templates/{template_id}"


def _maybe(method: str) -> str:
    """Return how a sentence ends: a change may have been made, though we did not hear of it."""
    made = "" if method == "GET" else " It may have been done: look before you try again."
    return f".{made}"


def _understood(status: int, body: bytes) -> dict[str, Any]:
    """Return an answer's members by lower-case name. Raises TemplateError in EngageLab's words."""
    try:
        members = reading.lowered(read_json(decode(body).text), "body")
    except UnreadableError as error:
        raise TemplateError(f"EngageLab answered {status}, and no sense: {error}.") from None
    good = status in range(200, 300)
    refusal = _Refusal.model_validate(members)
    if good and (refusal.code in {None, "0"} or "result" in members):
        return members
    words = reading.in_words(None, refusal.code, refusal.message) or "no reason"
    hint = " Look at RECEIVER_ENGAGELAB_SMS_USER and …_SMS_KEY." if status in {401, 403} else ""
    raise TemplateError(f"EngageLab answered {status}: {words}.{hint}")
