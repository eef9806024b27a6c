"""A command's first contact with what it needs: bounded, and said aloud where it takes a while."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from capture.source import Source
from capture.sources import open_source
from runtime.kafka.admin import Topics
from schemas.settings import Settings

KAFKA_TIMEOUT_S = 10.0
TELL_AFTER_S = 2.0
"""An operator who sees nothing for longer thinks that nothing happens."""


def reach_kafka(settings: Settings) -> Topics:
    """Return the cluster once it has answered. Raises TRANSPORT after `KAFKA_TIMEOUT_S`."""
    cluster = Topics(settings.kafka)
    server = settings.kafka["bootstrap.servers"]
    with waiting_for(f"Kafka at {server}", KAFKA_TIMEOUT_S):
        cluster.reach(KAFKA_TIMEOUT_S)
    return cluster


def reach_source(settings: Settings) -> Source:
    """Connect to the source; its `connect_timeout_s` is the bound. Raises as `open_source`."""
    with waiting_for(f"the source at {settings.source.place}", getattr(settings.source, "connect_timeout_s", None)):
        return open_source(settings)


@contextmanager
def waiting_for(what: str, at_most_s: float | None = None) -> Iterator[None]:
    """Say on standard error what is waited for, once that takes longer than a moment."""
    bound = "" if at_most_s is None else f", at most {at_most_s:g} s"
    timer = threading.Timer(TELL_AFTER_S, typer.echo, (f"waiting for {what}{bound} …",), {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
