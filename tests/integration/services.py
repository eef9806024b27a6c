"""Both services of a replication as processes, for tests of the whole.

They are forked off a process that has imported them (`tests/kit/forks.py`), unless a test is of the commands as such.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psutil

from deploy.local.kafka import KafkaAddress
from runtime import exit_codes
from runtime.failpoints import VARIABLE
from runtime.status import read_status
from schemas.errors import TailraceError
from schemas.topics import apply_group, capture_group
from tests.kit import forks
from tests.kit.compare import pause
from tests.kit.groups import dismiss
from tests.kit.topics import announced_loads

DEADLINE_S = 480.0
SESSION_TIMEOUT_S = 3
"""So long a group waits for a service that was killed: short, since it is waited for after each kill."""
QUICK: dict[str, Any] = {
    "session_timeout_s": SESSION_TIMEOUT_S,
    "suspended_retry_s": 1,
    "status_interval_s": 0.3,
}
"""What services are told unless a test says otherwise: what tests wait for comes soon."""
TARGET = "replica"
BOTH = ("capture", "apply")
PROGRAM = (sys.executable, "-m", "control.cli")
Process = forks.Command | subprocess.Popen[bytes]
PAUSE_MOST_S = 1.0
"""A look may be a command that has waited itself."""


class Place(Protocol):
    """A database, or what else a configuration's `source` is of."""

    @property
    def settings(self) -> Mapping[str, Any]: ...


class TargetPlace(Protocol):
    """A database to write."""

    @property
    def target_settings(self) -> Mapping[str, Any]: ...


