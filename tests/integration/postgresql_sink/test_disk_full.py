"""A target whose disk is full: nothing is lost, nothing is parked, and it goes on when there is room."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apply.sink import TableBatch
from apply.sinks.postgresql.sink import PostgresqlSink
from deploy.local.postgresql import PostgresqlServer, server_user
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.servers import Database

_DICE = random.Random(4)
ROWS = [(i, _DICE.randbytes(4000).hex()) for i in range(4000)]
"""What no compression makes small enough."""
TABLE = TableSchema(
    TableName("public", "wide"),
    (
        Column("id", LogicalType(Family.INT64), "bigint", nullable=False, number=1),
        Column("word", LogicalType(Family.STRING), "text", number=2),
    ),
    key=(0,),
)


@pytest.fixture
def small_disk(servers_directory: Path) -> Iterator[Path]:
    """A disk of its own, too small for the rows. Needs the right to mount."""
    directory = servers_directory / "small-disk"
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", directory], capture_output=True, check=False
    )
    if done.returncode:
        directory.rmdir()
        pytest.skip("no right to mount a small disk here")
    try:
        if (user := server_user()) is not None:
            os.chown(directory, user, -1)
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
        directory.rmdir()


def test_a_full_disk_is_waited_out(small_disk: Path, own_postgresql: Callable[..., PostgresqlServer]) -> None:
    address = own_postgresql(17).address
    Database(address, "postgres").execute(
        f"create tablespace small location '{small_disk}'", "create database tight template template0 tablespace small"
    )
    target = Database(address, "tight")
    with contextlib.closing(
        PostgresqlSink("full", "replica", PostgresqlTarget.model_validate(target.settings))
    ) as sink:
        sink.prepare(TABLE)
        sink.flush()
        for _ in range(2):
            with pytest.raises(TailraceError) as caught:
                sink.apply(TableBatch(TABLE, upserts=list(ROWS)))
            assert caught.value.kind is ErrorKind.TARGET_THROTTLED
            assert caught.value.action is Action.RETRY
            assert "disk is full" in str(caught.value)
            sink.rollback()
        assert target.rows("select count(*) from wide") == [(0,)]
        subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
        assert sink.apply(TableBatch(TABLE, upserts=list(ROWS))) == []
        sink.flush()
    assert target.rows("select count(*), sum(length(word)) from wide") == [(len(ROWS), sum(len(w) for _, w in ROWS))]
