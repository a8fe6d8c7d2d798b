"""What can be asked for over HTTP?"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import engine, session
from app.models import Item, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Session = Annotated[AsyncSession, Depends(session)]


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Close the connections when a worker stops. No migrations here: the launcher ran them, once for all."""
    yield
    await engine.dispose()


app = FastAPI(title="Items", lifespan=lifespan)


class NewItem(BaseModel):
    """What a client sends."""

    title: str = Field(min_length=1, max_length=200)
    owner: str = Field(description="The e-mail address of a user")


class StoredItem(BaseModel):
    """What a client gets."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    owner_id: int
    seeded: bool


@app.get("/")
async def summary(database: Session) -> dict[str, int]:
    """Count the items. It names the newest column, so it fails on a database that is not fully migrated."""
    seeded = await database.scalar(select(func.count()).where(Item.seeded))
    items = await database.scalar(select(func.count()).select_from(Item))
    return {"items": items or 0, "seeded": seeded or 0}


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    """Say that this worker answers, whatever the database does."""
    return {"status": "ok"}


@app.get("/items")
async def list_items(database: Session, limit: int = 50) -> list[StoredItem]:
    """Return the first `limit` items."""
    found = await database.scalars(select(Item).order_by(Item.id).limit(limit))
    return [StoredItem.model_validate(item) for item in found]


@app.post("/items", status_code=201)
async def create_item(new: NewItem, database: Session) -> StoredItem:
    """Store an item for a user who exists."""
    owner = await database.scalar(select(User).where(User.email == new.owner))
    if owner is None:
        raise HTTPException(status_code=422, detail=f"no user has the address {new.owner}")
    item = Item(title=new.title, owner_id=owner.id)
    database.add(item)
    await database.commit()
    return StoredItem.model_validate(item)
