"""The Redshift sink passes the conformance suite of sinks, on a PostgreSQL that reads the bucket's files.

The bucket is real, and so are transactions, locks and fences. What PostgreSQL lacks is added: files are read for it,
and it has a type `super`. What it has beyond Redshift is not relied upon: its tables hold nobody to their keys.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, cast

import pytest

from apply.sink import Sink, TableBatch
from apply.sinks import target_findings
from apply.sinks.redshift import driver, logins
from apply.sinks.redshift.driver import DriverLink
from apply.sinks.redshift.reader import RedshiftReader
from apply.sinks.redshift.sink import RedshiftSink
from deploy.local.aws import SECRET_ACCESS_KEY
from deploy.local.moto import MotoServer
from deploy.local.redshift import SETUP, RedshiftRelay, reader_of
from deploy.local.s3 import S3Server
from schemas.changes import Row
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.settings import parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.numbers import NAN
from tests.conformance.sink_suite import EVENTS, ORDERS, SEATS, SinkSuite
from tests.integration.s3_sink.test_conformance import make_bucket
from tests.kit.redshift_data import RedshiftData
from tests.kit.servers import Database
from tests.kit.type_samples import SAMPLES

pytestmark = pytest.mark.integration

DAY_US = 86_400_000_000


class TestRedshift(SinkSuite):
    # Texts in JSON are not kept as they were: a test of its own looks at them.
    samples: ClassVar = tuple(sample for sample in SAMPLES if sample.type.family is not Family.JSON)

    @pytest.fixture
    def sink(self, new_database: Callable[..., Database], s3_server: S3Server) -> Iterator[Sink]:
        self.database = new_database(18, "redshift")
        self.database.execute(*SETUP)
        self.s3, self.bucket = make_bucket(s3_server)
        self.read_file = reader_of(s3_server.settings["endpoint_url"])
        server = (str(self.database.settings["host"]), int(str(self.database.settings["port"])))
        relay = RedshiftRelay(server, self.read_file)
        settings = {name: self.database.settings[name] for name in ("host", "database", "user", "password")}
        place = {"port": relay.port, "bucket_name": self.bucket, "bucket_folder": "staging", **s3_server.settings}
        self.section = RedshiftTarget.model_validate({"engine": "redshift", "tls": "disable", **settings, **place})
        self.opened: list[RedshiftSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()
        relay.close()
        assert "Contents" not in self.s3.list_objects_v2(Bucket=self.bucket), "files stayed behind"
        self.s3.close()

    def open(self) -> Sink:
        self.opened.append(RedshiftSink("shop", "warehouse", self.section))
        return cast("Sink", self.opened[-1])

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        with contextlib.closing(RedshiftReader(self.section, "test")) as reader:
            return list(reader.rows(table))

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        """Let a copy or a commit be lost, or its answer."""
        link = cast("RedshiftSink", sink)._link
        copy, commit, calls = link.copy, link.commit, itertools.count()

        def lossy(send: Callable[..., None], *arguments: Any) -> None:
            due = next(calls) == number // 2
            if not due or number % 2:
                send(*arguments)
            if due:
                raise TailraceError(ErrorKind.TARGET_CONNECTION, "the connection was cut")

        link.copy = functools.partial(lossy, copy)  # type: ignore[method-assign]
        link.commit = functools.partial(lossy, commit)  # type: ignore[method-assign]
        try:
            yield
        finally:
            link.copy, link.commit = copy, commit  # type: ignore[method-assign]

    def holds(self, type_: LogicalType, value: Any) -> bool:
        family = type_.family
        if family is Family.DECIMAL:
            return value is not NAN
        if family in (Family.DATE, Family.TIMESTAMP, Family.TIMESTAMPTZ):
            days = int(value if family is Family.DATE else value // DAY_US)
            return -719_162 <= days <= 2_932_896
        if family is Family.TIME:
            return bool(value < DAY_US)
        if family is Family.NUMERIC:
            return len(f"{value:f}") <= 65_535
        if isinstance(value, (str, bytes)):
            size = len(value.encode()) if isinstance(value, str) else (len(value) + 2) // 3 * 4
            return size <= 65_535
        return True

    def test_a_table_without_a_key_is_refused(self, sink: Sink) -> None:
        with pytest.raises(TailraceError) as caught:
            sink.prepare(EVENTS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA

    def test_documents_are_super_and_texts_count_bytes(self, sink: Sink) -> None:
        table = TableSchema(
            TableName("public", "notes"),
            (
                ORDERS.columns[0],
                Column("about", LogicalType(Family.JSON), "jsonb"),
                Column("code", LogicalType(Family.STRING, length=3), "varchar(3)"),
            ),
            (0,),
        )
        sink.prepare(table)
        rows = [
            (1, '{"a": [1, null]}', "€€€"),
            (2, "null", "𝔘🎉x"),
            (3, None, ""),
            (4, "{", "a"),
            (5, '"é"', "\x01null\x01"),
        ]
        rejections = sink.apply(self.giver.given(TableBatch(table, upserts=rows), sink.capabilities))
        assert [rejected.index for rejected in rejections] == [3, 4]
        sink.flush()
        assert self.rows(sink, table) == {(1, '{"a": [1, null]}', "€€€"), (2, "null", "𝔘🎉x"), (3, None, "")}
        columns = self.database.rows(
            "select coalesce(domain_name, data_type), character_maximum_length from information_schema.columns "
            "where table_name = 'notes' order by ordinal_position"
        )
        assert columns == [("bigint", None), ("super", None), ("character varying", 12)]

    def test_appliers_that_write_one_table_at_once_try_again(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        other = self.other_sink(sink)
        other.prepare(ORDERS)
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None), (2, "a", None)]))
        mine = TableBatch(ORDERS, upserts=[(1, "b", None)])
        theirs = TableBatch(ORDERS, upserts=[(2, "c", None)], deletes=[(3,)])
        self.give(sink, mine)
        self.give(other, theirs)
        sink.flush()
        with pytest.raises(TailraceError) as caught:
            other.flush()
        assert caught.value.action is Action.RETRY
        self.rollback(other)
        self.give(other, theirs)
        # As the developer guide has Redshift's own words for it.
        violation = "raise exception '1023' using errcode = 'XX000', detail = 'Serializable isolation violation on …'"
        with pytest.raises(TailraceError, match="1023") as caught:
            cast("RedshiftSink", other)._link.run(f"do $$ begin {violation}; end $$")
        assert (caught.value.kind, caught.value.action) == (ErrorKind.TARGET_THROTTLED, Action.RETRY)
        self.rollback(other)
        self.write(other, theirs)
        assert self.rows(sink, ORDERS) == {(1, "b", None), (2, "c", None)}

    def test_a_column_of_another_type_is_refused_with_the_remedy(self, sink: Sink) -> None:
        self.database.execute("create table orders (id bigint, status varchar(3), paid boolean)")
        with pytest.raises(TailraceError) as caught:
            sink.prepare(ORDERS)
        assert caught.value.kind is ErrorKind.TARGET_SCHEMA
        assert caught.value.remedy is not None
        assert 'alter column "status" type character varying(' in caught.value.remedy

    def test_plan_says_which_rights_are_missing(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        role = f"loader_{secrets.token_hex(4)}"
        database = self.database.settings["database"]
        self.database.execute(
            f"create role {role} login password 'secret'", f"revoke temporary on database {database} from public"
        )
        section = self.section.model_dump(exclude_none=True, exclude={"password"})
        more = {
            "user": role,
            "password": "secret",
            "secret_access_key": SECRET_ACCESS_KEY,
            "schema_map": {"other": "new"},
        }
        document = {
            "name": "shop",
            "kafka": {"bootstrap.servers": "127.0.0.1:9092"},
            "source": {"database": "shop", "user": "capture", "tables": ["public.*"]},
            "targets": {"warehouse": section | more},
        }
        settings = parse(document)
        tables = [ORDERS, replace(SEATS, name=TableName("other", "seats"))]
        try:
            found = target_findings(settings, "warehouse", tables)
            assert {(f.code, f.remedy) for f in found} == {
                ("no-right", f'grant {right} to "{role}";')
                for right in (
                    f'temporary on database "{database}"',
                    f'create on database "{database}"',
                    'create on schema "public"',
                    'usage on schema "tailrace"',
                    'create on schema "tailrace"',
                )
            }
            for finding in found:
                self.database.execute(str(finding.remedy))
            assert target_findings(settings, "warehouse", tables) == []
        finally:
            self.database.execute(f"drop owned by {role}", f"drop role {role}")


ASKED = {
    "test_an_earlier_owner_is_fenced",
    "test_every_type_holds_its_extremes",
    "test_documents_are_super_and_texts_count_bytes",
}
"""What of the suite tells another way of connecting apart: transactions, counts of rows, results of all types. What the
service may answer at a bad moment: `tests/unit/apply/redshift/test_data_api.py`."""


class TestRedshiftByTheDataApi(TestRedshift):
    vars().update({name: None for name in dir(TestRedshift) if name.startswith("test_") and name not in ASKED})

    def open(self) -> Sink:
        self.relay = getattr(self, "relay", None) or RedshiftData(self.database, self.read_file)
        place = {"cluster_identifier": "warehouse", "user": "loader", "redshift_endpoint_url": self.relay.url}
        document = {**self.section.model_dump(exclude_none=True, exclude={"password", "host"}), **place}
        document |= {"connect_by": "data-api", "secret_access_key": SECRET_ACCESS_KEY}
        self.section = RedshiftTarget.model_validate(document)
        self.opened.append(RedshiftSink("shop", "warehouse", self.section))
        return cast("Sink", self.opened[-1])

    @pytest.fixture(autouse=True)
    def _relay_ends(self, sink: Sink) -> Iterator[None]:
        yield
        for opened in self.opened:
            opened.close()
        self.relay.close()

    def read(self, sink: Sink, table: TableSchema) -> list[Row]:
        with contextlib.closing(RedshiftReader(self.section, "test")) as reader:
            return list(reader.rows(table))

    def test_a_session_that_ended_is_made_again(self, sink: Sink) -> None:
        sink.prepare(ORDERS)
        self.give(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        self.relay.end_sessions()
        with pytest.raises(TailraceError) as caught:
            sink.flush()
        assert caught.value.action is Action.RETRY
        self.rollback(sink)
        assert self.read(sink, ORDERS) == []
        self.write(sink, TableBatch(ORDERS, upserts=[(1, "a", None)]))
        assert self.rows(sink, ORDERS) == {(1, "a", None)}


def test_iam_gives_a_login(moto_server: MotoServer, new_database: Callable[..., Database], monkeypatch: Any) -> None:
    database, asked = new_database(18, "redshift"), moto_server.settings
    with contextlib.closing(moto_server.client("redshift")) as client:
        identifier = f"test-{database.settings['database']}".replace("_", "-")[:60]
        size = {"NodeType": "ra3.large", "ClusterType": "single-node"}
        master = {"MasterUsername": "admin", "MasterUserPassword": "Unused-1234"}
        client.create_cluster(ClusterIdentifier=identifier, **size, **master)
        section = {name: database.settings[name] for name in ("host", "port", "database")}
        section |= {
            "user": f"loader_{secrets.token_hex(4)}",
            "iam_auth_enabled": True,
            "cluster_identifier": identifier,
        }
        section |= {"engine": "redshift", "tls": "disable", "bucket_name": "unused", "region": asked["region"]}
        section |= {name: asked[name] for name in ("access_key_id", "secret_access_key")}
        target = RedshiftTarget.model_validate(section | {"redshift_endpoint_url": asked["endpoint_url"]})
        given = logins.login(target)
        assert given["user"] == f"IAM:{target.user}"
        # The imitation does not tell the database of whom it let in.
        database.execute(f"create role \"{given['user']}\" login password '{given['password']}'")
        try:
            monkeypatch.setattr(driver, "login", lambda _: given)
            with contextlib.closing(DriverLink(target, "test")) as link:
                assert link.rows("select current_user::text") == [(given["user"],)]
        finally:
            database.execute(f'drop role "{given["user"]}"')
        client.delete_cluster(ClusterIdentifier=identifier, SkipFinalClusterSnapshot=True)
        with pytest.raises(TailraceError) as caught:
            logins.login(target)
        assert caught.value.kind in (ErrorKind.PREREQUISITE, ErrorKind.INVARIANT)
