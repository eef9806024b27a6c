"""Fill the source of `docker-compose.yml` with the sample shop: `python -m deploy.docker.sample DSN`."""

from __future__ import annotations

import sys

from deploy.demo.engines import fills, postgresql, schema_text


def main(dsn: str) -> None:
    """Create and fill the shop's tables in the database that `dsn` names. A half-filled database is filled anew."""
    with postgresql.connect(dsn) as client:
        ((done,),) = client.rows("select to_regclass('sample.done') is not null")
        if done:
            print("the sample shop is there already", flush=True)
            return
        client.execute("drop schema public cascade; create schema public")
        client.execute(schema_text("postgresql"))
        for step in fills("postgresql"):
            postgresql.fill(client, step, everywhere=False)
            print(f"{step.table}: {step.rows:,} rows", flush=True)
        client.execute("analyze")
        # Outside of what the demo captures.
        client.execute("create schema sample create table done ()")


if __name__ == "__main__":
    main(sys.argv[1])
