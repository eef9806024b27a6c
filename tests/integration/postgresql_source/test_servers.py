"""What servers do to a capture: refuse logins, restart, lose slots, get promoted or restored, change by hand."""

from __future__ import annotations

import contextlib
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.connection import connect as connect_target
from apply.sinks.postgresql.sink import PostgresqlSink
from capture.sources.postgresql.connection import ReplicationConnection, connect
from capture.sources.postgresql.position import parse_lsn
from capture.sources.postgresql.source import PostgresqlDatabase
from deploy.local.cache import DownloadError
from deploy.local.pgbouncer import PgbouncerServer
from deploy.local.postgresql import PostgresqlServer
from schemas.endpoints.postgresql import PostgresqlSource, PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName
from tests.integration.postgresql_source.reading import (
    DEADLINE_S,
    database_of,
    load,
    read_to_end,
    rows_of,
    section,
    settings_for,
)
from tests.kit.refusals import refused
from tests.kit.servers import Database

StartServer = Callable[..., PostgresqlServer]


def test_a_refused_login_says_why_on_every_connection(own_postgresql: StartServer) -> None:
    server = own_postgresql(13, settings={"max_connections": "12", "max_wal_senders": "2"})
    database = Database(server.address, "postgres")
    database.execute(
        "create role plain login password 'plain'",
        "create role sleeper nologin password 'plain' replication",
        "create role crowd login password 'crowd' replication connection limit 1",
    )

    def source(**changes: object) -> PostgresqlSource:
        return PostgresqlSource.model_validate({**database.settings, "tables": ["public.*"], **changes})

    def target(**changes: object) -> PostgresqlTarget:
        return PostgresqlTarget.model_validate({**database.settings, **changes})

    wrong, nowhere = {"password": "wrong-password"}, {"database": "nowhere"}
    plain, crowd = {"user": "plain", "password": "plain"}, {"user": "crowd", "password": "crowd"}
    for change, code in ((wrong, "28P01"), ({"password": None}, "password"), (nowhere, "3D000")):
        for log_in in (connect, ReplicationConnection):
            with refused(ErrorKind.CONFIGURATION, code):
                log_in(source(**change))
        with refused(ErrorKind.CONFIGURATION, code):
            connect_target(target(**change), "test")
    with refused(ErrorKind.CONFIGURATION, "28000"):
        connect(source(user="sleeper", password="plain"))
    with refused(ErrorKind.PREREQUISITE, "42501", "plan --grants"):
        ReplicationConnection(source(**plain))
    connect(source(**plain)).close()
    # Too many clients: of a role, of walsenders, of the server. All of them pass.
    with psycopg.connect(**database.settings_of_driver(**crowd)), refused(ErrorKind.SOURCE_CONNECTION, "53300"):
        connect(source(**crowd))
    senders = [ReplicationConnection(source()) for _ in range(2)]
    with refused(ErrorKind.SOURCE_CONNECTION, "53300", "max_wal_senders"):
        ReplicationConnection(source())
    with contextlib.ExitStack() as stack:
        for sender in senders:
            sender.close()
        clients = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        _wait_for(lambda: database.rows(clients) == [(1,)], "the sessions before to be over")
        with contextlib.suppress(psycopg.OperationalError):
            for _ in range(40):
                stack.enter_context(database.connect())
        with refused(ErrorKind.SOURCE_CONNECTION, "53300", "max_connections"):
            connect(source())
        with refused(ErrorKind.TARGET_CONNECTION, "53300", "max_connections"):
            connect_target(target(), "test")
    server.stop()
    with refused(ErrorKind.SOURCE_CONNECTION):
        connect(source())
    with refused(ErrorKind.TARGET_CONNECTION):
        connect_target(target(), "test")


