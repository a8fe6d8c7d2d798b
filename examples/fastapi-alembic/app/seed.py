"""What does a fresh database begin with?

`python -m app.seed` may run again at any time: it stores only what is missing.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import select

from app.database import engine, sessions
from app.models import Item, User

OWNER = "hello@example.org"
TITLES = ("Read the README", "Start twenty at once", "Break a migration and look")


async def seed() -> int:
    """Store the first user and the missing items; return how many items were new."""
    async with sessions.begin() as database:
        owner = await database.scalar(select(User).where(User.email == OWNER))
        if owner is None:
            owner = User(email=OWNER)
            database.add(owner)
            await database.flush()
        known = set(await database.scalars(select(Item.title).where(Item.owner_id == owner.id, Item.seeded)))
        missing = [title for title in TITLES if title not in known]
        database.add_all(Item(title=title, owner_id=owner.id, seeded=True) for title in missing)
    await engine.dispose()
    return len(missing)


if __name__ == "__main__":
    sys.stdout.write(f"seeded {asyncio.run(seed())} items\n")
