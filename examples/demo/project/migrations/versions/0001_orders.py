"""orders, with what has to be computed for each of them

Revision ID: 0001_orders
Revises:
"""

from __future__ import annotations

import os
import time

import sqlalchemy as sa
from alembic import op

revision: str = "0001_orders"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

ROWS = 40


def upgrade() -> None:
    """Take as long as a backfill takes, keep a journal of who is at work, and fill the table at the end."""
    seconds = float(os.environ["DEMO_MIGRATION_SECONDS"])
    with open(os.environ["DEMO_JOURNAL"], "a", buffering=1) as journal:  # noqa: PTH123 - unbuffered lines, appended
        for _ in range(ROWS):
            journal.write(f"{time.monotonic():.3f} {os.getpid()} works\n")
            time.sleep(seconds / ROWS)
        orders = op.create_table("orders", sa.Column("number", sa.Integer, nullable=False))
        op.bulk_insert(orders, [{"number": number} for number in range(ROWS)])
        journal.write(f"{time.monotonic():.3f} {os.getpid()} ends\n")


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("orders")
