"""A peer in Python: pg_chameleon, MySQL or MariaDB to PostgreSQL without Kafka between.

Its packages are unpacked beside ours, never installed with them. Its settings are its example's, but for larger batches
and a shorter sleep.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pymysql
import yaml

from benchmarks.databases.engine import SOURCE
from benchmarks.databases.postgresql import Postgresql
from benchmarks.stages.measure import BenchmarkError
from deploy.local.cache import cached, download
from deploy.local.postgresql import programs_cache, server_user
from deploy.local.process import ServerProcess, log_tail

VERSION = "2.0.21"
TIMEOUT_S = 300
_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def packages() -> Path:
    """Return the directory of its packages, downloaded once. Raises DownloadError."""

    def make(directory: Path) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--target", str(directory)]
        download([sys.executable, "-m", "pip", "install", *options, f"pg_chameleon=={VERSION}"], "pg_chameleon")

    return cached(f"pg-chameleon-{VERSION}-{_PYTHON}", make, root=programs_cache())


def _python(user: int | None) -> str:
    """Return a Python that the user may run. Raises BenchmarkError."""
    if user is None:
        return sys.executable
    system = shutil.which("python3", path=os.defpath)
    asked = [str(system), "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    if system is None or subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() != _PYTHON:
        raise BenchmarkError(f"pg_chameleon refuses to run as root, and there is no Python {_PYTHON} for others")
    return system


class Chameleon:
    """One replica, with its configuration and logs in a directory."""

    def __init__(self, directory: Path, source: dict[str, Any], target: Postgresql, database: str) -> None:
        self._home = directory
        self._source = pymysql.connect(host=source["host"], port=source["port"], user=source["user"], ssl_disabled=True)
        # It refuses to run as root.
        self._user = server_user()
        self._python = _python(self._user)
        self.log = directory / "chameleon.log"
        settings = directory / ".pg_chameleon"
        for name in ("configuration", "logs", "pid"):
            (settings / name).mkdir(parents=True, exist_ok=True)
        address = target.server.address
        copied = {
            "db_conn": {
                "host": source["host"],
                "port": str(source["port"]),
                "user": source["user"],
                "password": "",
                # Also what Python's files are called by: it writes them in this encoding.
                "charset": "utf8",
                "connect_timeout": 10,
            },
            "schema_mappings": {SOURCE: SOURCE},
            "limit_tables": [f"{SOURCE}.orders"],
            "skip_tables": [],
            "grant_select_to": [],
            "lock_timeout": "120s",
            "my_server_id": 7003,
            "replica_batch_size": 100_000,
            "replay_max_rows": 100_000,
            "batch_retention": "1 day",
            "copy_max_memory": "300M",
            "copy_mode": "file",
            "out_dir": str(directory),
            "sleep_loop": 1,
            "on_error_replay": "exit",
            "on_error_read": "exit",
            "auto_maintenance": "disabled",
            "gtid_enable": False,
            "type": "mysql",
            "keep_existing_schema": False,
            "net_read_timeout": 600,
        }
        document = {
            "pid_dir": str(settings / "pid"),
            "log_dir": str(settings / "logs"),
            # With its log there it stays in the foreground.
            "log_dest": "stdout",
            "log_level": "info",
            "log_days_keep": 10,
            "rollbar_key": "",
            "rollbar_env": "",
            "type_override": {"tinyint(1)": {"override_to": "boolean", "override_tables": ["*"]}},
            "pg_conn": {
                "host": address.host,
                "port": str(address.port),
                "user": address.user,
                "password": address.password,
                "database": database,
                "charset": "utf8",
            },
            "sources": {"mysql": copied},
        }
        (settings / "configuration" / "default.yml").write_text(yaml.safe_dump(document))
        if self._user is not None:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, self._user, -1)

    def prepare(self) -> None:
        """Make its own tables in the target, and name the source. Raises BenchmarkError."""
        # It waits for positions that MariaDB writes no more into events since 11.4, and would read the log for ever.
        with self._source.cursor() as cursor:
            cursor.execute("set global binlog_legacy_event_pos = on")
        for words in (["create_replica_schema"], ["add_source", "--source", "mysql"]):
            process = self._run(*words)
            if not process.wait_until(lambda: False, TIMEOUT_S) and process.return_code:
                raise BenchmarkError(f"pg_chameleon {words[0]} failed:\n{log_tail(self.log, 30)}")

    def start(self, *words: str) -> ServerProcess:
        """Start `init_replica`, which ends, or `start_replica`, which does not, in the foreground."""
        return self._run(*words, "--source", "mysql")

    def _run(self, *words: str) -> ServerProcess:
        program = packages() / "bin" / "chameleon.py"
        command = [self._python, "-W", "ignore", str(program), *words, "--config", "default"]
        environment = {"PYTHONPATH": str(packages()), "HOME": str(self._home)}
        return ServerProcess(command, self.log, stop_signal=signal.SIGTERM, environment=environment, user=self._user)
