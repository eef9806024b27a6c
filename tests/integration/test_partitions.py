"""Partitions come, go and are written anew while their table is captured: what is loaded is what has to be."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from deploy.local.kafka import KafkaAddress
from runtime import exit_codes
from tests.integration.services import TARGET, Serve, Services
from tests.kit.compare import wait_until_equal
from tests.kit.servers import Database
from tests.kit.topics import data_topics, read_topics

TABLES = (
    "create table p (id int, day int, v text, primary key (id, day)) partition by range (day)",
    "create table p_1 partition of p for values from (0) to (10)",
    # With partitions of its own.
    "create table p_2 partition of p for values from (10) to (20) partition by range (id)",
    "create table p_2_low partition of p_2 for values from (0) to (100)",
    "create table p_2_high partition of p_2 for values from (100) to (maxvalue)",
    "insert into p select n, n % 20, 'v' || n from generate_series(1, 150) n",
    "create table bag (day int, v text) partition by range (day)",
    "create table bag_1 partition of bag for values from (0) to (10)",
    "alter table bag replica identity full",
    "alter table bag_1 replica identity full",
    "insert into bag select n % 3, 'v' from generate_series(1, 30) n",
)


class Replication:
    """Both services, and what is at either side."""

    def __init__(self, services: Services, source: Database, target: Database) -> None:
        self.services, self.source, self.target = services, source, target

    def does(self, *statements: str) -> None:
        """Run statements at the source, and wait until the target has what comes of them."""
        self.source.execute(*statements)
        self.services.wait(self.is_equal, statements[-1])

    def is_equal(self) -> bool:
        return wait_until_equal(self.source.dsn, self.target.dsn, ["public.p", "public.bag"], timeout_s=0) == []

    def sees(self, *statements: str) -> None:
        """Run statements at the source, and wait until capture knows another version of the table by them."""
        count = self.services.count("capture", "table changed")
        self.source.execute(*statements)
        self.services.wait(lambda: self.services.count("capture", "table changed") > count, statements[-1])

    def verified(self) -> dict[str, bool]:
        """Return which tables are equal, as `verify` says."""
        done = self.services.run("verify", "--target", TARGET, "--json")
        equal = {str(table["table"]): bool(table["equal"]) for table in json.loads(done.stdout)["tables"]}
        assert done.returncode == (exit_codes.OK if all(equal.values()) else exit_codes.DIFFERENT), done.stdout
        return equal


@pytest.mark.timeout(1500)
def test_partitions_come_and_go_and_only_what_came_with_rows_is_loaded(
    serve: Serve, kafka_server: KafkaAddress, replication: str, source_database: Database, target_database: Database
) -> None:
    source, target = source_database, target_database
    source.execute(*TABLES)
    source.tell_statements()
    tables = ["public.p", "public.bag"]
    # What comes along is several chunks.
    more = {"capture": {"chunk_rows": 100}, "topics": {"format": "json"}}
    with serve(source, target, at_source={"tables": tables}, **more) as services:
        r = Replication(services, source, target)
        services.start("capture")
        services.start("apply")
        services.wait(lambda: services.announced() == {"p", "bag"}, "the load")
        r.does("select 1")
        _come(r)
        _come_while_capture_is_away(r)
        # Nothing was loaded twice but what was put back, and of the table without a key, which is loaded whole.
        loaded = Counter(
            (record.envelope["after"]["id"], record.envelope["after"]["day"])
            for record in read_topics(kafka_server.bootstrap, data_topics(kafka_server.bootstrap, replication))
            if record.topic.endswith(".p") and record.envelope and record.envelope["op"] == "r"
        )
        twice = {day for (_, day), count in loaded.items() if count > 1}
        assert twice == {30, 31}, "no other was put back"
        assert {day for _, day in loaded} == {*range(20), 30, 31, 40, 50}
        _are_rewritten(r)
        _go(r)
        for name in ("capture", "apply"):
            assert services.stop(name) == 0, services.log_tail(name)


def _come(r: Replication) -> None:
    services = r.services
    r.sees("create table p_3 partition of p for values from (20) to (30)")
    r.does("insert into p select n, 25, 'new' from generate_series(1, 20) n")
    # Rows that move, to it and from a partition's partition to another's.
    r.does("update p set day = 26 where id = 3 and day = 3", "update p set id = id + 1000 where day = 15 and id < 60")
    assert not services.said("capture", "loads ")
    r.does(
        # Another order of columns, and one that is gone.
        "create table p_4 (v text, gone int, day int not null, id int not null, primary key (id, day))",
        "alter table p_4 drop gone",
        "insert into p_4 select 'came along', 30, n from generate_series(1, 350) n",
        "insert into p_4 values ('stays', 31, 1)",
        "begin; insert into p values (1000, 5, 'before'); "
        "alter table p attach partition p_4 for values from (30) to (40); "
        "update p set v = 'at once' where day = 30 and id < 5; insert into p values (1000, 30, 'behind'); commit",
    )
    assert services.count("capture", "loads partitions that were attached") == 1
    # The log has nothing of what is written while it is away.
    r.does(
        "begin; alter table p detach partition p_4; update p_4 set v = 'while away' where day = 30; "
        "insert into p_4 values ('while away', 30, 2000); "
        "alter table p attach partition p_4 for values from (30) to (40); commit"
    )
    assert not services.said("capture", "loads the table again")
    r.does(
        "create table bag_2 (day int, v text)",
        "alter table bag_2 replica identity full",
        "insert into bag_2 values (10, 'a'), (10, 'a'), (11, null)",
        "alter table bag attach partition bag_2 for values from (10) to (20)",
    )


def _come_while_capture_is_away(r: Replication) -> None:
    """Several at once, and what begins by them ends in the middle."""
    services = r.services
    services.kill("capture")
    r.source.execute(
        "create table p_5 (like p including all)",
        "create table p_6 (like p including all)",
        "insert into p_5 select n, 40, 'came along' from generate_series(1, 250) n",
        "insert into p_6 select n, 50, 'came along' from generate_series(1, 25) n",
        "begin; alter table p attach partition p_5 for values from (40) to (50); "
        "alter table p attach partition p_6 for values from (50) to (60); "
        "create table p_7 partition of p for values from (60) to (70); insert into p values (1, 60, 'new'); commit",
    )
    services.start("capture", failpoint="capture.load.finished")
    services.meet("capture", "capture.load.finished")
    services.start("capture")
    r.does("insert into p values (2, 60, 'new'), (2000, 40, 'new')")


def _are_rewritten(r: Replication) -> None:
    services = r.services
    r.source.execute("vacuum full p_2_low", "cluster p_1 using p_1_pkey")
    r.sees("create table p_8 partition of p for values from (80) to (90)")
    r.does("alter table p add n int default 5", "insert into p values (1, 80, 'new')")
    assert not services.said("capture", "loads the table again")
    r.does(
        "create table p_9 partition of p for values from (90) to (100)",
        "alter table p alter v type varchar using upper(v)",
        "insert into p values (1, 90, 'new')",
    )
    assert services.said("capture", "loads the table again")


def _go(r: Replication) -> None:
    services = r.services
    assert r.verified() == {"public.p": True, "public.bag": True}
    # Emptied before, nothing of it stays.
    r.does("delete from p where day = 60")
    r.sees("alter table p detach partition p_7 concurrently")
    assert r.is_equal()
    r.sees("drop table p_3", "alter table p detach partition p_2 concurrently")
    assert services.said("capture", "partitions were detached")
    r.source.execute("insert into p values (3000, 5, 'behind')")
    behind = "select count(*) from p where id = 3000"
    services.wait(lambda: r.target.rows(behind) == [(1,)], "the log goes on")
    stayed = "select count(*), count(*) filter (where day between 10 and 29) from p"
    assert r.source.rows(stayed)[0][1] == 0
    assert r.target.rows(stayed)[0][1] != 0, "who archives old partitions may want that; a reload takes it away"
    assert r.verified() == {"public.p": False, "public.bag": True}
    done = services.run("signal reload", "--table", "public.p", "--empty", "--wait", "300")
    assert done.returncode == 0, done.stdout + done.stderr
    services.wait(r.is_equal, "the reload")
    assert r.verified() == {"public.p": True, "public.bag": True}
