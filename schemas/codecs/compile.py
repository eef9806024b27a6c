"""Compiles codecs, and keeps what it has compiled."""

from __future__ import annotations

from schemas.codecs.avro import encoder as avro_encoder
from schemas.codecs.avro_reader import decoder as avro_decoder
from schemas.codecs.codec import Decoder, Encoder, SchemaIds
from schemas.codecs.json import encoder as json_encoder
from schemas.codecs.json_reader import decoder as json_decoder
from schemas.format import Format
from schemas.table import TableSchema

CACHE_MAX = 10_000
"""Codecs of each direction. A replication has one for each version of each table that it meets."""

_encoders: dict[tuple[object, ...], Encoder] = {}
_decoders: dict[tuple[object, ...], Decoder] = {}


def compile_encoder(
    table: TableSchema,
    format: Format,  # noqa: A002 - the name that settings and records give it
    *,
    replication: str,
    connector: str,
    database: str,
    ids: SchemaIds | None = None,
    tells_moved: bool = False,
) -> Encoder:
    """Return the encoder of a table version. Compiled once per process, then remembered.

    `ids` are those of its Avro schemas. None: the hashes of their texts. `tells_moved`: the create that a change of the
    key becomes has what the log holds of the old row, as the delete has.
    """
    key = (table.fingerprint, table.version, format, replication, connector, database, ids, tells_moved)
    encoder = _encoders.get(key)
    if encoder is None:
        if len(_encoders) >= CACHE_MAX:
            _encoders.clear()
        if format is Format.AVRO:
            encoder = avro_encoder(table, replication, connector, database, ids, tells_moved=tells_moved)
        else:
            encoder = json_encoder(table, format, replication, connector, database, tells_moved=tells_moved)
        _encoders[key] = encoder
    return encoder


def forget_encoders() -> None:
    """Remember none of those that were compiled. Whoever has one keeps it."""
    _encoders.clear()


def compile_decoder(table: TableSchema, format: Format) -> Decoder:  # noqa: A002 - as above
    """Return the decoder of a table version. Compiled once per process, then remembered."""
    key = (table.fingerprint, table.version, format)
    decoder = _decoders.get(key)
    if decoder is None:
        if len(_decoders) >= CACHE_MAX:
            _decoders.clear()
        decoder = _decoders[key] = avro_decoder(table) if format is Format.AVRO else json_decoder(table, format)
    return decoder
