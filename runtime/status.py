"""What each component says of itself: JSON documents on the compacted status topic, one key per component.

Status never stops a service: a document that cannot be written is logged and forgotten, the next one replaces it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import orjson

from runtime import clock
from runtime.kafka.client import Properties
from runtime.kafka.compacted import read_all
from runtime.kafka.producer import PlainProducer
from runtime.logging import get_logger
from schemas.errors import TailraceError
from schemas.topics import status_topic

log = get_logger(__name__)

Document = dict[str, Any]


class StatusWriter:
    """Writes one component's documents: `capture`, or `apply.<target>.<instance>`."""

    def __init__(self, kafka: Properties, replication: str, component: str) -> None:
        self._topic = status_topic(replication)
        self._component = component
        self._producer = PlainProducer(kafka)
        self._facts = {"component": component, "pid": os.getpid(), "host": socket.gethostname()}

    def write(self, document: Mapping[str, Any]) -> None:
        """Replace the component's document. Adds `component`, `pid`, `host` and `ts_us`; does not wait."""
        full = {**self._facts, **document, "ts_us": clock.now_us()}
        try:
            self._producer.produce(self._topic, self._component.encode(), orjson.dumps(full, option=_OPTIONS))
        except TailraceError as error:
            log.warning("status not written", reason=error.message)

    def remove(self) -> None:
        """Delete the component's document: it ended and is not missed."""
        try:
            self._producer.produce(self._topic, self._component.encode(), None)
        except TailraceError as error:
            log.warning("status not removed", reason=error.message)

    def close(self, timeout_s: float = 15) -> None:
        """Deliver the last document, within `timeout_s`, and let go of the client."""
        try:
            self._producer.flush(timeout_s)
        except TailraceError as error:
            log.warning("status not written", reason=error.message)
        self._producer.close(0)


_OPTIONS = orjson.OPT_NON_STR_KEYS


def read_status(kafka: Properties, replication: str, timeout_s: float = 30) -> dict[str, Document]:
    """Return the latest document of every component. Raises TRANSPORT before capture has made the topic."""
    documents: dict[str, Document] = {}
    for key, value in read_all(kafka, status_topic(replication), timeout_s).items():
        try:
            document = orjson.loads(value)
        except orjson.JSONDecodeError:
            log.warning("status unreadable", component=key.decode(errors="replace"), bytes=len(value))
            continue
        documents[key.decode(errors="replace")] = document
    return documents
