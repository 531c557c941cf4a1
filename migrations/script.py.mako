"""${message}.

Standing warning: no long locks (PostgreSQL indexes on big tables CONCURRENTLY), and the old code
must survive this while it still runs. Import nothing of ours here. A column that strangers' SQL
reads is never changed or dropped without an issue that says so. Views are made anew after every
upgrade (migrations/env.py). If this breaks the code before it, it says so:
`UPDATE receiver_state SET oldest_revision = '<this revision>'`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "${up_revision}"
down_revision = ${'"%s"' % down_revision if down_revision else None}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
