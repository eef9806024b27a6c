"""A replica takes over: reading goes on there by GTIDs, from every place, or is refused with the gap named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from capture.sources.mysql import source as sources
from capture.sources.mysql.connection import Connection
from capture.sources.mysql.files import FileOffset
from deploy.local.mysql import MysqlServer
from schemas.errors import ErrorKind, TailraceError
from schemas.position import Position
from tests.integration.mysql_source.reading import SERVER_ID, Reading, flatten, positions_in, read_to
from tests.kit.mysql import MysqlDatabase, drop_mysql_database
from tests.kit.mysql_replica import WAIT_S, follow, promote, reset_log
from tests.kit.refusals import refused


@pytest.fixture
def replica(reading: Reading, servers_directory: Path) -> Iterator[MysqlDatabase]:
    """The same database on a server that replicates from the first one, from now on."""
    primary = reading.database
    series = "11.4" if primary.is_mariadb else "mysql"
    # MySQL logs what it replicates by default, and takes names without regard to case only if its data was made so.
    more = {"log-slave-updates": "1", "lower-case-table-names": "1"} if primary.is_mariadb else {}
    # Its data may be an earlier test's, in which it followed, too.
    waits = "skip-slave-start" if primary.is_mariadb else "skip-replica-start"
    settings = {"server-id": "2", waits: "1", **more}
    with MysqlServer(servers_directory / f"replica-{series}", series=series, settings=settings) as server:
        database = MysqlDatabase(server.address, primary.name, primary.is_mariadb)
        session = MysqlDatabase(server.address, "mysql", primary.is_mariadb).connect()
        for statement in ("set session sql_log_bin = 0", f"create database {primary.name} character set utf8mb4"):
            session.run(statement)
        session.close()
        yield database
        drop_mysql_database(database)


TABLE = "create table a (id int primary key, v varchar(20))"


def test_a_replica_that_takes_over_goes_on_from_every_place(reading: Reading, replica: MysqlDatabase) -> None:
    primary = reading.database
    primary.execute(TABLE)
    session = replica.connect()
    session.run("set session sql_log_bin = 0")
    session.run(TABLE)
    session.run("set session sql_log_bin = 1")
    follow(primary, session)
    # What the replica's log begins with: before it MariaDB finds no place.
    primary.execute("create table other (id int primary key)")
    reading.begin()
    primary.execute(
        "insert into a values (1, 'one'), (2, 'two'), (3, 'three')",
        "insert into other values (1)",
        "update a set v = 'zwei' where id = 2",
        "delete from a where id < 3",
    )
    promote(primary, session)
    changes = reading.changes()
    identity = reading.source.identity()
    session.run("insert into a values (4, 'at the replica')")
    expected = [flat for flat in flatten(changes) if flat[1] != "s"] + [("a", "c", None, (4, "at the replica"))]
    there = Reading(replica, zero_dates="null")
    assert there.source.identity()["server_id"] != identity["server_id"]
    end, done = there.source.current_position(), 0
    for i, position in enumerate(positions_in(changes, reading.start)):
        done += i > 0 and position.row > 0
        there.source.check_position(identity, position)
        with there.log(position) as log:
            rest = [flat for flat in flatten(read_to(log, end)) if flat[1] != "s"]
        assert rest == expected[done:], reading.source.format_position(position)
    # What was committed at the old server after the promotion is nowhere else.
    primary.execute("insert into a values (5, 'lost')")
    beyond = reading.source.current_position()
    with pytest.raises(TailraceError, match="does not have transactions that are published already: ") as caught:
        there.source.check_position(identity, beyond)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert "go back to the server" in str(caught.value.remedy)
    if replica.is_mariadb:
        for statement in ("alter table A add column w int", "insert into A values (6, 'six', 6)", "truncate table A"):
            session.run(statement)
        # The statements name the table in their way, the rows' maps in the server's.
        assert there.flat(end) == [
            ("a", "s", None, ("id", "v", "w")),
            ("a", "c", None, (6, "six", 6)),
            ("a", "t", None, None),
        ]
    replica.forget_log()
    with pytest.raises(TailraceError) as caught:
        there.source.check_position(identity, reading.start)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert "binlog_expire_logs_seconds" in str(caught.value.remedy)
    if not replica.is_mariadb:
        _reset_without_gtids(replica, session)
    session.close()
    there.close()


def test_a_replica_that_does_not_log_what_it_replicates_is_refused(reading: Reading, servers_directory: Path) -> None:
    """Its rows were loaded, and no change of them ever came. It is MariaDB's default."""
    primary = reading.database
    series = "11.4" if primary.is_mariadb else "mysql"
    settings = {"server-id": "3"} if primary.is_mariadb else {"server-id": "3", "log-replica-updates": "0"}
    with MysqlServer(servers_directory / f"silent-{series}", series=series, settings=settings) as server:
        database = MysqlDatabase(server.address, primary.name, primary.is_mariadb)
        session = MysqlDatabase(server.address, "mysql", primary.is_mariadb).connect()
        source = sources.MysqlServer(database.source(), SERVER_ID)
        try:
            assert "replica-updates" not in _codes(source)
            follow(primary, session)
            deadline = time.monotonic() + WAIT_S
            while "replica-updates" not in _codes(source):
                assert time.monotonic() < deadline, "the replica does not start"
                time.sleep(0.1)
            with refused(ErrorKind.PREREQUISITE, "does not hold what it replicates", "log_replica_updates"):
                source.prepare([])
            promote(primary, session)
            assert "replica-updates" not in _codes(source)
        finally:
            source.close()
            session.close()


