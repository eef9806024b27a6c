"""Tables that a user has lost its rights to: neither MySQL's nor MariaDB's catalogue shows them any more."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.findings import RIGHTS, grants
from apply.sinks.mysql.sink import MysqlSink
from capture.sources.mysql.quoting import any_table
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_sink.test_writes import P0, PEOPLE, PETS, loaded, write
from tests.kit.mysql import MysqlDatabase


@pytest.fixture
def section(database: MysqlDatabase) -> Iterator[MysqlTarget]:
    """A target whose user has what `plan` prints, beside control tables in a database of their own."""
    user, control = f"u{secrets.token_hex(5)}", f"{database.name}_control"
    settings = {**database.target_settings, "user": user, "password": "s3cret", "control_schema": control}
    found = MysqlTarget.model_validate(settings)
    database.execute(*(line.replace("'…'", "'s3cret'") for line in grants(found, ["public"])))
    yield found
    database.execute(f"drop user '{user}'@'%'", f"drop database {control}")


def test_a_table_that_is_hidden_is_told_from_one_that_is_gone(section: MysqlTarget, database: MysqlDatabase) -> None:
    """It was said to have been dropped, and to be loaded again."""
    to = f"to '{section.user}'@'%'"
    own = any_table(database.name)
    sink = MysqlSink("shop", "replica", section)
    other = MysqlSink("shop", "replica", section)

    def refusals() -> Iterator[TailraceError]:
        """Yield what is said where rows are to be written, and where an applier has just begun."""
        for ask in (sink._definitions.preparation.read, other.prepare):
            with pytest.raises(TailraceError) as caught:
                ask(PEOPLE)
            other.rollback()
            assert (caught.value.kind, caught.value.table) == (ErrorKind.TARGET_SCHEMA, "public.people")
            yield caught.value

    try:
        loaded(sink, PEOPLE, PETS)
        sink.load_offsets([P0])
        assert write(sink, TableBatch(PEOPLE, upserts=[(1, "one", 1)])) == []
        database.execute(f"revoke {RIGHTS} on {own} from '{section.user}'@'%'", f"grant {RIGHTS} on pets {to}")
        for hidden in refusals():
            assert "no right" in hidden.message
            assert "tailrace plan --grants" in str(hidden.remedy)
        other.prepare(PETS)
        other.load_offsets([P0])
        assert write(other, TableBatch(PETS, upserts=[("cat", 1)])) == [], "its neighbour goes on"
        database.execute(f"grant select on {own} {to}")
        other.prepare(PEOPLE)
        assert database.rows("select mail from people") == [["one"]]
        database.execute("set foreign_key_checks = 0", "drop table pets", "drop table people")
        for gone in refusals():
            assert "no right" not in gone.message
            assert "reload" in str(gone.remedy)
    finally:
        sink.close()
        other.close()
