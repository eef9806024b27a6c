"""Fixtures: real servers once per session, and databases, names and topics of each test's own.

A session fixture honours the environment (`tests/kit/servers.py`) and starts a server only when a test asks for it.
When a test fails, the last lines of the logs of the servers that we started are in its report.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from deploy.local.cache import DownloadError
from deploy.local.gremlin import GremlinServer
from deploy.local.kafka import QUICK_JVM, KafkaAddress, KafkaServer, named_kafka
from deploy.local.kinesis import KinesisServer
from deploy.local.moto import MotoServer
from deploy.local.mysql import MysqlAddress, MysqlServer, named_mysql
from deploy.local.neptune import NeptuneServer
from deploy.local.opensearch import OpensearchServer
from deploy.local.postgresql import PostgresqlAddress, PostgresqlServer, named_postgresql
from deploy.local.process import log_tail
from deploy.local.redshift import RedshiftServer
from deploy.local.registry import RegistryServer
from deploy.local.s3 import S3Server
from deploy.local.secantus import SecantusServer
from deploy.local.server import LocalServer
from tests.kit.certificates import make_certificates
from tests.kit.mysql import MysqlDatabase, create_mysql_database, drop_mysql_database
from tests.kit.servers import Database, create_database, drop_database
from tests.kit.topics import delete_topics

# How fast a machine is says nothing of the code. Where nobody can look into a failure at once, every run is the same.
hypothesis.settings.register_profile(
    "tailrace",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tailrace")

S = TypeVar("S", bound=LocalServer)

_LOGS: list[Path] = []
"""Logs of the servers that this session started."""

_MISSING: dict[str, str] = {}
"""Servers that could not be had, and why: it is not tried again for each test."""

PACKAGED = (16, 18)
"""The versions of PostgreSQL that come as packages of Python."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the servers' last words to the report of a test that failed."""
    report = yield
    if report.failed:
        report.sections += [(f"log of {log.parent.name}", log_tail(log)) for log in _LOGS]
    return report


IMITATIONS = {"gremlin_server", "kinesis_server", "moto_server", "secantus_server", "s3_server"}
"""Fixtures of servers that are not the products which they stand for, nor made to be used for hours."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test below tests/integration as what it is, and put the long ones first.

    No test is run again when it fails, since that hides faults: what a rerun let pass were defects. But for those on
    imitations, whose own failures say nothing of us; the summary shows them.
    """
    for item in items:
        if "integration" in item.path.relative_to(item.config.rootpath).parts:
            item.add_marker("integration")
        if IMITATIONS.intersection(getattr(item, "fixturenames", ())) and item.get_closest_marker("flaky") is None:
            item.add_marker(pytest.mark.flaky(reruns=2, reruns_delay=5))
    items[:] = _long_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT") or 1))