@pytest.mark.parametrize("major", [13, 18])
def test_time_outs_of_the_server_and_of_the_role_are_not_meant_for_us(own_postgresql: StartServer, major: int) -> None:
    names = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    names += ["idle_session_timeout", "transaction_timeout"] if major == 18 else []
    server = own_postgresql(major, settings=dict.fromkeys(names, "20s") | {"wal_sender_timeout": "2s"})
    database = Database(server.address, "postgres")
    quick = {"options": " ".join(f"-c {name}=0" for name in names)}
    with psycopg.connect(**database.settings_of_driver(**quick), autocommit=True) as hand:
        hand.execute("create table t (id int primary key, word text)")
        hand.execute("insert into t select i, 'word' from generate_series(1, 3) i")
        settings = settings_for(database, f"waits{major}")
        with contextlib.closing(connect(PostgresqlSource.model_validate(settings.source))) as connection:
            for name in names:
                assert connection.execute(f"show {name}").fetchall() == [("0",)]
        with contextlib.closing(connect_target(PostgresqlTarget.model_validate(database.settings), "test")) as link:
            for name in set(names) - {"lock_timeout", "idle_in_transaction_session_timeout"}:
                assert link.execute(f"show {name}").fetchall() == [("0",)]
        source = database_of(settings)
        tables = source.tables()
        log = source.open_log(source.prepare(tables), tables)
        hand.execute("insert into t select i, repeat('x', 1000) from generate_series(11, 5000) i")
        # Publishing blocks for longer than the server's patience, with the log in the middle of a transaction.
        assert log.poll(10.0)
        time.sleep(5)
        hand.execute("insert into t values (10001, 'after')")
        changes = read_to_end(source, log)
        assert rows_of(changes)[-1][2] == (10001, "after")
        log.close()
        source.close()


def test_a_server_that_is_not_the_one_that_was_captured_is_refused(own_postgresql: StartServer) -> None:
    primary = own_postgresql(14)
    database = Database(primary.address, "postgres")
    database.execute("create table t (id int primary key)")
    standby, restored = (own_postgresql(14, standby_of=primary) for _ in range(2))
    # What is restored from a backup is no standby: it ends where the backup did.
    restored.stop()
    (restored.data / "standby.signal").unlink()
    restored.restart()
    settings = settings_for(database, "moves")
    source = database_of(settings)
    early = source.prepare(source.tables())
    stored = source.identity()
    source.check_position(stored, early)
    _wait_for(lambda: _replayed(standby) >= early.commit, "the standby to catch up")
    waiting = refused(ErrorKind.SOURCE_CONNECTION, "is a standby", "target_session_attrs")
    with contextlib.closing(_source_at(standby, "moves")) as there, waiting:
        there.check_position(stored, early)
    standby.stop()
    database.execute("insert into t select generate_series(1, 100)")
    late = source.current_position()
    source.close()
    primary.stop()
    standby.restart()
    Database(standby.address, "postgres").execute("select pg_promote()")
    with contextlib.closing(_source_at(standby, "moves")) as there:
        with refused(ErrorKind.SOURCE_LOG_LOST, "did not come along", "sync_replication_slots", "tailrace reset"):
            there.check_position(stored, early)
        # Even with a slot of that name: what was captured last never reached this server.
        with refused(ErrorKind.SOURCE_LOG_LOST, "left timeline 1 at", "synchronized_standby_slots"):
            there.check_position(stored, late)
        # Its own life goes on.
        there.prepare(there.tables())
        there.check_position(there.identity(), there.current_position())
    with contextlib.closing(_source_at(restored, "moves")) as there:
        with refused(ErrorKind.SOURCE_LOG_LOST, "is gone"):
            there.check_position(stored, early)
        there.prepare(there.tables())
        with refused(ErrorKind.SOURCE_LOG_LOST, "log ends at", "restored"):
            there.check_position(stored, late)
    another = refused(ErrorKind.SOURCE_LOG_LOST, "another server")
    with contextlib.closing(_source_at(own_postgresql(18), "moves")) as there, another:
        there.check_position(stored, early)


