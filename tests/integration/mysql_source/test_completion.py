"""Values that images of rows lack, where the row or its column is gone by the time they are looked up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg
import pytest

from capture.sources.mysql.natives import parse_native
from capture.sources.mysql.quoting import identifier
from capture.sources.mysql.types import logical_type
from deploy.local.kafka import KafkaAddress
from schemas.changes import UNCHANGED, RowChanges
from schemas.errors import TailraceError
from schemas.topics import dead_letters_topic
from schemas.types import Family
from schemas.types.blank import blank
from tests.integration.mysql_source.reading import Reading
from tests.integration.services import TARGET, Services
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.mysql_samples import samples_of
from tests.kit.servers import Database
from tests.kit.topics import data_topics, read_raw, read_topics

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
def test_a_table_is_untold_whose_column_is_gone_that_a_changed_key_lacks(reading: Reading, later: list[str]) -> None:
    """It may have another name now, and a value that no default tells: the table is to be loaded again."""
    reading.database.execute("create table a (id int primary key, v int default 7, w int)")
    reading.begin()
    _write(reading.database, "insert into a values (1, 8, 9)", "update a set id = 2")
    reading.database.execute(*later)
    update = next(c for c in reading.changes() if isinstance(c, RowChanges) and c.ops[-1] == "u")
    assert UNCHANGED in (update.after[-1] or ())
    assert not reading.source.untold(), "an insert is told by its defaults"
    reading.source.complete(update)
    assert UNCHANGED in (update.after[-1] or ()), "nothing is made up"
    assert set(reading.source.untold()) == {update.table.name}
    assert not reading.source.untold(), "it is said once"


@pytest.mark.parametrize(
    ("mode", "deaths"),
    [
        ("full-load-and-cdc", ["capture.commit.before:2", "capture.commit.after:2"]),
        ("cdc", ["capture.commit.before:2", "capture.load.finished"]),
    ],
)
def test_a_key_that_changes_beside_a_column_that_becomes_another_costs_its_table_alone(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    mysql_database: MysqlDatabase,
    mode: str,
    deaths: list[str],
) -> None:
    """Capture ended, and with it all tables."""
    definition = "(id int, v bit(8), w int, primary key (id))"
    mysql_database.execute(f"create table a {definition}", f"create table b {definition}")
    target = create_mysql_database(mysql_database.address)

    def are(table: str, *rows: str) -> bool:
        try:
            found = target.rows(f"select concat_ws(',', id, coalesce(v + 0, 'null'), w) from {table} order by id")
        except TailraceError:
            return False
        return found == [[row] for row in rows]

    try:
        with Services(
            *(tmp_path, replication, kafka_server, mysql_database, target), mode=mode, apply={"suspended_retry_s": 1}
        ) as services:
            services.start("capture")
            services.start("apply")
            # A load that is yet to read sees the row that is not told, and no other one begins.
            services.wait(lambda: services.status().get("phase") == "streaming", "tables are loaded")
            _write(mysql_database, "insert into a values (1, 65, 1), (2, 66, 2)", "insert into b values (1, 65, 1)")
            services.wait(lambda: are("a", "1,65,1", "2,66,2") and are("b", "1,65,1"), "rows are there")
            services.kill("capture")
            _write(
                mysql_database,
                "update a set id = 9 where id = 1",
                "update b set id = 9",
                "alter table a modify v int",
                "update a set w = 7 where id = 9",
            )

            def dies(failpoint: str) -> bool:
                services.start("capture", failpoint=failpoint)
                services.meet("capture", failpoint)
                # Where tables are loaded it is for the column, too, which is one load.
                return services.said("capture", "loads the table again")

            # Which commit has the row that is not told depends on how fast tables load: each death comes nearer to it.
            for failpoint in deaths:
                assert any(dies(failpoint) for _ in range(5)), services.log_tail("capture")
            services.start("capture")
            services.wait(lambda: are("b", "9,65,1"), "the other table goes on")
            services.wait(lambda: are("a", "2,66,2", "9,65,7"), "the table is loaded again")
            verified = services.run("verify", "--target", TARGET)
            assert verified.returncode == 0, verified.stdout + verified.stderr
            for name in ("capture", "apply"):
                assert services.stop(name) == 0, services.log_tail(name)
    finally:
        drop_mysql_database(target)
    _nothing_is_parked(kafka_server, replication)


def test_rows_whose_keys_a_date_makes_the_same_cost_their_table_alone(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, mysql_database: MysqlDatabase
) -> None:
    """Capture ended, at every start, and with it all tables."""
    mysql_database.execute(
        "create table a (k date primary key, v int, w int)", "create table b (id int primary key, v int)"
    )
    target = create_mysql_database(mysql_database.address)

    def rows_of(table: str) -> list[list[str | None]]:
        try:
            return target.rows(f"select * from {table}")
        except TailraceError:
            return []

    at_source = {"zero_dates": "1970-01-02"}
    try:
        with Services(*(tmp_path, replication, kafka_server, mysql_database, target), at_source=at_source) as services:
            services.start("capture")
            services.start("apply")
            services.wait(lambda: services.said("capture", "capture runs"), "it runs")
            _write(
                mysql_database,
                "insert into a values ('0000-00-00', 5, 5), ('2024-01-01', 6, 6)",
                "update a set k = '2024-00-10' where v = 6",
                "insert into b values (1, 1)",
            )
            services.wait(lambda: rows_of("b") == [["1", "1"]], "the other table goes on")
            # One of them, as where the log has whole rows.
            those = [[["1970-01-02", n, n]] for n in ("5", "6")]
            services.wait(lambda: rows_of("a") in those, "the table is loaded again")
            assert services.said("capture", "zero_dates makes the keys of several rows the same")
            for name in ("capture", "apply"):
                assert services.stop(name) == 0, services.log_tail(name)
    finally:
        drop_mysql_database(target)
    _nothing_is_parked(kafka_server, replication)


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
    samples = samples_of(mysql_database)
    # Of each type with such a value, one that is not null.
    every = {
        native.replace(" null", ""): literal for native, values in samples for literal, v in values if v is not None
    }
    # Without such a value the row is left out; so that is one table, and those that have one are another.
    tables = {
        "a": every,
        "b": {native: literal for native, literal in every.items() if blank(_family(native), native) is not None},
    }
    rows = {table: ", ".join(columns.values()) for table, columns in tables.items()}
    for table, columns in tables.items():
        definitions = ", ".join(f"c{i} {native} not null" for i, native in enumerate(columns))
        mysql_database.execute(f"create table {table} (id int primary key, {definitions})")
    target = create_mysql_database(mysql_database.address)

    def has(*keys: str) -> bool:
        try:
            found = [target.rows(f"select id from {target.name}.{table} order by id") for table in tables]
        except TailraceError:
            return False
        return found == [[[key] for key in keys]] * 2

    try:
        with Services(
            *(tmp_path, replication, kafka_server, mysql_database, target),
            topics={"partitions": 1},
            apply={"batch_rows": 1},
            capture={"commit_rows": 1},
        ) as services:
            services.start("capture")
            services.start("apply")
            _write(
                mysql_database,
                *(f"insert into {table} values ({key}, {row})" for table, row in rows.items() for key in (1, 2)),
            )
            services.wait(lambda: has("1", "2"), "two rows are there")
            services.kill("capture")
            for table, row in rows.items():
                _write(
                    mysql_database,
                    f"update {table} set id = 3 where id = 2",
                    f"delete from {table} where id = 3",
                    f"insert into {table} values (4, {row})",
                )
            services.start("capture")
            services.wait(lambda: has("1", "4"), "the last one is there")
            for name in ("capture", "apply"):
                assert services.stop(name) == 0, services.log_tail(name)
    finally:
        drop_mysql_database(target)
    _nothing_is_parked(kafka_server, replication)


@pytest.fixture(params=["postgresql", "mysql"])
def target(request: pytest.FixtureRequest, mysql_database: MysqlDatabase) -> Iterator[Database | MysqlDatabase]:
    """A database of the other engine, and of the source's own."""
    if request.param == "postgresql":
        yield request.getfixturevalue("target_database")
        return
    database = create_mysql_database(mysql_database.address)
    yield database
    drop_mysql_database(database)


