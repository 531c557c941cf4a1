"""The lists and pages of the operator's page."""

from __future__ import annotations

from receiver.web.admin.views.messages import Messages
from receiver.web.admin.views.overview import OverviewPage
from receiver.web.admin.views.unmatched import Unmatched
from receiver.web.admin.views.unreadable import Callbacks

__all__ = ["Callbacks", "Messages", "OverviewPage", "Unmatched"]
