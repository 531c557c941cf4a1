"""Maintenance of what is stored: rebuild, replay, retention, erasure, copy, import."""

from __future__ import annotations

from receiver.maintenance import copy, erasure, rebuild, receive_files, replay, retention
from receiver.maintenance.erasure import Erased
from receiver.maintenance.nightly import Nightly
from receiver.maintenance.rebuild import KINDS, Rebuilt
from receiver.maintenance.replay import Replayed

__all__ = [
    "KINDS",
    "Erased",
    "Nightly",
    "Rebuilt",
    "Replayed",
    "copy",
    "erasure",
    "rebuild",
    "receive_files",
    "replay",
    "retention",
]
