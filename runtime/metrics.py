"""Prometheus metrics by name, and the little server that shows them beside the service's liveness.

Names are constants of this module and nowhere else. Labels are bounded by the configuration: tables, targets, error
kinds. Updates happen once per batch or Kafka transaction, never per row.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any, NamedTuple, Self

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from runtime import clock
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Described(NamedTuple):
    """What the reference says of one metric."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


DESCRIBED: list[Described] = []
"""Every metric of Tailrace's own, in the order of the definitions below."""


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(_described(name, "counter", text, labels), text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(_described(name, "gauge", text, labels), text, labels, registry=REGISTRY)


class Measured:
    """A gauge that is absent while there is nothing to measure: 0 would be a measurement."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._is_set = False
        REGISTRY.register(self)

    def set(self, value: float | None) -> None:
        """Set the gauge; None: there is nothing to measure any more."""
        self._is_set = value is not None
        if value is not None:
            self._gauge.set(value)

    def describe(self) -> Iterable[Metric]:
        """Return what there may be, for the registry to refuse the same name twice."""
        return self._gauge.describe()

    def collect(self) -> Iterable[Metric]:
        """Return what the registry shows."""
        return self._gauge.collect() if self._is_set else ()


def _measured(name: str, text: str) -> Measured:
    return Measured(Gauge(_described(name, "gauge", text, ()), text, registry=None))


def _seconds(name: str, text: str, *labels: str) -> Histogram:
    full = _described(name, "histogram", text, labels)
    return Histogram(full, text, labels, registry=REGISTRY, buckets=_SECONDS)


def _described(name: str, kind: str, text: str, labels: tuple[str, ...]) -> str:
    full = f"tailrace_{name}"
    DESCRIBED.append(Described(full, kind, labels, text))
    return full


def _info(name: str, text: str, *labels: str) -> Info:
    """Return a metric that is 1 and says something by its labels, which `info` gives all at once."""
    return Info(_described(name, "info", text, labels), text, registry=REGISTRY)


BUILD = _info("build", "What runs here", "version")
SERVICE = _info("service", "Whose metrics these are; `target` of an applier only", "replication", "service", "target")

CAPTURE_ROWS = _counter(
    "capture_rows", "Row changes handed to Kafka; an aborted transaction's count, too", "table", "phase"
)
CAPTURE_BYTES = _counter("capture_bytes", "Bytes of values published and committed, by estimate")
CAPTURE_SOURCE_TRANSACTIONS = _counter(
    "capture_source_transactions", "Transactions of the source whose changes were read"
)
CAPTURE_COMMITS = _seconds("capture_commit_seconds", "Duration of a commit of a Kafka transaction")
CAPTURE_LAG_BYTES = _measured("capture_lag_bytes", "Source log that is not published yet")
CAPTURE_LAG_TRANSACTIONS = _measured(
    "capture_lag_transactions", "Source transactions not published yet, where the log's positions count these (MySQL)"
)
CAPTURE_LAG_SECONDS = _measured(
    "capture_lag_seconds", "Age of the last change published when it was committed to Kafka"
)
CAPTURE_RETAINED_BYTES = _measured("capture_retained_bytes", "Log that the source keeps for this replication")
CAPTURE_LOG_LEFT_BYTES = _measured(
    "capture_log_left_bytes", "Log that may still be written until the source gives up what it keeps; absent: no bound"
)
CAPTURE_LOAD_CHUNKS = _gauge("capture_load_chunks", "Chunks of a table's full load", "table", "state")
CAPTURE_SUSPENDED = _measured("capture_suspended_tables", "Tables whose full load stands still")
CAPTURE_WINDOW_KEYS = _measured("capture_window_keys", "Changed keys remembered while chunks are being read")
CAPTURE_ACTIVE = _gauge("capture_active", "1 where this process captures, 0 where it is a standby")

APPLY_RECORDS = _counter("apply_records", "Records taken from topics and flushed to the target", "target", "table")
APPLY_ROWS = _counter("apply_rows", "Rows written after net changes", "target", "table")
APPLY_BATCHES = _seconds("apply_batch_seconds", "Duration of a batch at the target, with its commit", "target")
APPLY_WAITING = _counter(
    "apply_waiting_seconds", "Time in which a batch was at the target and the process did nothing but wait", "target"
)
APPLY_LAG_RECORDS = _gauge("apply_lag_records", "Records in topics that are not applied yet", "target", "table")
APPLY_LAG_SECONDS = _gauge("apply_lag_seconds", "Time from commit at the source to flush at the target", "target")
APPLY_REJECTED = _counter("apply_rejected_rows", "Rows that the target refused", "target", "table", "action")
APPLY_CUT_VALUES = _counter("apply_cut_values", "Large values that were cut off", "target", "table")
APPLY_PARKED = _gauge("apply_parked_keys", "Keys that wait on the dead-letters topic", "target")
APPLY_SUSPENDED = _gauge("apply_suspended_tables", "Tables that are suspended", "target")
APPLY_PARTITIONS = _gauge("apply_partitions", "Partitions that this process has", "target")

ERRORS = _counter("errors", "Errors met, retried ones included", "kind")
RETRIES = _counter("retries", "Attempts made again after an error", "kind")


def count_error(error: BaseException, *, retried: bool = False) -> None:
    """Count an error by its kind (`internal` for one that is no `TailraceError`)."""
    kind = str(error.kind) if isinstance(error, TailraceError) else "internal"
    ERRORS.labels(kind).inc()
    if retried:
        RETRIES.labels(kind).inc()


for _kind in (*ErrorKind, "internal"):
    # A counter that is absent until its first event has no rate at that event.
    ERRORS.labels(str(_kind))
    RETRIES.labels(str(_kind))


STALL_LIMIT_S = 900.0
"""A source may decode one large transaction, and a target write one batch, for minutes without a sign."""


class Liveness:
    """Liveness by progress: alive while the service says now and then that it got on, or that all is idle and well.

    A service whose loop stands still for `limit_s` is not alive, nor is one whose loop turns and moves nothing for
    `stall_limit_s` although there is something to do. Waiting in a bounded back-off counts as progress.
    """

    def __init__(
        self,
        limit_s: float = 120.0,
        monotonic: Callable[[], float] = clock.monotonic,
        *,
        stall_limit_s: float = STALL_LIMIT_S,
    ) -> None:
        self.limit_s = limit_s
        self._stall_limit_s = stall_limit_s
        self._monotonic = monotonic
        self._last = self._moved = monotonic()
        self._mark: object = None
        self._detail = "starting"

    def progress(self, detail: str = "running") -> None:
        """Say that something moved, or a wait is as it should be. Cheap; any thread."""
        self._detail = detail
        self._last = self._moved = self._monotonic()

    def turned(self, mark: object, *, idle: bool) -> None:
        """Say that the loop has turned, and how far all is: a `mark` that stays is progress only if `idle`."""
        now = self._monotonic()
        if idle or mark != self._mark:
            self._mark = mark
            self.progress()
        elif now - self._moved < self._stall_limit_s:
            self._detail = f"nothing has moved for {now - self._moved:.0f} s"
            self._last = now

    def check(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the service is alive, and a document that says why."""
        silent_s = self._monotonic() - self._last
        alive = silent_s <= self.limit_s
        return alive, {
            "alive": alive,
            "detail": self._detail,
            "seconds_since_progress": round(silent_s, 1),
            "limit_s": self.limit_s,
        }


class MetricsServer:
    """Serves `/metrics` and `/healthz` from a thread of its own. A context manager, or `close`."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()
        self.port: int = server.server_address[1]
        """The port, also where 0 was asked for."""

    def close(self) -> None:
        """Stop serving. May be called twice."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            # `::` takes what comes over IPv4, too, whatever the machine's default.
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's own, which looks up this machine's name: a wait where DNS does not answer.
        socketserver.TCPServer.server_bind(self)


def serve(address: str, port: int, health: Liveness, **whose: str) -> MetricsServer:
    """Serve metrics and liveness on `address`; `port` 0 takes a free one. `whose` are the labels of `SERVICE`.

    Raises CONFIGURATION where it cannot.
    """

    class Handler(_Handler):
        liveness = health

    try:
        server = _Server(address, port, Handler)
    except OSError as error:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"cannot serve metrics on {address}:{port}: {error.strerror}",
            remedy="choose another --metrics-port, or --metrics-address",
        ) from error
    BUILD.info({"version": version("tailrace")})
    SERVICE.info(whose)
    log.info("metrics served", address=address, port=server.server_address[1])
    return MetricsServer(server)


