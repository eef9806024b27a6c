"""Generated codecs do what the reference libraries do, on arbitrary tables and rows; and wrong bytes are an error."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
from dataclasses import replace
from decimal import Decimal
from typing import Any

import fastavro
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apply.sinks.postgresql.rows import LineForm, line_encoder
from apply.sinks.postgresql.types import wire_of
from schemas.changes import UNCHANGED, Row, RowChanges, Transaction
from schemas.codecs import Block, Decoder, Encoder, compile_decoder, compile_encoder, wire
from schemas.codecs.generate import _kept_code, whole_before
from schemas.envelope import avro_names
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.position import first_sequence
from schemas.table import Column, TableName, TableSchema, UserType
from schemas.types import Family, LogicalType
from schemas.types.calendar import zoned_text
from schemas.types.numbers import NAN
from schemas.types.temporal import key_interval
from tests.kit.type_samples import SAMPLES, TypeSample

FORMATS = list(Format)
SEQ = first_sequence(1)
COMMITTED_US = 1_735_697_676_444_453
NOW_US = 1_735_697_676_500_001
TXN = Transaction("777", 777, 5, COMMITTED_US)


def encoder_of(table: TableSchema, format_: Format, *, tells_moved: bool = False) -> Encoder:
    return compile_encoder(
        table, format_, replication="shop", connector="postgresql", database="bench", tells_moved=tells_moved
    )


def block_of(encoder: Encoder, snapshot: str = "false") -> Block:
    return encoder.block(snapshot=snapshot, position_lsn=98_765, ts_us=COMMITTED_US, txid=777, now_us=NOW_US)


def table_of(*columns: Column, key: tuple[int, ...] = (0,), full: bool = False, version: int = 1) -> TableSchema:
    moods = (UserType("public", "mood", "enum", labels=("sad", "ok")),)
    name = TableName("public", "orders")
    return TableSchema(name, columns, key, version=version, full_before=full, user_types=moods)


def test_a_function_is_compiled_when_it_is_called_and_once_for_tables_of_one_shape() -> None:
    columns = [Column(f"shared{n}", LogicalType(Family.INT64), "bigint", nullable=n > 0) for n in range(3)]
    first, second = (replace(table_of(*columns), name=TableName("public", f"shape{n}")) for n in (1, 2))
    row = (1, None, 3)
    for format_ in FORMATS:
        before = _kept_code.cache_info().misses
        bodies = [encoder_of(first, format_).body(row)]
        assert _kept_code.cache_info().misses == before + 1, "no function but the one that was called"
        bodies.append(encoder_of(second, format_).body(row))
        assert _kept_code.cache_info().misses == before + 1
        assert bodies[0] == bodies[1]
        assert encoder_of(second, format_).unbody(bodies[1]) == row


def same(left: Any, right: Any) -> bool:
    """Equality in which NaN equals itself, and the sign of zero counts."""
    equal: bool
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(same(a, b) for a, b in zip(left, right, strict=True))
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, Decimal):
        equal = (left.is_nan() and right.is_nan()) or (left == right and left.as_tuple() == right.as_tuple())
        return equal
    equal = left == right
    return equal


# --- the reference: what the libraries must be given, and give back, for a canonical value


def twos_complement(n: int) -> bytes:
    size = 1
    while not -(1 << (8 * size - 1)) <= n < 1 << (8 * size - 1):
        size += 1
    return n.to_bytes(size, "big", signed=True)


def reference_value(family: Family, value: Any) -> Any:
    """Return the value as Avro's data model has it, decimals as bytes."""
    if value is None:
        return None
    if family in {Family.DECIMAL, Family.UINT64}:
        return b"" if value is NAN else twos_complement(value)
    if family is Family.TIMESTAMPTZ:
        return zoned_text(value)
    if family is Family.NUMERIC:
        if not value.is_finite():
            return {"scale": 0 if value.is_nan() else 1 if value > 0 else -1, "value": b""}
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)
        n = 0
        for digit in digits:
            n = n * 10 + digit
        return {"scale": -exponent, "value": twos_complement(-n if sign else n)}
    return value


