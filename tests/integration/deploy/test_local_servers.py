"""The local servers start, survive a kill with their data, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.local import stack
from deploy.local.java import find_java
from deploy.local.kafka import KafkaServer, kafka_jars
from deploy.local.postgresql import MAJORS, PostgresqlServer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("major", MAJORS)
def test_postgresql_is_of_the_version_asked_for_and_keeps_committed_rows_over_a_kill(
    own_postgresql: Callable[..., PostgresqlServer], major: int
) -> None:
    server = own_postgresql(major)
    with psycopg.connect(server.address.dsn(), autocommit=True) as connection:
        assert connection.info.server_version // 10_000 == major
        connection.execute("create table kept (id int)")
        connection.execute("insert into kept select generate_series(1, 1000)")
        connection.execute("select pg_create_logical_replication_slot('kept', 'pgoutput')")
    address = server.address
    server.kill()
    server.restart()
    assert server.address == address
    with psycopg.connect(server.address.dsn(), autocommit=True) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (1000,)
        assert connection.execute("select slot_name from pg_replication_slots").fetchall() == [("kept",)]


def test_postgresql_asks_for_a_password(own_postgresql: Callable[..., PostgresqlServer]) -> None:
    server = own_postgresql(18)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.address.dsn().replace("password=tailrace", "password=wrong"))


def test_kafka_comes_back_on_its_port_after_a_kill(own_kafka: KafkaServer) -> None:
    address = own_kafka.address
    own_kafka.kill()
    own_kafka.restart()
    assert own_kafka.address == address


def test_a_node_of_kafka_begins_with_kept_storage_and_names_of_its_own(tmp_path: Path) -> None:
    names = []
    for place in ("one", "other"):
        node = KafkaServer(tmp_path / place)
        node.directory.mkdir()
        node._format(find_java(), kafka_jars())
        lines = (node.directory / "data" / "meta.properties").read_text().split()
        names.append(dict(line.split("=") for line in lines))
    assert all(found.keys() == {"version", "cluster.id", "node.id", "directory.id"} for found in names)
    one, other = names
    assert all(one[name] != other[name] for name in ("cluster.id", "directory.id"))


def test_a_server_ends_when_its_owner_is_killed(servers_directory: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from deploy.local.postgresql import PostgresqlServer\n"
        "server = PostgresqlServer(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(servers_directory / "orphan")], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner.stdout:
        pid = int(owner.stdout.readline())
        os.kill(pid, 0)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    deadline = time.monotonic() + 60
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Tell whether a process has not ended. In a container whose first process reaps nobody, it stays as a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_detached_stack_is_found_again_and_stopped_by_its_ids(servers_directory: Path) -> None:
    directory = servers_directory / "stack"
    assert "A configuration for them" in _dev("up", directory)
    try:
        first = stack.status(directory)
        assert first is not None
        assert stack.up(directory) == first
        with psycopg.connect(first.source.dsn(), autocommit=True) as connection:
            connection.execute("create table kept (id int)")
        stopped = _dev("down", directory)
        assert "stopped source" in stopped
        assert "stopped target" in stopped
        assert stack.status(directory) is None
        second = stack.up(directory)
        with psycopg.connect(second.source.dsn()) as connection:
            assert connection.execute("select count(*) from kept").fetchone() == (0,)
    finally:
        removed = _dev("down", directory, "--wipe")
    assert f"removed {directory}" in removed
    assert not directory.exists()
    assert stack.down(directory) == []


def _dev(word: str, directory: Path, *more: str) -> str:
    """Run `tailrace dev …`; return what it prints."""
    command = [sys.executable, "-m", "control.cli", "dev", word, "--directory", str(directory), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
