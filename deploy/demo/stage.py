"""The demo's stage: two database servers, a Kafka broker, the services and the writer, each a process stopped by
its id.

Every process has a guardian that ends it when the demo itself is gone, however it went.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import indent
from typing import Any

from control.topics import SCRIPTS
from deploy.demo import shop
from deploy.demo.engines import Client
from deploy.local.kafka import KafkaServer, named_kafka, write_scripts
from deploy.local.postgresql import PASSWORD, server_user
from deploy.local.process import ServerProcess, log_tail
from runtime.configuration import load
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = "replica"
TICK_S = 0.1
CAPTURE, APPLY, WRITER = "capture", "apply", "writer"

# Small chunks, so that a kill finds a table half loaded.
_CONFIGURATION = """\
name: {name}
mode: full-load-and-cdc
kafka: {{bootstrap.servers: "{bootstrap}"}}
source:
{source}
targets:
  {target_name}:
{target}
capture: {{chunk_rows: 10000, session_timeout_s: 6}}
apply: {{session_timeout_s: 6}}
"""


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stage:
    """What runs on this machine for one demo. `close` leaves nothing behind."""

    def __init__(self, directory: Path | None, source: str, target: str) -> None:
        """`source` and `target` are each one of `shop.PRODUCTS`."""
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="tailrace-demo-"))
            # PostgreSQL's own user must be able to enter when we are root.
            directory.chmod(0o755 if server_user() is not None else 0o700)
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.source = shop.side(source, directory / "source", "source")
        self.target = shop.side(target, directory / "target", "target")
        self.bootstrap = ""
        self.configuration = directory / "shop.yaml"
        self._kafka: KafkaServer | None = None
        self._services: dict[str, ServerProcess] = {}
        self._environment = {"DEMO_PASSWORD": PASSWORD, "PYTHONPATH": str(ROOT)}
        self.kills: list[str] = []
        self.at_close: list[Callable[[], None]] = []
        """What is to be done when the services have ended, and nothing asks the targets any more."""

    @property
    def same_engine(self) -> bool:
        """Whether values are at the target as they are at the source, and not only mean the same."""
        return self.source.engine == self.target.engine

    def open_source(self) -> Client:
        """Open a session at the source."""
        return self.source.connect()

    def open_target(self) -> Client:
        """Open a session at the target."""
        return self.target.connect(self.source.schema)

    @property
    def scripts(self) -> Path:
        """Where Kafka's tools are, if the broker is the demo's own."""
        return self.directory / SCRIPTS

    @property
    def settings(self) -> Settings:
        """The replication's settings, as the services read them."""
        return load(self.configuration, {**os.environ, **self._environment})

    def start_servers(self, on_ready: Callable[[str], None]) -> None:
        """Start the three servers side by side, make the databases and write the configuration."""
        with ThreadPoolExecutor(3) as pool:
            starts = {
                pool.submit(self._start_kafka): "Apache Kafka",
                pool.submit(self.source.start): f"{self.source.title}, the source",
                pool.submit(self.target.start): f"{self.target.title}, the target",
            }
            for start, name in starts.items():
                on_ready(f"{name}: {start.result()}")
        name = "shop" if self._kafka is not None else f"shop-{uuid.uuid4().hex[:6]}"
        self.configuration.write_text(
            _CONFIGURATION.format(
                name=name,
                bootstrap=self.bootstrap,
                source=indent(self.source.section(), "  "),
                target_name=TARGET,
                target=indent(self.target.section(self.source.schema), "    "),
            ),
            encoding="utf-8",
        )

    def start(self, name: str) -> None:
        """Start the capture or the apply service."""
        more = ["--target", TARGET] if name == APPLY else []
        command = [sys.executable, "-m", "control.cli", name, "run", str(self.configuration), *more]
        self._start(name, command)

    def start_applier(self, target: str) -> None:
        """Start the apply service of one of several targets, under the name `apply TARGET`."""
        command = [sys.executable, "-m", "control.cli", APPLY, "run", str(self.configuration), "--target", target]
        self._start(f"{APPLY} {target}", command)

    def start_writer(self, transactions_per_s: float, seed: int) -> None:
        """Start the shop's business."""
        words = [self.source.engine, self.source.url, str(transactions_per_s), str(seed)]
        self._start(WRITER, [sys.executable, "-m", "deploy.demo.writer", *words])

    def has(self, name: str) -> bool:
        """Tell whether a service was started and not stopped."""
        return name in self._services

    def pid(self, name: str) -> int:
        """Return the process id of a service."""
        return self._services[name].pid

    def kill(self, name: str, when: str) -> None:
        """Kill a service with SIGKILL: no warning, no clean-up."""
        self._services.pop(name).signal(signal.SIGKILL)
        self.kills.append(f"{name} {when}")

    def stop(self, name: str) -> int:
        """Stop a service in order, and return its exit code."""
        process = self._services.pop(name)
        process.stop(timeout_s=120)
        return process.return_code if process.return_code is not None else -1

    def written(self) -> dict[str, Any]:
        """Return the writer's last counts."""
        lines = self._log(WRITER).read_bytes().splitlines() if self._log(WRITER).is_file() else []
        for line in reversed(lines):
            try:
                counts: dict[str, Any] = json.loads(line)
            except ValueError:
                continue
            return counts
        return {"transactions": 0, "changes": 0, "seconds": 0.0}

    def wait(self, until: Callable[[], bool], what: str, timeout_s: float, tick_s: float = TICK_S) -> None:
        """Poll until something is so. Raises DemoError after `timeout_s`, or when a service has ended by itself.

        A broker that does not answer for a moment (a topic's leader moves, say) only makes the wait longer.
        """
        deadline = time.monotonic() + timeout_s
        while not _holds(until):
            for name, process in self._services.items():
                if not process.running:
                    raise DemoError(
                        f"{name} ended by itself with code {process.return_code}; its log ends:\n"
                        + log_tail(self._log(name), 25)
                    )
            if time.monotonic() > deadline:
                raise DemoError(f"{what}: not within {timeout_s:.0f} s; logs are in {self.directory}")
            time.sleep(tick_s)

    def run_command(self, *arguments: str) -> int:
        """Run a `tailrace` command to its end with its output on our screen; return its exit code."""
        command = [sys.executable, "-m", "control.cli", *arguments]
        return os.spawnve(os.P_WAIT, sys.executable, command, {**os.environ, **self._environment})

    def close(self, *, keep_files: bool) -> None:
        """Stop everything; remove the files unless they are wanted."""
        for name in sorted(self._services, key=(WRITER, CAPTURE, APPLY).__contains__, reverse=True):
            self._services.pop(name).stop(timeout_s=30)
        if self._kafka is None and self.configuration.is_file():
            # The cluster is somebody else's (TAILRACE_KAFKA), and is left as it was.
            self.run_command("reset", str(self.configuration), "--purge", "--yes")
        for stop in self.at_close:
            stop()
        with ThreadPoolExecutor(3) as pool:
            stops = [self.source.stop, self.target.stop, *([self._kafka.stop] if self._kafka else [])]
            for stop in stops:
                pool.submit(stop)
        if not keep_files:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, name: str, command: list[str]) -> None:
        self._services[name] = ServerProcess(
            command, self._log(name), stop_signal=signal.SIGTERM, environment=self._environment
        )

    def _log(self, name: str) -> Path:
        return self.directory / f"{name.replace(' ', '-')}.log"

    def _start_kafka(self) -> str:
        named = named_kafka()
        if named is not None:
            self.bootstrap = named.bootstrap
            return f"{self.bootstrap} (TAILRACE_KAFKA)"
        self._kafka = KafkaServer(self.directory / "kafka")
        self._kafka.start()
        write_scripts(self.scripts)
        self.bootstrap = self._kafka.address.bootstrap
        return self.bootstrap


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except TailraceError as error:
        if error.kind is not ErrorKind.TRANSPORT:
            raise
        return False
