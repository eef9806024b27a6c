"""What the tests of the capture service share: a process that captures, and comparing topics with the source."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.local.kafka import KafkaAddress
from runtime.status import read_status
from tests.integration.services import SESSION_TIMEOUT_S
from tests.kit.compare import pause
from tests.kit.forks import Command
from tests.kit.servers import Database
from tests.kit.topics import announced_loads, data_topics, key_faults, read_topics, replay, sequence_faults
from tests.kit.workload import TABLES

DEADLINE_S = 480.0


class Capture:
    """Capture processes of one replication."""

    def __init__(
        self, directory: Path, kafka: KafkaAddress, source: Database, replication: str, **settings: Any
    ) -> None:
        self.kafka = kafka
        self.source = source
        self.replication = replication
        self.config = directory / f"{replication}.json"
        self.log = directory / f"{replication}.log"
        document = {
            "name": replication,
            "kafka": kafka.settings,
            "source": {**source.settings, "tables": ["public.wl_*"]},
            **settings,
        }
        document["capture"] = {"chunk_rows": 500, "session_timeout_s": SESSION_TIMEOUT_S, **settings.get("capture", {})}
        self.config.write_text(json.dumps(document))

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[Command]:
        """Run `tailrace capture run`; it is killed at the end, unless it has ended."""
        with self.log.open("ab") as log:
            process = Command(["capture", "run", str(self.config), *arguments], stdout=log, stderr=log)
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait()

    def run_to_end(self, *arguments: str) -> None:
        """Run until it ends by itself, and expect success."""
        with self.running(*arguments) as process:
            code = process.wait(DEADLINE_S)
        assert code == 0, self.log_tail()

    def status(self) -> dict[str, Any]:
        """Return the capture's own document; empty before there is one."""
        with contextlib.suppress(Exception):
            return read_status(self.kafka.settings, self.replication).get("capture", {})
        return {}

    def log_tail(self) -> str:
        """Return the last lines of what the processes said."""
        return "\n".join(self.log.read_text().splitlines()[-40:])

    def loaded(self) -> dict[str, Any]:
        """Return the announcements of complete loads, by table."""
        return announced_loads(self.kafka.bootstrap, self.replication)


def wait_until(condition: Callable[[], bool], process: Command, capture: Capture) -> None:
    """Wait for a condition while a capture runs."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        began_s = time.monotonic()
        if condition():
            return
        assert process.poll() is None, f"capture ended with {process.returncode}\n{capture.log_tail()}"
        assert time.monotonic() < deadline, f"not reached in time\n{capture.log_tail()}"
        pause(began_s)


def kill(process: Command) -> None:
    """Kill without warning."""
    process.kill()
    process.wait()


COMPARED = {
    "wl_items": ("id", "name", "amount", "flag", "note", "raw", "small", "day"),
    "wl_pairs": ("a", "b"),
    "wl_texts": ("id", "title", "body", "version"),
    "wl_log": ("at", "level", "message"),
    "wl_idle": ("id", "word"),
}


def differences(capture: Capture) -> list[str]:
    """Return what contradicts capture's promises, in words: faults of order, and rows too many or too few."""
    return topic_differences(capture.kafka, capture.source, capture.replication)


def topic_differences(kafka: KafkaAddress, source: Database, replication: str) -> list[str]:
    """Compare a replication's topics with the workload's tables at the source, in words."""
    records = read_topics(kafka.bootstrap, data_topics(kafka.bootstrap, replication))
    faults = sequence_faults(records) + key_faults(records)
    keyed = replay(records)
    for table in TABLES:
        topic = f"{replication}.public.{table}"
        columns = COMPARED[table]
        selected = ", ".join("(day - date '1970-01-01')" if c == "day" else c for c in columns)
        if table == "wl_log":
            selected = "to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), level, message"
        expected = Counter(map(_plain, source.rows(f"select {selected} from {table}")))
        if table == "wl_log":
            found: Counter[Any] = Counter()
            for record in records:
                if record.topic != topic or record.envelope is None:
                    continue
                if record.envelope["op"] == "t":
                    found.clear()
                for image, count in ((record.envelope["before"], -1), (record.envelope["after"], 1)):
                    if image is not None:
                        found[_plain(tuple(image[c] for c in columns))] += count
            found = +found
        else:
            found = Counter(_plain(tuple(row[c] for c in columns)) for row in keyed.get(topic, {}).values())
        extra, missing = found - expected, expected - found
        if extra or missing:
            faults.append(
                f"{table}: {sum(extra.values())} rows too many, {sum(missing.values())} missing; "
                f"first: {list(extra)[:2]} {list(missing)[:2]}"
            )
    return faults


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)
