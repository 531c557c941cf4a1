"""The tables and their indexes, as declarations."""

from __future__ import annotations

from receiver.database.tables import operations
from receiver.database.tables.base import LATER, listed, metadata, public_columns
from receiver.database.tables.callbacks import (
    NOT_READ,
    callback,
    callback_repeat,
    delivery_report,
)
from receiver.database.tables.messages import (
    UNFINISHED_ONLY,
    UNTIMED,
    account_credit,
    message_template,
    sent_message,
)
from receiver.database.tables.operations import (
    alarm,
    alarm_watch,
    receiver_setting,
    receiver_state,
    spool_state,
)
from receiver.database.tables.outbound import event_destination, event_set_aside
from receiver.database.tables.statistics import (
    ACTIVITIES,
    CREDITS,
    LAST_TIMES,
    MEASURES,
    activity_rollup,
    delivery_rollup,
    refusal,
)

__all__ = [
    "ACTIVITIES",
    "CREDITS",
    "LAST_TIMES",
    "LATER",
    "MEASURES",
    "NOT_READ",
    "UNFINISHED_ONLY",
    "UNTIMED",
    "account_credit",
    "activity_rollup",
    "alarm",
    "alarm_watch",
    "callback",
    "callback_repeat",
    "delivery_report",
    "delivery_rollup",
    "event_destination",
    "event_set_aside",
    "listed",
    "message_template",
    "metadata",
    "operations",
    "public_columns",
    "receiver_setting",
    "receiver_state",
    "refusal",
    "sent_message",
    "spool_state",
]