def test_a_replica_that_was_behind_in_the_midst_of_a_transaction(reading: Reading, replica: MysqlDatabase) -> None:
    """What it lacks is published in part: capture waited until something else was written there, and nobody knew."""
    primary = reading.database
    primary.execute(TABLE)
    session = replica.connect()
    for statement in ("set session sql_log_bin = 0", TABLE, "set session sql_log_bin = 1"):
        session.run(statement)
    follow(primary, session)
    primary.execute("create table other (id int primary key)")
    there = Reading(replica, zero_dates="null")

    def begin(first: int) -> tuple[Position, Position]:
        """Write a transaction that the replica does not have; return the places in its midst and behind it."""
        promote(primary, session)
        reading.begin()
        primary.execute(f"insert into a values ({first}, 'a'), ({first + 1}, 'b'), ({first + 2}, 'c')")
        changes = reading.changes()
        (inside, *_) = (p for p in positions_in(changes, reading.start) if p.row == 2)
        return inside, reading.source.current_position()

    identity = reading.source.identity()
    inside, behind = begin(1)
    gap = f"does not have transaction {inside.txn}, of which 2 changes are published"
    with refused(ErrorKind.SOURCE_LOG_LOST, gap, "go back to the server that has it"):
        there.source.check_position(identity, inside)
    with refused(ErrorKind.SOURCE_LOG_LOST, "does not have transactions that are published already", "go back"):
        there.source.check_position(identity, behind)
    there.source.check_position(identity, reading.start)
    # It gets the transaction after all, and the rest of it comes once.
    session.run("start slave" if primary.is_mariadb else "start replica")
    promote(primary, session)
    there.source.check_position(identity, inside)
    assert [flat for flat in there.flat(inside) if flat[1] != "s"] == [("a", "c", None, (3, "c"))]
    inside, behind = begin(4)
    for number in (20, 21):
        session.run(f"insert into a values ({number}, 'of its own')")
        with (
            there.log(inside) as log,
            pytest.raises(TailraceError, match="this server lacks that one, or has ") as caught,
        ):
            read_to(log, there.source.current_position())
        assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
        assert "go back to the server" in str(caught.value.remedy)
        # MariaDB's second one has a greater number than what is lacking.
        with pytest.raises(TailraceError) as caught:
            there.source.check_position(identity, behind)
        assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
        assert "go back to the server" in str(caught.value.remedy)
    session.close()
    there.close()


def _codes(source: sources.MysqlServer) -> set[str]:
    return {finding.code for finding in source.findings([])}


def _reset_without_gtids(server: MysqlDatabase, session: Connection) -> None:
    """A log that begins again under the same names is told from the one that a file and an offset are in."""
    by_files = Reading(server, zero_dates="null", positions="file")
    session.run("insert into a values (20, 'before')")
    (position, *_) = reversed(positions_in(by_files.changes(), by_files.start))
    identity = by_files.source.identity()
    by_files.source.check_position(identity, position)
    session.run("do sleep(1.1)")
    reset_log(session)
    place = FileOffset.parse(position.mark)
    # Beyond the position, in a file of its name.
    while by_files.source.current_position().commit <= position.commit:
        session.run("insert into a select max(id) + 1, repeat('x', 20) from a")
        if by_files.source.current_position().commit >> 32 < position.commit >> 32:
            session.run("flush binary logs")
    for attempt in (
        lambda: by_files.source.check_position(identity, position),
        lambda: by_files.flat(position),
    ):
        with pytest.raises(TailraceError, match=f"{place.file} is not the file that the position is in") as caught:
            attempt()
        assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
    by_files.close()