def reference_json(value: Any) -> Any:
    """Return the value of Avro's data model as JSON has it."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: reference_json(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def key_of(table: TableSchema, row: Row) -> Row:
    """Return what a record's key says of a row: one form of all values that a database holds equal."""
    values: list[Any] = []
    for column, value in ((table.columns[i], row[i]) for i in table.key):
        if column.type.family is Family.INTERVAL:
            values.append(key_interval(value))
        elif isinstance(value, Decimal) and value.is_finite():
            text = format(value, "f")
            text = (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
            values.append(Decimal("0" if value == 0 else text))
        else:
            values.append(0.0 if isinstance(value, float) and value == 0 else value)
    return tuple(values)


EQUAL_KEYS: list[tuple[LogicalType, list[list[Any]]]] = [
    (
        LogicalType(Family.NUMERIC),
        [
            [Decimal(t) for t in ("0", "0.00")],
            [Decimal(t) for t in ("100", "100.00", "1E+2")],
            [Decimal(t) for t in ("-1.5", "-1.50")],
            [Decimal("1" + "0" * 300), Decimal("1" + "0" * 300 + ".000")],
            [Decimal("NaN")],
            [Decimal("Infinity")],
            [Decimal("-Infinity")],
        ],
    ),
    (LogicalType(Family.FLOAT64), [[0.0, -0.0], [float("nan"), -float("nan")], [5e-324], [float("inf")], [-1.5]]),
    (LogicalType(Family.FLOAT32), [[0.0, -0.0], [float("nan"), -float("nan")], [1.5], [float("-inf")]]),
    (
        LogicalType(Family.INTERVAL),
        [
            ["P1M", "P30D", "PT720H", "P1M1DT-24H"],
            ["PT0S", "P1DT-24H", "P1M-30D"],
            ["P1Y", "P12M", "P360D"],
            ["PT-0.000001S"],
            ["PT0.000001S"],
            ["PT1M1.5S", "PT61.5S"],
            ["PT-1M-1.5S", "PT-61.5S"],
            ["P-1Y-2M3DT-4H-5M-6S"],
            ["infinity"],
            ["-infinity"],
        ],
    ),
]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("type_", "classes"), EQUAL_KEYS, ids=lambda x: getattr(x, "family", ""))
def test_equal_values_make_one_key_and_arrive_as_they_were(
    format_: Format, type_: LogicalType, classes: list[list[Any]]
) -> None:
    table = table_of(Column("id", type_, "x"), Column("v", LogicalType(Family.INT32), "integer"))
    encoder, decoder = encoder_of(table, format_), compile_decoder(table, format_)
    found = [{encoder.key((value, 1)) for value in equals} for equals in classes]
    assert all(len(keys) == 1 for keys in found)
    assert len(set().union(*found)) == len(classes)
    for first, *others in classes:
        for other in others:
            run = RowChanges(table, TXN, ["u", "d"], [(first, UNCHANGED), (other, UNCHANGED)], [(other, 2), None])
            (key, update), (same_key, delete) = encoder.run(run, block_of(encoder), SEQ, False)[0]
            assert key == same_key == encoder.key((first, 1))
            assert update is not None
            assert delete is not None
            assert same(decoder.decode(update), ("u", None, (other, 2)))
            assert same(decoder.decode(delete), ("d", (other, UNCHANGED), None))


def reference_row(table: TableSchema, row: Row | None, names: list[str]) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        name: reference_value(column.type.family, None if value is UNCHANGED else value)
        for name, column, value in zip(names, table.columns, row, strict=True)
    }


def reference_envelope(
    table: TableSchema, op: str, before: Row | None, after: Row | None, seq: int, names: list[str]
) -> dict[str, Any]:
    if before is not None and not whole_before(table):
        before = tuple(value if i in table.key else None for i, value in enumerate(before))
    missing = [name for name, value in zip(names, (after or before or ()), strict=False) if value is UNCHANGED]
    return {
        "op": op,
        "before": reference_row(table, before, names),
        "after": reference_row(table, after, names),
        "unavailable": missing or None,
        "source": {
            "version": "0.1",
            "connector": "postgresql",
            "name": "shop",
            "ts_ms": COMMITTED_US // 1000,
            "snapshot": "false",
            "db": "bench",
            "sequence": None,
            "ts_us": COMMITTED_US,
            "ts_ns": COMMITTED_US * 1000,
            "schema": table.name.schema,
            "table": table.name.table,
            "txId": 777,
            "lsn": 98_765,
            "xmin": None,
            "seq": seq,
            "schema_version": table.version,
        },
        "ts_ms": NOW_US // 1000,
        "ts_us": NOW_US,
        "ts_ns": NOW_US * 1000,
        "transaction": None,
    }


