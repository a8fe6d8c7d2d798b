"""Do the tests have a real PostgreSQL server of their own?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from support.postgresql import PostgreSQL


def test_a_fresh_database_each_time(postgresql: PostgreSQL) -> None:
    """Asking for a database again gives an empty one of the same name."""
    for _ in range(2):
        with psycopg.connect(postgresql.url("orders")) as connection:
            connection.execute("CREATE TABLE items (id int)")


def test_the_driver_is_in_the_url(postgresql: PostgreSQL) -> None:
    """SQLAlchemy's drivers are named in the scheme."""
    url = postgresql.url("orders", "asyncpg")

    assert f"postgresql+asyncpg://postgres@127.0.0.1:{postgresql.port}/orders" == url
