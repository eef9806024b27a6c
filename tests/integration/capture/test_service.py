"""The capture service on a real broker and a real PostgreSQL."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from capture import checkpoints
from deploy.local.kafka import KafkaAddress
from runtime import configuration, exit_codes
from runtime.kafka.producer import TransactionalProducer
from tests.integration.capture.running import DEADLINE_S, Capture, differences, kill, wait_until
from tests.kit.servers import Database
from tests.kit.workload import Workload


def test_load_and_changes_arrive_once_over_kills(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, replication: str
) -> None:
    workload = Workload(source_database.dsn, seed=11, truncates=True)
    workload.create(rows=20_000)
    capture = Capture(tmp_path, kafka_server, source_database, replication)
    stop = threading.Event()
    writer = threading.Thread(target=workload.run_until, args=(stop, 0.01))
    writer.start()
    try:
        for round_number in range(4):
            with capture.running() as process:
                before = capture.status().get("sequence", 0)
                # The first rounds are killed in the middle of the load, the later ones while changes are streamed.
                wait_until(lambda: capture.status().get("sequence", 0) > before, process, capture)  # noqa: B023
                if round_number >= 2:
                    wait_until(lambda: capture.status().get("phase") == "streaming", process, capture)
                kill(process)
    finally:
        stop.set()
        writer.join()
    capture.run_to_end("--stop-at", "now")
    assert differences(capture) == []
    assert set(capture.loaded()) == {"wl_items", "wl_pairs", "wl_texts", "wl_log", "wl_idle"}


def test_sigterm_drains_and_the_next_run_goes_on(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, replication: str
) -> None:
    workload = Workload(source_database.dsn, seed=5)
    workload.create(rows=300)
    capture = Capture(tmp_path, kafka_server, source_database, replication, topics={"cleanup": "compact"})
    with capture.running() as process:
        wait_until(lambda: capture.status().get("phase") == "streaming", process, capture)
        workload.run(100)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0, capture.log_tail()
    assert capture.status()["state"] == "stopped"
    workload.run(50)
    capture.run_to_end("--stop-at", "now")
    assert differences(capture) == []


def test_a_standby_waits_and_takes_over(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, replication: str
) -> None:
    workload = Workload(source_database.dsn, seed=7)
    workload.create(rows=300)
    capture = Capture(tmp_path, kafka_server, source_database, replication)
    with capture.running() as first:
        wait_until(lambda: capture.status().get("phase") == "streaming", first, capture)
        with capture.running() as second:
            wait_until(lambda: "waiting as a standby" in capture.log.read_text(), second, capture)
            workload.run(30)
            kill(first)
            workload.run(30)
            wait_until(lambda: capture.status().get("pid") == second.pid, second, capture)
            second.send_signal(signal.SIGTERM)
            assert second.wait(DEADLINE_S) == 0, capture.log_tail()
    capture.run_to_end("--stop-at", "now")
    assert differences(capture) == []


def test_a_fenced_capture_goes_on_unless_its_checkpoint_was_taken_away(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, replication: str
) -> None:
    workload = Workload(source_database.dsn, seed=8)
    workload.create(rows=300)
    capture = Capture(tmp_path, kafka_server, source_database, replication)
    with capture.running() as process:
        wait_until(lambda: capture.status().get("phase") == "streaming", process, capture)
        # As another capture does that was elected before and is late.
        intruder = TransactionalProducer(kafka_server.settings, checkpoints.transactional_id(replication))
        intruder.init()
        intruder.close()
        workload.run(30)
        wait_until(lambda: "has claimed its transactional id" in capture.log.read_text(), process, capture)
        workload.run(30)
        wait_until(lambda: differences(capture) == [], process, capture)
        checkpoints.reset(configuration.load(capture.config))
        workload.run(5)
        assert process.wait(DEADLINE_S) == exit_codes.STOPPED, capture.log_tail()
    assert "the checkpoint was taken away" in capture.log.read_text()


@pytest.mark.parametrize("topic_format", ["json"])
def test_full_load_alone_ends_and_leaves_nothing_at_the_source(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, replication: str, topic_format: str
) -> None:
    Workload(source_database.dsn, seed=3).create(rows=2_000)
    capture = Capture(
        tmp_path, kafka_server, source_database, replication, mode="full-load", topics={"format": topic_format}
    )
    capture.run_to_end()
    assert len(capture.loaded()) == 5
    assert capture.status()["phase"] == "loaded"
    assert source_database.rows("select slot_name from pg_replication_slots where database = current_database()") == []
    capture.run_to_end()
    assert capture.status()["phase"] == "loaded"


def test_a_start_that_is_refused_leaves_nothing_at_the_source(
    tmp_path: Path, kafka_server: KafkaAddress, source_database: Database, replication: str
) -> None:
    source_database.execute("create table wl_items (id int primary key)")
    slots = "select slot_name from pg_replication_slots where database = current_database()"
    for start_position, stop_at, code, reason in (
        ("now", "nowhere", 2, "a position of PostgreSQL is written like"),
        ("2020-01-01T00:00:00Z", "now", 3, "there is no replication slot"),
        ("0/100", "now", 3, "is gone"),
    ):
        capture = Capture(
            tmp_path, kafka_server, source_database, replication, mode="cdc", start_position=start_position
        )
        with capture.running("--stop-at", stop_at) as process:
            assert process.wait(DEADLINE_S) == code, capture.log_tail()
        assert reason in capture.log_tail()
        if code == exit_codes.CONFIGURATION:
            assert capture.status() == {}, "nothing was said before the command was understood"
        assert source_database.rows(slots) == []
        assert source_database.rows("select 1 from pg_publication") == []
