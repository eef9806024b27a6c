"""Values that images of rows lack, where the row or its column is gone by the time they are looked up."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from capture.sources.mysql.quoting import identifier
from deploy.local.kafka import KafkaAddress
from schemas.changes import UNCHANGED, RowChanges
from schemas.errors import ErrorKind, TailraceError
from schemas.topics import dead_letters_topic
from tests.integration.mysql_source.reading import Reading
from tests.integration.services import TARGET, Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.mysql_samples import BOTH, MARIADB, MYSQL
from tests.kit.servers import Database
from tests.kit.topics import read_raw

COLUMNS = (
    "v int not null default 7, price decimal(9,2) not null default -1.5, word varchar(9) not null default 'it''s', "
    "latin varchar(9) character set latin1 not null default 'é', kind enum('a','b') not null default 'b', "
    "day date not null default '2024-02-29', none_ int, at_ datetime(3) not null default '2024-01-02 03:04:05.678', "
    "ratio double not null default 2.5, ok bit(1) not null default b'1', raw varbinary(4) default 'ab'"
)
DAY = (date(2024, 2, 29) - date(1970, 1, 1)).days
AT_US = 1_704_164_645_678_000
DEFAULTS = (7, -150, "it's", "é", "b", DAY, None, AT_US, 2.5, True, b"ab")


def _write(database: MysqlDatabase, *statements: str) -> None:
    """Run statements whose images of rows have what they name, and no more."""
    writer = database.connect()
    writer.run("set session binlog_row_image = 'MINIMAL'")
    for statement in statements:
        writer.run(statement)
    writer.close()


def test_a_row_that_is_gone_has_the_defaults_that_it_had(reading: Reading) -> None:
    reading.database.execute(f"create table a (id int primary key, {COLUMNS})")
    reading.begin()
    _write(reading.database, "insert into a (id) values (1)", "delete from a")
    (inserted, _) = reading.flat()
    assert inserted[3] == (1, *DEFAULTS)


def test_an_insert_has_the_default_of_a_column_that_is_gone(reading: Reading) -> None:
    reading.database.execute("create table a (id int primary key, v int not null default 7, w int default 8, x text)")
    reading.begin()
    _write(
        reading.database,
        "insert into a (id) values (1), (2)",
        "update a set w = 9 where id = 1",
        "delete from a where id = 2",
        "alter table a drop column v",
    )
    first, second, *_ = reading.flat()
    assert first == ("a", "c", None, (1, 7, 9, None)), "what is there still is looked up"
    assert second == ("a", "c", None, (2, 7, 8, None))


def test_an_insert_has_the_default_of_a_column_whose_type_is_another(reading: Reading) -> None:
    """Text was read as a number, and capture ended by an error of Python's."""
    reading.database.execute("create table a (id int primary key, v int not null default 7, w text)")
    reading.begin()
    _write(
        reading.database,
        "insert into a (id, w) values (1, 'a'), (2, 'b')",
        "alter table a modify v varchar(9) not null",
        "update a set v = 'abc'",
    )
    first, second, *_ = reading.flat()
    assert first == ("a", "c", None, (1, 7, "a"))
    assert second == ("a", "c", None, (2, 7, "b"))


def test_an_insert_has_its_defaults_where_its_key_has_another_name(reading: Reading) -> None:
    """It could not be looked up any more, and capture ended."""
    reading.database.execute("create table a (id int primary key, v int not null default 7)")
    reading.begin()
    _write(reading.database, "insert into a (id) values (1)", f"alter table a change id {identifier('renamed')} int")
    first, *_ = reading.flat()
    assert first == ("a", "c", None, (1, 7))