def _long_first(items: list[pytest.Item], worker_count: int) -> list[pytest.Item]:
    """Deal out the tests of whole replications: each worker begins with its share of them.

    Workers share what is left, but for the last two tests of each: if these take a minute, all others wait for it.
    """
    whole = [item for item in items if item.path.parent.name == "integration" or item.get_closest_marker("slow")]
    others = [item for item in items if item not in whole]
    share = -(-len(others) // worker_count)
    return [
        item
        for worker in range(worker_count)
        for item in (*whole[worker::worker_count], *others[worker * share : (worker + 1) * share])
    ]


@pytest.fixture(scope="session")
def servers_directory() -> Iterator[Path]:
    """A directory that a server's own user can enter (pytest's temporary directories are private)."""
    directory = Path(tempfile.mkdtemp(prefix="tailrace-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_server(servers_directory: Path) -> Iterator[KafkaAddress]:
    """A Kafka cluster. Don't stop it: `own_kafka` is for that."""
    if named := named_kafka():
        yield named
        return
    with KafkaServer(servers_directory / "kafka", jvm_options=QUICK_JVM) as server:
        _LOGS.append(server.log)
        yield server.address


@pytest.fixture(scope="session")
def postgresql(servers_directory: Path) -> Iterator[Callable[[int], PostgresqlAddress]]:
    """A function that returns the server of a major version. Don't stop it: `own_postgresql` is for that."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def address(major: int) -> PostgresqlAddress:
            if named := named_postgresql(major):
                return named
            with _optional(f"PostgreSQL {major}", major not in PACKAGED):
                server = stack.enter_context(PostgresqlServer(servers_directory / f"postgresql-{major}", major=major))
            _LOGS.append(server.log)
            return server.address

        yield address


@pytest.fixture(scope="session")
def mariadb_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """A MariaDB 11.4 server."""
    yield from _mysql(servers_directory, "11.4")


@pytest.fixture(scope="session")
def newest_mariadb_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """The MariaDB server that Debian has, with its plug-ins."""
    yield from _mysql(servers_directory, "mariadb")


@pytest.fixture(scope="session")
def mysql_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """A MySQL 9 server; tests that want one are skipped where its packages cannot be had."""
    yield from _mysql(servers_directory, "mysql")


@pytest.fixture(scope="session")
def mariadb10_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """A MariaDB 10.11 server."""
    yield from _mysql(servers_directory, "10.11")


@pytest.fixture(scope="session")
def mysql8_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """A MySQL 8.0 server."""
    yield from _mysql(servers_directory, "8.0")


@pytest.fixture(scope="session")
def oldest_mysql_server(servers_directory: Path) -> Iterator[MysqlAddress]:
    """A MySQL 8.0.15 server."""
    yield from _mysql(servers_directory, "8.0.15")


@contextlib.contextmanager
def _optional(server: str, optional: bool) -> Iterator[None]:
    """Skip what asks for a server whose programs cannot be downloaded here, unless it is one that all tests need."""
    if server in _MISSING:
        pytest.skip(_MISSING[server])
    try:
        yield
    except DownloadError as error:
        if not optional:
            raise
        _MISSING[server] = f"{server} cannot be had here: {error}"
        pytest.skip(_MISSING[server])


def _mysql(directory: Path, series: str) -> Iterator[MysqlAddress]:
    if named := named_mysql(series):
        yield named
        return
    server = MysqlServer(directory / f"mysql-{series}", series=series)
    with _optional(f"MySQL or MariaDB ({series})", True):
        server.start()
    _LOGS.append(server.log)
    yield server.address
    server.stop()


@pytest.fixture
def new_mysql_database(request: pytest.FixtureRequest) -> Iterator[Callable[[str], MysqlDatabase]]:
    """A function that creates an empty database: `new_mysql_database("mariadb")`. Dropped after the test."""
    with contextlib.ExitStack() as stack:

        def create(kind: str) -> MysqlDatabase:
            database = create_mysql_database(request.getfixturevalue(f"{kind}_server"))
            stack.callback(drop_mysql_database, database)
            return database

        yield create


@pytest.fixture(params=["mariadb", "mysql"])
def mysql_database(request: pytest.FixtureRequest, new_mysql_database: Callable[[str], MysqlDatabase]) -> MysqlDatabase:
    """An empty database on MariaDB, then one on MySQL."""
    return new_mysql_database(request.param)


@pytest.fixture
def certificates(servers_directory: Path) -> Iterator[Path]:
    """A directory with certificates: see `tests/kit/certificates.py`."""
    directory = servers_directory / "certificates"
    directory.mkdir()
    make_certificates(directory)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def own_kafka(servers_directory: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, to stop, kill and restart. Takes seconds: only where a test needs it."""
    directory = servers_directory / f"kafka-{secrets.token_hex(4)}"
    with KafkaServer(directory, jvm_options=QUICK_JVM) as server:
        _LOGS.append(server.log)
        yield server
    _forget(server.log, directory)


@pytest.fixture
def own_postgresql(servers_directory: Path) -> Iterator[Callable[..., PostgresqlServer]]:
    """A function that starts a PostgreSQL server of the test's own: `own_postgresql(18, settings={…})`.

    `standby_of=server` makes it a standby of another one.
    """
    with contextlib.ExitStack() as stack:

        def start(
            major: int = 18, *, standby_of: PostgresqlServer | None = None, **options: object
        ) -> PostgresqlServer:
            directory = servers_directory / f"postgresql-{secrets.token_hex(4)}"
            server = PostgresqlServer(directory, major=major, **options)  # type: ignore[arg-type]
            stack.callback(_forget, server.log, directory)
            stack.callback(server.stop)
            with _optional(f"PostgreSQL {major}", major not in PACKAGED):
                if standby_of is not None:
                    server.copy_of(standby_of)
                server.start()
            _LOGS.append(server.log)
            return server

        yield start


def _forget(log: Path, directory: Path) -> None:
    if log in _LOGS:
        _LOGS.remove(log)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def new_database(postgresql: Callable[[int], PostgresqlAddress]) -> Iterator[Callable[..., Database]]:
    """A function that creates an empty database: `new_database(18)`, or of 13 to 17. Dropped after the test."""
    with contextlib.ExitStack() as stack:

        def create(major: int = 18, prefix: str = "test") -> Database:
            database = create_database(postgresql(major), prefix)
            stack.callback(drop_database, database)
            return database

        yield create


@pytest.fixture
def source_database(new_database: Callable[..., Database]) -> Database:
    """An empty database on PostgreSQL 18 to capture from."""
    return new_database(18, "source")


@pytest.fixture
def target_database(new_database: Callable[..., Database]) -> Database:
    """An empty database on PostgreSQL 18 to apply to."""
    return new_database(18, "target")


@pytest.fixture
def source_database_16(new_database: Callable[..., Database]) -> Database:
    """An empty database on PostgreSQL 16 to capture from."""
    return new_database(16, "source")


@pytest.fixture
def target_database_16(new_database: Callable[..., Database]) -> Database:
    """An empty database on PostgreSQL 16 to apply to."""
    return new_database(16, "target")


@pytest.fixture
def replication(request: pytest.FixtureRequest) -> Iterator[str]:
    """A replication name that no other test has used: the prefix of topics, groups, slots. Its topics are deleted."""
    name = f"t{secrets.token_hex(5)}"
    yield name
    if "kafka_server" in request.fixturenames:
        delete_topics(request.getfixturevalue("kafka_server").bootstrap, name)


@pytest.fixture(scope="session")
def registry_server(servers_directory: Path) -> Iterator[RegistryServer]:
    """A schema registry."""
    yield from _stand_in(RegistryServer(servers_directory / "registry"))


@pytest.fixture(scope="session")
def s3_server(servers_directory: Path) -> Iterator[S3Server]:
    """An object store that speaks S3."""
    yield from _stand_in(S3Server(servers_directory / "s3"))


@pytest.fixture(scope="session")
def opensearch_server(servers_directory: Path) -> Iterator[OpensearchServer]:
    """An OpenSearch node."""
    yield from _stand_in(OpensearchServer(servers_directory / "opensearch"))


@pytest.fixture(scope="session")
def gremlin_server(servers_directory: Path) -> Iterator[GremlinServer]:
    """A stand-in of Amazon Neptune."""
    yield from _stand_in(GremlinServer(servers_directory / "gremlin"))


@pytest.fixture(scope="session")
def neptune_server(servers_directory: Path) -> Iterator[NeptuneServer]:
    """A stand-in of Amazon Neptune with its bulk loader, and a bucket."""
    yield from _stand_in(NeptuneServer(servers_directory / "neptune"))


@pytest.fixture(scope="session")
def redshift_server(servers_directory: Path) -> Iterator[RedshiftServer]:
    """What stands where Redshift would, and a bucket."""
    yield from _stand_in(RedshiftServer(servers_directory / "redshift"))


@pytest.fixture(scope="session")
def moto_server(servers_directory: Path) -> Iterator[MotoServer]:
    """An imitation of AWS."""
    yield from _stand_in(MotoServer(servers_directory / "moto"))


@pytest.fixture
def kinesis_server(servers_directory: Path) -> Iterator[KinesisServer]:
    """A stand-in of Kinesis of the test's own, whose streams are split and merged."""
    server = KinesisServer(servers_directory / f"kinesis-{secrets.token_hex(4)}")
    yield from _stand_in(server)
    _forget(server.log, server.directory)


@pytest.fixture(scope="session")
def secantus_server(servers_directory: Path) -> Iterator[SecantusServer]:
    """A stand-in of MongoDB."""
    yield from _stand_in(SecantusServer(servers_directory / "secantus"))


def _stand_in(server: S) -> Iterator[S]:
    """Yield a running server; tests that want one are skipped where its programs cannot be had."""
    with _optional(server.title, True):
        server.start()
    _LOGS.append(server.log)
    yield server
    server.stop()
