"""The tables and their indexes, as declarations."""

from __future__ import annotations

from receiver.database.tables import operations
from receiver.database.tables.base import LATER, metadata
from receiver.database.tables.callbacks import callback, callback_repeat, delivery_report
from receiver.database.tables.messages import (
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
from receiver.database.tables.statistics import (
    ACTIVITIES,
    CREDITS,
    GROUPS,
    LAST_TIMES,
    MEASURES,
    STEPS,
    activity_rollup,
    delivery_rollup,
    refusal,
)

__all__ = [
    "ACTIVITIES",
    "CREDITS",
    "GROUPS",
    "LAST_TIMES",
    "LATER",
    "MEASURES",
    "STEPS",
    "UNTIMED",
    "account_credit",
    "activity_rollup",
    "alarm",
    "alarm_watch",
    "callback",
    "callback_repeat",
    "delivery_report",
    "delivery_rollup",
    "message_template",
    "metadata",
    "operations",
    "receiver_setting",
    "receiver_state",
    "refusal",
    "sent_message",
    "spool_state",
]
