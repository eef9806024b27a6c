"""MariaDB's GTIDs of several domains and servers, as after moves between primaries, or where sessions choose one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.mysql import MysqlServer
from schemas.changes import Begin
from schemas.errors import ErrorKind, TailraceError
from tests.integration.mysql_source.reading import Reading, flatten, positions_in
from tests.kit.mysql import MysqlDatabase, create_mysql_database


@pytest.fixture
def reading(servers_directory: Path) -> Iterator[Reading]:
    """A database on a server of its own: what its log has had of domains stays."""
    with MysqlServer(servers_directory / "mariadb-domains") as server:
        found = Reading(create_mysql_database(server.address))
        yield found
        found.close()


def _write(database: MysqlDatabase, first: int, *of: tuple[int, int]) -> None:
    session = database.connect()
    for n, (domain, server) in enumerate(of, first):
        for statement in (
            f"set session gtid_domain_id = {domain}, session server_id = {server}",
            f"insert into a values ({n}), ({n + 100})",
        ):
            session.run(statement)
    session.close()


def test_reading_goes_on_from_every_place_of_several_domains(reading: Reading) -> None:
    """Some are there before, some come later; the log has lost its beginning."""
    database = reading.database
    database.execute("create table a (id int primary key)")
    _write(database, 0, (3, 1), (0, 1))
    database.forget_log()
    reading.begin()
    _write(database, 10, (0, 1), (5, 1), (0, 9), (7, 3), (5, 2), (0, 1), (3, 4))
    changes = reading.changes()
    flat = flatten(changes)
    assert [after for *_, after in flat] == [(n + more,) for n in range(10, 17) for more in (0, 100)]
    ids = [change.txn.id.split("-")[:2] for change in changes if isinstance(change, Begin)]
    assert ids == [["0", "1"], ["5", "1"], ["0", "9"], ["7", "3"], ["5", "2"], ["0", "1"], ["3", "4"]]
    positions = positions_in(changes, reading.start)
    assert positions == sorted(positions)
    identity, done = reading.source.identity(), 0
    for i, position in enumerate(positions):
        done += i > 0 and position.row > 0
        text = reading.source.format_position(position)
        assert position.row or reading.source.parse_position(text) == position
        reading.source.check_position(identity, position)
        assert reading.flat(position) == flat[done:], text
    (table,) = reading.tables
    chunks = reading.reader.plan(table, 1000)
    assert sum(len(batch) for chunk in chunks for batch in reading.reader.read(table, chunk, 100)) == 18
    assert reading.reader.snapshot().high == positions[-1].commit
    # Of one domain it has more, of another less than what is published.
    beyond = reading.source.parse_position("0-1-1,5-2-9")
    with pytest.raises(TailraceError, match="does not have transactions that are published already: 5-2-9") as caught:
        reading.source.check_position(identity, beyond)
    assert caught.value.kind is ErrorKind.SOURCE_LOG_LOST