@pytest.mark.parametrize(
    "later",
    [
        ["alter table a change v renamed int default 7"],
        ["alter table a modify v varchar(9)", "update a set v = 'abc'"],
        ["alter table a change id renamed int"],
    ],
)
def test_what_a_changed_key_lacks_is_not_made_up(reading: Reading, later: list[str]) -> None:
    """Its column may have another name now, and a value that no default tells."""
    reading.database.execute("create table a (id int primary key, v int default 7, w int)")
    reading.begin()
    _write(reading.database, "insert into a values (1, 8, 9)", "update a set id = 2")
    reading.database.execute(*later)
    update = next(c for c in reading.changes() if isinstance(c, RowChanges) and c.ops[-1] == "u")
    assert UNCHANGED in (update.after[-1] or ())
    with pytest.raises(TailraceError, match="a column of it is gone") as caught:
        reading.source.complete(update)
    assert caught.value.kind is ErrorKind.SOURCE_SCHEMA


def test_a_target_takes_a_row_that_was_gone_when_it_was_read(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    mysql_database: MysqlDatabase,
    target_database: Database,
) -> None:
    """It took no null for the column, and the row was parked."""
    mysql_database.execute("create table a (id int primary key, v int not null default 7, t text)")
    table = f"{mysql_database.name}.a"

    def has(count: int) -> bool:
        ((there,),) = target_database.rows(f"select to_regclass('{table}') is not null")
        return bool(there) and target_database.rows(f"select count(*) from {table}") == [(count,)]

    with Services(
        # Each change goes alone: together they would come to nothing.
        *(tmp_path, replication, kafka_server, mysql_database, target_database),
        apply={"batch_rows": 1},
        capture={"commit_rows": 1},
    ) as services:
        services.start("capture")
        services.start("apply")
        _write(mysql_database, "insert into a (id, t) values (0, 'first')")
        services.wait(lambda: has(1), "a row is there")
        services.kill("capture")
        _write(
            mysql_database,
            "insert into a (id, t) values (1, 'gone')",
            "delete from a where id = 1",
            "insert into a (id, t) values (2, 'last')",
        )
        services.start("capture")
        services.wait(lambda: has(2), "the last one is there")
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
    _nothing_is_parked(kafka_server, replication)


def test_a_target_takes_a_row_that_went_after_its_key_was_changed(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, mysql_database: MysqlDatabase
) -> None:
    """Nobody can tell what it held; null was refused, and the row parked until its delete came."""
    samples = BOTH + (MARIADB if mysql_database.is_mariadb else MYSQL)
    # Of each type with such a value, one that is not null.
    columns = {
        native.replace(" null", ""): literal for native, values in samples for literal, v in values if v is not None
    }
    definitions = ", ".join(f"c{i} {native} not null" for i, native in enumerate(columns))
    values = ", ".join(columns.values())
    mysql_database.execute(f"create table a (id int primary key, {definitions})")
    target = create_mysql_database(mysql_database.address)

    def has(*keys: str) -> bool:
        try:
            return target.rows(f"select id from {target.name}.a order by id") == [[key] for key in keys]
        except TailraceError:
            return False

    try:
        with Services(
            *(tmp_path, replication, kafka_server, mysql_database, target),
            topics={"partitions": 1},
            apply={"batch_rows": 1},
            capture={"commit_rows": 1},
        ) as services:
            services.start("capture")
            services.start("apply")
            _write(mysql_database, *(f"insert into a values ({key}, {values})" for key in (1, 2)))
            services.wait(lambda: has("1", "2"), "two rows are there")
            services.kill("capture")
            _write(
                mysql_database,
                "update a set id = 3 where id = 2",
                "delete from a where id = 3",
                f"insert into a values (4, {values})",
            )
            services.start("capture")
            services.wait(lambda: has("1", "4"), "the last one is there")
            for name in ("capture", "apply"):
                assert services.stop(name) == 0, services.log_tail(name)
    finally:
        drop_mysql_database(target)
    _nothing_is_parked(kafka_server, replication)


def _nothing_is_parked(kafka: KafkaAddress, replication: str) -> None:
    assert not [*read_raw(kafka.bootstrap, [dead_letters_topic(replication, TARGET)])]
