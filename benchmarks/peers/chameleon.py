"""A peer in Python: pg_chameleon, MySQL or MariaDB to PostgreSQL without Kafka between.

Its packages are unpacked beside ours, never installed with them. Its settings are its example's, but for larger batches
and a shorter sleep.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.databases.engine import SOURCE
from benchmarks.databases.postgresql import Postgresql
from benchmarks.stages.measure import BenchmarkError
from deploy.local.cache import cached, download
from deploy.local.process import ServerProcess, log_tail

VERSION = "2.0.21"
TIMEOUT_S = 300


def packages() -> Path:
    """Return the directory of its packages, downloaded once. Raises DownloadError."""

    def make(directory: Path) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--target", str(directory)]
        download([sys.executable, "-m", "pip", "install", *options, f"pg_chameleon=={VERSION}"], "pg_chameleon")

    return cached(f"pg-chameleon-{VERSION}-{sys.version_info.major}.{sys.version_info.minor}", make)


class Chameleon:
    """One replica, with its configuration and logs in a directory."""

    def __init__(self, directory: Path, source: dict[str, Any], target: Postgresql, database: str) -> None:
        self._home = directory
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
                "charset": "utf8mb4",
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

    def prepare(self) -> None:
        """Make its own tables in the target, and name the source. Raises BenchmarkError."""
        for words in (["create_replica_schema"], ["add_source", "--source", "mysql"]):
            done = subprocess.run(
                self._command(*words), capture_output=True, text=True, check=False, env=self._environment(),
                timeout=TIMEOUT_S,
            )  # fmt: skip
            if done.returncode:
                raise BenchmarkError(f"pg_chameleon {words[0]} failed: {(done.stdout + done.stderr)[-800:]}")

    def start(self, *words: str) -> ServerProcess:
        """Start `init_replica`, which ends, or `start_replica`, which does not, in the foreground."""
        command = self._command(*words, "--source", "mysql")
        return ServerProcess(command, self.log, stop_signal=signal.SIGTERM, environment=self._environment())

    def check(self, process: ServerProcess) -> None:
        """Raise BenchmarkError if it has failed."""
        if process.return_code:
            raise BenchmarkError(f"pg_chameleon ended with {process.return_code}:\n{log_tail(self.log, 30)}")

    def _command(self, *words: str) -> list[str]:
        program = packages() / "bin" / "chameleon.py"
        return [sys.executable, "-W", "ignore", str(program), *words, "--config", "default"]

    def _environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(packages()), "HOME": str(self._home)}
