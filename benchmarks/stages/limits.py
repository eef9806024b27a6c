"""What the database's and Kafka's own tools do with the same rows: nothing that reads or writes them can be faster."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg

from benchmarks.stages.measure import BenchmarkError
from deploy.local.java import find_java
from deploy.local.kafka import kafka_jars
from deploy.local.postgresql import PostgresqlAddress, programs
from runtime import clock

SLOT, PUBLICATION = "bench_limit", "bench_limit"
TIMEOUT_S = 600
SENT = 1_000_000
PRODUCER = ("compression.type=lz4", "batch.size=262144", "linger.ms=20", "buffer.memory=134217728")
"""The best known settings of Kafka's producer test."""


def copy_speeds(dsn: str) -> tuple[float, float]:
    """Return the seconds to read the rows of `orders` by COPY TO, and to write them by COPY FROM (binary).

    Written into a table with the primary key, in one transaction, from memory.
    """
    with psycopg.connect(dsn) as source, source.cursor() as cursor:
        begin = clock.monotonic()
        with cursor.copy("copy orders to stdout (format binary)") as copy:
            pieces = [bytes(piece) for piece in copy]
        read_s = clock.monotonic() - begin
    with psycopg.connect(dsn) as target, target.cursor() as cursor:
        cursor.execute("create table orders_limit (like orders including indexes)")
        target.commit()
        begin = clock.monotonic()
        with cursor.copy("copy orders_limit from stdin (format binary)") as copy:
            for piece in pieces:
                copy.write(piece)
        target.commit()
        written_s = clock.monotonic() - begin
        cursor.execute("drop table orders_limit")
        target.commit()
    return read_s, written_s


def mark_log(source_dsn: str) -> None:
    """Make a slot that keeps the log from here on."""
    with psycopg.connect(source_dsn, autocommit=True) as source:
        source.execute(f"create publication {PUBLICATION} for table orders".encode())
        source.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", (SLOT,))


def log_speed(address: PostgresqlAddress, database: str) -> float | None:
    """Return the seconds that `pg_recvlogical` takes for the log since the mark; None where it is not installed."""
    program = programs() / "pg_recvlogical"
    if not program.is_file():
        return None
    with psycopg.connect(address.dsn(database), autocommit=True) as source:
        found = source.execute("select pg_current_wal_flush_lsn()").fetchone()
        end = str(found[0]) if found else "0/0"
        # The end is passed by a commit that follows it.
        source.execute("create table bench_limit_end ()")
        command = [str(program), "-d", address.dsn(database), "--slot", SLOT, "--start", "--no-loop", "--endpos", end]
        command += ["-o", "proto_version=1", "-o", f"publication_names={PUBLICATION}", "-f", "/dev/null"]
        begin = clock.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        seconds = clock.monotonic() - begin
        source.execute("drop table bench_limit_end")
    if done.returncode:
        raise BenchmarkError(f"pg_recvlogical failed: {done.stderr.strip()[-500:]}")
    return seconds


def producer_speed(source_dsn: str, bootstrap: str, topic: str, directory: Path) -> tuple[int, float]:
    """Return how many records Kafka's own producer test sent to a topic, and the seconds by its own word.

    The records are rows of the source as JSON, like those of ours, drawn at random from ten thousand of them.
    """
    payload = directory / "payload.jsonl"
    query = "select json_build_object('op', 'c', 'before', null, 'after', o)::text from orders o limit 10000"
    with psycopg.connect(source_dsn) as source:
        payload.write_text("\n".join(str(text) for (text,) in source.execute(query)))
    command = [find_java(), "-Xmx1g", "-cp", kafka_jars(), "org.apache.kafka.tools.ProducerPerformance"]
    command += ["--topic", topic, "--num-records", str(SENT), "--throughput", "-1", "--payload-file", str(payload)]
    command += ["--command-property", f"bootstrap.servers={bootstrap}", *PRODUCER]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    rates = re.findall(r"([\d.]+) records/sec", done.stdout)
    if done.returncode or not rates:
        raise BenchmarkError(f"the producer test failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return SENT, SENT / float(rates[-1])
