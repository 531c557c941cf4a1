"""Values that check themselves: callback, report, status, sent message, alarm, errors. Pure."""

from __future__ import annotations

from receiver.domain.alarm import Alarm, AlarmKey, State
from receiver.domain.callback import COLUMNS as CALLBACK_COLUMNS
from receiver.domain.callback import Callback, first_id
from receiver.domain.credit import CREDIT, amount
from receiver.domain.errors import (
    BusyError,
    CopyError,
    EventError,
    ProviderRefusalError,
    ReceiverError,
    RecordError,
    RefusedError,
    SchemaError,
    SettingsError,
    SpoolError,
    TemplateError,
    UnavailableError,
    UnreadableError,
    location,
)
from receiver.domain.histogram import DELIVERY_TIMES, step_name
from receiver.domain.phone import NO_NUMBER, loses_zero, msisdn
from receiver.domain.reading import Derived, Kept, Reading, Whole
from receiver.domain.report import Item, Report, TemplateReview, Unreadable
from receiver.domain.sent_message import SentMessage
from receiver.domain.spoiled import SPOILED, is_rounded, whole_number
from receiver.domain.status import (
    FAILED,
    FINAL,
    GROUPS,
    RANK,
    SHARED_STATUSES,
    UNFINISHED,
    Approval,
    Status,
    group_of,
)
from receiver.domain.text import MAX_ID, MAX_TEXT, bare, keepable, required, shortened
from receiver.domain.times import (
    BANGKOK,
    BANGKOK_HOURS,
    EPOCH,
    HOUR,
    MILLISECOND,
    TIME,
    YEARS,
    utc_text,
)

__all__ = [
    "BANGKOK",
    "BANGKOK_HOURS",
    "CALLBACK_COLUMNS",
    "CREDIT",
    "DELIVERY_TIMES",
    "EPOCH",
    "FAILED",
    "FINAL",
    "GROUPS",
    "HOUR",
    "MAX_ID",
    "MAX_TEXT",
    "MILLISECOND",
    "NO_NUMBER",
    "RANK",
    "SHARED_STATUSES",
    "SPOILED",
    "TIME",
    "UNFINISHED",
    "YEARS",
    "Alarm",
    "AlarmKey",
    "Approval",
    "BusyError",
    "Callback",
    "CopyError",
    "Derived",
    "EventError",
    "Item",
    "Kept",
    "ProviderRefusalError",
    "Reading",
    "ReceiverError",
    "RecordError",
    "RefusedError",
    "Report",
    "SchemaError",
    "SentMessage",
    "SettingsError",
    "SpoolError",
    "State",
    "Status",
    "TemplateError",
    "TemplateReview",
    "UnavailableError",
    "Unreadable",
    "UnreadableError",
    "Whole",
    "amount",
    "bare",
    "first_id",
    "group_of",
    "is_rounded",
    "keepable",
    "location",
    "loses_zero",
    "msisdn",
    "required",
    "shortened",
    "step_name",
    "utc_text",
    "whole_number",
]
