"""A list of things that can be looked for, looked at and exported, and nothing else.

The library asks `find_all` and `count` separately; both are answered by one look.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette_admin import BaseModelView, EnumField, StringField
from starlette_admin.export import BaseExporter, CsvExporter, ExportContext, JsonExporter
from starlette_admin.filters import FilterGroup, FilterRegistry, FilterValidationError
from starlette_admin.filters.date import DateTimeBetweenFilter
from starlette_admin.filters.enum import InFilter
from starlette_admin.filters.generic import EqualFilter
from starlette_admin.i18n import lazy_gettext as _

from receiver.display import csv_lines, local, printable
from receiver.messages import search
from receiver.providers import PROVIDERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, tzinfo

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette_admin.fields import BaseField

    from receiver.web.admin.backend import Backend


log = structlog.get_logger(__name__)

NAME_LENGTH: Final = 100
"""Characters of an exported file's name."""
_PLAIN: Final = re.compile(r"[^A-Za-z0-9._ -]")
PROVIDER_WORDS: Final = {name: module.TITLE for name, module in PROVIDERS.items()}


class Equal(EqualFilter):
    """A column is exactly this."""

    def apply(self, ctx: Any) -> None:
        """Do nothing: the rules are handed on as they are, see `rules`."""


class OneOf(InFilter):
    """A column is one of these."""

    def apply(self, ctx: Any) -> None:
        """Do nothing."""


class Between(DateTimeBetweenFilter):
    """A time is in a span, both ends of which are given by clocks of RECEIVER_TIMEZONE."""

    def apply(self, ctx: Any) -> None:
        """Do nothing."""

    def parse_value(self, raw: Any) -> Any:
        """Return an aware time: the library's are UTC, and do not say so."""
        try:
            parsed: Any = super().parse_value(raw)
        except OverflowError:  # the year 1 in Bangkok is none in UTC
            raise FilterValidationError(_("Expected a time between the years 2 and 9998")) from None
        return parsed.replace(tzinfo=UTC)


def rules(group: FilterGroup | None) -> search.Rules:
    """Return the library's filters as the search takes them."""
    if group is None:
        return search.Rules()
    return search.Rules(
        tuple(
            rules(rule)
            if isinstance(rule, FilterGroup)
            else search.Rule(
                rule.field,
                rule.filter,
                (rule.value,) if rule.value2 is None else (rule.value, rule.value2),
            )
            for rule in group.rules
        ),
        every=group.logic != "or",
    )


def counted(rules: search.Rules) -> int:
    """Return how many conditions there are, each value of a list for one."""
    return sum(
        counted(part)
        if isinstance(part, search.Rules)
        else len(part.values[0])
        if part.compared == "in"
        else 1
        for part in rules.parts
    )


class Named(BaseExporter):
    """An export whose file may have any name (RFC 6266): a header has letters of ASCII only."""

    async def build_response(self, ctx: ExportContext) -> Response:
        """Return the file."""
        name = "".join(c if c.isprintable() else "_" for c in ctx.filename)[:NAME_LENGTH]
        response = await super().build_response(replace(ctx, filename="export"))
        whole = quote(f"{name}.{self.extension}", safe="")
        plain = _PLAIN.sub("_", name)
        response.headers["content-disposition"] = (
            f"attachment; filename=\"{plain}.{self.extension}\"; filename*=UTF-8''{whole}"
        )
        return response


class Json(Named, JsonExporter):
    """JSON: an object for each row, by the columns' own names."""

    async def generate(self, fields: list[BaseField], rows: list[dict[str, Any]]) -> bytes:
        """Return the file; the library's fails where a label is translated."""
        named = [{field.name: row.get(field.name) for field in fields} for row in rows]
        return json.dumps(named, ensure_ascii=False, indent=2, default=str).encode()


class Csv(Named, CsvExporter):
    """CSV that no spreadsheet takes for formulas."""

    async def generate(self, fields: list[BaseField], rows: list[dict[str, Any]]) -> bytes:
        """Return the file."""
        cells = ([row.get(field.name) for field in fields] for row in rows)
        return "".join(csv_lines([str(field.label) for field in fields], cells)).encode()


class Choice(EnumField):
    """A column of few values, each with its word; one of others is shown as it is."""

    def _get_label(self, value: Any, request: Request) -> Any:
        words = dict(self._get_choices(request))
        return words.get(value, value)


def column(name: str, label: object, **more: Any) -> StringField:
    """Return a column as it is, with every character written out that is not to be seen."""
    return StringField(name, label, getter=lambda _request, row: _text(row[name]), **more)  # type: ignore[arg-type] # lazy


def word(name: str, label: object, **more: Any) -> StringField:
    """Return a column that can be asked to be exactly something."""
    return column(name, label, filters=[Equal], **more)


def time(name: str, label: object, backend: Backend, **more: Any) -> StringField:
    """Return a time, as clocks of RECEIVER_TIMEZONE show it, that can be asked to be in a span."""
    zone = backend.settings.timezone
    shown = partial(_local, name, zone)
    return StringField(name, label, getter=shown, filters=[Between], **more)  # type: ignore[arg-type]


