"""The encodings of keys and envelopes."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """How keys and envelopes are written to topics."""

    AVRO = "avro"
    JSON = "json"
    JSON_WITH_SCHEMA = "json-with-schema"
