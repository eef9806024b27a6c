"""Tables that are loaded again while what was published of them cannot be seen yet."""

from __future__ import annotations

from threading import Thread

import pytest

from tests.integration.services import Serve, Services
from tests.kit.servers import Database, nobody_confirms

TOO_EARLY = "chunk does not see all that is published"


def _update_and_wait(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("set synchronous_commit = on")
        connection.execute("update t set v = 7 where id = 1")


def _loads(services: Services) -> int:
    return services.count("capture", "table loaded")


@pytest.mark.timeout(1500)
def test_a_reload_waits_until_it_sees_what_a_synchronous_standby_has_not_confirmed(
    serve: Serve, source_database: Database, target_database: Database
) -> None:
    """The log is sent before: the row that was there went out behind the change, and stayed."""
    source, target = source_database, target_database
    source.execute("create table t (id int primary key, v int)", "insert into t values (1, 0), (2, 0)")
    with nobody_confirms(source, target) as confirm, serve(source, target) as services:
        services.start("capture")
        services.start("apply")
        services.wait(lambda: services.announced() == {"t"}, "the load")
        writer = Thread(target=_update_and_wait, args=(source,))
        writer.start()
        changed = "select v from t order by id"
        services.wait(lambda: target.rows(changed) == [(7,), (0,)], "the change is published")
        assert source.rows(changed) == [(0,), (0,)], "and nobody can see it"
        done = services.run("signal reload", "--table", "public.t", "--wait", "300")
        assert done.returncode == 0, done.stdout + done.stderr

        # (Or that it is loaded, for the second time.)
        services.wait(lambda: services.said("capture", TOO_EARLY) or _loads(services) == 2, "a snapshot")
        assert services.said("capture", TOO_EARLY)
        # Whoever takes the reload up knows of it, too.
        services.crash("capture")
        services.wait(lambda: services.said("capture", TOO_EARLY) or _loads(services) == 1, "another snapshot")
        assert services.said("capture", TOO_EARLY)
        confirm()
        writer.join()
        services.wait(lambda: _loads(services) == 1, "the reload")
        source.execute("insert into t values (3, 0)")
        services.wait(lambda: len(target.rows(changed)) == 3, "what follows it")
        assert target.rows(changed) == [(7,), (0,), (0,)]
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)
