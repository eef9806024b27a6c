"""Inserts of which nobody could tell all values, on the wire: named, as in updates, and read by all ways alike."""

from __future__ import annotations

import pytest

from schemas.changes import UNCHANGED, RowChanges
from schemas.codecs import compile_decoder
from schemas.envelope import avro_names
from schemas.format import Format
from schemas.table import Column
from schemas.types import Family, LogicalType
from tests.kit.type_samples import SAMPLES, TypeSample
from tests.unit.schemas.test_codecs import (
    FORMATS,
    SEQ,
    TXN,
    assert_written,
    block_of,
    encoder_of,
    form_of,
    reference_envelope,
    table_of,
)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.native)
def test_an_insert_names_what_nobody_could_tell_of_it(format_: Format, sample: TypeSample) -> None:
    """Of whatever type, null or not: a row that was gone when it was looked up, under its new key."""
    id_, word = (Column(name, LogicalType(Family.STRING), "text", nullable=False) for name in ("id", "word"))
    table = table_of(id_, word, Column("v", sample.type, sample.native, nullable=False))
    encoder, decoder = encoder_of(table, format_), compile_decoder(table, format_)
    run = RowChanges(table, TXN, ["u"], [("a", UNCHANGED, UNCHANGED)], [("b", "w", UNCHANGED)])
    records, _ = encoder.run(run, block_of(encoder), SEQ, False)
    values = [value or b"" for _, value in records]
    expected = [("d", ("a", UNCHANGED, UNCHANGED), None), ("c", None, ("b", "w", UNCHANGED))]
    assert [decoder.decode(value) for value in values] == decoder.decode_many(values) == expected
    assert decoder.staged(values, form_of(table)) == expected
    names = avro_names(table.column_names)
    assert_written(encoder, values[1], reference_envelope(table, "c", None, ("b", "w", UNCHANGED), SEQ + 2, names))