class _Handler(BaseHTTPRequestHandler):
    liveness: Liveness
    server_version = "tailrace"
    sys_version = ""
    # Bounds what a client that says nothing can hold.
    timeout = 10

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(REGISTRY))
        elif path == "/healthz":
            alive, document = self.liveness.check()
            self._answer(200 if alive else 503, "application/json", json.dumps(document).encode())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"/metrics or /healthz\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        return

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def markdown() -> str:
    """Return the reference page of the metrics."""
    lines = [
        "# Metrics",
        "",
        "Made from `runtime/metrics.py`; do not edit. Served at `/metrics` with `--metrics-port`, beside the usual",
        "`process_…` and `python_…` ones. A counter's sample is called `…_total`, a histogram has `…_bucket`, `…_sum`",
        "and `…_count`. Alert rules to begin with: `deploy/prometheus/alerts.yaml`. `/healthz` answers 200 while the",
        "service makes progress, else 503, and says why.",
        "",
        "A process serves one replication, and says which by `tailrace_service_info`; it is joined to the others:",
        "`tailrace_capture_lag_bytes * on (job, instance) group_left (replication) tailrace_service_info`.",
        "Gauges of what a capture measures are absent where it has not been measured.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for name, kind, labels, text in DESCRIBED:
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |")
    return "\n".join(lines) + "\n"