@pytest.mark.parametrize("major", [13, 18])
def test_a_slot_is_warned_of_before_it_is_lost_and_then_named(own_postgresql: StartServer, major: int) -> None:
    sizes = {"max_slot_wal_keep_size": "96MB", "min_wal_size": "32MB", "max_wal_size": "48MB"}
    database = Database(own_postgresql(major, settings=sizes).address, "postgres")
    database.execute("create table t (id int primary key)")
    settings = settings_for(database, "slots")
    with contextlib.closing(database_of(settings)) as source:
        tables = source.tables()
        start = source.prepare(tables)
        stored = source.identity()

        def codes() -> dict[str, str | None]:
            return {finding.code: finding.remedy for finding in source.findings(tables)}

        assert not codes().keys() & {"slot-at-risk", "slot-lost"}
        fresh = source.log_left_bytes()
        assert fresh is not None
        assert fresh > 60 << 20
        _write_log(database, lambda: "slot-at-risk" in codes())
        left = source.log_left_bytes()
        assert left is not None
        assert left < fresh / 2
        # Still there: nothing is lost yet, and a capture that comes now is in time.
        source.check_position(stored, start)
        _write_log(database, lambda: "slot-lost" in codes())
        assert "pg_drop_replication_slot" in str(codes()["slot-lost"])
        for check in (
            lambda: source.check_position(stored, start),
            lambda: source.prepare(tables),
            lambda: source.open_log(start, tables),
        ):
            with refused(ErrorKind.SOURCE_LOG_LOST, "max_slot_wal_keep_size", "tailrace reset"):
                check()


def _write_log(database: Database, until: Callable[[], bool]) -> None:
    """Write log, and let the server clear it away, until something is so."""
    with database.connect() as connection:
        for _ in range(60):
            connection.execute("select pg_logical_emit_message(false, 'fill', repeat('x', 4000000))")
            connection.execute("select pg_switch_wal()")
            connection.execute("checkpoint")
            if until():
                return
    raise AssertionError("60 segments of log have changed nothing")


