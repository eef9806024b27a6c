"""What stands where Redshift would ends a client's session with its client, however that ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import psycopg
import pytest

from deploy.local.redshift import RedshiftRelay
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

LOGIN = {"dbname": "database", "user": "user", "password": "password"}


def test_a_killed_client_holds_no_locks(new_database: Callable[..., Database]) -> None:
    database = new_database(18, "redshift")
    server = (str(database.settings["host"]), int(str(database.settings["port"])))
    relay = RedshiftRelay(server, lambda bucket, key: b"")
    login = " ".join(f"{name}={database.settings[ours]}" for name, ours in LOGIN.items())
    client = psycopg.connect(f"host=127.0.0.1 port={relay.port} sslmode=disable {login}")
    client.execute("create table held (id int)")
    client.commit()
    client.execute("select * from held")
    # As the kernel does for a killed process: the connection ends, without a message.
    with socket.socket(fileno=os.dup(client.fileno())) as cut:
        cut.shutdown(socket.SHUT_RDWR)
    try:
        database.execute("set lock_timeout = '20s'", "drop table held")
    finally:
        client.close()
        relay.close()
