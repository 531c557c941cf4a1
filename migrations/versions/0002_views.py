"""The views, from here on made anew after every upgrade.

Their SQL is in receiver/views.py; migrations/env.py drops them before the first migration of a run
and makes them after the last. A change of a view comes with a numbered migration, which may be as
empty as this one.
"""

from __future__ import annotations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