def test_a_publication_that_is_changed_by_hand_is_noticed(
    source_database: Database, replication: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capture.sources.postgresql.log.CHECK_INTERVAL_S", 0.0)
    source_database.execute("create table a (id int primary key, n int)", "create table b (id int primary key)")
    settings = settings_for(source_database, replication)
    alter = f'alter publication "{settings.publication}"'
    found = set()
    for statements, words in (
        ([f"{alter} drop table b"], ["public.b"]),
        ([f"{alter} drop table b", f"{alter} add table b"], ["public.b", "put back"]),
        ([f"{alter} set table a where (n > 5), b"], ["public.a", "row filter", "add table"]),
        ([f"{alter} set table a (id), b"], ["public.a", "column list", "add table"]),
        ([f"{alter} set (publish = 'insert, update, delete')"], ["no longer publishes all kinds"]),
    ):
        with contextlib.closing(database_of(settings)) as source:
            tables = source.tables()
            start = source.prepare(tables)
            with contextlib.closing(source.open_log(start, tables)) as log:
                read_to_end(source, log)
                source_database.execute(*statements)
                with refused(ErrorKind.PREREQUISITE, *words, "tailrace reset"):
                    read_to_end(source, log)
            found |= {finding.code for finding in source.findings(tables)}
        source_database.execute(f"{alter} set table a, b")
    assert found >= {"publication-filters", "publication-options"}
    # While nobody looked: the checkpoint remembers.
    with contextlib.closing(database_of(settings)) as source:
        source.prepare(tables)
        marks = source.marks(tables)
        source.check_published(tables, marks)
    source_database.execute(f"{alter} drop table b", f"{alter} add table b")
    with contextlib.closing(database_of(settings)) as source:
        with refused(ErrorKind.PREREQUISITE, "public.b", "put back", "tailrace reset"):
            source.check_published(tables, marks)
        assert source.marks(tables)[tables[0].name] == marks[tables[0].name]


def test_tls_is_as_strict_as_configured_on_every_connection(certificates: Path, own_postgresql: StartServer) -> None:
    files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "ca.pem"}
    server = own_postgresql(17, settings={**{name: str(certificates / file) for name, file in files.items()}})
    database = Database(server.address, "postgres")
    # Not on the command line, which would win over what is changed later.
    database.execute(
        "alter system set ssl = on",
        *(f"create role {name} login replication password 'secret'" for name in ("certified", "secured")),
        "create table t (id int primary key)",
        "grant select on t to public",
        "create publication tailrace_tls for table t with (publish_via_partition_root = true)",
    )
    (server.data / "pg_hba.conf").write_text(
        "hostssl all certified all cert\nhostssl all secured all scram-sha-256\nhost all postgres all scram-sha-256\n"
    )
    _reload(database)

    def everywhere(user: str, host: str, tls: dict[str, str], **parameters: str) -> None:
        """Log in by every kind of connection. Raises what they all raise."""
        words = {**database.settings, "user": user, "host": host, "parameters": parameters}
        if user == "certified":
            del words["password"]
        else:
            words["password"] = "secret"
        words["tls"] = {name: str(certificates / v) if name != "mode" else v for name, v in tls.items()}
        source = PostgresqlSource.model_validate({**words, "tables": ["public.*"]})
        target = PostgresqlTarget.model_validate(words)
        errors = []
        for log_in in (
            lambda: connect(source),
            lambda: ReplicationConnection(source),
            lambda: connect_target(target, "test"),
        ):
            try:
                with contextlib.closing(log_in()) as connection:
                    raw = connection.raw if isinstance(connection, ReplicationConnection) else connection.pgconn
                    assert raw.ssl_in_use == (tls["mode"] != "disable")
            except TailraceError as error:
                errors.append(error)
        assert (len(errors), len({error.kind for error in errors})) in ((0, 0), (3, 1))
        if errors:
            raise errors[0]

    trusted, certificate = {"ca": "ca.pem"}, {"cert": "client.pem", "key": "client.key"}
    address, name = "127.0.0.1", "localhost"
    everywhere("secured", address, {"mode": "require"})
    everywhere("secured", address, {"mode": "verify-ca", **trusted}, channel_binding="require")
    everywhere("secured", name, {"mode": "verify-full", **trusted})
    everywhere("certified", name, {"mode": "verify-full", **trusted, **certificate})
    with refused(ErrorKind.CONFIGURATION, "certificate is not accepted", "tls"):
        everywhere("secured", address, {"mode": "verify-full", **trusted})
    with refused(ErrorKind.CONFIGURATION, "certificate is not accepted", "tls"):
        everywhere("secured", name, {"mode": "verify-ca", "ca": "other.pem"})
    with refused(ErrorKind.CONFIGURATION, "there is no file", "nowhere.pem"):
        everywhere("secured", name, {"mode": "verify-ca", "ca": "nowhere.pem"})
    with refused(ErrorKind.CONFIGURATION, "28000"):
        everywhere("secured", address, {"mode": "disable"})
    with refused(ErrorKind.CONFIGURATION, "28000"):
        everywhere("certified", name, {"mode": "verify-full", **trusted})
    # A capture reads rows and log over it.
    tls = {"mode": "verify-full", **{key: str(certificates / file) for key, file in {**trusted, **certificate}.items()}}
    settings = settings_for(
        database, "tls", user="certified", password=None, host=name, tls=tls, manage_publication=False
    )
    with contextlib.closing(database_of(settings)) as source:
        tables = source.tables()
        start = source.prepare(tables)
        database.execute("insert into t values (1)")
        with contextlib.closing(source.open_log(start, tables)) as log:
            assert rows_of(read_to_end(source, log)) == [("c", None, (1,))]
        assert load(settings, tables[0]) == [(1,)]
    database.execute("alter system set ssl = off")
    _reload(database)
    with refused(ErrorKind.CONFIGURATION, "offers no TLS"):
        everywhere("secured", address, {"mode": "require"})


