"""A peer in Python: Singer's tap-mysql piped into its target-postgres, both of PipelineWise; each run is a batch.

Their packages, which exclude one another's, are unpacked beside ours, never installed with them. The tap's first run
copies the table and notes where the log stands; the next one reads the log from there to its end.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.databases.engine import SOURCE
from benchmarks.databases.postgresql import Postgresql
from benchmarks.stages.measure import BenchmarkError
from deploy.local.cache import cached, download
from deploy.local.process import ServerProcess

TAP, TARGET = "pipelinewise-tap-mysql==1.6.0", "pipelinewise-target-postgres==2.1.2"
TIMEOUT_S = 300
BATCH_ROWS = 100_000


def _packages(requirement: str) -> Path:
    """Return the directory of a program's packages, downloaded once. Raises DownloadError."""

    def make(directory: Path) -> None:
        options = ["--quiet", "--disable-pip-version-check", "--target", str(directory)]
        download([sys.executable, "-m", "pip", "install", *options, requirement], requirement)

    name, _, version = requirement.partition("==")
    return cached(f"{name}-{version}-{sys.version_info.major}.{sys.version_info.minor}", make)


class Singer:
    """One pipe, with its configuration and its state in a directory."""

    def __init__(self, directory: Path, source: dict[str, Any], target: Postgresql, database: str) -> None:
        directory.mkdir()
        self._directory = directory
        self.log = directory / "singer.log"
        address = target.server.address
        tap = {name: source[name] for name in ("host", "port", "user")} | {"password": "", "engine": "mariadb"}
        copied = {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "password": address.password,
            "dbname": database,
            "default_target_schema": SOURCE,
            "hard_delete": True,
            "batch_size_rows": BATCH_ROWS,
        }
        (directory / "tap.json").write_text(json.dumps(tap | {"filter_dbs": SOURCE}))
        (directory / "target.json").write_text(json.dumps(copied))

    def prepare(self) -> None:
        """Find the table, and choose it. Raises BenchmarkError."""
        command = ["sh", "-c", f"{self._tap()} --discover"]
        environment = {**os.environ, "PYTHONPATH": str(_packages(TAP))}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment)
        if done.returncode:
            raise BenchmarkError(f"tap-mysql failed: {done.stderr[-800:]}")
        catalog = json.loads(done.stdout)
        for stream in catalog["streams"]:
            for entry in stream["metadata"]:
                if not entry["breadcrumb"]:
                    chosen = stream["table_name"] == "orders"
                    entry["metadata"] |= {"selected": chosen, "replication-method": "LOG_BASED"}
        (self._directory / "catalog.json").write_text(json.dumps(catalog))

    def start(self) -> ServerProcess:
        """Start a run: of the table, or, after the first, of what has changed since. It ends by itself."""
        state = self._directory / "state.json"
        after = f" --state {state}" if state.is_file() else ""
        next_ = self._directory / "next.json"
        target = f"PYTHONPATH={_packages(TARGET)} {self._program(TARGET, 'target-postgres')} -c target.json"
        tap = f"PYTHONPATH={_packages(TAP)} {self._tap()} --catalog catalog.json{after}"
        pipe = f"set -o pipefail; {tap} | {target} | tail -1 > {next_} && mv {next_} {state}"
        return ServerProcess(["bash", "-c", pipe], self.log, stop_signal=signal.SIGTERM)

    def _tap(self) -> str:
        return f"{self._program(TAP, 'tap-mysql')} -c {self._directory / 'tap.json'}"

    def _program(self, requirement: str, name: str) -> str:
        return shlex.join([sys.executable, "-W", "ignore", str(_packages(requirement) / "bin" / name)])