def choice(name: str, label: object, words: Mapping[str, object], **more: Any) -> Choice:
    """Return a column that can be asked to be one of its values."""
    return Choice(name, label=label, choices=list(words.items()), filters=[OneOf], **more)  # type: ignore[arg-type]


def _local(name: str, zone: tzinfo, _request: Request, row: Mapping[str, Any]) -> str | None:
    return local(row[name], zone)[:19] or None


def _text(value: object) -> str | None:
    return None if value is None or value == "" else printable(value)


class List(BaseModelView):
    """A list: newest first, a page at a time, found by a text or by filters."""

    pk_attr = "id"
    page_size = 25
    page_size_options: Sequence[int] = (25, 50, 100)
    exporters: Sequence[Any] = (Csv(), Json())
    importers: Sequence[Any] = ()
    actions: Sequence[str] = ("export",)
    row_actions: Sequence[str] = ("view",)
    search_highlight = False
    column_visibility = False
    list_template = "list.html"
    kind: search.Kind
    counted_max = search.MAX_COUNTED
    hint: object = ""
    """What can be looked for, beside the field."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.fields = self.columns()
        self.searchable_fields = [one.name for one in self.fields if one.filters]
        self.sortable_fields = [self.kind.time]
        self.fields_default_sort = [(self.kind.time, True)]
        super().__init__()

    def columns(self) -> Sequence[BaseField]:
        """Return the columns."""
        raise NotImplementedError

    def get_filter_registry(self) -> FilterRegistry:
        """Return no filters but the ones that the columns name."""
        return FilterRegistry()

    def clock(self, time: datetime) -> str:
        """Return a time to the minute, as clocks of RECEIVER_TIMEZONE show it."""
        return local(time, self.backend.settings.timezone)[:16]

    def can_create(self, request: Request) -> bool:  # noqa: ARG002
        """Say no: nothing is made here."""
        return False

    can_edit = can_delete = can_import = can_create

    async def create(self, request: Request, data: dict[Any, Any]) -> Any:
        """Make nothing; no route leads here, nor to `edit` and `delete`."""
        raise NotImplementedError

    async def edit(self, request: Request, pk: Any, data: dict[str, Any]) -> Any:
        """Change nothing."""
        raise NotImplementedError

    async def delete(self, request: Request, pks: list[Any]) -> int | None:
        """Delete nothing."""
        raise NotImplementedError

    def is_active(self, request: Request) -> bool:
        """Say whether this list, or one of its things, is shown."""
        return request.path_params.get("key") == self.key

    def _parse_filter_param(self, request: Request, query_params: Any = None) -> FilterGroup:
        """Return the filters. Raises the 400 for more than the database is asked at once."""
        filters = super()._parse_filter_param(request, query_params)
        if counted(rules(filters)) > search.MAX_RULES:
            raise HTTPException(400, f"filter: expected at most {search.MAX_RULES} conditions.")
        return filters

    async def page(self, request: Request, asked: search.Search) -> search.Page:
        """Look once; the answer is kept with the request."""
        found = await self.backend.look(partial(search.find, kind=self.kind, search=asked))
        request.state.found = found
        if asked.text or asked.rules.parts:
            self.note(request, "looked up", found=found.total)
        return found

    def asked(self, q: str | None, filters: FilterGroup | None, **more: Any) -> search.Search:
        """Return what is looked for."""
        zone = self.backend.settings.timezone
        return search.Search(text=(q or "").strip(), rules=rules(filters), zone=zone, **more)

    async def find_all(  # noqa: PLR0917 - the library's own signature
        self,
        request: Request,
        skip: int = 0,
        limit: int = 100,
        q: str | None = None,
        sorts: Sequence[tuple[str, str]] | None = None,
        filters: FilterGroup | None = None,
    ) -> Sequence[Any]:
        """Return a page of rows."""
        asked = self.asked(
            q,
            filters,
            skip=skip,
            limit=limit if limit > 0 else search.MAX_COUNTED,
            oldest_first=any(way == "asc" for _name, way in sorts or ()),
        )
        return (await self.page(request, asked)).rows

    async def count(
        self, request: Request, q: str | None = None, filters: FilterGroup | None = None
    ) -> int:
        """Return how many rows there are, or MAX_COUNTED."""
        found = getattr(request.state, "found", None)
        return (found or await self.page(request, self.asked(q, filters))).total

    async def find_by_pks(self, request: Request, pks: list[Any]) -> Sequence[Any]:
        """Return the rows with these ids, for an export of what was ticked."""
        found = [
            await self.find_by_pk(request, str(pk)) for pk in pks[: max(self.page_size_options)]
        ]
        return [row for row in found if row is not None]

    async def _emit_after_export(self, request: Request, *args: Any, **more: Any) -> None:
        self.note(request, "exported", rows=len(args[1]))
        await super()._emit_after_export(request, *args, **more)

    def note(self, request: Request, event: str, **more: object) -> None:
        """Log who did what; never what was looked for."""
        log.info(event, key=request.state.session.name, what=self.key, **more)
