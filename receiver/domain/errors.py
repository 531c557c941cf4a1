"""Errors whose message a person can act on, as one tree.

    ReceiverError                 a person can act on the message
    ├── SettingsError             a setting is missing, misspelt or senseless
    ├── SchemaError               the database is missing, older or newer than this code needs
    ├── UnreadableError           bytes or a value that cannot mean what they must mean
    ├── ProviderRefusalError      the provider's send response is an error, in its own words
    ├── TemplateError             the provider's template interface refused, or made no sense
    ├── RecordError               sent messages that cannot be recorded; names every bad one
    ├── CopyError                 the other database holds something else, or came out different
    ├── EventError                what is sent to applications cannot be done as it was asked
    ├── SpoolError                the spool takes nothing, or nothing can be read of it
    └── UnavailableError          nowhere to keep it now; ask again later
        ├── BusyError             the queue is full
        └── RefusedError          the database works, and does not take this one

A message names what was wrong, where, and what was expected. It never holds a secret, a phone
number or a message text: it may be logged, and sent to an unknown caller.
"""

from __future__ import annotations


class ReceiverError(Exception):
    """Something went wrong, and the message says what to do."""


class SettingsError(ReceiverError):
    """A setting is missing, misspelt or senseless."""


class SchemaError(ReceiverError):
    """The database is missing, or its schema is not one this code can use."""


class UnreadableError(ReceiverError, ValueError):
    """Bytes or a value that cannot mean what they must mean."""


class ProviderRefusalError(ReceiverError):
    """The provider answered the send call with an error; the message is in its own words."""


class TemplateError(ReceiverError):
    """A call about message templates was refused, failed, or was answered without sense."""


class RecordError(ReceiverError):
    """Sent messages that cannot be recorded.

    `problems` names every bad one: `messages[3].recipient: expected …`.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class CopyError(ReceiverError):
    """A database cannot be copied to the one that was named, or came out different there."""


class EventError(ReceiverError):
    """What is sent to applications cannot be done as it was asked for."""


class SpoolError(ReceiverError):
    """The spool takes nothing now, or nothing can be read of it."""


class UnavailableError(ReceiverError):
    """Nothing can be kept now; the same request may succeed later."""


class BusyError(UnavailableError):
    """More waits to be kept than may wait; the same request may succeed later."""


class RefusedError(UnavailableError):
    """A database that works refuses this one; it is not lost as long as somebody else keeps it."""


def location(error: BaseException) -> str:
    """Return where an error of ours happened, for the log: its kind and lines of code, no values.

    An exception's own text can hold a phone number or a password; its location cannot.
    """
    frames = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__} in {' < '.join(reversed(frames[-6:]))}"
