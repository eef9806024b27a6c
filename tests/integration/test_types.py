"""Every type in every place, from a real source through Kafka into a real target: full load, then streaming."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.integration.services import Serve
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.type_walk import make_walk, usable_samples

_SHAPES = """
select c.relname, a.attname, a.attnotnull, format_type(a.atttypid, a.atttypmod)
  from pg_class c join pg_attribute a on a.attrelid = c.oid
 where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
 order by c.relname, a.attnum
"""


@pytest.mark.parametrize(
    ("source_major", "target_major", "format_", "binary"),
    # The first two have pgvector, the others the contrib modules and xml.
    [(16, 18, "avro", True), (15, 14, "json", False)],
)
def test_every_type_moves_in_full_load_and_in_streaming(
    serve: Serve,
    new_database: Callable[..., Database],
    source_major: int,
    target_major: int,
    format_: str,
    binary: bool,
) -> None:
    source, target = new_database(source_major, "source"), new_database(target_major, "target")
    with source.connect() as connection:
        samples = usable_samples(connection, target)
        if binary:
            samples = [sample for sample in samples if sample.printable]
        assert len(samples) > 70
        tables = make_walk(connection, samples)
    topics = {"format": format_, "partitions": 2}
    with serve(source, target, topics=topics) as services:
        assert services.run("plan").returncode == 0
        services.start("capture")
        services.start("apply")
        assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply")
        assert target.rows(_SHAPES) == source.rows(_SHAPES)
        with source.connect() as connection:
            for table in tables:
                churn(connection, table)
        assert wait_until_equal(source.dsn, target.dsn) == [], services.log_tail("apply")
        verified = services.run("verify")
        assert verified.returncode == 0, verified.stdout
        assert services.stop("capture") == 0, services.log_tail("capture")
        assert services.stop("apply") == 0, services.log_tail("apply")
        assert ("reading the log in text form" in services.log_tail("capture", 1000)) is not binary
        services.run("reset", "--yes")


def churn(connection: psycopg.Connection, table: str) -> None:
    """Insert every value anew, move every value to another row, change keys, delete."""
    found = connection.execute(
        "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute "
        "where attrelid = %s::regclass and attnum > 0 and attname <> 'id'",
        [table],
    ).fetchone()
    assert found is not None
    names = found[0]
    if table.endswith("_bag"):
        some = f"ctid in (select ctid from {table} order by ctid limit %s)"
        connection.execute(f"insert into {table} select * from {table}")
        connection.execute(f"delete from {table} where {some}", [5])
        connection.execute(f"update {table} set c0 = null where {some}", [3])
        return
    with connection.transaction():
        connection.execute(f"insert into {table} select id + 1000, {names} from {table}")
        connection.execute(
            f"update {table} a set ({names}) = (select {names} from {table} b where b.id = a.id % 1000 + 1) "
            f"where id > 1000 and exists (select from {table} b where b.id = a.id % 1000 + 1)"
        )
    connection.execute(f"update {table} set c0 = c0 where id % 3 = 0")
    connection.execute(f"update {table} set id = id + 10000 where id % 7 = 0")
    connection.execute(f"delete from {table} where id % 5 = 0")