def test_rows_that_went_keep_no_true_row_out_and_no_topic_tells_what_they_held(
    tmp_path: Path,
    replication: str,
    kafka_server: KafkaAddress,
    mysql_database: MysqlDatabase,
    target: Database | MysqlDatabase,
) -> None:
    """Both had the empty code, which is unique: the second one was parked, and so was the row that truly has it."""
    mysql_database.execute(
        "create table a (id int primary key, code varchar(20) not null, n int not null, unique key (code))",
        "create table parent (id int primary key, word varchar(20) not null)",
        "create table child (id int primary key, parent int not null, foreign key (parent) references parent (id))",
    )
    schema = target.name if isinstance(target, MysqlDatabase) else mysql_database.name

    def has(table: str, *rows: tuple[object, ...]) -> bool:
        try:
            found = target.rows(f"select * from {schema}.{table} order by id")
        except (TailraceError, psycopg.Error):
            return False
        return [[*map(str, row)] for row in found] == [[*map(str, row)] for row in rows]

    with Services(
        *(tmp_path, replication, kafka_server, mysql_database, target),
        topics={"partitions": 1, "format": "json"},
        # Each change goes alone, and by this order none waits for one to come.
        apply={"batch_rows": 1, "ordering": "transactional"},
        capture={"commit_rows": 1},
    ) as services:
        services.start("capture")
        services.start("apply")
        _write(
            mysql_database,
            "insert into a values (1, 'one', 1), (2, 'two', 2), (3, 'three', 3)",
            "insert into parent values (1, 'one'), (2, 'two')",
            "insert into child values (2, 2)",
        )
        services.wait(lambda: has("a", (1, "one", 1), (2, "two", 2), (3, "three", 3)), "rows are there")
        services.wait(lambda: has("child", (2, 2)), "so are those that refer to others")
        services.wait(lambda: _is_constrained(target, schema), "the target has its constraints")
        services.kill("capture")
        _write(
            mysql_database,
            "update a set id = 11 where id = 1",
            "update a set id = 12 where id = 2",
            "insert into a values (4, '', 4)",
            "update a set n = 13 where id = 12",
            "update parent set id = 11 where id = 1",
            "insert into child values (1, 11)",
            "delete from child where id = 1",
            "delete from parent where id = 11",
            "delete from a where id in (11, 12)",
            "insert into a values (5, 'one', 5)",
        )
        services.start("capture")
        services.wait(lambda: has("a", (3, "three", 3), (4, "", 4), (5, "one", 5)), "the true rows are there")
        services.wait(lambda: has("child", (2, 2)), "what referred to a row that went has gone")
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
    _nothing_is_parked(kafka_server, replication)
    topics = [topic for topic in data_topics(kafka_server.bootstrap, replication) if not topic.endswith("child")]
    envelopes = [record.envelope or {} for record in read_topics(kafka_server.bootstrap, topics)]
    told = [(e["after"], e["unavailable"]) for e in envelopes if e.get("op") == "c" and e["after"]["id"] > 10]
    assert sorted(told, key=lambda one: (len(one[1]), one[0]["id"])) == [
        ({"id": 11, "word": None}, ["word"]),
        ({"id": 11, "code": None, "n": None}, ["code", "n"]),
        ({"id": 12, "code": None, "n": None}, ["code", "n"]),
    ]


def _is_constrained(target: Database | MysqlDatabase, schema: str) -> bool:
    """Tell whether the target has the unique index, beside the key's, and the foreign key."""
    indexes = f"(distinct index_name) from information_schema.statistics where table_schema = '{schema}' and table_name"
    if isinstance(target, Database):
        indexes = f"(*) from pg_indexes where schemaname = '{schema}' and tablename"
    keys = f"(*) from information_schema.table_constraints where table_schema = '{schema}' and constraint_type"
    counts = [target.rows(f"select count{of}") for of in (f"{indexes} = 'a'", f"{keys} = 'FOREIGN KEY'")]
    return [str(count) for ((count,),) in counts] == ["2", "1"]


def _family(native: str) -> Family:
    return logical_type(parse_native(native)).family


def _nothing_is_parked(kafka: KafkaAddress, replication: str) -> None:
    assert not [*read_raw(kafka.bootstrap, [dead_letters_topic(replication, TARGET)])]
