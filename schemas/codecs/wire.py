"""The wire format around a payload: which schema a record was written with.

Avro is framed as Confluent's serializers do it: a zero byte and a big-endian 4-byte schema id (Confluent's
documentation, "Schema Registry > Wire format").
"""

from __future__ import annotations

from struct import Struct

import orjson

from schemas.errors import ErrorKind, TailraceError

MAGIC = 0
"""The first byte of a framed record."""

HEADER_BYTES = 5

_HEADER = Struct(">BI")

_VERSION = b'"schema_version":'


def header(schema_id: int) -> bytes:
    """Return the five bytes that precede an Avro payload."""
    return _HEADER.pack(MAGIC, schema_id)


def schema_id(value: bytes) -> int:
    """Return the schema id of a framed Avro key or value. Raises DECODE for anything else."""
    if len(value) < HEADER_BYTES or value[0] != MAGIC:
        raise TailraceError(
            ErrorKind.DECODE,
            f"a record of {len(value)} bytes does not begin with a schema id",
            remedy="check that `topics.format` says how this topic was written",
        )
    found: int = _HEADER.unpack_from(value)[1]
    return found


def schema_version(value: bytes) -> int:
    """Return the table version that a JSON value says it was written with. Raises DECODE for anything else.

    In our own envelopes the source stands behind the rows, so its version is the last one; no string holds these bytes,
    since its quotes would be escaped. Another order of the fields costs a look at the whole value.
    """
    start = value.rfind(_VERSION)
    digits = value[start + len(_VERSION) : value.find(b"}", start)]
    if start > 0 and digits.isdigit():
        return int(digits)
    try:
        document = orjson.loads(value)
        if "payload" in document:
            document = document["payload"]
        version = document["source"]["schema_version"]
        if version.__class__ is not int:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise TailraceError(
            ErrorKind.DECODE,
            f"a record of {len(value)} bytes is no JSON envelope with a schema version",
            remedy="check that `topics.format` says how this topic was written",
        ) from None
    return int(version)