class Services:
    """A configuration, and the processes that run by it. What still runs at the end is killed."""

    def __init__(
        self,
        directory: Path,
        replication: str,
        kafka: KafkaAddress,
        source: Place,
        target: TargetPlace | None,
        *,
        at_source: Mapping[str, Any] | None = None,
        at_target: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """`at_source` and `at_target` are added to the databases' own settings; None takes one away.

        Without a target `targets` is a setting as others are: see `start_appliers`.
        """
        self.as_users_do = False
        """Whether each command is an interpreter that is started."""
        self.configuration = directory / f"{replication}.json"
        self._directory = directory
        self._processes: dict[str, Process] = {}
        self._log_began: dict[str, int] = {}
        self._supervised: set[str] = set()
        at_source = {"tables": ["public.*"], **source.settings, **(at_source or {})}
        document = {
            "name": replication,
            "kafka": kafka.settings,
            "source": {name: value for name, value in at_source.items() if value is not None},
            "targets": {} if target is None else {TARGET: {**target.target_settings, **(at_target or {})}},
            **settings,
        }
        self._kafka = kafka
        self._replication = replication
        document["capture"] = {**QUICK, **settings.get("capture", {})}
        document["apply"] = {**QUICK, **settings.get("apply", {})}
        self.configuration.write_text(json.dumps(document))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._processes):
            self.kill(name)

    def start(self, name: str, *arguments: str, failpoint: str | None = None, instance: str | None = None) -> None:
        """Start `capture` or `apply`, or another of a kind, as `apply-2`.

        `failpoint` is what it is armed with, `instance` its name in the group (static membership).
        """
        service = name.partition("-")[0]
        more = ["--target", TARGET] if service == "apply" else []
        environment = {**os.environ, VARIABLE: failpoint} if failpoint else None
        path = self._directory / f"{name}.log"
        self._log_began[name] = path.stat().st_size if path.exists() else 0
        words = [service, "run", str(self._configured(instance)), *more, *arguments]
        with path.open("ab") as log:
            self._processes[name] = (
                subprocess.Popen([*PROGRAM, *words], stdout=log, stderr=log, env=environment)
                if self.as_users_do
                else forks.Command(words, stdout=log, stderr=log, env=environment)
            )

    def start_appliers(self, targets: Iterable[str]) -> list[str]:
        """Start an applier of each of these targets, and return what the services are called then."""
        names = {f"apply-{target}": target for target in targets}
        for name, target in names.items():
            self.start(name, "--target", target)
        return [*names]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run both services, which may be killed and started anew meanwhile. Both must end well."""
        for name in BOTH:
            self.start(name)
        yield
        for name in BOTH:
            assert self.stop(name) == 0, self.log_tail(name)

    @contextlib.contextmanager
    def moving(self) -> Iterator[str]:
        """Run both services once `plan` finds nothing in their way, and yield what it said. Both must end well."""
        plan = self.run("plan")
        assert plan.returncode == 0, plan.stdout + plan.stderr
        with self.running():
            yield plan.stdout

    @property
    def names(self) -> list[str]:
        """What was started and neither killed nor stopped."""
        return list(self._processes)

    def status(self, component: str = "capture") -> dict[str, Any]:
        """Return a component's own document; empty before there is one."""
        with contextlib.suppress(Exception):
            return read_status(self._kafka.settings, self._replication).get(component, {})
        return {}

    def loaded(self) -> set[str]:
        """Return the tables that capture says are loaded."""
        tables = self.status().get("tables", {})
        return {name for name, table in tables.items() if table.get("state") == "loaded"}

    def announced(self) -> set[str]:
        """Return the tables whose load is published as complete: what comes from now on is no part of it."""
        return set(announced_loads(self._kafka.bootstrap, self._replication))

    def completed(self) -> int:
        """Return of how many tables the appliers say that their load is complete."""
        try:
            said = read_status(self._kafka.settings, self._replication).values()
        except TailraceError:
            # There is no topic before capture has made it.
            return 0
        tables = [table for document in said if "target" in document for table in document["tables"].items()]
        return len({topic for topic, table in tables if table["load_completed"]})

    def supervise(self, name: str) -> None:
        """From now on a service may end by itself, whenever it finds out that another has its place: once.

        Then `wait` starts it again, as a supervisor would, and `stop` is content.
        """
        self._supervised.add(name)

    def pid(self, name: str) -> int:
        """Return a running service's process id."""
        return self._processes[name].pid

    def loaders(self, name: str = "capture") -> list[psutil.Process]:
        """Return the processes in which a capture loads."""
        return [*psutil.Process(self.pid(name)).children()]

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a running service."""
        os.kill(self.pid(name), number)

    def said(self, name: str, words: str) -> bool:
        """Tell whether a service's log has these words since it was started last."""
        return self.count(name, words) > 0

    def count(self, name: str, words: str) -> int:
        """Count these words in a service's log since it was started last."""
        with (self._directory / f"{name}.log").open("rb") as log:
            log.seek(self._log_began[name])
            return log.read().count(words.encode())

    def meet(self, name: str, failpoint: str) -> None:
        """Wait until a service dies at the failpoint that it was armed with.

        Its group need not wait for it: what becomes of those who die without a word is for `kill`.
        """
        code = self.join(name)
        point = failpoint.partition(":")[0]
        assert code == -signal.SIGKILL, f"{failpoint}: ended with {code}\n{self.log_tail(name)}"
        assert self.said(name, f"failpoint {point}\n"), f"{failpoint}: died elsewhere\n{self.log_tail(name)}"
        service = name.partition("-")[0]
        if not any(other.partition("-")[0] == service for other in self._processes):
            groups = {"capture": capture_group(self._replication), "apply": apply_group(self._replication, TARGET)}
            dismiss(self._kafka.bootstrap, groups[service])

    def kill(self, name: str) -> None:
        """Kill with SIGKILL."""
        process = self._processes.pop(name)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def crash(self, name: str) -> None:
        """Kill with SIGKILL, and start it again."""
        self.kill(name)
        self.start(name)

    def stop(self, name: str) -> int:
        """Stop with SIGTERM; return the exit code."""
        self._processes[name].terminate()
        code = self.join(name)
        return exit_codes.OK if code == exit_codes.STOPPED and name in self._supervised else code

    def join(self, name: str) -> int:
        """Wait until a service ends by itself; return the exit code."""
        process = self._processes[name]
        try:
            code = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} did not end\n{self.log_tail(name)}") from None
        del self._processes[name]
        return code

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command: `run("verify", "--target", "replica")`, `run("debug read", topic)`."""
        command, *arguments = words
        words = (*command.split(), str(self.configuration), *arguments)
        if not self.as_users_do:
            return forks.run([*words], DEADLINE_S)
        return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=DEADLINE_S)

    def wait(self, until: Callable[[], bool], what: str, *, progress: bool = False) -> None:
        """Poll until something is so, while the services run. With `progress` they have more time while rows move."""
        deadline = time.monotonic() + DEADLINE_S
        rows = self._rows() if progress else {}
        while True:
            began_s = time.monotonic()
            if until():
                return
            if progress and time.monotonic() > deadline and rows != (rows := self._rows()):
                deadline = time.monotonic() + DEADLINE_S
            for name, process in list(self._processes.items()):
                if process.poll() is not None and name in self._supervised:
                    self._supervised.discard(name)
                    self.start(name)
                    continue
                assert process.poll() is None, f"{name} ended with {process.returncode}\n{self.log_tail(name)}"
            assert time.monotonic() < deadline, f"{what}: not in time\n" + "\n".join(
                map(self.log_tail, self._processes)
            )
            pause(began_s, PAUSE_MOST_S)

    def wait_until_equal(self, targets: Iterable[str]) -> None:
        """Wait until `verify` finds nothing that differs at any of these targets. The source must be at rest."""
        differing = dict.fromkeys(targets, "")

        def are_equal() -> bool:
            for target in [*differing]:
                done = self.run("verify", "--target", target, "--wait", "20", "--tries", "2")
                differing[target] = done.stdout + done.stderr
                if done.returncode == 0:
                    del differing[target]
            return not differing

        try:
            self.wait(are_equal, "the targets are equal")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *differing.values()])) from None

    def _rows(self) -> dict[str, int]:
        """Return how many rows each component has moved, as it says itself."""
        with contextlib.suppress(Exception):
            documents = read_status(self._kafka.settings, self._replication)
            return {component: document.get("rows", 0) for component, document in documents.items()}
        return {}

    def log_tail(self, name: str, lines_max: int = 25) -> str:
        """Return the last lines that a service logged."""
        lines = (self._directory / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join([f"log of {name}:", *(line[:600] for line in lines[-lines_max:])])

    def _configured(self, instance: str | None) -> Path:
        if instance is None:
            return self.configuration
        document = json.loads(self.configuration.read_text())
        document["apply"]["instance_id"] = instance
        path = self.configuration.with_stem(f"{self.configuration.stem}-{instance}")
        path.write_text(json.dumps(document))
        return path


Serve = Callable[..., Services]
"""Makes the services of a test's own replication: see `tests/integration/conftest.py`."""
