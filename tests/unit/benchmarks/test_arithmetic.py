"""The benchmarks' arithmetic: rates, percentiles, medians, and the page that is made of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, sinks
from benchmarks.compare import Measured
from benchmarks.page import goals, pages, report, tables, text
from benchmarks.page.report import MIB, Limit, Round, StageResult
from benchmarks.peers import debezium
from benchmarks.stages.latency import Latency, summary
from benchmarks.stages.measure import BenchmarkError, Sample, cost, pause_s, percentile


def _samples(*rows: tuple[float, int, float, int]) -> list[Sample]:
    return [Sample(at_s, events, cpu_s, rss_mib * MIB) for at_s, events, cpu_s, rss_mib in rows]


SAMPLES = _samples(
    (10.0, 0, 0.5, 40), (11.0, 0, 1.0, 50), (12.0, 100, 1.5, 60), (13.0, 400, 2.0, 90), (14.0, 700, 3.0, 80),
    (15.0, 700, 3.25, 70),
)  # fmt: skip


def test_a_rate_runs_from_the_first_progress_to_the_last() -> None:
    measured = cost(SAMPLES)
    assert (measured.events, measured.seconds, measured.cpu_s) == (600, 2.0, 1.5)
    assert measured.events_per_s == 300
    assert measured.events_per_cpu_s == 400
    assert not measured.has_start


def test_the_whole_run_stands_beside_the_rate() -> None:
    measured = cost(SAMPLES)
    assert (measured.whole_events, measured.whole_seconds, measured.whole_cpu_s) == (700, 5.0, 3.25)
    assert measured.memory_peak_bytes == 90 * MIB


def test_events_that_come_all_at_once_count_for_the_whole_run_up_to_them() -> None:
    measured = cost(_samples((1.0, 0, 0.0, 1), (3.0, 500, 1.0, 1), (9.0, 500, 2.0, 1)))
    assert (measured.events, measured.seconds, measured.cpu_s) == (500, 2.0, 1.0)


def test_events_that_come_too_fast_for_the_samples_count_for_the_whole_run() -> None:
    measured = cost(_samples((1.0, 0, 0.5, 1), (3.0, 100, 1.0, 1), (3.9, 500, 1.5, 1), (9.0, 500, 2.0, 1)))
    assert (measured.events, measured.cpu_s) == (500, 1.0)
    assert measured.seconds == pytest.approx(2.9)
    assert measured.has_start


@pytest.mark.parametrize("samples", [[], SAMPLES[:2]])
def test_a_run_without_events_is_no_measurement(samples: list[Sample]) -> None:
    with pytest.raises(BenchmarkError):
        cost(samples)


def test_who_answers_slowly_is_asked_rarely_and_more_often_towards_the_end() -> None:
    seen = _samples((0.0, 0, 0.0, 1), (10.0, 100, 0.0, 1), (20.0, 600, 0.0, 1))
    assert pause_s(seen, 1000, 0.001, 0.1) == 0.1
    assert pause_s(seen, 1000, 0.2, 0.1) == pytest.approx(1.8)
    # 400 are left, 50 come in a second, and half of that time is waited for at most.
    assert pause_s(seen, 1000, 2.0, 0.1) == pytest.approx(4.0)
    assert pause_s(seen, 601, 2.0, 0.1) == 0.1
    assert pause_s(seen[:1], 1000, 2.0, 0.1) == pytest.approx(18.0)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (1, 1.0), (50, 50.0), (99, 99.0), (99.5, 100.0), (100, 100.0)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(1, 101)], percent) == expected


def test_the_percentiles_of_one_value_are_that_value() -> None:
    assert summary(100, 99.0, [7.0]) == Latency(100, 99.0, 1, 7.0, 7.0, 7.0, 7.0)


def test_the_medians_of_rounds_keep_what_is_no_number() -> None:
    rounds = [[{"name": "a", "rate": rate, "bytes": None}] for rate in (5.0, 1.0, 3.0)]
    assert report.medians(rounds) == [{"name": "a", "rate": 3.0, "bytes": None}]


def _cells(page: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]


def test_the_page_shows_every_number_in_its_unit() -> None:
    stage = StageResult.of("log-avro", "log → Kafka", cost(SAMPLES), 70_000)
    rounds = [Round([stage], [Latency(100, 99.6, 1000, 50.0, 80.0, 120.0, 1234.0)], [Limit("COPY TO", 9, 1.0, 9e6)])]
    page = text.page({"latest": report.document(rounds, 20_000, 0.5)})
    table = _cells(page)
    assert ["log → Kafka", "300", "400", "215", "90 MiB", "100 per event"] in table
    assert ["100/s", "100/s", "50 ms", "80 ms", "120 ms", "1,234 ms"] in table
    assert ["`COPY TO`", "9,000,000"] in table
    assert "20,000 rows" in page


def test_a_comparison_is_of_medians_by_stage_shape_and_encoding() -> None:
    runs = [
        Measured("postgresql", "log", "orders", encoding, side, 10, rate, 2 * rate, 50.0, None)
        for encoding, side, rate in (
            ("json", "ours", 300.0), ("json", "peer", 50.0), ("json", "ours", 500.0), ("json", "peer", 150.0),
            ("avro", "ours", 90.0), ("avro", "peer", 30.0),
        )
    ]  # fmt: skip
    found = compare.summary(runs)
    assert [(entry["encoding"], entry["times"], entry["times_per_cpu"]) for entry in found] == [
        ("json", 4.0, 4.0),
        ("avro", 3.0, 3.0),
    ]
    limit = {"engine": "mysql", "shape": "orders", "name": "a", "events_per_s": 1234.0}
    shown = _cells(tables.comparison({"summary": found, "limits": [limit]}))
    assert ["PostgreSQL log → Kafka", "json", "400"] in [row[:3] for row in shown]
    assert ["MySQL, orders", "1,234"] in shown


def test_bytes_on_the_topic_are_the_medians_of_each_side() -> None:
    runs = [
        Measured("mysql", "rows", "orders", "avro", side, 10, 1.0, 1.0, 50.0, size)
        for side, size in (("ours", 120.0), ("peer", 140.0), ("ours", 122.0), ("peer", 146.0))
    ]
    shown = _cells(tables.headline({"summary": compare.summary(runs), "runs": [asdict(run) for run in runs]}))
    assert shown[-1][-1] == "121 / 143"


def _compared(times: float, times_per_cpu: float) -> dict[str, Any]:
    ours = {"events_per_s": 50_000.0, "memory_peak_mib": 100.0}
    entry = {"engine": "postgresql", "stage": "log", "shape": "orders", "encoding": "json", "ours": ours}
    limit = {"engine": "postgresql", "shape": "orders", "name": "pg_recvlogical", "events_per_s": 200_000.0}
    return {"summary": [{**entry, "times": times, "times_per_cpu": times_per_cpu}], "limits": [limit]}


@pytest.mark.parametrize(
    ("times", "times_per_cpu", "met"), [(5.0, 8.0, "met"), (4.9, 20.0, "not met"), (9.0, 7.9, "not met")]
)
def test_a_goal_is_met_when_both_figures_are(times: float, times_per_cpu: float, met: str) -> None:
    row, memory = _cells(goals.table({"compare": _compared(times, times_per_cpu)}))[2:]
    assert row[2:5] == ["5×/s, 8×/CPU-s", f"{times:.1f}×, {times_per_cpu:.1f}×", met]
    assert row[5:] == ["`pg_recvlogical`, 200,000/s, 12×/CPU-s", f"25%, {times_per_cpu:.1f}×"]
    assert memory[:1] == ["memory of a service"]
    assert memory[3:5] == ["100 MiB", "met"]


def test_the_goals_of_memory_and_latency_are_held_against_the_worst_service_and_our_own_waits() -> None:
    step = {"grows": "tables", "size": 1000, "costs": {"capture, rows": {"memory_mib": 301.0}}}
    many = {"grows": "targets", "size": 8, "costs": {"apply, rows": {"memory_mib": 1000.0}}}
    waits = [
        {"side": side, "wanted_per_s": 1000, "encoding": "avro", "p50_ms": p50, "p99_ms": 499.0}
        for side, p50 in (("peer", 1.0), ("ours", 99.6))
    ]
    shown = _cells(goals.table({"compare": {"latencies": waits}, "growth": {"steps": [step, many]}}))
    assert [row[3:5] for row in shown[2:]] == [["100 ms, 499 ms", "met"], ["301 MiB", "not met"]]


def test_the_releases_of_the_peer_are_those_of_its_poms() -> None:
    found = debezium.versions()
    assert "debezium-jdbc" in found
    assert all(version.endswith(".Final") for version in found.values())


def test_what_is_measured_again_takes_the_place_of_what_was(tmp_path: Path) -> None:
    kept = tmp_path / "results" / "sinks.json"
    pages.merge(kept, {"when": "then", "targets": [{"target": "a", "rate": 1}, {"target": "b", "rate": 2}]})
    pages.merge(kept, {"when": "now", "targets": [{"target": "a", "rate": 3}]})
    assert pages.read(kept) == {"when": "now", "targets": [{"target": "b", "rate": 2}, {"target": "a", "rate": 3}]}


def test_whoever_took_longer_bounds_a_target() -> None:
    assert sinks.bound(waiting_s=5.0, cpu_s=2.0) == "the server"
    assert sinks.bound(waiting_s=0.5, cpu_s=2.0) == "the applier"
