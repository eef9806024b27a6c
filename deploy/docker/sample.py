"""Fill the source of `docker-compose.yml` with the sample shop: `python -m deploy.docker.sample DSN`."""

from __future__ import annotations

import sys

import psycopg

from deploy.demo import shop


def main(dsn: str) -> None:
    """Create and fill the shop's tables in the database that `dsn` names. A half-filled database is filled anew."""
    with psycopg.connect(dsn) as connection:
        (done,) = connection.execute("select to_regclass('sample.done') is not null").fetchone() or (False,)
        if done:
            print("the sample shop is there already", flush=True)
            return
        connection.execute("drop schema public cascade; create schema public")
        shop.create(connection)
        for step in shop.FILLS:
            shop.fill(connection, step)
            print(f"{step.table}: {step.rows:,} rows", flush=True)
        shop.analyze(connection)
        # Outside of what the demo captures.
        connection.execute("create schema sample create table done ()")


if __name__ == "__main__":
    main(sys.argv[1])
