"""Codecs: rows to Kafka records and back, compiled for each version of each table."""

from __future__ import annotations

from schemas.bundles import Pair
from schemas.codecs.codec import Block, Decoded, Decoder, Encoder, Facts, SchemaIds
from schemas.codecs.compile import compile_decoder, compile_encoder, forget_encoders
from schemas.format import Format

__all__ = [
    "Block",
    "Decoded",
    "Decoder",
    "Encoder",
    "Facts",
    "Format",
    "Pair",
    "SchemaIds",
    "compile_decoder",
    "compile_encoder",
    "forget_encoders",
]
