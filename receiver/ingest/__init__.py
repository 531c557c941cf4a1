"""From bytes to rows: interpret, store, the writer, and the spool while the database is away."""

from __future__ import annotations

from receiver.ingest import callbacks, interpret, store, unknown_words
from receiver.ingest.body_budget import LONGEST_BODIES, SMALL, Body, Budget, order
from receiver.ingest.callbacks import OUTCOMES, kept_callback, kept_callbacks, kept_ids
from receiver.ingest.interpret import Interpreter
from receiver.ingest.quota import Quota
from receiver.ingest.store import can_keep, keep_or_refuse
from receiver.ingest.unknown_words import Word, advice, line, words
from receiver.ingest.writer import Writer

__all__ = [
    "LONGEST_BODIES",
    "OUTCOMES",
    "SMALL",
    "Body",
    "Budget",
    "Interpreter",
    "Quota",
    "Word",
    "Writer",
    "advice",
    "callbacks",
    "can_keep",
    "interpret",
    "keep_or_refuse",
    "kept_callback",
    "kept_callbacks",
    "kept_ids",
    "line",
    "order",
    "store",
    "unknown_words",
    "words",
]
