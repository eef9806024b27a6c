"""What a capture says of itself: status documents, metrics, liveness. Everything is computed here, in intervals."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

from capture.full_load.state import LoadState, TableLoad
from capture.session import Session
from capture.source import Source
from runtime import clock, metrics
from runtime.status import StatusWriter
from schemas.errors import TailraceError
from schemas.settings import Mode, Settings
from schemas.table import TableName

RATE_SAMPLES_MAX = 13
ASK_SOURCE_INTERVAL_S = 5.0
"""How often the source is asked how much log it keeps, which is dearer than the log's end."""


class Progress:
    """Follows a session and reports it."""

    def __init__(self, settings: Settings, status: StatusWriter, liveness: metrics.Liveness) -> None:
        self._interval_s = settings.capture.status_interval_s
        self._only_loads = settings.mode is Mode.FULL_LOAD
        self._status = status
        self._liveness = liveness
        self._said_at_s = 0.0
        self.answers: dict[str, str] = {}
        """What became of signals, by their ids."""
        self._asked_at_s = -ASK_SOURCE_INTERVAL_S
        self._retained_bytes: int | None = None
        self._log_left_bytes: int | None = None
        self._ends: deque[tuple[float, int]] = deque(maxlen=RATE_SAMPLES_MAX)
        """Where the source's log ended, and when."""
        self._row_count = 0
        self._counted = 0
        self._chunks: dict[TableName, tuple[int, int]] = {}
        """What the metrics say of each table's chunks."""
        self._document: dict[str, Any] = {"state": "starting", "rows": 0, "tables": {}, "error": None}

    def state(self, state: str, error: TailraceError | None = None) -> None:
        """Say what the service as a whole does. `error` stays in the documents until the session runs again."""
        self._document["state"] = state
        self._document["error"] = error.to_document() if error is not None else None
        self._document["rows_per_s"] = 0.0
        self._document["signals"] = self.answers
        self._liveness.progress(state)
        self._status.write(self._document)

    def phase(self, phase: str) -> None:
        """Let documents say what the session is at; `report` finds it out by itself."""
        self._document["phase"] = phase

    def began(self) -> None:
        """A new session counts its rows from nothing."""
        self._counted = 0

    def report(self, session: Session, source: Source, *, at_once: bool = False) -> None:
        """Say how the session gets on, if it is time, or `at_once`."""
        now_s = clock.monotonic()
        elapsed_s = now_s - self._said_at_s
        if elapsed_s < self._interval_s and not at_once:
            return
        self._said_at_s = now_s
        if now_s - self._asked_at_s >= ASK_SOURCE_INTERVAL_S:
            self._asked_at_s = now_s
            self._retained_bytes = source.retained_bytes()
            self._log_left_bytes = source.log_left_bytes()
        end = source.current_position()
        new_rows = session.row_count - self._counted
        self._counted = session.row_count
        self._row_count += new_rows
        lag = max(0, end.commit - session.committed.commit)
        in_bytes = source.capabilities.counts_bytes
        loads = session.loading.loads.values()
        is_loading = any(load.state is not LoadState.LOADED for load in loads)
        suspended = [load.suspension for load in loads if load.suspension is not None]
        self._document |= {
            "state": "running",
            "phase": "full-load" if is_loading else "loaded" if self._only_loads else "streaming",
            "position": source.format_position(session.committed),
            "position_commit": session.committed.commit,
            "source_end": source.format_position(end),
            "source_end_commit": end.commit,
            "lag_bytes": lag if in_bytes else None,
            "lag_transactions": None if in_bytes else lag,
            "lag_ms": _lag_ms(session, behind=session.position.commit < end.commit),
            "retained_bytes": self._retained_bytes,
            "log_left_bytes": self._log_left_bytes,
            "log_bytes_per_s": self._log_bytes_per_s(now_s, end.commit) if in_bytes else None,
            "sequence": session.publisher.sequence,
            "rows": self._row_count,
            "rows_per_s": round(new_rows / max(elapsed_s, 0.001), 1) if elapsed_s < 60 else 0.0,
            "tables": _tables(session),
            "signals": self.answers,
            "error": suspended[0].to_document() if suspended else None,
        }
        self._status.write(self._document)
        self._liveness.turned(
            (session.committed, session.row_count, sum(len(load.done) for load in loads)),
            idle=all(load.state is LoadState.LOADED or load.suspension is not None for load in loads)
            and session.committed.commit >= end.commit,
        )
        self._measure(session, is_loading=is_loading)

    def _measure(self, session: Session, *, is_loading: bool) -> None:
        """Set the metrics to what the document says."""
        said = self._document
        metrics.CAPTURE_ACTIVE.set(1)
        metrics.CAPTURE_LAG_BYTES.set(said["lag_bytes"])
        metrics.CAPTURE_LAG_TRANSACTIONS.set(said["lag_transactions"])
        metrics.CAPTURE_LAG_SECONDS.set(said["lag_ms"] / 1000)
        metrics.CAPTURE_WINDOW_KEYS.set(session.loading.window_key_count)
        metrics.CAPTURE_RETAINED_BYTES.set(self._retained_bytes)
        metrics.CAPTURE_LOG_LEFT_BYTES.set(self._log_left_bytes)
        metrics.CAPTURE_SOURCE_TRANSACTIONS.inc(session.take_transaction_count())
        self._count_loads(session.loading.loads.values())
        phase = "full-load" if is_loading or self._only_loads else "streaming"
        for feed in session.publisher.feeds.values():
            if count := feed.take_row_count():
                metrics.CAPTURE_ROWS.labels(str(feed.table.name), phase).inc(count)

    def _count_loads(self, loads: Collection[TableLoad]) -> None:
        metrics.CAPTURE_SUSPENDED.set(sum(load.suspension is not None for load in loads))
        for load in loads:
            # Of thousands of tables few move: looking a metric up is what costs.
            chunks = len(load.done), max(0, len(load.chunks) - len(load.done))
            if self._chunks.get(load.name) != chunks:
                self._chunks[load.name] = chunks
                for state, count in zip(("done", "left"), chunks, strict=True):
                    metrics.CAPTURE_LOAD_CHUNKS.labels(str(load.name), state).set(count)

    def _log_bytes_per_s(self, now_s: float, end: int) -> float | None:
        """Return how fast the source's log grows, over a minute or so; None: too soon to tell."""
        if not self._ends or now_s - self._ends[-1][0] >= ASK_SOURCE_INTERVAL_S:
            self._ends.append((now_s, end))
        began_s, begin = self._ends[0]
        return round((end - begin) / (now_s - began_s), 1) if now_s - began_s >= ASK_SOURCE_INTERVAL_S else None

    def close(self, state: str, error: TailraceError | None = None) -> None:
        """Say the last word."""
        metrics.CAPTURE_ACTIVE.set(0)
        self.state(state, error)


def _lag_ms(session: Session, *, behind: bool) -> int:
    """Return the age of the last change published while there is more to publish; else 0."""
    if not behind or session.commit_ts_us is None:
        return 0
    return max(0, (clock.now_us() - session.commit_ts_us) // 1000)


def _tables(session: Session) -> dict[str, Any]:
    documents = {}
    for name, feed in session.publisher.feeds.items():
        load = session.loading.loads.get(name)
        document: dict[str, Any] = {
            "version": feed.table.version,
            "topic": feed.topic,
            "rows_estimated": session.row_estimates.get(name),
        }
        if load is not None:
            document |= {
                "state": str(load.state) if load.suspension is None else "suspended",
                "rows_loaded": load.row_count,
                "chunks": len(load.chunks) or len(load.done),
                "chunks_done": len(load.done),
                "generation": load.generation,
            }
            if load.waits_for is not None:
                document["waits_for"] = load.waits_for
        documents[str(name)] = document
    return documents
