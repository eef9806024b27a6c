"""Both services show what they do: every metric has its figure, and every log line says whose it is."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

from deploy.local.kafka import KafkaAddress
from runtime import metrics
from tests.integration.services import TARGET, Services
from tests.kit.servers import Database

ROWS, CHANGES = 300, 40


def test_every_metric_and_every_log_line_of_running_services(
    tmp_path: Path, replication: str, kafka_server: KafkaAddress, source_database: Database, target_database: Database
) -> None:
    source_database.execute(
        "create table items (id int primary key, word text)",
        f"insert into items select i, 'w' || i from generate_series(1, {ROWS}) i",
    )
    target_database.execute("create table items (id int primary key, word text check (word <> 'refused'))")
    arguments = (tmp_path, replication, kafka_server, source_database, target_database)
    with Services(*arguments, topics={"partitions": 2}, apply={"values": {"lob_max_kb": 1}}) as services:
        for name in ("capture", "apply"):
            services.start(name, "--metrics-port", "0")
        _await(services, "apply", "apply_records", ROWS)
        source_database.execute(
            f"insert into items values ({ROWS + 1}, repeat('cut off ', 200))",
            *(f"insert into items values ({ROWS + i}, 'v')" for i in range(2, CHANGES)),
            f"insert into items values ({ROWS + CHANGES}, 'refused')",
        )
        _await(services, "apply", "apply_records", ROWS + CHANGES)
        _await(services, "apply", "apply_parked_keys", 1)
        _await(services, "capture", "capture_source_transactions", CHANGES)
        # A PostgreSQL's log has no numbers of transactions, and this one keeps whatever is not read.
        silent = {"tailrace_capture_lag_transactions", "tailrace_capture_log_left_bytes"}
        try:
            services.wait(lambda: _silent(services) == silent, "a sample of every other metric")
        finally:
            assert _silent(services) == silent
        for name, more in (("capture", ()), ("apply", (f'target="{TARGET}"',))):
            whose = {f'replication="{replication}"', f'service="{name}"', *more}
            assert [found for sample, found, _ in _samples(services, name) if sample == "tailrace_service_info"] == [
                whose
            ]
        _await(services, "capture", "capture_rows", ROWS + CHANGES)
        _await(services, "capture", "capture_active", 1)
        _await(services, "apply", "apply_rejected_rows", 1, table="public.items", action="park")
        _await(services, "apply", "apply_partitions", 2)
        _await(services, "apply", "apply_lag_records", 0, table="public.items")
        for name in ("capture", "apply"):
            assert json.loads(_get(services, name, "/healthz"))["alive"] is True
            assert services.stop(name) == 0
            lines = [json.loads(line) for line in _log(services, name)]
            assert all(line["replication"] == replication for line in lines)
            assert all(line["event"] and line["level"] and line["timestamp"] for line in lines)
            assert name == "capture" or all(line["target"] == TARGET for line in lines)
        services.run("reset", "--yes")


def _await(services: Services, name: str, metric: str, value: float, **labels: str) -> None:
    """Wait until a metric has come to a value: figures are set now and then."""
    services.wait(lambda: _value(services, name, metric, **labels) == value, f"{metric} is {value}")


def _silent(services: Services) -> set[str]:
    """Return the metrics that neither service has a sample of."""
    seen = {sample for name in ("capture", "apply") for sample, _, _ in _samples(services, name)}
    suffixes = ("", "_total", "_count", "_info")
    names = (d.name for d in metrics.DESCRIBED)
    return {name for name in names if not any(name + suffix in seen for suffix in suffixes)}


def _value(services: Services, name: str, metric: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    wanted = {f'{label}="{value}"' for label, value in labels.items()}
    return sum(
        value
        for sample, found, value in _samples(services, name)
        if sample.removesuffix("_total") == f"tailrace_{metric}" and wanted <= found
    )


def _samples(services: Services, name: str) -> list[tuple[str, set[str], float]]:
    """Return name, labels and value of each sample (labels here hold no commas)."""
    lines = re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", _get(services, name, "/metrics"), re.MULTILINE)
    return [(sample, set(labels.split(",")), float(value)) for sample, labels, value in lines]


def _get(services: Services, name: str, path: str) -> str:
    ports = [json.loads(line).get("port") for line in _log(services, name) if "metrics served" in line]
    if not ports:
        return ""
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def _log(services: Services, name: str) -> list[str]:
    text = (services.configuration.parent / f"{name}.log").read_text()
    return [line for line in text.splitlines() if re.match(r"\{.*\}$", line)]
