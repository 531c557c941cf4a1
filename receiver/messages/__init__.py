"""Messages that were sent: recording them, files of them, look-ups, and their templates."""

from __future__ import annotations

from receiver.messages import input_files, lookup, record_files, search
from receiver.messages.input_files import encoding_of, open_files
from receiver.messages.lookup import FeedPosition, Found, with_head
from receiver.messages.recording import record
from receiver.messages.search import MessageDetails
from receiver.messages.submitted import submission

__all__ = [
    "FeedPosition",
    "Found",
    "MessageDetails",
    "encoding_of",
    "input_files",
    "lookup",
    "open_files",
    "record",
    "record_files",
    "search",
    "submission",
    "with_head",
]
