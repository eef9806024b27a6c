"""Replicas of MySQL and MariaDB: a second server that follows a first one by GTIDs, and takes its place."""

from __future__ import annotations

import time

from capture.sources.mysql.connection import Connection
from tests.kit.mysql import MysqlDatabase

WAIT_S = 300


def reset_log(session: Connection) -> None:
    """Remove the log of a session's server: it begins anew, under the same names."""
    is_new = not session.is_mariadb and session.version >= (8, 2)
    session.run("reset binary logs and gtids" if is_new else "reset master")


def follow(primary: MysqlDatabase, session: Connection, *, from_start: bool = False) -> None:
    """Let the server of a session follow, from where the primary's log ends or begins; its own log begins there."""
    address = primary.address
    place = f"_host = '{address.host}', %_port = {address.port}, %_user = '{address.user}', %_ssl = 0"
    position = "" if from_start else primary.rows(f"select {_executed(primary)}")[0][0]
    if primary.is_mariadb:
        more = "master_ssl_verify_server_cert = 0, master_use_gtid = slave_pos"
        statements = [
            f"set global gtid_slave_pos = '{position}'",
            f"change master to master{place.replace('%', 'master')}, {more}",
            "start slave",
        ]
    else:
        more = "source_auto_position = 1, get_source_public_key = 1"
        statements = [
            f"set global gtid_purged = '{position}'",
            f"change replication source to source{place.replace('%', 'source')}, {more}",
            "start replica",
        ]
    reset_log(session)
    for statement in statements:
        session.run(statement)


def promote(primary: MysqlDatabase, session: Connection) -> None:
    """Wait until the replica has all that the primary has, and end the replication."""
    position = primary.rows(f"select {_executed(primary)}")[0][0]
    name = "master_gtid_wait" if primary.is_mariadb else "wait_for_executed_gtid_set"
    role = "slave" if primary.is_mariadb else "replica"
    deadline = time.monotonic() + WAIT_S
    while session.value(f"select {name}('{position}', 5)") != "0":
        assert time.monotonic() < deadline, session.rows(f"show {role} status")
    session.run(f"stop {role}")


def _executed(primary: MysqlDatabase) -> str:
    return "@@global.gtid_binlog_pos" if primary.is_mariadb else "@@global.gtid_executed"
