"""A PgBouncer in front of a PostgreSQL server: the one that is installed, else that of Debian's packages."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import psycopg

from deploy.local import debian
from deploy.local.cache import cached
from deploy.local.postgresql import PostgresqlAddress, programs_cache, server_user
from deploy.local.server import LocalServer


def pgbouncer() -> list[str]:
    """Return the words that run it, downloaded if need be."""
    if installed := shutil.which("pgbouncer"):
        return [installed]
    root = cached("pgbouncer", lambda directory: debian.unpack(["pgbouncer"], directory), root=programs_cache())
    return debian.command(root, "pgbouncer")


class PgbouncerServer(LocalServer):
    """One pooler in session mode, which lets everybody in as the server's superuser."""

    title = "PgBouncer"
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, server: PostgresqlAddress) -> None:
        super().__init__(directory)
        self._server = server

    @property
    def address(self) -> PostgresqlAddress:
        """Where clients reach it. Known once it was started."""
        return PostgresqlAddress("127.0.0.1", self.port)

    def _command(self) -> list[str]:
        server, settings = self._server, self.directory / "pgbouncer.ini"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        settings.write_text(
            f"[databases]\n* = host={server.host} port={server.port} user={server.user} password={server.password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            "pool_mode = session\n"
        )
        return [*pgbouncer(), str(settings)]

    def _ready(self) -> bool:
        try:
            psycopg.connect(self.address.dsn(), connect_timeout=10).close()
        except psycopg.OperationalError:
            return False
        return True

    def _user(self) -> int | None:
        # It refuses to run as root.
        return server_user()
