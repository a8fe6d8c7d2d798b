"""What is kept in the database?"""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Every table; `migrations/env.py` compares the database with it for `alembic revision --autogenerate`."""


class User(Base):
    """Somebody who owns items."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)


class Item(Base):
    """Something a user owns. `seeded`: it came with the release, nobody typed it in."""

    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    seeded: Mapped[bool] = mapped_column(default=False, server_default=false())