def plain_avro(text: str) -> Any:
    """Return a parsed schema without logical types, so that fastavro shows what is on the wire."""

    def strip(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {name: strip(item) for name, item in schema.items() if name != "logicalType"}
        return [strip(item) for item in schema] if isinstance(schema, list) else schema

    return fastavro.parse_schema(strip(json.loads(text)))


def avro_bytes(text: str, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, plain_avro(text), value)
    return out.getvalue()


def assert_written(encoder: Encoder, value: bytes | None, expected: dict[str, Any]) -> None:
    """Compare a value with what the reference library writes and reads."""
    assert value is not None
    if encoder.format is Format.AVRO:
        assert encoder.value_schema_text is not None
        assert wire.schema_id(value) == encoder.value_schema_id
        assert value[wire.HEADER_BYTES :] == avro_bytes(encoder.value_schema_text, expected)
        return
    document = orjson.loads(value)
    if encoder.format is Format.JSON_WITH_SCHEMA:
        assert set(document) == {"schema", "payload"}
        document = document["payload"]
    assert document == reference_json(expected)
    assert list(document) == list(expected)


# --- arbitrary tables and rows

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(max_size=200)
VALUES: dict[Family, st.SearchStrategy[Any]] = {
    Family.BOOLEAN: st.booleans(),
    Family.INT16: st.integers(-(1 << 15), (1 << 15) - 1),
    Family.INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    Family.INT64: INT64,
    Family.UINT32: st.integers(0, (1 << 32) - 1),
    Family.UINT64: st.integers(0, (1 << 64) - 1),
    Family.FLOAT32: st.floats(width=32),
    Family.FLOAT64: st.floats(),
    Family.DECIMAL: st.integers(1 - 10**12, 10**12 - 1) | st.just(NAN),
    Family.NUMERIC: st.decimals(allow_infinity=True, allow_nan=False) | st.just(Decimal("NaN")),
    Family.BYTES: st.binary(max_size=200),
    Family.DATE: st.integers(-(1 << 31), (1 << 31) - 1),
    Family.TIME: st.integers(0, 86_400_000_000),
    Family.TIMESTAMP: INT64 | st.integers(10**15, 2 * 10**15),
    Family.TIMESTAMPTZ: st.integers(-210_866_803_200_000_000, (1 << 63) - 1) | st.integers(10**15, 2 * 10**15),
}
SMALL_SAMPLES = [
    TypeSample(sample.type, sample.native, tuple(v for v in sample.values if len(str(v)[:2000]) < 2000))
    for sample in SAMPLES
]
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12) | st.sampled_from(
    [
        "id",
        "Id",
        "a b",
        "a_b",
        "a-b",
        "1a",
        "_1a",
        "source",
        "op",
        "after",
        "b",
        "p",
        "v0",
        "None",
        '"',
        "'",
        "\\",
        "{x}",
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[TableSchema, list[TypeSample]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    chosen = [draw(st.sampled_from(SMALL_SAMPLES)) for _ in names]
    columns = [Column(name, sample.type, sample.native) for name, sample in zip(names, chosen, strict=True)]
    key = tuple(draw(st.lists(st.integers(0, len(names) - 1), max_size=3, unique=True)))
    return table_of(*columns, key=key, full=draw(st.booleans()), version=draw(st.integers(1, 9999))), chosen


def value_of(sample: TypeSample) -> st.SearchStrategy[Any]:
    edges = st.sampled_from(sample.values)
    if sample.type.family is Family.DECIMAL and sample.native != "numeric(12,2)":
        return edges
    return edges | VALUES.get(sample.type.family, TEXT)


@st.composite
def changes(draw: st.DrawFn) -> RowChanges:
    table, chosen = draw(tables())
    result = RowChanges(table, TXN)

    def row(unchanged: bool) -> Row:
        values = []
        for i, sample in enumerate(chosen):
            strategy = value_of(sample)
            if i not in table.key:
                strategy = st.none() | strategy | (st.just(UNCHANGED) if unchanged else st.nothing())
            values.append(draw(strategy))
        return tuple(values)

    for _ in range(draw(st.integers(0, 4))):
        op = draw(st.sampled_from("cud"))
        whole = row(unchanged=False)
        if not whole_before(table):
            whole = tuple(value if i in table.key else UNCHANGED for i, value in enumerate(whole))
        result.ops.append(op)
        result.before.append(None if op == "c" or (op == "u" and draw(st.booleans())) else whole)
        result.after.append(None if op == "d" else row(unchanged=op == "u"))
    return result


def expected_records(run: RowChanges, *, tells_moved: bool) -> list[tuple[str, Row | None, Row | None]]:
    """Return the changes as they are published: key changes in two, tombstones as an empty op."""
    table = run.table
    result: list[tuple[str, Row | None, Row | None]] = []
    for op, before, after in zip(run.ops, run.before, run.after, strict=True):
        moved = (
            op == "u"
            and before is not None
            and after is not None
            and not same(key_of(table, before), key_of(table, after))
        )
        if op == "d" or moved:
            result.append(("d", before, None))
            if table.key:
                result.append(("", None, None))
        if moved:
            result.append(("c", before if tells_moved else None, after))
        elif op != "d":
            result.append((op, before if whole_before(table) else None, after))
    return result


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(run=changes(), tells_moved=st.booleans())
def test_a_run_of_changes_is_written_as_the_reference_writes_it_and_comes_back(
    format_: Format, run: RowChanges, *, tells_moved: bool
) -> None:
    table = run.table
    encoder, decoder = encoder_of(table, format_, tells_moved=tells_moved), compile_decoder(table, format_)
    names = avro_names(table.column_names) if format_ is Format.AVRO else list(table.column_names)
    records, last = encoder.run(run, block_of(encoder), SEQ, True)
    expected = expected_records(run, tells_moved=tells_moved)
    assert len(records) == len(expected)
    placed = encoder.placed(records, "777:5", 40, 2)
    seq = SEQ
    for (key, value), (other_key, in_place), (op, before, after) in zip(records, placed, expected, strict=True):
        assert other_key == key
        if not op:
            assert value is in_place is None
            continue
        seq += 1
        order = seq - SEQ
        place = {"id": "777:5", "total_order": 40 + order, "data_collection_order": 2 + order}
        envelope = reference_envelope(table, op, before, after, seq, names) | {"transaction": place}
        assert_written(encoder, in_place, envelope)
        assert in_place is not None
        assert_read(decoder, key, in_place, op, before, after)
        assert decoder.facts(in_place).seq == seq
        assert_written(encoder, value, reference_envelope(table, op, before, after, seq, names))
        assert (key is None) == (not table.key)
        assert value is not None
        assert_read(decoder, key, value, op, before, after)
        assert decoder.facts(value) == (seq, NOW_US, COMMITTED_US, 777, 98_765, "false", table.version)
    assert last == seq
    values = [value for _, value in records if value is not None]
    decoded = decoder.decode_many(values)
    assert all(same(many, decoder.decode(value)) for many, value in zip(decoded, values, strict=True))
    assert_staged(decoder, values, decoded)


def form_of(table: TableSchema) -> LineForm:
    """Return a sink's form of rows."""
    return LineForm(tuple((i, wire_of(column.type)) for i, column in enumerate(table.columns)))


def assert_staged(decoder: Decoder, values: list[bytes], decoded: list[Any]) -> None:
    """See that what is staged is what the sink makes of the decoded new rows alone, wherever it can make anything."""
    form = form_of(decoder.table)
    encode = line_encoder(form.fields, width=len(form.fields))
    staged = decoder.staged(values, form)
    for (op, before, line), (plain_op, plain_before, after) in zip(staged, decoded, strict=True):
        assert op == plain_op
        if op in "rcu" and UNCHANGED not in after:
            try:
                plain_before, after = None, encode([after])[0]
            except (struct.error, OverflowError, ValueError):
                assert line.__class__ is tuple
        assert same(before, plain_before)
        assert same(line, after)


def assert_read(
    decoder: Decoder, key: bytes | None, value: bytes, op: str, before: Row | None, after: Row | None
) -> None:
    table = decoder.table
    if op == "u" and not whole_before(table):
        before = None
    assert same(decoder.decode(value), (op, before, after))
    if key is not None:
        row = after or before
        assert row is not None
        assert same(decoder.decode_key(key), key_of(table, row))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.native)
def test_every_sample_of_every_type_comes_back(format_: Format, sample: TypeSample) -> None:
    table = table_of(Column("id", sample.type, sample.native), Column("v", sample.type, sample.native))
    encoder, decoder = encoder_of(table, format_), compile_decoder(table, format_)
    rows = [(value, value if i % 2 else None) for i, value in enumerate(sample.values)]
    run = RowChanges(table, TXN, ["c"] * len(rows), [None] * len(rows), list(rows))
    records, _ = encoder.run(run, block_of(encoder), SEQ, False)
    decoded = decoder.decode_many([value for _, value in records if value is not None])
    assert_staged(decoder, [value or b"" for _, value in records], decoded)
    for row, (key, _), (op, before, after) in zip(rows, records, decoded, strict=True):
        assert (op, before) == ("c", None)
        assert after is not None
        assert same(after, row)
        assert key is not None
        assert same(decoder.decode_key(key), key_of(table, row))
        assert key == encoder.key(row)
        assert same(encoder.unbody(encoder.body(row)), row)


@pytest.mark.parametrize("format_", FORMATS)
def test_rows_of_the_full_load_are_wrapped_around_encoded_bodies(format_: Format) -> None:
    table = orders()
    encoder, decoder = encoder_of(table, format_), compile_decoder(table, format_)
    block = block_of(encoder, snapshot="last")
    rows = [order(i) for i in range(20_000)]
    keys, bodies = encoder.rows(rows)
    assert (keys, bodies) == (list(map(encoder.key, rows)), list(map(encoder.body, rows)))
    records, last = encoder.read_many(list(zip(keys, bodies, strict=True)), block, SEQ)
    assert last == SEQ + len(rows)
    assert decoder.decode_many([value or b"" for _, value in records]) == [("r", None, row) for row in rows]
    numbers = [decoder.facts(value or b"").seq for _, value in records[8185:8200]]
    assert numbers == list(range(SEQ + 8186, SEQ + 8201))
    assert records[-1][1] == encoder.read(encoder.body(rows[-1]), block, last)
    assert decoder.facts(records[0][1] or b"").snapshot == "last"


@pytest.mark.parametrize("format_", FORMATS)
def test_a_truncate_has_no_rows(format_: Format) -> None:
    encoder, decoder = encoder_of(orders(), format_), compile_decoder(orders(), format_)
    value = encoder.truncate(block_of(encoder), SEQ + 9)
    assert decoder.decode(value) == ("t", None, None)
    assert decoder.decode_many([value]) == [("t", None, None)]
    assert decoder.facts(value).seq == SEQ + 9


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("epoch", [1, 63, 64, 127])
def test_sequences_of_every_epoch_are_read_as_written(format_: Format, epoch: int) -> None:
    encoder, decoder = encoder_of(orders(), format_), compile_decoder(orders(), format_)
    for start in (first_sequence(epoch), first_sequence(epoch) + (1 << 56) - 10):
        run = RowChanges(orders(), TXN, ["c"] * 5, [None] * 5, [order(i) for i in range(5)])
        records, last = encoder.run(run, block_of(encoder), start, False)
        assert [decoder.facts(value or b"").seq for _, value in records] == list(range(start + 1, start + 6))
        assert last == start + 5


@pytest.mark.parametrize("format_", FORMATS)
def test_an_unchanged_key_column_is_taken_from_the_old_row(format_: Format) -> None:
    table, encoder, decoder = orders(), encoder_of(orders(), format_), compile_decoder(orders(), format_)
    after = (UNCHANGED, *order(1)[1:])
    before = (1, *(UNCHANGED,) * (len(table.columns) - 1))
    records, _ = encoder.run(RowChanges(table, TXN, ["u"], [before], [after]), block_of(encoder), SEQ, True)
    assert [decoder.decode(value or b"") for _, value in records] == [("u", None, order(1))]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    "row", [(None, *[None] * 9), (UNCHANGED, *[None] * 9), (1,), (1, "x", *[None] * 8), (1, 2, 3, *[None] * 7)]
)
def test_a_row_that_is_not_canonical_stops_the_capture(format_: Format, row: Row) -> None:
    if format_ is not Format.AVRO and len(row) > 1 and row[0] == 1:
        pytest.skip("JSON has no types to be wrong for")
    encoder = encoder_of(orders(), format_)
    with pytest.raises(TailraceError) as caught:
        encoder.run(RowChanges(orders(), TXN, ["c"], [None], [row]), block_of(encoder), SEQ, True)
    assert caught.value.kind is ErrorKind.INVARIANT


# --- wrong bytes


def orders() -> TableSchema:
    return table_of(
        Column("id", LogicalType(Family.INT64), "bigint"),
        Column("customer_id", LogicalType(Family.INT64), "bigint"),
        Column("status", LogicalType(Family.STRING), "varchar(20)"),
        Column("amount", LogicalType(Family.DECIMAL, 12, 2), "numeric(12,2)"),
        Column("rate", LogicalType(Family.NUMERIC), "numeric"),
        Column("created_at", LogicalType(Family.TIMESTAMPTZ), "timestamptz"),
        Column("updated_at", LogicalType(Family.TIMESTAMP), "timestamp"),
        Column("active", LogicalType(Family.BOOLEAN), "boolean"),
        Column("payload", LogicalType(Family.JSON), "jsonb"),
        Column("qty", LogicalType(Family.INT32), "integer"),
    )


def order(i: int) -> Row:
    at = COMMITTED_US + i * 997_000_003
    return (i, i * 77_777, "paid", i * 12_345, Decimal(i) / 4, at, at + 1, i % 2 == 0, '{"a": 1}', None)


def value_and_key(format_: Format) -> tuple[bytes, bytes]:
    encoder = encoder_of(orders(), format_)
    row = (*order(12_345)[:8], UNCHANGED, 7)
    records, _ = encoder.run(RowChanges(orders(), TXN, ["u"], [None], [row]), block_of(encoder), SEQ, False)
    (key, value), *_ = records
    assert key is not None
    assert value is not None
    return value, key


def read_anyway(read: Any, damaged: bytes | list[bytes]) -> bool:
    """Tell whether damaged bytes could be read; if not, the error must be DECODE and quote nothing."""
    error = None
    try:
        read(damaged)
    except TailraceError as caught:
        error = caught
    assert error is None or (error.kind is ErrorKind.DECODE and error.__cause__ is None)
    return error is None


def readers(format_: Format) -> list[Any]:
    decoder = compile_decoder(orders(), format_)
    form = form_of(orders())
    return [
        decoder.decode,
        decoder.facts,
        decoder.decode_key,
        lambda b: decoder.decode_many([b]),
        lambda b: decoder.staged([b], form),
    ]


@pytest.mark.parametrize("format_", FORMATS)
def test_truncated_bytes_are_a_decode_error(format_: Format) -> None:
    decoder = compile_decoder(orders(), format_)
    value, key = value_and_key(format_)
    row_end = value.index(b"payload") if format_ is Format.AVRO else len(value) - 1
    for end in range(len(value)):
        # An applier stops before the source; whoever reads the facts goes on to the end.
        assert not read_anyway(decoder.decode, value[: min(end, row_end)])
        assert not read_anyway(decoder.facts, value[:end]) or end >= len(value) - 16
    for end in range(len(key)):
        assert not read_anyway(decoder.decode_key, key[:end])
    assert not read_anyway(decoder.decode_key, key + b"\0")


@pytest.mark.parametrize("format_", [Format.JSON, Format.JSON_WITH_SCHEMA])
def test_json_that_ends_behind_its_row_is_a_decode_error(format_: Format) -> None:
    encoder, (value, _) = encoder_of(orders(), format_), value_and_key(format_)
    ((_, placed),) = encoder.placed([(None, value)], "777", 4, 2)
    for whole in (value, placed or b""):
        for read in readers(format_)[3:]:
            assert read_anyway(read, whole)
            for end in range(whole.index(b',"source":{"version":'), len(whole)):
                assert not read_anyway(read, whole[:end])


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_are_read_or_a_decode_error(format_: Format, data: st.DataObject) -> None:
    value, key = value_and_key(format_)
    damaged = bytearray(data.draw(st.sampled_from([value, key])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        if not damaged:
            break
    for read in readers(format_):
        read_anyway(read, bytes(damaged))
    read_anyway(encoder_of(orders(), format_).unbody, bytes(damaged))


@pytest.mark.parametrize("format_", FORMATS)
@settings(max_examples=80, deadline=None)
@given(noise=st.binary(max_size=60), op=st.sampled_from("crudt"))
def test_noise_is_read_or_a_decode_error(format_: Format, noise: bytes, op: str) -> None:
    for start in (b"", b"\0\0\0\0\1\2" + op.encode() + b"\0\2", b"\0\0\0\0\1\2" + op.encode() + b"\2\2"):
        for read in readers(format_):
            read_anyway(read, start + noise)


def test_a_length_beyond_the_buffer_costs_no_memory() -> None:
    decoder = compile_decoder(table_of(Column("a", LogicalType(Family.BYTES), "bytea"), key=()), Format.AVRO)
    assert not read_anyway(decoder.decode, b"\0\0\0\0\1\2c\0\2\2" + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 20)


def test_a_negative_length_is_a_decode_error() -> None:
    decoder = compile_decoder(table_of(Column("a", LogicalType(Family.STRING), "text"), key=()), Format.AVRO)
    for length in (b"\1", b"\x81\1", b"\x81\x80\x80\1"):
        assert not read_anyway(decoder.decode, b"\0\0\0\0\1\2c\0\2\2" + length + b"x" * 20)


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b"[]",
        b'{"op":"c"}',
        b'{"op":["c"],"before":null,"after":{}}',
        b'{"op":"c","before":null,"after":{"id":"1"}}',
        b'{"op":"c","before":null,"after":null}',
        b'{"op":"d","before":null,"after":null}',
        b'{"op":"x","before":null,"after":null}',
        b'{"op":"c","before":null,"after":{"id":9223372036854775808}}',
        b'{"op":"c","before":null,"after":{"id":1},"unavailable":["nothing"]}',
        b"[" * 5000,
    ],
)
def test_json_that_is_no_envelope_is_a_decode_error(value: bytes) -> None:
    table = table_of(Column("id", LogicalType(Family.INT64), "bigint"))
    decoder = compile_decoder(table, Format.JSON)
    assert not read_anyway(decoder.decode, value)
    assert not read_anyway(lambda b: decoder.decode_many([b]), value)


def test_an_envelope_with_the_fields_in_another_order_is_read() -> None:
    table = table_of(Column("id", LogicalType(Family.INT64), "bigint"))
    value = b'{"before":null,"after":{"id":7,"more":1},"source":{"version":"3.0"},"op":"u","ts_ms":1}'
    assert compile_decoder(table, Format.JSON).decode_many([value]) == [("u", None, (7,))]


def test_a_codec_is_compiled_once() -> None:
    assert encoder_of(orders(), Format.AVRO) is encoder_of(orders(), Format.AVRO)
    assert compile_decoder(orders(), Format.JSON) is compile_decoder(orders(), Format.JSON)
    assert "def run(" in encoder_of(orders(), Format.AVRO).source_text


@pytest.mark.parametrize("format_", FORMATS)
def test_a_table_of_1600_columns_is_compiled(format_: Format) -> None:
    table = table_of(*(Column(f"c{i}", LogicalType(Family.INT32), "integer") for i in range(1600)))
    encoder, decoder = encoder_of(table, format_), compile_decoder(table, format_)
    row = tuple(range(1600))
    records, _ = encoder.run(RowChanges(table, TXN, ["c"], [None], [row]), block_of(encoder), SEQ, False)
    assert decoder.decode_many([records[0][1] or b""]) == [("c", None, row)]
