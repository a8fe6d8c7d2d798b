"""tell seeded items from typed ones

Revision ID: 0004_seeded_items
Revises: 0003_items_by_owner
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004_seeded_items"
down_revision: str | None = "0003_items_by_owner"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.add_column("items", sa.Column("seeded", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("items") as items:
        items.drop_column("seeded")
