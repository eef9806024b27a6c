"""What an applier says of itself: status documents, metrics, liveness."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from apply.applier import Applier
from apply.completion import Completion
from apply.outcome import Outcome
from runtime import clock, metrics
from schemas.errors import Action, TailraceError

WAITS_SHOWN = 8
"""Tables and reasons of waiting rows in a status document."""


class Status(Protocol):
    """What of `runtime.status.StatusWriter` is used here."""

    def write(self, document: Mapping[str, Any]) -> None: ...


class Report:
    """Gathers figures per batch, and writes a document now and then."""

    def __init__(self, target: str, applier: Applier, completion: Completion, status: Status) -> None:
        self._target = target
        self._applier = applier
        self._completion = completion
        self._status = status
        self._rows: dict[str, int] = {}
        self._total = 0
        self._rate_from = (clock.monotonic(), 0)
        self._rate = 0.0
        self._writing_s = 0.0
        self._waiting_s = 0.0
        self.lag_records = 0
        self.lag_ms: int | None = None
        self.applied_us: int | None = None
        """When the source committed the last change that is durable here."""
        self.answers: dict[str, str] = {}
        """What became of signals to this target, by their ids."""
        applier.on_written = self.written
        applier.on_trouble = self.trouble

    def written(self, outcome: Outcome) -> None:
        """Count a durable batch."""
        if outcome.batch.row_count:
            metrics.APPLY_BATCHES.labels(self._target).observe(outcome.duration_s)
        self._writing_s += outcome.duration_s
        self._waiting_s += outcome.waited_s
        metrics.APPLY_WAITING.labels(self._target).inc(outcome.waited_s)
        for topic, count in outcome.batch.rows_by_topic().items():
            self._rows[topic] = self._rows.get(topic, 0) + count
            self._total += count
            metrics.APPLY_RECORDS.labels(self._target, self._table(topic)).inc(count)
        waits = Counter(topic for topic, _ in outcome.waits)
        for topic, segments in outcome.batch.segments.items():
            count = max(0, sum(len(s.net) for s in segments) - waits[topic])
            metrics.APPLY_ROWS.labels(self._target, self._table(topic)).inc(count)
        for key, record in outcome.parked:
            if key is None or record.kind != "queued":
                metrics.APPLY_REJECTED.labels(self._target, self._table(record.topic), "park").inc()
        for topic, count in outcome.skipped.items():
            metrics.APPLY_REJECTED.labels(self._target, self._table(topic), "skip").inc(count)
        newest = 0
        for decoder, value in outcome.batch.last.values() if outcome.batch.row_count else ():
            try:
                newest = max(newest, decoder.facts(value).source_ts_us)
            except TailraceError:
                # A figure only: the row itself was read.
                continue
        if newest:
            self.applied_us = newest
            self.lag_ms = max(0, (clock.now_us() - newest) // 1000)
            metrics.APPLY_LAG_SECONDS.labels(self._target).set(self.lag_ms / 1000)

    def trouble(self, error: TailraceError) -> None:
        """Count an error that the applier has answered by itself."""
        metrics.count_error(error, retried=error.action is not Action.SUSPEND)

    def document(self, state: str, ends: Mapping[Any, int], error: TailraceError | None = None) -> dict[str, Any]:
        """Return the status document; `ends` are the partitions' ends as far as they are known."""
        applier = self._applier
        now = clock.monotonic()
        since, total = self._rate_from
        if now - since >= 1:
            self._rate = (self._total - total) / (now - since)
            self._rate_from = (now, self._total)
        lags = self._lags(ends)
        suspended = applier.holds.suspended()
        held = {p.topic for p, hold in applier.holds.by_partition.items() if hold.truncate is not None}
        lag = self.lag_records = sum(lags.values())
        if not lag:
            self.lag_ms = 0
        error = error or applier.recovery.error or next(iter(suspended.values()), None)
        metrics.APPLY_PARKED.labels(self._target).set(len(applier.lot))
        metrics.APPLY_SUSPENDED.labels(self._target).set(len(suspended))
        metrics.APPLY_PARTITIONS.labels(self._target).set(len(applier.cursors.positions))
        for topic, count in lags.items():
            metrics.APPLY_LAG_RECORDS.labels(self._target, self._table(topic)).set(count)
        return {
            "target": self._target,
            "state": state,
            "rows": self._total,
            "rows_per_s": round(self._rate, 1),
            "writing_s": round(self._writing_s, 3),
            "waiting_s": round(self._waiting_s, 3),
            "cpu_s": round(clock.cpu_s(), 3),
            "lag_records": lag,
            "lag_ms": self.lag_ms,
            "partitions": len(applier.cursors.positions),
            "tables": {
                topic: {
                    "lag_records": count,
                    "rows": self._rows.get(topic, 0),
                    "state": "suspended" if topic in suspended else "barrier" if topic in held else "running",
                    "load_completed": self._completion.is_done(topic),
                }
                for topic, count in lags.items()
            },
            "parked": len(applier.lot),
            "conflicts": len(applier.holds.violations) + len(applier.waiting),
            "waits": [
                {"table": self._table(one.topic), "keys": one.keys, "seconds": round(one.seconds, 1), "for": one.reason}
                for one in applier.waiting.reasons(now)[:WAITS_SHOWN]
            ],
            "signals": self.answers,
            "error": error.to_document() if error is not None else None,
        }

    def write(self, state: str, ends: Mapping[Any, int], error: TailraceError | None = None) -> None:
        """Write the status document."""
        self._status.write(self.document(state, ends, error))

    def _table(self, topic: str) -> str:
        """Return the table of a topic: what metrics are labelled with, at both ends."""
        known = self._applier.catalog.topics.get(topic)
        return str(known.name) if known is not None else topic

    def _lags(self, ends: Mapping[Any, int]) -> dict[str, int]:
        lags: dict[str, int] = {}
        for partition, offset in self._applier.reached.items():
            if partition.topic not in self._applier.catalog.topics:
                # That of the marks, which count as applied with what they count.
                continue
            lags[partition.topic] = lags.get(partition.topic, 0) + max(0, ends.get(partition, offset) - offset)
        return lags


def component(target: str) -> str:
    """Return the key of this process's status documents."""
    return f"apply.{target}.{socket.gethostname()}.{os.getpid()}"
