"""A Kafka broker and two PostgreSQL servers that stay up until they are told to stop: `tailrace dev up` and `down`.

What is running stands in a file beside the data. A process is only stopped after its command line was seen to name
its own directory: a process id may have been given to somebody else in between.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deploy.local.cache import cache_directory
from deploy.local.kafka import KafkaAddress, KafkaServer, named_kafka
from deploy.local.postgresql import SHARED_CACHE, PostgresqlAddress, PostgresqlServer, server_user

STATE_FILE = "running.json"
STOP_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Stack:
    """The servers that are up, and how each is stopped."""

    kafka: KafkaAddress
    source: PostgresqlAddress
    target: PostgresqlAddress
    processes: dict[str, int]
    """Process ids by name: `kafka`, `source`, `target`. Without `kafka` when TAILRACE_KAFKA named a cluster."""


def stack_directory() -> Path:
    """Return where the servers keep their data. A server's own user can enter it."""
    root = cache_directory() if server_user() is None else SHARED_CACHE
    return root / "dev"


def up(directory: Path | None = None, *, majors: tuple[int, int] = (18, 18)) -> Stack:
    """Start what is not up; return all. The data of earlier runs is there again."""
    directory = directory or stack_directory()
    running = status(directory)
    if running is not None:
        return running
    # What a crash of the machine, or half an `up`, left behind.
    down(directory)
    directory.mkdir(parents=True, exist_ok=True)
    processes: dict[str, int] = {}
    try:
        address = named_kafka()
        if address is None:
            broker = KafkaServer(directory / "kafka", detached=True)
            broker.start()
            processes["kafka"], address = broker.pid, broker.address
        servers = [
            PostgresqlServer(directory / name, major=major, detached=True)
            for name, major in zip(("source", "target"), majors, strict=True)
        ]
        for server in servers:
            server.start()
            processes[server.directory.name] = server.pid
    except BaseException:
        _stop_all(directory, processes)
        raise
    stack = Stack(address, servers[0].address, servers[1].address, processes)
    (directory / STATE_FILE).write_text(json.dumps(asdict(stack)))
    return stack


def status(directory: Path | None = None) -> Stack | None:
    """Return what is up, or None when anything of it is not."""
    directory = directory or stack_directory()
    stack = _read(directory)
    if stack is None or not all(_ours(directory / name, pid) for name, pid in stack.processes.items()):
        return None
    return stack


def down(directory: Path | None = None) -> list[str]:
    """Stop what is up; return the names of what was stopped. The data stays."""
    directory = directory or stack_directory()
    stack = _read(directory)
    stopped = _stop_all(directory, stack.processes) if stack else []
    (directory / STATE_FILE).unlink(missing_ok=True)
    return stopped


def _stop_all(directory: Path, processes: dict[str, int]) -> list[str]:
    stopped = []
    for name, pid in processes.items():
        process = _ours(directory / name, pid)
        if process is None:
            continue
        process.send_signal(signal.SIGTERM if name == "kafka" else signal.SIGINT)
        if not _ends(process):
            process.kill()
            _ends(process)
        stopped.append(name)
    return stopped


def _ends(process: psutil.Process) -> bool:
    """Wait until a process has ended. One that nobody reaps, as in some containers, stays as a zombie and has ended."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                with contextlib.suppress(psutil.TimeoutExpired):
                    # Ours to reap, if it was started here.
                    process.wait(0)
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def _read(directory: Path) -> Stack | None:
    path = directory / STATE_FILE
    if not path.is_file():
        return None
    document = json.loads(path.read_text())
    return Stack(
        KafkaAddress(**document["kafka"]),
        PostgresqlAddress(**document["source"]),
        PostgresqlAddress(**document["target"]),
        document["processes"],
    )


def _ours(directory: Path, pid: int) -> psutil.Process | None:
    """Return the process if it is there, and its command line names the directory."""
    try:
        process = psutil.Process(pid)
        is_ours = process.status() != psutil.STATUS_ZOMBIE and str(directory.resolve()) in " ".join(process.cmdline())
    except psutil.Error:
        return None
    return process if is_ours else None