@pytest.fixture
def pooler(source_database: Database, servers_directory: Path) -> Iterator[int]:
    """The port of a PgBouncer in front of the source, in session mode."""
    server = PgbouncerServer(servers_directory / "pgbouncer", source_database.address)
    try:
        server.start()
    except DownloadError as error:
        pytest.skip(f"PgBouncer cannot be had here: {error}")
    yield server.port
    server.stop()


class _PoolerOfOld(socketserver.BaseRequestHandler):
    """Answers a log-in as PgBouncer did before 1.23 when a replication connection was asked for."""

    def handle(self) -> None:
        while True:
            length = int.from_bytes(self.request.recv(4), "big")
            if int.from_bytes(self.request.recv(length - 4)[:4], "big") != _ASKS_FOR_TLS:
                break
            self.request.sendall(b"N")
        fields = b"SFATAL\0C08P01\0Munsupported startup parameter: replication\0\0"
        self.request.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


_ASKS_FOR_TLS = 80877103


def test_a_pooler_that_passes_no_replication_on_is_named(source_database: Database, replication: str) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _PoolerOfOld) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        settings = settings_for(
            source_database, replication, replication_host="127.0.0.1", replication_port=server.server_address[1]
        )
        try:
            with refused(ErrorKind.PREREQUISITE, "connection pooler", "source.replication_host"):
                ReplicationConnection(section(settings))
        finally:
            server.shutdown()
            thread.join()


def test_a_pooler_serves_and_may_leave_the_log_to_the_server(
    pooler: int, source_database: Database, replication: str
) -> None:
    source_database.execute("create table t (id int primary key, day date)", "insert into t values (1, '2026-11-29')")
    pooled: dict[str, object] = {"port": pooler}
    address = source_database.address
    direct = {"replication_host": address.host, "replication_port": address.port}
    asked = contextlib.closing(database_of(settings_for(source_database, replication, **pooled)))
    with contextlib.suppress(TailraceError), asked as source:
        source.identity()
        # 1.23 and later pass it on: then nobody else is asked for the log.
        direct = {}
    settings = settings_for(source_database, replication, **pooled, **direct)
    with contextlib.closing(database_of(settings)) as source:
        tables = source.tables()
        start = source.prepare(tables)
        source.check_position(source.identity(), start)
        source_database.execute("insert into t values (2, '2026-11-30')")
        rows = load(settings, tables[0])
        with contextlib.closing(source.open_log(start, tables)) as log:
            changes = rows_of(read_to_end(source, log))
        assert [row for *_, row in changes] == rows[1:]
        assert len(rows) == 2
    target = PostgresqlTarget.model_validate({**source_database.settings, **pooled})
    with contextlib.closing(PostgresqlSink(replication, "pooled", target)) as sink:
        copy = replace(tables[0], name=TableName("copied", "t"))
        sink.prepare(copy)
        assert sink.apply(TableBatch(copy, upserts=rows)) == []
        sink.flush()
    assert source_database.rows("select * from copied.t") == source_database.rows("select * from t")


def _reload(database: Database) -> None:
    """Let the server read its configuration, and wait until new sessions have it."""
    query = "select pg_conf_load_time()"
    before = database.rows(query)
    database.execute("select pg_reload_conf()")
    _wait_for(lambda: database.rows(query) != before, "the configuration to be read")


def _source_at(server: PostgresqlServer, replication: str) -> PostgresqlDatabase:
    return database_of(settings_for(Database(server.address, "postgres"), replication))


def _replayed(standby: PostgresqlServer) -> int:
    ((lsn,),) = Database(standby.address, "postgres").rows("select pg_last_wal_replay_lsn()::text")
    return parse_lsn(str(lsn))


def _wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.1)
