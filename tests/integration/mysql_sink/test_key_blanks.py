"""Keys that a target's own table takes for equal, since blanks at the end do not count: never one row for two."""

from __future__ import annotations

import pytest

from apply.sink import TableBatch
from apply.sinks.mysql.findings import findings
from apply.sinks.mysql.sink import MysqlSink
from schemas.endpoints.mysql import MysqlTarget
from schemas.errors import ErrorKind
from schemas.findings import Finding
from tests.integration.mysql_sink.test_writes import PETS, write
from tests.kit.mysql import MysqlDatabase


@pytest.mark.usefixtures("few_overwritten")
@pytest.mark.parametrize("more", ["", "unique index owners (owner), "])
def test_keys_that_differ_by_blanks_are_rows_apart_or_refused(
    sink: MysqlSink, database: MysqlDatabase, more: str
) -> None:
    """One row was written over the other, and went when the other one was deleted."""
    database.execute(
        f"create table pets (name varchar(768) character set utf8mb4 collate utf8mb4_bin, owner bigint, {more}"
        "primary key (name)) engine = InnoDB"
    )

    def warned() -> list[Finding]:
        target = MysqlTarget.model_validate(database.target_settings)
        return [f for f in findings("shop", "replica", target, [PETS]) if f.code == "target-key-blanks"]

    def pets() -> dict[str | None, str | None]:
        return {row[0]: row[1] for row in database.rows("select name, owner from pets")}

    (warning,) = warned()
    sink.prepare(PETS)
    for fresh in (True, False):
        refused = write(sink, TableBatch(PETS, upserts=[("a", 1), ("a ", 2), ("b", 3)], fresh=fresh))
        assert refused == [("upserts", 1, ErrorKind.ROW_CONFLICT)]
    assert pets() == {"a": "1", "b": "3"}
    (rejection,) = sink.apply(TableBatch(PETS, upserts=[("a ", 2)]))
    sink.rollback()
    assert ("differs by blanks" in rejection.error.message) is not bool(more), "an index has its own say"
    assert write(sink, TableBatch(PETS, updates=[("a ", 9)], deletes=[("b ",)])) == []
    assert pets() == {"a": "1", "b": "3"}
    assert sink.present(PETS, [("a",), ("a ",), ("b  ",)]) == [True, False, False]
    # What the source does with a key that becomes another one.
    assert write(sink, TableBatch(PETS, deletes=[("b",)], upserts=[("b ", 3)])) == []
    assert pets() == {"a": "1", "b ": "3"}
    database.execute(str(warning.remedy))
    assert not warned()
    sink.rollback()
    assert write(sink, TableBatch(PETS, upserts=[("a ", 2)])) == []
    assert pets() == {"a": "1", "a ": "2", "b ": "3"}
