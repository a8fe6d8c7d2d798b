"""find the items of an owner

Revision ID: 0003_items_by_owner
Revises: 0002_items
"""

from __future__ import annotations

from alembic import op

revision: str = "0003_items_by_owner"
down_revision: str | None = "0002_items"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.create_index("ix_items_owner_id", "items", ["owner_id"])


def downgrade() -> None:
    op.drop_index("ix_items_owner_id", table_name="items")
